//! Policies: sandboxed wasm components that stand between a route's clients and
//! its model.
//!
//! A policy imports `rerank` and exports `rerank` (`wit/`); a [`Chain`] puts
//! policies in front of a model, and is itself a
//! [`Rerank`](crate::rerank::Rerank). In reading order: [`Sandbox`] (what all
//! guests share), [`Policy`] (a component, checked and compiled), `manifest`,
//! [`Chain`] (who asks whom), `call` (one guest's life), `guest` (what it can
//! ask of the host), `contract` and `limits` (what it must not do), `wasi` and
//! `journal` (what stands behind its system calls).
//!
//! wasmtime and the generated types stop in this room. It knows no HTTP and no
//! tensors.

mod bindings;
mod call;
mod chain;
mod component;
mod contract;
mod convert;
mod epoch;
mod failure;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod guest;
mod journal;
mod limits;
mod manifest;
mod sandbox;
mod wasi;

use std::path::PathBuf;
use std::sync::Arc;

pub use chain::{Chain, Doubt, Link, ModelInfo, check as check_chain, rehearse as rehearse_chain};
pub use component::Policy;
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz;
pub use manifest::{Kind, Limits, Manifest, Param};
pub use sandbox::Sandbox;

/// Why a policy or a chain cannot be used. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("start the sandbox: {0}")]
    Sandbox(String),
    #[error("read {path}: {reason}")]
    Read { path: PathBuf, reason: String },
    #[error(
        "read {path}: it has {bytes} bytes, over the limit of {max} (a component's is `sandbox.component_bytes_max`)"
    )]
    TooLarge { path: PathBuf, bytes: u64, max: u64 },
    #[error("read the manifest {path}: {reason}")]
    Manifest { path: PathBuf, reason: String },
    #[error("compile policy `{policy}`: {path} is no component: {reason}")]
    Compile { policy: Arc<str>, path: PathBuf, reason: String },
    #[error("load policy `{policy}`: {path} is over a limit of the sandbox: {reason}")]
    Limits { policy: Arc<str>, path: PathBuf, reason: String },
    /// It imports what the host does not have, or does not export `rerank`.
    #[error("use policy `{policy}`: {reason}")]
    World { policy: Arc<str>, reason: String },
    #[error("instantiate policy `{policy}`: it {reason}")]
    Trial { policy: Arc<str>, reason: String },
    #[error("grant `{grant}` to policy `{policy}`: its manifest does not ask for it")]
    Grant { policy: Arc<str>, grant: &'static str },
    #[error(
        "load policy `{policy}`: memory_bytes_max is {value}, over the sandbox's limit of {limit}"
    )]
    Memory { policy: Arc<str>, value: usize, limit: usize },
    #[error("configure policy `{policy}`: {reason}")]
    Params { policy: Arc<str>, reason: String },
    /// By its own words, it cannot work with what its place in the chain gives it.
    #[error("configure policy `{policy}`: it says: {said}")]
    Refused { policy: Arc<str>, said: String },
    #[error("bypass a chain that holds policy `{policy}`: the policy is required")]
    Required { policy: Arc<str> },
}
