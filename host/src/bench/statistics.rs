//! How sure a figure is: intervals from resampling what was measured.

use super::random::Random;

const RESAMPLES: usize = 10_000;
const SEED: u64 = 1;
/// Fewer windows say nothing of how windows differ.
const LEAST: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// The 95 % interval of the mean, by the percentile bootstrap (Efron, 1979):
/// what the mean would have been of other windows of the same kind. `None` for
/// fewer than three.
pub fn of_mean(values: &[f64]) -> Option<Interval> {
    if values.len() < LEAST || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mut random = Random::new(SEED);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sum: f64 = values.iter().map(|_| values[random.below(values.len())]).sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    Some(Interval { low: at(0.025), high: at(0.975) })
}

pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The value below which that share of the values lies, by the nearest rank.
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_the_textbooks() {
        let mut random = Random::new(5);
        let values: Vec<f64> = (0..400).map(|_| 10.0 + random.normal()).collect();
        let interval = of_mean(&values).unwrap();
        let mean = mean(&values).unwrap();
        // 1.96 deviations over the root of 400
        assert!((interval.high - mean - 0.098).abs() < 0.015, "{interval:?} {mean}");
        assert!((mean - interval.low - 0.098).abs() < 0.015, "{interval:?} {mean}");
        assert_eq!(of_mean(&values), Some(interval));
        assert_eq!(of_mean(&[1.0, 2.0]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&values, 0.5), Some(3.0));
        assert_eq!(percentile(&values, 0.95), Some(5.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
