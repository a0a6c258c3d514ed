//! A window as a line of JSON: what was set, where it ran, what was measured.
//! Reports and comparisons are made of records and of nothing else, so every
//! figure in them can be traced to a line.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::figures::Figures;
use super::latencies::Latencies;
use super::machine::Machine;
use super::measure::Measured;
use super::target::About;
use super::verify::Verification;

/// Of this file's format. A line of another version is refused.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub record: u32,
    /// The window's place in its benchmark, from 0.
    pub number: usize,
    pub title: String,
    pub about: String,
    /// What is special about the variant; empty if there is one only.
    pub variant: String,
    /// Which window of the variant, from 0. Windows of one repeat ran after each
    /// other, and are compared with each other.
    pub repeat: usize,
    /// RFC 3339, in UTC.
    pub started: String,
    /// Of what is checked out where the benchmark ran.
    pub commit: Option<String>,
    /// Of the program that measured.
    pub version: String,
    pub machine: Machine,
    /// The system's load before the window.
    pub load_before: Option<f64>,
    /// The workload without its sweeps, as written.
    pub workload: Table,
    pub stage: String,
    pub load: String,
    /// A closed loop; its latencies leave out who would have waited.
    pub closed: bool,
    pub documents: usize,
    pub text: Text,
    pub target: About,
    pub measured: Measured,
    /// What the server said of the whole window.
    pub server: Figures,
    /// And of each interval.
    pub series: Vec<ServerPoint>,
    /// CPU time of the program that measured, which may run on the same cores.
    pub harness_cpu_s: Option<f64>,
    /// `None` if no scores were looked at.
    pub verification: Option<Verification>,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// Somebody ended it early.
    pub interrupted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    pub name: String,
    pub digest: String,
    pub passages: usize,
    pub queries: usize,
    /// Synthetic, each passage as long as every other.
    pub equal_length: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerPoint {
    /// When the interval ended, since the window began.
    pub at_s: f64,
    pub length_s: f64,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Records of one variant, put together.
pub struct Group<'a> {
    pub variant: &'a str,
    pub records: Vec<&'a Record>,
}

impl Group<'_> {
    /// The first record, for what all of them have in common.
    pub fn first(&self) -> &Record {
        self.records[0]
    }

    pub fn latency(&self) -> Latencies {
        self.sum(|record| &record.measured.latency)
    }

    pub fn sum(&self, of: impl Fn(&Record) -> &Latencies) -> Latencies {
        let mut all = Latencies::default();
        self.records.iter().for_each(|record| all.add(of(record)));
        all
    }

    pub fn total(&self, of: impl Fn(&Record) -> u64) -> u64 {
        self.records.iter().map(|record| of(record)).sum()
    }

    /// Seconds of all windows.
    pub fn seconds(&self) -> f64 {
        self.records.iter().map(|record| record.measured.window_s).sum()
    }

    /// Completed pairs per wall time of all windows.
    pub fn pairs_per_second(&self) -> Option<f64> {
        let seconds = self.seconds();
        (seconds > 0.0).then(|| self.total(|record| record.measured.pairs) as f64 / seconds)
    }
}

/// Records by variant, in the order in which variants first ran.
pub fn groups(records: &[Record]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for record in records {
        match groups.iter_mut().find(|group| group.variant == record.variant) {
            Some(group) => group.records.push(record),
            None => groups.push(Group { variant: &record.variant, records: vec![record] }),
        }
    }
    groups
}

/// Writes records as they come, so that what was measured survives whatever
/// comes after.
pub struct Writer(File);

impl Writer {
    pub fn create(path: &Path) -> anyhow::Result<Writer> {
        let file = File::create(path);
        Ok(Writer(file.with_context(|| format!("failed to write {}", path.display()))?))
    }

    pub fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let line = serde_json::to_string(record).context("failed to write a record")?;
        writeln!(self.0, "{line}").context("failed to write a record")
    }
}

pub fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    #[derive(Deserialize)]
    struct Versioned {
        record: u32,
    }
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    let mut records = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("line {} of {shown} is no record", number + 1);
        let version: Versioned = serde_json::from_str(line).with_context(place)?;
        ensure!(
            version.record == VERSION,
            "line {} of {shown} is a record of version {}, and this program reads version {VERSION}",
            number + 1,
            version.record
        );
        records.push(serde_json::from_str(line).with_context(place)?);
    }
    ensure!(!records.is_empty(), "{shown} has no records");
    Ok(records)
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measure::{Observation, Outcome, Window};

    /// A window of one second with requests of four pairs, one after the other,
    /// that take so many milliseconds each.
    pub fn window(variant: &str, repeat: usize, took_ms: u64) -> Record {
        let time = Duration::from_millis;
        let observations: Vec<_> = (0..1000 / took_ms)
            .map(|number| Observation {
                intended: time(number * took_ms),
                sent: time(number * took_ms),
                ended: time((number + 1) * took_ms) - Duration::from_nanos(1),
                outcome: Outcome::Answered,
                pairs: 4,
            })
            .collect();
        let window = Window { from: Duration::ZERO, to: time(1000) };
        Record {
            record: VERSION,
            number: 0,
            title: "a test".into(),
            about: "what a test is about".into(),
            variant: variant.into(),
            repeat,
            started: "2026-11-25T22:27:05Z".into(),
            commit: Some("0123456789ab".into()),
            version: "0.1.0".into(),
            machine: Machine {
                os: "linux".into(),
                arch: "x86_64".into(),
                cpu: None,
                cores: 2,
                memory_bytes: None,
            },
            load_before: None,
            workload: Table::new(),
            stage: "whole".into(),
            load: "closed loop, 1 client".into(),
            closed: true,
            documents: 4,
            text: Text {
                name: "text".into(),
                digest: "abc".into(),
                passages: 3,
                queries: 2,
                equal_length: false,
            },
            target: About::default(),
            measured: Measured::of(&observations, window, time(1000)),
            server: Figures::default(),
            series: Vec::new(),
            harness_cpu_s: None,
            verification: None,
            failures: Vec::new(),
            interrupted: false,
        }
    }

    #[test]
    fn records_are_lines_that_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let written = [window("a", 0, 10), window("b", 0, 20)];
        let mut writer = Writer::create(&path).unwrap();
        written.iter().for_each(|record| writer.write(record).unwrap());
        assert_eq!(read(&path).unwrap(), written);
        std::fs::write(&path, "{\"record\": 99}\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("a record of version 99"), "{error}");
    }

    #[test]
    fn windows_of_a_variant_are_put_together() {
        let records = [window("a", 0, 10), window("b", 0, 20), window("a", 1, 20)];
        let groups = groups(&records);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].variant, "a");
        assert_eq!(groups[0].total(|record| record.measured.pairs), 600);
        assert_eq!(groups[0].pairs_per_second(), Some(300.0));
    }
}
