//! What can be wrong with one value, and how that is said: the key, the value,
//! what is allowed and in which unit.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::origin::{Origin, Origins};
use crate::config::read::nearest;

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;
pub(super) const GIB: usize = 1024 * MIB;
pub(super) const HOUR_MS: u64 = 3_600_000;

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Where it was read.
    pub file: Option<PathBuf>,
    pub faults: Vec<String>,
}

impl Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{} is not usable:", file.display())?,
            None => write!(f, "the configuration is not usable:")?,
        }
        self.faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

/// Collects faults; what it returns for a wrong value is of the right type and
/// never used.
#[derive(Default)]
pub(super) struct Check {
    pub(super) origins: Origins,
    pub(super) faults: Vec<String>,
}

impl Check {
    /// Notes a fault of a key, with who wrote it if somebody did.
    pub(super) fn fault(&mut self, key: &str, fault: String) {
        self.faults.push(match self.origins.near(key) {
            Origin::Default => fault,
            origin => format!("{origin}: {fault}"),
        });
    }

    pub(super) fn within<N: PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        value: N,
        allowed: RangeInclusive<N>,
        unit: &str,
    ) -> N {
        if !allowed.contains(&value) {
            let (least, most) = (allowed.start(), allowed.end());
            self.fault(key, format!("`{key}` is {value}; it must be {least} to {most} {unit}"));
        }
        value
    }

    pub(super) fn ms(&mut self, key: &str, value: u64, allowed: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(key, value, allowed, "ms"))
    }

    /// A word out of a short list.
    pub(super) fn one_of<T: Copy>(&mut self, key: &str, value: &str, known: &[(&str, T)]) -> T {
        if let Some((_, meaning)) = known.iter().find(|(word, _)| *word == value) {
            return *meaning;
        }
        let words: Vec<_> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.fault(key, format!("`{key}` is \"{value}\"; it must be one of {}", words.join(", ")));
        known[0].1
    }

    pub(super) fn address(&mut self, key: &str, value: &str) -> SocketAddr {
        value.parse().unwrap_or_else(|_| {
            self.fault(
                key,
                format!(
                    "`{key}` is \"{value}\"; it must be an address and a port, like 127.0.0.1:8787"
                ),
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    pub(super) fn name(&mut self, key: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            self.fault(&format!("{key}.{name}"), format!(
                "`{key}` has the name \"{name}\"; a name is 1 to 64 letters, digits, `-`, `_` or `.`"
            ));
        }
    }

    /// A reference to something that is configured elsewhere.
    pub(super) fn known<T>(
        &mut self,
        key: &str,
        name: &str,
        what: &str,
        there: &BTreeMap<Arc<str>, T>,
    ) -> Arc<str> {
        if !name.is_empty() && !there.contains_key(name) {
            let hint = match nearest(name, there.keys().map(|name| &**name)) {
                Some(nearest) => format!("; did you mean \"{nearest}\"?"),
                None if there.is_empty() => format!("; no {what} is configured"),
                None => String::new(),
            };
            self.fault(key, format!("`{key}` names \"{name}\", but there is no such {what}{hint}"));
        }
        Arc::from(name)
    }
}
