//! When requests are sent: pure, no clock. An open loop has times that were
//! fixed before the first request; a closed loop has none.

use std::time::Duration;

use super::random::Random;
use super::workload::Load;

/// The intended times of an open loop's requests, from the beginning, without
/// end; `None` for a closed loop, whose clients decide.
pub fn arrivals(load: Load, seed: u64) -> Option<Arrivals> {
    let (per_second, random) = match load {
        Load::Closed { .. } => return None,
        Load::Fixed { per_second, .. } => (per_second, None),
        Load::Poisson { per_second, .. } => (per_second, Some(Random::new(seed))),
    };
    Some(Arrivals { gap: 1.0 / per_second, random, count: 0, last: 0.0 })
}

pub struct Arrivals {
    /// Mean time between two, in seconds.
    gap: f64,
    /// Decides the gaps; `None` makes them all the same.
    random: Option<Random>,
    count: u64,
    last: f64,
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let at = match &mut self.random {
            Some(random) => self.last + random.exponential(self.gap),
            // By product, since a sum of gaps would drift.
            None => self.count as f64 * self.gap,
        };
        self.count += 1;
        self.last = at;
        Some(Duration::from_secs_f64(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_times_are_exact() {
        let load = Load::Fixed { per_second: 3.0, in_flight_max: 1 };
        let times: Vec<_> = arrivals(load, 9).unwrap().take(4).collect();
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[3], Duration::from_secs(1));
    }

    #[test]
    fn random_times_have_the_rate_and_the_spread_of_poissons_process() {
        let load = Load::Poisson { per_second: 50.0, in_flight_max: 1 };
        let times: Vec<_> = arrivals(load, 9).unwrap().take(20_000).collect();
        assert!(times.is_sorted());
        let rate = 20_000.0 / times[19_999].as_secs_f64();
        assert!((rate / 50.0 - 1.0).abs() < 0.03, "{rate}");
        // In such a process the variance of a second's count is its mean.
        let mut counts = vec![0.0; 390];
        for time in &times {
            if let Some(count) = counts.get_mut(time.as_secs() as usize) {
                *count += 1.0;
            }
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let spread = counts.iter().map(|count: &f64| (count - mean).powi(2)).sum::<f64>();
        let variance = spread / counts.len() as f64;
        assert!((0.75..1.25).contains(&(variance / mean)), "{variance} to {mean}");
        let again: Vec<_> = arrivals(load, 9).unwrap().take(20_000).collect();
        assert_eq!(times, again);
    }

    #[test]
    fn a_closed_loop_has_no_times() {
        assert!(arrivals(Load::Closed { clients: 3 }, 1).is_none());
    }
}
