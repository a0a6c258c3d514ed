//! Admission: what a request may use of a model, reserved whole at the edge or
//! refused at once. Nobody who holds a permit waits for a second one, so
//! requests cannot block each other half-way.
//!
//! A pair counts as `bytes + 4` tokens, capped by the model's length, which is known
//! before anything is tokenized. It is a bound for all texts that people write: a
//! token covers a byte at least, and up to four special ones frame a pair. (Some
//! normalizers make several tokens of one rare character; the cap holds for those.)
//! A chain may multiply what the client sent; its whole amplified share is reserved,
//! or "admitted" would mean nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rerank::Error;

/// An amount of work for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    pub pairs: u64,
    pub tokens: u64,
}

impl Work {
    fn fits(self, limit: Work) -> bool {
        self.pairs <= limit.pairs && self.tokens <= limit.tokens
    }

    fn plus(self, other: Work) -> Work {
        Work { pairs: self.pairs + other.pairs, tokens: self.tokens + other.tokens }
    }

    fn minus(self, other: Work) -> Work {
        Work { pairs: self.pairs - other.pairs, tokens: self.tokens - other.tokens }
    }

    pub fn times(self, factor: u64) -> Work {
        Work { pairs: self.pairs * factor, tokens: self.tokens * factor }
    }
}

/// What a request may ask of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Its chain, all calls together.
    pub chain: Work,
    /// Beside that, the plain model, where it answers for a chain that failed. A
    /// chain that has used up its own share must not have used this one.
    pub bypass: Work,
}

/// Of a chain that nobody answers for.
impl From<Work> for Needs {
    fn from(chain: Work) -> Self {
        Needs { chain, bypass: Work::default() }
    }
}

/// The door of one model. Counts the work of everyone inside.
#[derive(Debug)]
pub struct Admission {
    limit: Work,
    inside: Mutex<Work>,
}

impl Admission {
    pub fn new(limit: Work) -> Arc<Self> {
        Arc::new(Admission { limit, inside: Mutex::new(Work::default()) })
    }

    /// Reserves what `needs` says, or says why not: `TooLarge` if it could never
    /// fit, `Overloaded` if it does not fit now. `emptied_in` is the caller's
    /// estimate of when everybody inside will be done; the refused is told to come
    /// when as much as it lacks will be free.
    pub fn admit(
        self: &Arc<Self>,
        needs: impl Into<Needs>,
        emptied_in: Duration,
    ) -> Result<Allowance, Error> {
        let needs = needs.into();
        let work = needs.chain.plus(needs.bypass);
        if work.pairs > self.limit.pairs {
            let (what, value, limit) =
                ("the number of pairs the request may cause", work.pairs, self.limit.pairs);
            return Err(Error::TooLarge { what, value, limit });
        }
        if work.tokens > self.limit.tokens {
            let (what, value, limit) =
                ("the number of tokens the request may cause", work.tokens, self.limit.tokens);
            return Err(Error::TooLarge { what, value, limit });
        }
        let mut inside = lock(&self.inside);
        let then = inside.plus(work);
        if !then.fits(self.limit) {
            let retry_after = emptied_in.mul_f64(share_to_leave(*inside, then, self.limit));
            return Err(Error::Overloaded { retry_after });
        }
        *inside = then;
        Ok(Allowance { admission: self.clone(), granted: needs, left: Mutex::new(needs) })
    }

    /// The work of all requests inside, for metrics and estimates.
    pub fn inside(&self) -> Work {
        *lock(&self.inside)
    }

    pub fn limit(&self) -> Work {
        self.limit
    }
}

/// How much of what is inside must have left before the limit holds again.
fn share_to_leave(inside: Work, then: Work, limit: Work) -> f64 {
    let share = |inside: u64, then: u64, limit: u64| {
        then.saturating_sub(limit) as f64 / inside.max(1) as f64
    };
    let pairs = share(inside.pairs, then.pairs, limit.pairs);
    pairs.max(share(inside.tokens, then.tokens, limit.tokens)).min(1.0)
}

/// A request's share; dropping it gives the share back.
#[derive(Debug)]
pub struct Allowance {
    admission: Arc<Admission>,
    granted: Needs,
    left: Mutex<Needs>,
}

impl Allowance {
    /// Uses part of the chain's share; `None` if it amplified beyond its route's
    /// bound, with nothing taken.
    #[must_use]
    pub fn take(&self, work: Work) -> Option<()> {
        take(&mut lock(&self.left).chain, work)
    }

    /// Uses part of what is kept for the plain model.
    #[must_use]
    pub fn take_bypass(&self, work: Work) -> Option<()> {
        take(&mut lock(&self.left).bypass, work)
    }

    /// What the chain was granted.
    pub fn granted(&self) -> Work {
        self.granted.chain
    }
}

fn take(left: &mut Work, work: Work) -> Option<()> {
    if !work.fits(*left) {
        return None;
    }
    *left = left.minus(work);
    Some(())
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let mut inside = lock(&self.admission.inside);
        *inside = inside.minus(self.granted.chain.plus(self.granted.bypass));
    }
}

/// A poisoned lock still holds plain numbers: every update is one store.
fn lock<T>(work: &Mutex<T>) -> MutexGuard<'_, T> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(pairs: u64, tokens: u64) -> Work {
        Work { pairs, tokens }
    }

    fn needs(pairs: u64, tokens: u64) -> Needs {
        work(pairs, tokens).into()
    }

    #[test]
    fn admits_whole_requests_or_refuses_at_once() {
        let door = Admission::new(work(10, 1000));
        let retry = Duration::from_millis(700);
        let first = door.admit(needs(6, 600), retry).unwrap();
        let refused = |needs, expected_ms: f64| {
            let Err(Error::Overloaded { retry_after }) = door.admit(needs, retry) else {
                panic!("{needs:?} is admitted");
            };
            assert!(
                (retry_after.as_secs_f64() * 1e3 - expected_ms).abs() < 0.01,
                "{retry_after:?}"
            );
        };
        refused(needs(5, 10), 700.0 / 6.0);
        refused(needs(1, 430), 700.0 * 30.0 / 600.0);
        refused(needs(10, 1000), 700.0);
        refused(Needs { chain: work(4, 10), bypass: work(1, 10) }, 700.0 / 6.0);
        assert!(matches!(
            door.admit(needs(11, 1), retry),
            Err(Error::TooLarge { value: 11, limit: 10, .. })
        ));
        assert!(matches!(door.admit(needs(1, 1001), retry), Err(Error::TooLarge { .. })));
        drop(first);
        assert_eq!(door.inside(), Work::default());
        assert!(door.admit(needs(10, 1000), retry).is_ok());
    }

    #[test]
    fn a_share_is_used_up_once() {
        let door = Admission::new(work(10, 1000));
        let both = Needs { chain: work(4, 400), bypass: work(1, 100) };
        let share = door.admit(both, Duration::ZERO).unwrap();
        assert_eq!((door.inside(), share.granted()), (work(5, 500), work(4, 400)));
        assert_eq!(share.take(work(3, 100)), Some(()));
        assert_eq!(share.take(work(2, 1)), None, "over the pairs that are left");
        assert_eq!(share.take(work(1, 301)), None, "over the tokens that are left");
        assert_eq!(share.take(work(1, 300)), Some(()));
        assert_eq!(share.take(work(1, 1)), None, "the rest is the plain model's");
        assert_eq!(share.take_bypass(work(1, 100)), Some(()));
        assert_eq!(share.take_bypass(work(1, 0)), None);
        drop(share);
        assert_eq!(door.inside(), Work::default());
    }
}
