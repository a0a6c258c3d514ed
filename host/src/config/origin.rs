//! Where the values of a configuration were written, for messages and for
//! `maitred config show`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where one value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Nobody wrote it.
    Default,
    /// A line of the file, from 1.
    Line(usize),
    /// A flag or its environment variable.
    Flag(&'a str),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::Line(line) => write!(f, "line {line}"),
            Origin::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// By key, as `models.mini.batch.queue_pairs_max`.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The file that has the lines.
    pub file: Option<PathBuf>,
    lines: BTreeMap<String, usize>,
    flags: BTreeMap<String, &'static str>,
}

impl Origins {
    /// Notes where a key, or the head of a table, stands.
    pub(super) fn note_line(&mut self, key: &str, line: usize) {
        self.lines.insert(key.to_owned(), line);
    }

    /// Notes that a flag set a key, whatever the file says.
    pub fn note_flag(&mut self, key: &str, flag: &'static str) {
        self.flags.insert(key.to_owned(), flag);
    }

    /// Where the value of exactly this key was written.
    pub fn of(&self, key: &str) -> Origin<'_> {
        match (self.flags.get(key), self.lines.get(key)) {
            (Some(flag), _) => Origin::Flag(flag),
            (None, Some(line)) => Origin::Line(*line),
            (None, None) => Origin::Default,
        }
    }

    /// The same or, for what nobody wrote, that of the table it would be in.
    pub(super) fn near(&self, key: &str) -> Origin<'_> {
        let mut key = key;
        loop {
            match (self.of(key), key.rsplit_once('.')) {
                (Origin::Default, Some((table, _))) => key = table,
                (origin, _) => return origin,
            }
        }
    }

    /// Every key that was written, with its line.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, usize)> {
        self.lines.iter().map(|(key, line)| (key.as_str(), *line))
    }
}
