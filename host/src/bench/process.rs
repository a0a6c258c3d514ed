//! What a process on this machine has used, where the system says so.

use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// CPU time of all its threads since it began.
    pub cpu_s: Option<f64>,
    pub memory_bytes: Option<u64>,
}

impl Usage {
    /// Of two processes together; what one does not say is not known of both.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            cpu_s: self.cpu_s.zip(other.cpu_s).map(|(a, b)| a + b),
            memory_bytes: self.memory_bytes.zip(other.memory_bytes).map(|(a, b)| a + b),
        }
    }

    pub fn of(pid: u32) -> Usage {
        #[cfg(target_os = "linux")]
        if let Some(usage) = of_proc(pid) {
            return usage;
        }
        of_ps(pid)
    }
}

#[cfg(target_os = "linux")]
fn of_proc(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second column is a name in parentheses that may hold anything; the
    // others are counted from behind it (proc(5): utime 14, stime 15).
    let (_, columns) = stat.rsplit_once(')')?;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    let ticks: u64 =
        columns.get(11)?.parse::<u64>().ok()? + columns.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> =
        resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    Some(Usage {
        cpu_s: Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        memory_bytes: kib.map(|kib| kib * 1024),
    })
}

/// `ps` is everywhere; its times are `[[days-]hours:]minutes:seconds`, with
/// hundredths on macOS.
fn of_ps(pid: u32) -> Usage {
    let output = Command::new("ps").args(["-o", "rss=,time=", "-p", &pid.to_string()]).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let text = text.unwrap_or_default();
    let mut columns = text.split_whitespace();
    let kib: Option<u64> = columns.next().and_then(|text| text.parse().ok());
    Usage { cpu_s: columns.next().and_then(seconds), memory_bytes: kib.map(|kib| kib * 1024) }
}

fn seconds(time: &str) -> Option<f64> {
    let (days, rest) = time.split_once('-').unwrap_or(("0", time));
    let of_day = rest
        .split(':')
        .try_fold(0.0, |sum, part| part.parse::<f64>().ok().map(|part| sum * 60.0 + part))?;
    Some(days.parse::<f64>().ok()? * 86_400.0 + of_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_used_time() {
        let usage = Usage::of(std::process::id());
        assert!(usage.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{usage:?}");
        assert!(usage.cpu_s.is_some_and(|seconds| (0.0..3600.0).contains(&seconds)), "{usage:?}");
    }

    #[test]
    fn times_of_ps_are_read() {
        let check = |text: &str, expected: f64| assert_eq!(seconds(text), Some(expected), "{text}");
        check("00:00:03", 3.0);
        check("1:02.50", 62.5);
        check("2-01:00:00", 2.0 * 86_400.0 + 3600.0);
        assert_eq!(seconds("never"), None);
    }
}
