//! What `deploy/` asks for exists: every metric of its rules and its dashboard is one
//! that the server registers, or one that a rule records. `slow/prometheus.rs` asks a
//! real Prometheus.

use std::collections::BTreeSet;

use maitred::metrics::Metrics;
use maitred_tests::deploy::{dashboard, panels};
use maitred_tests::fixtures::repository;

fn read(path: &str) -> String {
    std::fs::read_to_string(repository("deploy").join(path)).unwrap()
}

/// Names under which Prometheus has what the server registers.
fn stored() -> BTreeSet<String> {
    let families = Metrics::families().into_iter();
    let names = families.flat_map(|about| {
        let parts: &[&str] = match about.kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        parts.iter().map(move |part| format!("{}{part}", about.name))
    });
    names.collect()
}

/// Names that rules record.
fn recorded() -> BTreeSet<String> {
    let text = read("prometheus/recording.yml");
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    names.map(String::from).collect()
}

/// Words of a query that can only be the name of a metric of ours.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let ours = |name: &&str| {
        name.contains(":maitred_") || name.starts_with("maitred_") || name.starts_with("process_")
    };
    text.split(|c| !word(c)).filter(ours).map(String::from).collect()
}

#[test]
fn every_name_exists() {
    let (stored, recorded) = (stored(), recorded());
    let known: BTreeSet<_> = stored.union(&recorded).cloned().collect();
    // Groups of rules have names, too.
    let groups = ["maitred_requests", "maitred_models", "maitred_policies"];
    // A text names a family without what Prometheus hangs on it.
    let families: BTreeSet<_> = Metrics::families().into_iter().map(|about| about.name).collect();
    let files = [
        "README.md",
        "prometheus/recording.yml",
        "prometheus/alerts.yml",
        "prometheus/alerts_test.yml",
        "grafana/maitred.json",
    ];
    for file in files {
        let names = names(&read(file));
        let missing: Vec<_> = names
            .iter()
            .filter(|name| !known.contains(*name) && !families.contains(*name))
            .filter(|name| !groups.contains(&&***name))
            .collect();
        assert!(missing.is_empty(), "{file} has {missing:?}");
    }
}

#[test]
fn rules_are_used_and_alerts_are_tested() {
    assert!(recorded().len() > 10);
    let (alerts, tests) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let named: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 10, "{named:?}");
    for alert in named {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "no test fires {alert}");
    }
}

#[test]
fn the_dashboard_is_laid_out_without_holes_or_overlaps() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(taken.insert((y, x)), "{panel} overlaps another one");
            }
        }
    }
    let height = taken.iter().map(|(y, _)| y + 1).max().unwrap();
    assert_eq!(taken.len() as u64, height * 24, "there are holes");
    let panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    for panel in panels {
        assert!(!panel.title.is_empty() && !panel.queries.is_empty(), "{panel:?}");
    }
}
