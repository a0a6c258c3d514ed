//! `/metrics`, read back. The dashboard shows what Prometheus is told, under the
//! same names (the library that keeps the metrics shows them in no other way), and
//! a benchmark reads what a server that it measures says of itself.

use std::collections::{BTreeMap, HashMap};

/// One reading of all metrics, of one server or of several.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// By the name of the line, which may have an end that the family's has not.
    series: HashMap<String, Vec<Series>>,
}

/// One line: the labels and the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// What a histogram's series add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    pub count: f64,
    pub sum: f64,
    /// Upper bounds, ascending, each with how many values are not above it.
    pub buckets: Vec<(f64, f64)>,
}

impl Reading {
    /// Reads OpenMetrics or Prometheus text. Lines that are neither a comment nor
    /// a number are skipped: other servers have their own ideas.
    pub fn parse(text: &str) -> Reading {
        let mut reading = Reading::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, series)) = series(line) {
                reading.series.entry(name.to_owned()).or_default().push(series);
            }
        }
        reading
    }

    /// Of several processes: their lines side by side, with replicas by process and
    /// number.
    pub fn together(readings: Vec<Reading>) -> Reading {
        let one = readings.len() == 1;
        let mut together = Reading::default();
        for (process, reading) in readings.into_iter().enumerate() {
            for (name, mut lines) in reading.series {
                for series in &mut lines {
                    if let Some(replica) = series.labels.get_mut("replica").filter(|_| !one) {
                        *replica = format!("{process}.{replica}");
                    }
                }
                together.series.entry(name).or_default().extend(lines);
            }
        }
        together
    }

    /// All lines of that name.
    pub fn lines(&self, name: &str) -> &[Series] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of all lines of that name with these labels; `None` if there are
    /// none.
    pub fn sum(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        self.with(name, labels).map(|series| series.value).reduce(|a, b| a + b)
    }

    /// The sum of a counter's series with these labels. One that is not there has
    /// counted nothing yet: a server writes no family before its first event.
    pub fn counter(&self, family: &str, labels: &[Label<'_>]) -> f64 {
        self.sum(&format!("{family}_total"), labels).unwrap_or(0.0)
    }

    /// The values that a label has in a counter's series with these labels, each
    /// with its sum.
    pub fn counters_by(
        &self,
        family: &str,
        by: &str,
        labels: &[Label<'_>],
    ) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.with(&format!("{family}_total"), labels) {
            if let Some(value) = series.labels.get(by) {
                *sums.entry(value.clone()).or_insert(0.0) += series.value;
            }
        }
        sums
    }

    /// What a histogram's series with these labels add up to.
    pub fn histogram(&self, family: &str, labels: &[Label<'_>]) -> Distribution {
        let sum = |end: &str| self.sum(&format!("{family}_{end}"), labels).unwrap_or(0.0);
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in self.with(&format!("{family}_bucket"), labels) {
            let Some(bound) = series.labels.get("le").and_then(|bound| bound.parse().ok()) else {
                continue;
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Distribution { count: sum("count"), sum: sum("sum"), buckets }
    }

    fn with<'a>(&'a self, name: &str, labels: &'a [Label<'a>]) -> impl Iterator<Item = &'a Series> {
        let has = |series: &&Series| {
            let same = |(key, value): &Label<'_>| {
                series.labels.get(*key).is_some_and(|found| found == value)
            };
            labels.iter().all(same)
        };
        self.lines(name).iter().filter(has)
    }
}

fn series(line: &str) -> Option<(&str, Series)> {
    let (head, value) = match line.find('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_at(line.find(' ')?),
    };
    // A time stamp or an exemplar may follow.
    let value = value.split_whitespace().next()?.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some((head, Series { labels: BTreeMap::new(), value }));
    };
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
        let (key, value) = label.split_once('=')?;
        Some((key.trim().to_owned(), value.trim_matches('"').to_owned()))
    });
    Some((name, Series { labels: labels.collect(), value }))
}

impl Distribution {
    /// What has come since `before`.
    pub fn since(&self, before: &Distribution) -> Distribution {
        let earlier = |bound: f64| {
            before.buckets.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, n)| *n)
        };
        Distribution {
            count: self.count - before.count,
            sum: self.sum - before.sum,
            buckets: self.buckets.iter().map(|&(bound, n)| (bound, n - earlier(bound))).collect(),
        }
    }

    /// The mean; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// An estimate of the value below which the share `q` of all values lies:
    /// as if those of a bucket were spread evenly over it (as
    /// `histogram_quantile` has it in Prometheus). What is in the last bucket,
    /// which has no end, counts as its beginning. `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count <= 0.0 {
            return None;
        }
        let rank = q * self.count;
        let (mut below, mut start) = (0.0, 0.0);
        for &(bound, upto) in &self.buckets {
            if upto >= rank && upto > below {
                let share = (rank - below) / (upto - below);
                return Some(match bound.is_finite() {
                    true => start + (bound - start) * share,
                    false => start,
                });
            }
            (below, start) = (upto, bound);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP maitred_requests Answered requests.
# TYPE maitred_requests counter
maitred_requests_total{route=\"a\",status=\"200\"} 3
maitred_requests_total{route=\"b\",status=\"200\"} 4
maitred_requests_total{route=\"b\",status=\"502\"} 1
# TYPE maitred_connections gauge
maitred_connections 2
# TYPE maitred_took_seconds histogram
# UNIT maitred_took_seconds seconds
maitred_took_seconds_sum{route=\"a\"} 1.5
maitred_took_seconds_count{route=\"a\"} 4
maitred_took_seconds_bucket{le=\"0.1\",route=\"a\"} 1
maitred_took_seconds_bucket{le=\"0.2\",route=\"a\"} 3 # {trace_id=\"1f\"} 0.15
maitred_took_seconds_bucket{le=\"+Inf\",route=\"a\"} 4
# EOF
";

    #[test]
    fn series_add_up() {
        let reading = Reading::parse(TEXT);
        assert_eq!(reading.counter("maitred_requests", &[]), 8.0);
        assert_eq!(reading.counter("maitred_requests", &[("route", "b")]), 5.0);
        let one = [("route", "b"), ("status", "502")];
        assert_eq!(reading.counter("maitred_requests", &one), 1.0);
        assert_eq!(reading.counter("maitred_requests", &[("route", "c")]), 0.0);
        assert_eq!(reading.counter("maitred_batches", &[]), 0.0, "nothing was counted yet");
        assert_eq!(reading.sum("maitred_connections", &[]), Some(2.0));
        assert_eq!(reading.sum("maitred_nothing", &[]), None);
        let by_status = reading.counters_by("maitred_requests", "status", &[("route", "b")]);
        assert_eq!(by_status, BTreeMap::from([("200".into(), 4.0), ("502".into(), 1.0)]));
    }

    #[test]
    fn processes_are_read_together() {
        let text = "maitred_pairs_total{model=\"m\"} 3\n\
                    maitred_replica_up{model=\"m\",replica=\"0\"} 1";
        let one = Reading::parse(text);
        assert_eq!(Reading::together(vec![one.clone()]), one);
        let two = Reading::together(vec![one.clone(), one.clone()]);
        let replicas: Vec<_> =
            two.lines("maitred_replica_up").iter().map(|one| &*one.labels["replica"]).collect();
        assert_eq!(replicas, ["0.0", "1.0"]);
        assert_eq!(two.sum("maitred_pairs_total", &[]), Some(6.0));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let all = Reading::parse(TEXT).histogram("maitred_took_seconds", &[("route", "a")]);
        assert_eq!(all.mean(), Some(0.375));
        let check = |distribution: &Distribution, q: f64, expected: Option<f64>| {
            let found = distribution.quantile(q);
            let near = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(near, "{q}: {found:?} instead of {expected:?}");
        };
        check(&all, 0.0, Some(0.0));
        check(&all, 0.25, Some(0.1));
        check(&all, 0.5, Some(0.15));
        check(&all, 0.75, Some(0.2));
        // It may have been anything above.
        check(&all, 0.99, Some(0.2));
        let none = all.since(&all);
        check(&none, 0.5, None);
        assert_eq!(none.mean(), None);

        let mut before = all.clone();
        before.buckets = vec![(0.1, 1.0), (0.2, 1.0), (f64::INFINITY, 1.0)];
        (before.count, before.sum) = (1.0, 0.05);
        let since = all.since(&before);
        assert_eq!(since.buckets, [(0.1, 0.0), (0.2, 2.0), (f64::INFINITY, 3.0)]);
        check(&since, 0.5, Some(0.175));
    }
}
