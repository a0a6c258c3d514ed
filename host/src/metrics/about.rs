//! What every family is: the table in `docs/metrics.md`, which a test holds to
//! the code that registers them.

use std::fmt::Write as _;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Unit};

use super::age::Age;
use super::labels::{Label, Labels};

/// A family as a person, a rule or a dashboard knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// As Prometheus stores it; a histogram has `_bucket`, `_sum` and `_count`
    /// behind it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub unit: Option<&'static str>,
    pub labels: &'static [Label],
    /// A sentence without its end.
    pub help: String,
}

/// A type of metric that knows what to call itself.
pub trait Described: Metric + Clone {
    const KIND: &'static str;
    const LABELS: &'static [Label] = &[];

    /// The entry of a family that is registered with this name and unit.
    fn about(name: &str, unit: Option<&Unit>, help: &str) -> About {
        let unit: Option<&'static str> = unit.map(unit_word);
        let mut full = format!("maitred_{name}");
        for part in unit.into_iter().chain((Self::KIND == "counter").then_some("total")) {
            let _ = write!(full, "_{part}");
        }
        About { name: full, kind: Self::KIND, unit, labels: Self::LABELS, help: help.to_owned() }
    }
}

fn unit_word(unit: &Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        other => unreachable!("no family is in {}", other.as_str()),
    }
}

impl<N, A> Described for Counter<N, A>
where
    Counter<N, A>: Metric + Clone,
{
    const KIND: &'static str = "counter";
}

impl<N, A> Described for Gauge<N, A>
where
    Gauge<N, A>: Metric + Clone,
{
    const KIND: &'static str = "gauge";
}

impl Described for Age {
    const KIND: &'static str = "gauge";
}

impl Described for Histogram {
    const KIND: &'static str = "histogram";
}

impl<L: Labels, M: Described> Described for Family<L, M>
where
    Family<L, M>: Metric + Clone,
{
    const KIND: &'static str = M::KIND;
    const LABELS: &'static [Label] = L::LABELS;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::Metrics;

    const INTRODUCTION: &str = "\
# Metrics

What `/metrics` on the operators' listener says, in OpenMetrics 1.0. Made by the test
`metrics::about::tests::the_table_is_up_to_date` from the code that registers the families;
`MAITRED_BLESS=1` writes it anew.

Labels hold names out of the configuration or words of the lists below, so no client can make
a series. Families without labels are there from the start, at 0 before their first event, and
so are those of a model or a policy once it is loaded (but for `maitred_replica_state`). Other
series appear with their first event, and what cannot be measured is absent. Histograms have
`_bucket`, `_sum` and `_count`. There are no exemplars: the log line of each request has its
`trace_id` beside the times of its stages.

`deploy/` has rules and a dashboard that use them.

";

    fn table() -> String {
        let mut text = INTRODUCTION.to_owned();
        text += "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n";
        for about in Metrics::families() {
            let label = |label: &Label| format!("`{}`: {}", label.name, label.values.trim());
            let labels: Vec<_> = about.labels.iter().map(label).collect();
            let About { name, kind, unit, help, .. } = about;
            let (unit, labels) = (unit.unwrap_or(""), labels.join("; "));
            let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |");
        }
        text
    }

    #[test]
    fn the_table_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let expected = table();
        if std::env::var_os("MAITRED_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == expected, "docs/metrics.md is stale; MAITRED_BLESS=1 writes it anew");
    }

    /// The names are those that are rendered.
    #[test]
    fn what_is_rendered_is_in_the_table() {
        let metrics = Metrics::new();
        let model = crate::metrics::Model { model: "m".into() };
        metrics.queue_age.get_or_create(&model).set(None);
        metrics.pairs.get_or_create(&model).inc();
        metrics.batch_duration.get_or_create(&model).observe(1.0);
        let families = Metrics::families();
        let known = |name: &str| {
            families.iter().any(|about| {
                name.strip_prefix(&*about.name).is_some_and(|rest| match about.kind {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&rest),
                    _ => rest.is_empty(),
                })
            })
        };
        let rendered = metrics.render();
        let lines = rendered.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<&str> = lines.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
        assert!(names.len() > 10, "{rendered}");
        for name in names {
            assert!(known(name), "`{name}` is not in the table");
        }
        assert!(rendered.contains("\nmaitred_queue_age_seconds{model=\"m\"} 0.0\n"), "{rendered}");
        assert!(rendered.contains("\nprocess_cpu_seconds_total "), "{rendered}");
        assert!(!rendered.contains(".."), "a sentence ends twice in\n{rendered}");
    }
}
