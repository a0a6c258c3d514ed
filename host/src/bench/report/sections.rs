//! The sections of a report, each a function of the records.

use std::time::Duration;

use super::table::{NOT_MEASURED, Table, megabytes, millis, number, percent, text};
use crate::bench::latencies::Latencies;
use crate::bench::measure::{Outcome, ms};
use crate::bench::record::{Group, Record};
use crate::bench::statistics::{mean, of_mean, percentile};

/// Answers of a window below which its throughput comes in visible steps.
const FEW_ANSWERS: u64 = 50;

/// A variant as its rows name it.
pub fn called(group: &Group<'_>) -> String {
    if group.variant.is_empty() { "as written".into() } else { group.variant.into() }
}

pub fn head(records: &[Record]) -> String {
    let first = &records[0];
    let mut parts = vec![format!("# {}", first.title)];
    if !first.about.is_empty() {
        parts.push(format!("_{}_", first.about.trim()));
    }
    let distinct = |of: &dyn Fn(&Record) -> String| -> String {
        let mut all: Vec<String> = Vec::new();
        records.iter().map(of).for_each(|one| {
            if !all.contains(&one) {
                all.push(one);
            }
        });
        all.join("; ")
    };
    let target = &first.target;
    let machine = &first.machine;
    let mut line = |what: &str, value: String| parts.push(format!("**{what}:** {value}"));
    line("Timestamp", first.started.clone());
    line("Model", distinct(&|record| format!("`{}`", text(record.target.model.as_deref()))));
    line("Precision", distinct(&|record| text(record.target.precision.as_deref())));
    line(
        "Replicas",
        distinct(&|r| r.target.replicas.map_or(NOT_MEASURED.into(), |n| n.to_string())),
    );
    line("Stage", distinct(&|record| record.stage.clone()));
    line("Load", distinct(&|record| record.load.clone()));
    line(
        "Text",
        distinct(&|record| {
            let synthetic = if record.text.equal_length {
                ", **synthetic: says nothing of real text**"
            } else {
                ""
            };
            let text = &record.text;
            format!(
                "{} ({} passages, {} queries, {}){synthetic}",
                text.name, text.passages, text.queries, text.digest
            )
        }),
    );
    if let Some(chain) = &target.chain {
        line("Chain", format!("`{chain}`"));
    }
    line(
        "Machine",
        format!(
            "{} {}, {}, {} cores, {} MB; load before the first window {}",
            machine.os,
            machine.arch,
            text(machine.cpu.as_deref()),
            machine.cores,
            megabytes(machine.memory_bytes),
            number(first.load_before, 2)
        ),
    );
    line(
        "Versions",
        format!(
            "harness {}, server {}, commit {}",
            first.version,
            text(target.version.as_deref()),
            distinct(&|record| text(record.commit.as_deref()))
        ),
    );
    if records.iter().any(|record| record.interrupted) {
        parts.push("**Interrupted:** somebody ended this benchmark early.".into());
    }
    parts.join("\n\n")
}

pub fn summary(groups: &[Group<'_>]) -> String {
    let mut table = Table::new(&[
        "Config",
        "Docs",
        "Windows",
        "Pairs",
        "Time(s)",
        "Lat Avg",
        "Lat P50",
        "Lat P95",
        "Lat P99",
        "Pairs/s",
        "95 % interval",
        "Refused",
        "Errors",
        "Verified",
    ]);
    for group in groups {
        let latency = group.latency();
        let time = |time: Option<Duration>| match time {
            Some(time) => format!("{:.1}ms", ms(time)),
            None => NOT_MEASURED.into(),
        };
        table.row(&[
            called(group),
            group.first().documents.to_string(),
            group.records.len().to_string(),
            group.total(|record| record.measured.pairs).to_string(),
            format!("{:.2}", group.seconds()),
            time(latency.mean()),
            time(latency.at(0.5)),
            time(latency.at(0.95)),
            time(latency.at(0.99)),
            number(group.pairs_per_second(), 1),
            interval(group),
            group.total(|record| record.measured.count(Outcome::Refused)).to_string(),
            group.total(|record| record.measured.errors()).to_string(),
            verified(group),
        ]);
    }
    format!("## Results Summary\n\n{}", table.finish().trim_end())
}

fn interval(group: &Group<'_>) -> String {
    let rates: Vec<f64> =
        group.records.iter().filter_map(|record| record.measured.pairs_per_second()).collect();
    match of_mean(&rates) {
        Some(interval) => format!("{:.1} to {:.1}", interval.low, interval.high),
        None => NOT_MEASURED.into(),
    }
}

fn verified(group: &Group<'_>) -> String {
    let found = group.records.iter().filter_map(|record| record.verification.as_ref());
    let (pairs, wrong) = found.fold((0, 0), |(p, w), one| (p + one.pairs, w + one.wrong));
    match (pairs, wrong) {
        (0, _) => "no".into(),
        (pairs, 0) => format!("{pairs} pairs"),
        (pairs, wrong) => format!("**{wrong} of {pairs} wrong**"),
    }
}

type OfLatencies = fn(&Latencies) -> Option<Duration>;

pub fn details(number_of: usize, group: &Group<'_>) -> String {
    let latency = group.latency();
    let mut text = format!("### Config {number_of}: {}\n\n", called(group));
    text += &format!(
        "**Total:** {} pairs in {:.2}s ({}, {} documents a request)\n\n",
        group.total(|record| record.measured.pairs),
        group.seconds(),
        group.first().load,
        group.first().documents
    );
    let hidden = hidden(group);
    let lag = group.sum(|record| &record.measured.lag);
    let service = group.sum(|record| &record.measured.service);
    let mut heads = vec!["Metric", "Value"];
    heads.push(if group.first().closed { "As if on time" } else { "From when it was sent" });
    let mut table = Table::new(&heads);
    let beside = if group.first().closed { hidden.unwrap_or_default() } else { service };
    let rows: [(&str, OfLatencies); 9] = [
        ("Average", Latencies::mean),
        ("Min", Latencies::min),
        ("Max", Latencies::max),
        ("Std Dev", Latencies::deviation),
        ("P50", |times| times.at(0.5)),
        ("P90", |times| times.at(0.9)),
        ("P95", |times| times.at(0.95)),
        ("P99", |times| times.at(0.99)),
        ("P99.9", |times| times.at(0.999)),
    ];
    for (what, of) in rows {
        table.row(&[what.into(), millis(of(&latency)), millis(of(&beside))]);
    }
    text += &format!("#### Latency (ms)\n\n{}", table.finish());
    if !group.first().closed {
        text += &format!(
            "\nRequests were sent {} ms late at P99, {} ms at most.\n",
            millis(lag.at(0.99)),
            millis(lag.max())
        );
    } else if let (Some(seen), Some(true_one)) = (latency.at(0.99), beside.at(0.99))
        && true_one > seen + seen / 10
    {
        text += &format!(
            "\n**This closed loop hides waiting:** while a request was slow, its client sent no other. P99 was {} ms; had requests come on time it would have been about {} ms.\n",
            millis(Some(seen)),
            millis(Some(true_one))
        );
    }
    text += &few(group);
    let rates = rates(group);
    let (each, each_at) = by_latency(group);
    let mut table = Table::new(&["Metric", "Value", "Pairs by latency of a request"]);
    table.row(&["Average".into(), number(group.pairs_per_second(), 2), number(each, 2)]);
    for (what, share) in [("Min", 0.0), ("P50", 0.5), ("P90", 0.9), ("P95", 0.95), ("Max", 1.0)] {
        table.row(&[what.into(), number(percentile(&rates, share), 2), number(each_at(share), 2)]);
    }
    text += &format!(
        "\n#### Throughput (pairs/s)\n\n{}\nAverage is over the windows; the other values are those of single intervals.",
        table.finish()
    );
    text
}

/// Says so where a window's throughput is made of a few answers only.
fn few(group: &Group<'_>) -> String {
    let answers = group.total(|record| record.measured.completed) / group.records.len() as u64;
    if answers >= FEW_ANSWERS {
        return String::new();
    }
    let resolution = percent((answers > 0).then(|| 1.0 / answers as f64));
    format!(
        "\n**Few answers:** {answers} a window, so one more or less is {resolution} % of its throughput. Longer windows see more.\n"
    )
}

/// What a closed loop hides; an open loop shows it.
fn hidden(group: &Group<'_>) -> Option<Latencies> {
    let latency = group.latency();
    let median = latency.at(0.5).filter(|_| group.first().closed)?;
    Some(latency.as_if_every(median))
}

/// Pairs/s of each whole interval.
fn rates(group: &Group<'_>) -> Vec<f64> {
    let mut rates = Vec::new();
    for record in &group.records {
        let mut before = 0.0;
        let longest = record.measured.series.first().map_or(0.0, |point| point.at_s);
        for point in &record.measured.series {
            let length = point.at_s - before;
            before = point.at_s;
            // The rest at a window's end is too short to have a rate.
            if length > longest * 0.5 {
                rates.push(point.pairs as f64 / length);
            }
        }
    }
    rates
}

/// Pairs of a request by its own latency: the mean, and the value below which
/// that share of requests lies. It says how fast one request was served.
fn by_latency(group: &Group<'_>) -> (Option<f64>, impl Fn(f64) -> Option<f64> + use<>) {
    let (documents, latency) = (group.first().documents as f64, group.latency());
    let (sum, count) = latency.steps().fold((0.0, 0), |(sum, count), (micros, times)| {
        (sum + times as f64 * documents / (micros as f64 / 1e6), count + times)
    });
    let mean = (count > 0).then(|| sum / count as f64);
    // The fastest requests have the most pairs by latency.
    let at = move |share: f64| Some(documents / latency.at(1.0 - share)?.as_secs_f64());
    (mean, at)
}

pub fn against(groups: &[Group<'_>]) -> String {
    let mut table =
        Table::new(&["Config", "Pairs/s", "Lat Avg (ms)", "P50", "P95", "P99", "Lost (%)"]);
    for group in groups {
        let latency = group.latency();
        let meant = group.total(|record| record.measured.requests);
        let lost = meant - group.total(|record| record.measured.count(Outcome::Answered));
        table.row(&[
            called(group),
            number(group.pairs_per_second(), 1),
            millis(latency.mean()),
            millis(latency.at(0.5)),
            millis(latency.at(0.95)),
            millis(latency.at(0.99)),
            percent((meant > 0).then(|| lost as f64 / meant as f64)),
        ]);
    }
    format!(
        "## Latency against Throughput\n\n{}\nA request's latency is not set against pairs by that same latency: the one is the other's reciprocal, and they always correlate.",
        table.finish()
    )
}

pub fn overall(groups: &[Group<'_>]) -> String {
    let best = |of: &dyn Fn(&Group<'_>) -> Option<f64>, more: bool| {
        let measured = groups.iter().filter_map(|group| of(group).map(|value| (value, group)));
        let best = measured.max_by(|a, b| {
            let order = a.0.total_cmp(&b.0);
            if more { order } else { order.reverse() }
        });
        best.map_or((None, NOT_MEASURED.into()), |(value, group)| (Some(value), called(group)))
    };
    let rate = |group: &Group<'_>| group.pairs_per_second();
    let latency = |group: &Group<'_>| group.latency().mean().map(ms);
    let all = |of: &dyn Fn(&Group<'_>) -> Option<f64>| {
        mean(&groups.iter().filter_map(of).collect::<Vec<_>>())
    };
    let mut table = Table::new(&["Metric", "Value", "Config"]);
    let (value, config) = best(&rate, true);
    table.row(&["Best Throughput (pairs/s)".into(), number(value, 2), config]);
    let (value, config) = best(&latency, false);
    table.row(&["Best Latency (ms, mean)".into(), number(value, 2), config]);
    table.row(&["Avg Throughput (pairs/s)".into(), number(all(&rate), 2), "all configs".into()]);
    table.row(&["Avg Latency (ms)".into(), number(all(&latency), 2), "all configs".into()]);
    format!("## Overall Summary\n\n{}", table.finish().trim_end())
}

pub fn outcomes(groups: &[Group<'_>]) -> String {
    let mut table = Table::new(&[
        "Config",
        "Requests",
        "Answered",
        "Refused",
        "Expired",
        "Timed out",
        "Broken",
        "Failed",
        "Invalid",
        "Wrong",
        "Unsent",
        "Error (%)",
    ]);
    let mut failures: Vec<&String> = Vec::new();
    for group in groups {
        let requests = group.total(|record| record.measured.requests);
        let errors = group.total(|record| record.measured.errors());
        let mut row = vec![called(group), requests.to_string()];
        row.extend(
            Outcome::ALL
                .map(|outcome| group.total(|record| record.measured.count(outcome)).to_string()),
        );
        row.push(percent((requests > 0).then(|| errors as f64 / requests as f64)));
        table.row(&row);
        failures.extend(group.records.iter().flat_map(|record| &record.failures));
    }
    failures.dedup();
    let mut text = format!("## Outcomes\n\n{}", table.finish().trim_end());
    if !failures.is_empty() {
        text += "\n\nThe first failures:\n";
        failures.iter().take(10).for_each(|failure| text += &format!("\n- {failure}"));
    }
    text
}

pub fn verification(groups: &[Group<'_>]) -> String {
    let mut table = Table::new(&[
        "Config",
        "Pairs compared",
        "Wrong",
        "Largest difference of a logit",
        "Tolerance",
    ]);
    for group in groups {
        let found: Vec<_> =
            group.records.iter().filter_map(|record| record.verification.as_ref()).collect();
        let row = match found.first() {
            Some(first) => [
                found.iter().map(|one| one.pairs).sum::<u64>().to_string(),
                found.iter().map(|one| one.wrong).sum::<u64>().to_string(),
                format!("{:.6}", found.iter().map(|one| one.difference_max).fold(0.0, f64::max)),
                first.tolerance.to_string(),
            ],
            None => ["not verified".to_owned(), "n/a".into(), "n/a".into(), "n/a".into()],
        };
        table.row(&[&[called(group)], &row[..]].concat());
    }
    format!("## Verification\n\n{}", table.finish().trim_end())
}

pub fn windows(records: &[Record]) -> String {
    let mut table = Table::new(&[
        "Window",
        "Config",
        "Repeat",
        "Started",
        "Pairs/s",
        "P50 (ms)",
        "P99 (ms)",
        "Load before",
    ]);
    for record in records {
        table.row(&[
            record.number.to_string(),
            if record.variant.is_empty() { "as written".into() } else { record.variant.clone() },
            record.repeat.to_string(),
            record.started.clone(),
            number(record.measured.pairs_per_second(), 1),
            millis(record.measured.latency.at(0.5)),
            millis(record.measured.latency.at(0.99)),
            number(record.load_before, 2),
        ]);
    }
    format!("## Windows\n\n{}", table.finish().trim_end())
}
