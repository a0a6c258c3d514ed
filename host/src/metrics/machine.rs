//! What the process takes of its machine, read when somebody looks. The names are
//! those that every Prometheus client uses, without our prefix. What a system does
//! not say is absent, and never 0.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::time::{ClockId, clock_gettime};

use super::about::About;

#[derive(Debug)]
pub struct Machine {
    /// Seconds since 1970.
    began: f64,
    /// Reads the bytes that a GPU holds for this process, where there is one that
    /// says so.
    pub gpu_memory: OnceLock<fn() -> Option<u64>>,
}

impl Machine {
    pub fn new() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Machine { began: began.as_secs_f64(), gpu_memory: OnceLock::new() }
    }

    /// Every figure, in the order of the table; `None` where it is not known.
    fn figures(&self) -> [Option<f64>; FIGURE_COUNT] {
        let memory = usage::resident_bytes().map(|bytes| bytes as f64);
        let files = usage::open_files().map(|count| count as f64);
        let gpu = self.gpu_memory.get().and_then(|read| read()).map(|bytes| bytes as f64);
        [Some(cpu_seconds()), memory, files, Some(self.began), gpu]
    }

    /// What the table says of them.
    pub fn about() -> impl Iterator<Item = About> {
        FIGURES.iter().map(|figure| About {
            name: figure.full_name(),
            kind: if figure.counts { "counter" } else { "gauge" },
            unit: figure.unit.as_ref().map(Unit::as_str),
            labels: &[],
            help: figure.help.to_owned(),
        })
    }
}

struct Figure {
    name: &'static str,
    unit: Option<Unit>,
    counts: bool,
    help: &'static str,
}

impl Figure {
    fn full_name(&self) -> String {
        let unit = self.unit.as_ref().map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        let total = if self.counts { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

const FIGURE_COUNT: usize = 5;

static FIGURES: [Figure; FIGURE_COUNT] = [
    Figure {
        name: "process_cpu",
        unit: Some(Unit::Seconds),
        counts: true,
        help: "CPU time of the process, all threads together",
    },
    Figure {
        name: "process_resident_memory",
        unit: Some(Unit::Bytes),
        counts: false,
        help: "Memory that the process has; Linux only",
    },
    Figure {
        name: "process_open_fds",
        unit: None,
        counts: false,
        help: "Files and connections that the process has open; Linux only",
    },
    Figure {
        name: "process_start_time",
        unit: Some(Unit::Seconds),
        counts: false,
        help: "When the process began, since 1970",
    },
    Figure {
        name: "maitred_metal_memory",
        unit: Some(Unit::Bytes),
        counts: false,
        help: "Memory that the GPU holds for the process; only in builds with `metal`",
    },
];

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (figure, value) in FIGURES.iter().zip(self.figures()) {
            let (Some(value), unit) = (value, figure.unit.as_ref()) else {
                continue;
            };
            let help = format!("{}.", figure.help);
            let (counter, gauge) = (ConstCounter::new(value), ConstGauge::new(value));
            let kind = if figure.counts { counter.metric_type() } else { gauge.metric_type() };
            let encoder = encoder.encode_descriptor(figure.name, &help, unit, kind)?;
            match figure.counts {
                true => counter.encode(encoder)?,
                false => gauge.encode(encoder)?,
            }
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(target_os = "linux")]
mod usage {
    /// proc(5): the second number of `statm` is the resident pages.
    pub fn resident_bytes() -> Option<u64> {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    pub fn open_files() -> Option<u64> {
        // The folder that is read is one of them.
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(open.saturating_sub(1))
    }
}

/// macOS tells a process its memory through Mach only, whose calls are unsafe.
#[cfg(not(target_os = "linux"))]
mod usage {
    pub fn resident_bytes() -> Option<u64> {
        None
    }

    pub fn open_files() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_time_and_memory() {
        let [cpu, memory, files, began, gpu] = Machine::new().figures();
        assert!(cpu.unwrap() > 0.0 && began.unwrap() > 1e9);
        assert_eq!(gpu, None, "nobody reads it here");
        if cfg!(target_os = "linux") {
            assert!(memory.unwrap() > 1e6, "{memory:?}");
            assert!(files.unwrap() >= 3.0, "{files:?}");
        }
    }
}
