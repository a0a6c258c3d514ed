//! What a guest prints, as log events: by lines, with the policy's name and the
//! request id, and bounded. What is over the bound is counted, not kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that a guest may hand over in one write; the stream takes any number
/// of writes.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// Lines of one call that reach the log. Each is an event with a time, names
/// and ids, a hundred bytes beside its own; so bytes alone do not bound it.
const LINES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Stdout,
    Stderr,
}

/// The log of one call. Dropping the last handle writes unfinished lines, and
/// how much was left out.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    policy: Arc<str>,
    request_id: Arc<str>,
    /// Unfinished lines, by source.
    lines: [Vec<u8>; 2],
    bytes_left: usize,
    lines_left: usize,
    bytes_omitted: u64,
}

impl Journal {
    pub fn new(policy: Arc<str>, request_id: Arc<str>, bytes_max: usize) -> Self {
        Journal(Arc::new(Mutex::new(Pages {
            policy,
            request_id,
            lines: Default::default(),
            bytes_left: bytes_max,
            lines_left: LINES_MAX,
            bytes_omitted: 0,
        })))
    }

    pub fn stream(&self, source: Source) -> Stream {
        Stream { journal: self.clone(), source }
    }

    /// A poisoned journal still holds plain bytes; a subscriber panicked.
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn write(&mut self, source: Source, bytes: &[u8]) {
        let kept = bytes.len().min(self.bytes_left);
        self.bytes_left -= kept;
        self.bytes_omitted += (bytes.len() - kept) as u64;
        let mut rest = &bytes[..kept];
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.lines[source as usize].extend_from_slice(&rest[..end]);
            self.end_line(source);
            rest = &rest[end + 1..];
        }
        self.lines[source as usize].extend_from_slice(rest);
    }

    fn end_line(&mut self, source: Source) {
        let line = std::mem::take(&mut self.lines[source as usize]);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let Some(lines_left) = self.lines_left.checked_sub(1) else {
            self.bytes_omitted += line.len() as u64;
            return;
        };
        self.lines_left = lines_left;
        let (policy, request_id) = (&*self.policy, &*self.request_id);
        // What a guest writes is data: it is quoted, so that it cannot pass for
        // a line of ours.
        match source {
            Source::Stdout => {
                tracing::info!(target: "maitred::policy", policy, request_id, said = ?line);
            }
            Source::Stderr => {
                tracing::warn!(target: "maitred::policy", policy, request_id, said = ?line);
            }
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.end_line(Source::Stdout);
        self.end_line(Source::Stderr);
        if self.bytes_omitted > 0 {
            let (policy, request_id) = (&*self.policy, &*self.request_id);
            let bytes = self.bytes_omitted;
            tracing::warn!(target: "maitred::policy", policy, request_id, bytes, "output over the limit was left out");
        }
    }
}

/// A guest's stdout or stderr. It never blocks and never fails: a guest need
/// not know how much of it is kept.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    journal: Journal,
    source: Source,
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.journal.pages().write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Only WASI 0.3 asks for it, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Log;
        fn make_writer(&self) -> Log {
            self.clone()
        }
    }

    /// The log of a call that wrote `writes`, without times.
    fn logged(bytes_max: usize, writes: &[(Source, &str)]) -> Vec<String> {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .without_time()
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let journal = Journal::new("p".into(), "r1".into(), bytes_max);
            for (source, text) in writes {
                let bytes = Bytes::copy_from_slice(text.as_bytes());
                journal.stream(*source).write(bytes).unwrap();
            }
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_string()).collect()
    }

    #[test]
    fn lines_carry_the_policy_and_the_request() {
        use Source::{Stderr, Stdout};
        let writes = [
            (Stdout, "one\ntw"),
            (Stderr, "fault"),
            (Stdout, "o\n\n\r\n"),
            (Stdout, "\u{1b}[31munfinished"),
        ];
        assert_eq!(
            logged(100, &writes),
            [
                r#"INFO maitred::policy: policy="p" request_id="r1" said="one""#,
                r#"INFO maitred::policy: policy="p" request_id="r1" said="two""#,
                r#"INFO maitred::policy: policy="p" request_id="r1" said="\u{1b}[31munfinished""#,
                r#"WARN maitred::policy: policy="p" request_id="r1" said="fault""#,
            ]
        );
    }

    #[test]
    fn output_over_the_bound_is_counted() {
        let lines = logged(10_000, &[(Source::Stderr, &"x\n".repeat(1000))]);
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert!(lines[LINES_MAX].ends_with("bytes=872"), "{}", lines[LINES_MAX]);

        let flood = "x".repeat(1000);
        let writes = [(Source::Stdout, "12345\n6789"), (Source::Stderr, &flood)];
        assert_eq!(
            logged(8, &writes),
            [
                r#"INFO maitred::policy: policy="p" request_id="r1" said="12345""#,
                r#"INFO maitred::policy: policy="p" request_id="r1" said="67""#,
                r#"WARN maitred::policy: output over the limit was left out policy="p" request_id="r1" bytes=1002"#,
            ]
        );
    }
}
