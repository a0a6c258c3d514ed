//! A distribution of times, to three significant digits, however many there are.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// From 1 µs to an hour; what is beyond counts as an hour.
const MICROS_MAX: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

#[derive(Debug, Clone, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Latencies(bounds.expect("the bounds are in order"))
    }
}

impl Latencies {
    pub fn record(&mut self, time: Duration) {
        self.add_micros(time.as_micros() as u64, 1);
    }

    fn add_micros(&mut self, micros: u64, count: u64) {
        self.0.saturating_record_n(micros.clamp(1, MICROS_MAX), count);
    }

    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time within which that share of all lies; `None` of nothing.
    pub fn at(&self, share: f64) -> Option<Duration> {
        self.of_any(|times| times.value_at_quantile(share) as f64)
    }

    pub fn min(&self) -> Option<Duration> {
        self.of_any(|times| times.min() as f64)
    }

    pub fn max(&self) -> Option<Duration> {
        self.of_any(|times| times.max() as f64)
    }

    pub fn mean(&self) -> Option<Duration> {
        self.of_any(Histogram::mean)
    }

    pub fn deviation(&self) -> Option<Duration> {
        self.of_any(Histogram::stdev)
    }

    fn of_any(&self, micros: impl Fn(&Histogram<u64>) -> f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_secs_f64(micros(&self.0) / 1e6))
    }

    /// What would have been measured if requests had come every `interval`
    /// instead of waiting for the answer before: each time that is longer stands
    /// for those that would have been sent meanwhile (Tene, "How not to measure
    /// latency", 2013).
    pub fn as_if_every(&self, interval: Duration) -> Latencies {
        let interval = (interval.as_micros() as u64).max(1);
        Latencies(self.0.clone_correct(interval))
    }

    /// Each time in µs with how often it came, for who draws.
    pub fn steps(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

/// As pairs of µs and count.
impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.steps())
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latencies = Latencies::default();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latencies.add_micros(micros, count);
        }
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_survives_being_written() {
        let mut latencies = Latencies::default();
        for micros in [3, 1500, 1501, 1_234_567, u64::MAX / 1000] {
            latencies.record(Duration::from_micros(micros));
        }
        let text = serde_json::to_string(&latencies).unwrap();
        let read: Latencies = serde_json::from_str(&text).unwrap();
        assert_eq!(read.steps().collect::<Vec<_>>(), latencies.steps().collect::<Vec<_>>());
        assert_eq!(read.count(), 5);
        assert_eq!(read.at(0.99), latencies.at(0.99));
        assert_eq!(Latencies::default().at(0.5), None);
    }
}
