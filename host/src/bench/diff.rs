//! What is different between two sets of windows, and how sure that is. Windows
//! are compared in pairs that ran next to each other, so that what the machine
//! did meanwhile happened to both.

use anyhow::bail;

use super::measure::ms;
use super::record::Record;
use super::statistics::{Interval, mean, of_mean};

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub what: &'static str,
    /// Means over the pairs.
    pub a: Option<f64>,
    pub b: Option<f64>,
    /// B by A, as the geometric mean over the pairs.
    pub ratio: Option<f64>,
    /// Its 95 % interval; `None` of fewer than three pairs.
    pub interval: Option<Interval>,
    pub pairs: usize,
}

impl Line {
    /// Whether the interval leaves out that nothing changed.
    pub fn is_sure(&self) -> bool {
        self.interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0)
    }
}

/// Two variants, compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub a: String,
    pub b: String,
    pub lines: Vec<Line>,
}

type Figure = fn(&Record) -> Option<f64>;

/// What is compared; larger is better only for the first.
const FIGURES: [(&str, Figure); 9] = [
    ("pairs/s", |record| record.measured.pairs_per_second()),
    ("latency mean, ms", |record| record.measured.latency.mean().map(ms)),
    ("latency p50, ms", |record| record.measured.latency.at(0.5).map(ms)),
    ("latency p95, ms", |record| record.measured.latency.at(0.95).map(ms)),
    ("latency p99, ms", |record| record.measured.latency.at(0.99).map(ms)),
    ("server CPU, ms a pair", |record| {
        let cpu = record.server.cpu_s?;
        (record.measured.pairs > 0).then(|| cpu * 1e3 / record.measured.pairs as f64)
    }),
    ("server memory, MB", |record| record.server.memory_bytes.map(|bytes| bytes as f64 / 1e6)),
    ("padding, %", |record| record.server.padding_share.map(|share| share * 100.0)),
    ("errors, %", |record| record.measured.error_share().map(|share| share * 100.0)),
];

/// Compares variants of the same name; or, where one of each is named, those.
pub fn compare(
    a: &[Record],
    b: &[Record],
    named: Option<(&str, &str)>,
) -> anyhow::Result<Vec<Comparison>> {
    let of = |records: &[Record], name: &str| -> Vec<Record> {
        records.iter().filter(|record| record.variant == name).cloned().collect()
    };
    let names = match named {
        Some((of_a, of_b)) => {
            for (side, records, name) in [("A", a, of_a), ("B", b, of_b)] {
                let known = variants(records);
                if !known.contains(&name) {
                    bail!("{side} has no variant `{name}`; there are {}", known.join(" | "));
                }
            }
            vec![(of_a, of_b)]
        }
        None => {
            let (in_a, in_b) = (variants(a), variants(b));
            match (in_a.as_slice(), in_b.as_slice()) {
                ([a], [b]) => vec![(*a, *b)],
                _ => in_a.into_iter().filter(|name| in_b.contains(name)).map(|n| (n, n)).collect(),
            }
        }
    };
    if names.is_empty() {
        bail!(
            "no variant is in both: A has {}, B has {}; name one of each",
            variants(a).join(" | "),
            variants(b).join(" | ")
        );
    }
    let mut comparisons = Vec::new();
    for (of_a, of_b) in names {
        let pairs = pairs(of(a, of_a), of(b, of_b));
        if pairs.is_empty() {
            bail!("there is no pair of windows of `{of_a}` and `{of_b}`");
        }
        let lines = FIGURES.iter().map(|(what, figure)| line(what, *figure, &pairs)).collect();
        comparisons.push(Comparison { a: of_a.into(), b: of_b.into(), lines });
    }
    Ok(comparisons)
}

fn variants(records: &[Record]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for record in records {
        if !names.contains(&record.variant.as_str()) {
            names.push(&record.variant);
        }
    }
    names
}

/// Windows of the same repeat.
fn pairs(a: Vec<Record>, b: Vec<Record>) -> Vec<(Record, Record)> {
    let partner = |one: &Record| b.iter().find(|other| other.repeat == one.repeat).cloned();
    a.into_iter().filter_map(|one| partner(&one).map(|other| (one, other))).collect()
}

fn line(what: &'static str, figure: Figure, pairs: &[(Record, Record)]) -> Line {
    let measured: Vec<(f64, f64)> =
        pairs.iter().filter_map(|(a, b)| figure(a).zip(figure(b))).collect();
    let (of_a, of_b): (Vec<f64>, Vec<f64>) = measured.iter().copied().unzip();
    // A ratio of what is 0 on one side is none.
    let logs: Option<Vec<f64>> =
        measured.iter().map(|(a, b)| (*a > 0.0 && *b > 0.0).then(|| (b / a).ln())).collect();
    let logs = logs.unwrap_or_default();
    let interval = of_mean(&logs);
    Line {
        what,
        a: mean(&of_a),
        b: mean(&of_b),
        ratio: mean(&logs).map(f64::exp),
        interval: interval.map(|i| Interval { low: i.low.exp(), high: i.high.exp() }),
        pairs: measured.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::window;

    fn line_of<'a>(comparison: &'a Comparison, what: &str) -> &'a Line {
        comparison.lines.iter().find(|line| line.what == what).unwrap()
    }

    #[test]
    fn pairs_cancel_what_the_machine_did() {
        // The machine is slow in every other repeat; B is always twice as fast.
        let windows = |name: &str, took: [u64; 5]| -> Vec<Record> {
            let took = took.iter().enumerate();
            took.map(|(repeat, took)| window(name, repeat, *took)).collect()
        };
        let a = windows("x", [20, 40, 20, 40, 20]);
        let b = windows("y", [10, 20, 10, 20, 10]);
        let comparisons = compare(&a, &b, None).unwrap();
        let rate = line_of(&comparisons[0], "pairs/s");
        assert!((rate.ratio.unwrap() - 2.0).abs() < 1e-9, "{rate:?}");
        let interval = rate.interval.unwrap();
        assert!(interval.high - interval.low < 1e-9 && rate.is_sure(), "{rate:?}");
        assert_eq!(rate.pairs, 5);
        let memory = line_of(&comparisons[0], "server memory, MB");
        assert_eq!((memory.a, memory.ratio, memory.interval), (None, None, None));
    }

    #[test]
    fn one_pair_is_no_certainty() {
        let comparisons = compare(&[window("x", 0, 20)], &[window("x", 0, 10)], None).unwrap();
        let rate = line_of(&comparisons[0], "pairs/s");
        assert!((rate.ratio.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!((rate.interval, rate.is_sure()), (None, false));
    }

    #[test]
    fn variants_are_compared_by_name() {
        let records = [window("a", 0, 10), window("b", 0, 20)];
        let names = |named| -> Vec<(String, String)> {
            let comparisons = compare(&records, &records, named).unwrap();
            comparisons.into_iter().map(|one| (one.a, one.b)).collect()
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(names(None), [pair("a", "a"), pair("b", "b")]);
        assert_eq!(names(Some(("a", "b"))), [pair("a", "b")]);
        let error = compare(&records, &[window("c", 0, 10)], None).unwrap_err().to_string();
        assert!(error.contains("A has a | b, B has c"), "{error}");
        let error = compare(&records, &records, Some(("a", "z"))).unwrap_err().to_string();
        assert!(error.contains("B has no variant `z`; there are a | b"), "{error}");
    }
}
