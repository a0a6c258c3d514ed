//! maitred: a rerank server that can be programmed.
//!
//! Read in this order: [`rerank`] (the domain), [`route`] (what a request meets
//! first), [`policy`] (the sandbox), [`model`] (tokenizers, batcher, replicas,
//! engine behind one stage), [`http`] (clients), [`server`] (how the parts are
//! put together). ARCHITECTURE.md is the map.

pub mod admission;
pub mod batch;
pub mod bench;
pub mod calibration;
pub mod callers;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod replica;
pub mod rerank;
pub mod route;
pub mod server;
pub mod telemetry;
pub mod tokenize;
