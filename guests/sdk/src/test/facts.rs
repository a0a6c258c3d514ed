//! What a policy may ask about its request, in a test: the native half of
//! [`context`](crate::context).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::manifest::Manifest;
use crate::context::ModelInfo;

#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub params: BTreeMap<String, String>,
    pub request_id: String,
    pub remaining: Duration,
    pub wanted: Option<u32>,
    pub caller: Option<String>,
    /// `None` where the clock is not granted.
    pub clock: Option<SystemTime>,
    pub model: ModelInfo,
}

/// The facts of the run that this thread is in.
struct Current {
    facts: Facts,
    manifest: Option<Manifest>,
    /// Names of parameters that the policy has read.
    asked: BTreeSet<String>,
    elapsed: Duration,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// While it lives, this thread has facts.
pub(super) struct Scope(Option<Current>);

impl Scope {
    pub fn enter(facts: Facts, manifest: Option<Manifest>) -> Self {
        let current = Current { facts, manifest, asked: BTreeSet::new(), elapsed: Duration::ZERO };
        Scope(CURRENT.with_borrow_mut(|now| now.replace(current)))
    }

    pub fn set_elapsed(&self, elapsed: Duration) {
        of(|current| current.elapsed = elapsed);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

fn of<T>(read: impl FnOnce(&mut Current) -> T) -> T {
    CURRENT.with_borrow_mut(|current| match current {
        Some(current) => read(current),
        None => panic!("there is no request here: run the policy in a `test::Kit`"),
    })
}

/// The time since the run began.
pub(super) fn elapsed() -> Duration {
    of(|current| current.elapsed)
}

/// Names of the parameters that were read in this scope.
pub(super) fn asked() -> BTreeSet<String> {
    of(|current| current.asked.clone())
}

pub(crate) fn request_id() -> String {
    of(|current| current.facts.request_id.clone())
}

pub(crate) fn remaining_ms() -> u32 {
    let remaining = of(|current| current.facts.remaining.saturating_sub(current.elapsed));
    u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX)
}

pub(crate) fn wanted() -> Option<u32> {
    of(|current| current.facts.wanted)
}

pub(crate) fn caller() -> Option<String> {
    of(|current| current.facts.caller.clone())
}

pub(crate) fn model() -> ModelInfo {
    of(|current| current.facts.model.clone())
}

pub(crate) fn now() -> Option<SystemTime> {
    of(|current| Some(current.facts.clock? + current.elapsed))
}

pub(crate) fn param(name: &str) -> Option<String> {
    of(|current| {
        if let Some(manifest) = &current.manifest {
            // No route could ever give it.
            assert!(
                manifest.names(name),
                "the policy reads the parameter `{name}`, which its manifest does not name"
            );
        }
        current.asked.insert(name.into());
        current.facts.params.get(name).cloned()
    })
}
