//! How a policy's call can fail, and what the caller reads of it.
//!
//! A failure is the policy's fault. A refusal that a policy returns on purpose
//! (`denied`, `invalid`, …) is not one, and neither is an error of the stage
//! behind it.

use std::sync::Arc;
use std::time::Duration;

use super::contract::Breach;
use crate::rerank::Error;

/// Completes "policy `x` …".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    #[error("trapped: {0}")]
    Trap(String),
    #[error("used {} ms of CPU time, over the limit of {} ms", used.as_millis(), limit.as_millis())]
    Cpu { used: Duration, limit: Duration },
    #[error("needed more memory than the limit of {limit} bytes")]
    Memory { limit: usize },
    #[error("was still working when the request's deadline passed")]
    Deadline,
    #[error(transparent)]
    Contract(#[from] Breach),
    /// It said so itself.
    #[error("failed: {0}")]
    Reported(String),
    /// The sandbox could not run it.
    #[error("could not be run")]
    Host(String),
}

impl Failure {
    pub const KINDS: [&str; 7] =
        ["trap", "cpu", "memory", "deadline", "contract", "reported", "host"];

    /// The label in metrics; one of [`Self::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Trap(_) => "trap",
            Failure::Cpu { .. } => "cpu",
            Failure::Memory { .. } => "memory",
            Failure::Deadline => "deadline",
            Failure::Contract(_) => "contract",
            Failure::Reported(_) => "reported",
            Failure::Host(_) => "host",
        }
    }

    /// What the domain makes of it. The time that a guest let pass is the
    /// request's: its deadline is the error, whoever spent it.
    pub fn into_error(self, policy: Arc<str>) -> Error {
        match self {
            Failure::Deadline => Error::DeadlineExceeded,
            other => Error::PolicyFailed { policy, reason: other.to_string() },
        }
    }
}
