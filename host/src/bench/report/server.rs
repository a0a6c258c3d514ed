//! The sections of what a server says of itself, each a function of the records.

use super::sections::called;
use super::table::{NOT_MEASURED, Table, millis, number, percent, text};
use crate::bench::figures::Figures;
use crate::bench::record::{Group, ServerPoint};
use crate::bench::statistics::{mean, percentile};

/// Rows of the time series a variant; the records have all of them.
const SERIES_ROWS_MAX: usize = 120;

/// A figure of an interval.
type OfPoint = fn(&ServerPoint) -> Option<f64>;

const DASHBOARD: [(&str, OfPoint); 9] = [
    ("GPU Memory (MB)", |point| point.figures.gpu_memory_bytes.map(|bytes| bytes as f64 / 1e6)),
    ("GPU Utilization (%)", |point| point.figures.gpu_share.map(|share| share * 100.0)),
    ("CPU Memory (MB)", |point| point.figures.memory_bytes.map(|bytes| bytes as f64 / 1e6)),
    ("CPU Usage (%)", cpu_percent),
    ("Tokenization (ms)", |point| point.figures.tokenize_ms),
    ("Inference (ms)", |point| point.figures.inference_ms),
    ("Queue Wait (ms)", |point| point.figures.queue_ms),
    ("Policy CPU (ms)", |point| point.figures.policy_cpu_ms),
    ("Padding Waste (%)", |point| point.figures.padding_share.map(|share| share * 100.0)),
];

fn cpu_percent(point: &ServerPoint) -> Option<f64> {
    point.figures.cpu_s.filter(|_| point.length_s > 0.0).map(|cpu| cpu / point.length_s * 100.0)
}

pub fn dashboard(groups: &[Group<'_>]) -> String {
    let mut text = "## Dashboard Metrics Summary".to_owned();
    for group in groups {
        let mut table = Table::new(&["Metric", "Avg", "Min", "Max", "P50", "P95"]);
        for (what, of) in DASHBOARD {
            let points = group.records.iter().flat_map(|record| &record.series);
            let values: Vec<f64> = points.filter_map(of).collect();
            let mut row = vec![what.to_owned(), number(mean(&values), 1)];
            for share in [0.0, 1.0, 0.5, 0.95] {
                row.push(number(percentile(&values, share), 1));
            }
            table.row(&row);
        }
        if groups.len() > 1 {
            text += &format!("\n\n### {}", called(group));
        }
        text += &format!("\n\n{}", table.finish().trim_end());
    }
    text
}

pub fn stage_timing(groups: &[Group<'_>]) -> String {
    let mut table = Table::new(&[
        "Config",
        "Latency (ms)",
        "Tokenize",
        "Queue",
        "Inference",
        "Policy CPU",
        "Server total",
        "Pairs a batch",
        "Server CPU (ms a pair)",
        "Harness CPU (%)",
    ]);
    for group in groups {
        let of = |figure: fn(&Figures) -> Option<f64>| {
            let values = group.records.iter().filter_map(|record| figure(&record.server));
            mean(&values.collect::<Vec<_>>())
        };
        let (cpu, pairs) = (group.records.iter())
            .filter_map(|record| Some((record.server.cpu_s?, record.measured.pairs)))
            .fold((0.0, 0), |(cpu, pairs), (c, p)| (cpu + c, pairs + p));
        let harness = group.records.iter().filter_map(|record| {
            let share = record.harness_cpu_s? / record.measured.window_s;
            share.is_finite().then_some(share * 100.0)
        });
        table.row(&[
            called(group),
            millis(group.latency().mean()),
            number(of(|figures| figures.tokenize_ms), 2),
            number(of(|figures| figures.queue_ms), 2),
            number(of(|figures| figures.inference_ms), 2),
            number(of(|figures| figures.policy_cpu_ms), 3),
            number(of(|figures| figures.total_ms), 2),
            number(of(Figures::batch_pairs), 1),
            number((pairs > 0).then(|| cpu * 1e3 / pairs as f64), 2),
            number(mean(&harness.collect::<Vec<_>>()), 1),
        ]);
    }
    format!("## Stage Timing\n\n{}", table.finish().trim_end())
}

pub fn replicas(groups: &[Group<'_>]) -> String {
    let mut table = Table::new(&["Config", "Model", "Replica", "Up", "Busy (%)", "Restarts"]);
    for group in groups {
        let seconds: f64 = group.seconds();
        let last = group.records.last().map(|record| &record.server.replicas);
        let none = last.is_none_or(Vec::is_empty);
        if none {
            table.row(&[&[called(group)], &[NOT_MEASURED; 5].map(str::to_owned)[..]].concat());
        }
        for replica in last.into_iter().flatten() {
            let all = group.records.iter().flat_map(|record| &record.server.replicas);
            let own =
                all.filter(|one| (&one.model, &one.replica) == (&replica.model, &replica.replica));
            let (busy, restarts) = own.fold((None, None), |(busy, restarts), one| {
                let add =
                    |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(a + b.unwrap_or(0.0)));
                (add(busy, one.busy_s), add(restarts, one.restarts))
            });
            table.row(&[
                called(group),
                replica.model.clone(),
                replica.replica.clone(),
                text(replica.up.map(|up| if up { "yes" } else { "no" })),
                percent(busy.filter(|_| seconds > 0.0).map(|busy| busy / seconds)),
                number(restarts, 0),
            ]);
        }
    }
    format!("## Worker (replica) Metrics\n\n{}", table.finish().trim_end())
}

pub fn series(groups: &[Group<'_>]) -> String {
    let mut section =
        "## Dashboard Time-Series Data\n\nThe first window of each config; the records have all."
            .to_owned();
    for group in groups {
        let record = group.first();
        let mut table = Table::new(&[
            "Index",
            "GPU Mem (MB)",
            "GPU Util (%)",
            "Memory (MB)",
            "CPU (%)",
            "Latency (ms)",
            "Throughput",
            "Tokenize (ms)",
            "Inference (ms)",
            "Queue (ms)",
            "Padding (%)",
        ]);
        let mut before = 0.0;
        for (index, point) in record.measured.series.iter().take(SERIES_ROWS_MAX).enumerate() {
            let length = point.at_s - before;
            before = point.at_s;
            let server = record.series.get(index);
            let figure = |of: OfPoint, digits| number(server.and_then(of), digits);
            table.row(&[
                index.to_string(),
                figure(DASHBOARD[0].1, 1),
                figure(DASHBOARD[1].1, 1),
                figure(DASHBOARD[2].1, 1),
                figure(DASHBOARD[3].1, 1),
                number(point.latency_ms_mean, 1),
                number((length > 0.0).then(|| point.pairs as f64 / length), 1),
                figure(DASHBOARD[4].1, 2),
                figure(DASHBOARD[5].1, 1),
                figure(DASHBOARD[6].1, 1),
                figure(DASHBOARD[8].1, 1),
            ]);
        }
        if groups.len() > 1 {
            section += &format!("\n\n### {}", called(group));
        }
        section += &format!("\n\n{}", table.finish().trim_end());
    }
    section
}
