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
