//! A token bucket in pairs. Pure: `now` is an argument.
//!
//! All it keeps is when the bucket will be full again; what is in it follows. It
//! is the virtual scheduling form of the algorithm that ATM networks police
//! with (ITU-T I.371, the generic cell rate algorithm), in whole nanoseconds, so
//! that whoever waits as long as it was told finds room.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::RateSettings;

#[derive(Debug)]
pub struct Bucket {
    rate: RateSettings,
    full_at: Instant,
}

impl Bucket {
    pub fn full(rate: RateSettings, now: Instant) -> Self {
        Bucket { rate, full_at: now }
    }

    /// Takes `pairs`, at most a burst of them, or says after which time they
    /// will be there if nobody else takes them; then nothing is taken.
    pub fn take(&mut self, pairs: u64, now: Instant) -> Result<(), Duration> {
        let missing = self.full_at.saturating_duration_since(now) + self.time_of(pairs);
        let over = missing.saturating_sub(self.time_of(self.rate.pairs_burst));
        if !over.is_zero() {
            return Err(over);
        }
        self.full_at = now + missing;
        Ok(())
    }

    /// Puts back what was taken.
    pub fn give_back(&mut self, pairs: u64) {
        let time = self.time_of(pairs);
        self.full_at = self.full_at.checked_sub(time).unwrap_or(self.full_at);
    }

    /// The time in which so many pairs flow in, rounded up. The largest burst at
    /// the smallest rate are 10^16 ns, of the 10^19 that there is room for.
    fn time_of(&self, pairs: u64) -> Duration {
        let ns = u128::from(pairs) * 1_000_000_000;
        let ns = ns.div_ceil(u128::from(self.rate.pairs_per_second));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_history_beats_the_rate_and_no_wait_is_wrong() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let rate = RateSettings {
                pairs_per_second: random.u64(1..5000),
                pairs_burst: random.u64(1..2000),
            };
            let began = Instant::now();
            let (mut now, mut taken) = (began, 0);
            let mut bucket = Bucket::full(rate, began);
            for _ in 0..100 {
                now += Duration::from_nanos(random.u64(0..200_000_000));
                let pairs = random.u64(1..=rate.pairs_burst);
                if let Err(wait) = bucket.take(pairs, now) {
                    let early = now + wait - Duration::from_nanos(1);
                    assert!(bucket.take(pairs, early).is_err(), "{rate:?} at {early:?}");
                    now += wait;
                    bucket.take(pairs, now).expect("it waited as long as it was told");
                }
                taken += u128::from(pairs);
                let ns = now.duration_since(began).as_nanos();
                let flowed = ns * u128::from(rate.pairs_per_second) / 1_000_000_000;
                assert!(taken <= u128::from(rate.pairs_burst) + flowed, "{rate:?}: {taken}");
            }
        }
    }
}
