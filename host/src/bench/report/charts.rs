//! The charts of a report, each a function of the records; `None` where there is
//! nothing to draw.

use super::chart::{Axis, Series, bars, lines};
use super::sections::called;
use crate::bench::figures::Figures;
use crate::bench::measure::ms;
use crate::bench::record::Group;
use crate::bench::statistics::mean;

pub fn latency(groups: &[Group<'_>]) -> Option<String> {
    let series = groups.iter().map(|group| {
        let latency = group.latency();
        let (all, mut sum) = (latency.count() as f64, 0);
        let points = latency.steps().map(|(micros, count)| {
            sum += count;
            (micros as f64 / 1e3, sum as f64 / all * 100.0)
        });
        Series { name: group.variant.into(), points: points.collect() }
    });
    let x = Axis { label: "latency, ms", logarithmic: true, from_zero: false };
    let y = Axis { label: "requests within it, %", logarithmic: false, from_zero: true };
    lines("Latency distribution", &x, &y, &series.collect::<Vec<_>>())
}

pub fn throughput(groups: &[Group<'_>]) -> Option<String> {
    let series = groups.iter().map(|group| {
        let mut before = 0.0;
        let points = group.first().measured.series.iter().filter_map(|point| {
            let length = point.at_s - before;
            before = point.at_s;
            (length > 0.0).then(|| (point.at_s, point.pairs as f64 / length))
        });
        Series { name: group.variant.into(), points: points.collect() }
    });
    let x = Axis { label: "time in the first window, s", logarithmic: false, from_zero: true };
    let y = Axis { label: "pairs/s", logarithmic: false, from_zero: true };
    lines("Throughput over time", &x, &y, &series.collect::<Vec<_>>())
}

/// Latency over throughput, one point a variant: of use where load is swept.
pub fn load(groups: &[Group<'_>]) -> Option<String> {
    if groups.len() < 2 {
        return None;
    }
    let series = [("P50", 0.5), ("P95", 0.95), ("P99", 0.99)].map(|(name, share)| {
        let points = groups
            .iter()
            .filter_map(|group| Some((group.pairs_per_second()?, ms(group.latency().at(share)?))));
        Series { name: name.into(), points: points.collect() }
    });
    let x = Axis { label: "pairs/s", logarithmic: false, from_zero: true };
    let y = Axis { label: "latency, ms", logarithmic: false, from_zero: true };
    lines("Latency against throughput, by config", &x, &y, &series)
}

pub fn stages(groups: &[Group<'_>]) -> Option<String> {
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            let of = |figure: fn(&Figures) -> Option<f64>| {
                let values = group.records.iter().filter_map(|record| figure(&record.server));
                mean(&values.collect::<Vec<_>>()).unwrap_or(0.0)
            };
            let values = vec![
                of(|figures| figures.tokenize_ms),
                of(|figures| figures.queue_ms),
                of(|figures| figures.inference_ms),
                of(|figures| figures.policy_cpu_ms),
            ];
            (called(group), values)
        })
        .collect();
    bars(
        "Where a request's time goes",
        "ms",
        &["tokenize", "queue", "inference", "policy CPU"],
        &rows,
    )
}
