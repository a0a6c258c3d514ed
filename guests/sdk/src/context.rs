//! Facts about the request that a policy serves. They are the host's to know; in
//! a native test, a [`Kit`](crate::test::Kit)'s. Without either, asking panics.

use std::time::SystemTime;
#[cfg(target_family = "wasm")]
use std::time::UNIX_EPOCH;

#[cfg(target_family = "wasm")]
use crate::bindings::maitred::rerank::context as host;
pub use crate::bindings::maitred::rerank::context::ModelInfo;
#[cfg(not(target_family = "wasm"))]
use crate::test::facts as host;
use crate::{Error, Result};

/// What the request is called in logs and in the answer's headers.
pub fn request_id() -> String {
    host::request_id()
}

/// Milliseconds until the request's deadline; then the host ends it. A policy
/// may choose the cheaper way when few are left.
pub fn remaining_ms() -> u32 {
    host::remaining_ms()
}

/// How many documents the client wants back, if it said so. It helps to do no
/// more work than is asked for. Never cut the ranking to it: the host does,
/// after the outermost policy.
pub fn wanted() -> Option<u32> {
    host::wanted()
}

/// The name of the caller, from its API key. `None` if the server knows no
/// callers. No client can choose it.
pub fn caller() -> Option<String> {
    host::caller()
}

/// The model behind the last policy of the chain.
pub fn model() -> ModelInfo {
    host::model()
}

/// The time. A policy sees it only if its manifest asks for the capability
/// `clock` and its settings grant it; without, this is an [`Error::Internal`]
/// that says so, since the clock that stands still would look like a working
/// one.
pub fn now() -> Result<SystemTime> {
    #[cfg(target_family = "wasm")]
    let now = Some(SystemTime::now()).filter(|now| *now != UNIX_EPOCH);
    #[cfg(not(target_family = "wasm"))]
    let now = host::now();
    now.ok_or_else(|| Error::internal("the clock stands still: grant the capability `clock`"))
}

/// A parameter as the host has it. Policies read [`Params`](crate::Params).
pub(crate) fn param(name: &str) -> Option<String> {
    host::param(name)
}
