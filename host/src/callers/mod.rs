//! Callers: who holds which key, and what each may do. It decides and knows no
//! clients, headers or statuses; those are `http/`'s.
//!
//! Where no caller is configured, everyone may call, and this room has no say.

mod bucket;
mod key;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::time::Instant;

use self::bucket::Bucket;
pub use self::key::Key;
use crate::config::{CallerSettings, PriorityMax, RateSettings};
use crate::rerank::Priority;

/// Everyone who may call. Immutable but for the buckets.
#[derive(Debug, Default)]
pub struct Callers {
    callers: BTreeMap<Arc<str>, Arc<Caller>>,
    /// By the key's id, which is no secret.
    holders: HashMap<Arc<str>, Holder>,
}

/// A key that somebody holds.
#[derive(Debug, Clone)]
pub struct Holder {
    pub caller: Arc<Caller>,
    /// Names the key in logs: an operator who rotates keys must see when the old
    /// one is out of use.
    pub key_id: Arc<str>,
    sha256: String,
}

#[derive(Debug)]
pub struct Caller {
    pub name: Arc<str>,
    /// `None` is every route.
    pub routes: Option<Vec<Arc<str>>>,
    pub priority_max: Priority,
    rate: Option<Limited>,
}

/// A rate, and how much of it is used. The bucket is shared with the caller of
/// this name before and after a reload.
#[derive(Debug, Clone)]
struct Limited {
    rate: RateSettings,
    bucket: Arc<Mutex<Bucket>>,
}

/// Why a caller may not ask for so many pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Never in one request.
    TooMany { pairs: u64, pairs_burst: u64 },
    /// Not yet.
    TooFast { pairs_per_second: u64, retry_after: Duration },
}

/// The sha256 that no key has a known original of: an unknown id costs the same
/// comparison as a known one.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Callers {
    /// A caller keeps its bucket from `previous` if its rate is the same:
    /// otherwise every reload would fill it.
    pub fn new(
        settings: &BTreeMap<Arc<str>, CallerSettings>,
        previous: Option<&Callers>,
    ) -> Callers {
        let now = Instant::now();
        let mut callers = Callers::default();
        for (name, settings) in settings {
            let rate = settings.rate.map(|rate| {
                let before = previous.and_then(|p| p.callers.get(name)?.rate.clone());
                before.filter(|before| before.rate == rate).unwrap_or_else(|| Limited {
                    rate,
                    bucket: Arc::new(Mutex::new(Bucket::full(rate, now))),
                })
            });
            let caller = Arc::new(Caller {
                name: name.clone(),
                routes: settings.routes.clone(),
                priority_max: match settings.priority_max {
                    PriorityMax::Low => Priority::Low,
                    PriorityMax::Normal => Priority::Normal,
                    PriorityMax::High => Priority::High,
                },
                rate,
            });
            for key in &settings.keys {
                let (caller, key_id) = (caller.clone(), key.id.clone());
                let holder = Holder { caller, key_id, sha256: key.sha256.clone() };
                callers.holders.insert(key.id.clone(), holder);
            }
            callers.callers.insert(name.clone(), caller);
        }
        callers
    }

    /// Whether everyone may call, since nobody was named who may.
    pub fn open(&self) -> bool {
        self.callers.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.callers.values()
    }

    /// Who holds the key `presented`. Whatever is wrong with it, finding out
    /// takes one sha256 and one comparison that does not stop at the first
    /// difference, so the time tells nothing.
    ///
    /// A fast hash without salt is right here, unlike for passwords: a key has
    /// 192 random bits, so nobody can go through them, and no two are alike.
    pub fn holder(&self, presented: &[u8]) -> Option<&Holder> {
        let sha256 = key::sha256(presented);
        let holder = key::id(presented).and_then(|id| self.holders.get(id));
        let expected = holder.map_or(NOBODY, |holder| &holder.sha256);
        let same = expected.as_bytes().ct_eq(sha256.as_bytes());
        holder.filter(|_| bool::from(same))
    }
}

impl Caller {
    /// Takes `pairs` from what the caller may ask for, or says when it may.
    ///
    /// A request counts its documents. What a chain makes of them is the
    /// operator's choice, which a client can neither know nor change, and what
    /// the model can bear is the business of admission.
    pub fn take(&self, pairs: u64, now: Instant) -> Result<(), Refusal> {
        let Some(Limited { rate, bucket }) = &self.rate else {
            return Ok(());
        };
        if pairs > rate.pairs_burst {
            return Err(Refusal::TooMany { pairs, pairs_burst: rate.pairs_burst });
        }
        let pairs_per_second = rate.pairs_per_second;
        lock(bucket)
            .take(pairs, now)
            .map_err(|retry_after| Refusal::TooFast { pairs_per_second, retry_after })
    }

    /// Gives back what a request took that the server then had no room for.
    pub fn give_back(&self, pairs: u64) {
        if let Some(Limited { bucket, .. }) = &self.rate {
            lock(bucket).give_back(pairs);
        }
    }
}

/// A poisoned lock still holds one instant: every update is one store.
fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}
