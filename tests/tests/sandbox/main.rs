//! Policies in the sandbox: real components, a real chain, and a model that
//! counts words (`maitred_tests::lab`).

// What the tests share is test code too: a panic is the report.
#![allow(clippy::unwrap_used)]

mod chains;
mod hostile;
mod isolation;
mod loading;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use maitred::config::{Grant, OnFailure, PolicySettings, SandboxSettings};
use maitred::metrics::Metrics;
use maitred::policy::{PolicyError, Sandbox};
use maitred::rerank::{Error, Field, Ranking, Request, Rerank, Value};
use maitred_tests::guests;
use maitred_tests::lab::*;
use tokio::time::Instant;
