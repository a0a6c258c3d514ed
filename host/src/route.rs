//! A route: a model with a chain of policies in front, and the edge that turns
//! a client's wishes into a request and a ranking into an answer.
//!
//! The edge alone admits, applies top-n, maps scores to the scale the client
//! expects, and lets the best part speak for its document.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::admission::{Admission, Work};
use crate::config::Filtered;
use crate::metrics::{self, Metrics};
use crate::rerank::{
    Context, Document, DocumentId, Error, Priority, Ranked, Ranking, Report, Request, Rerank,
    Scale, Stage, Value,
};

/// What a client asks, whatever dialect it speaks.
#[derive(Debug, Clone)]
pub struct Ask {
    pub query: Arc<str>,
    /// In the client's order; the edge numbers them.
    pub documents: Vec<AskedDocument>,
    /// How many results the client wants; all if it does not say.
    pub top_n: Option<u32>,
    /// The scale the dialect promises.
    pub scores: Scores,
    /// Time the client gives the request; the server's default if it does not.
    pub timeout: Option<Duration>,
    pub priority: Priority,
    /// Whether long inputs are truncated; the model's settings if it does not
    /// say.
    pub truncate: Option<bool>,
    pub request_id: Arc<str>,
    pub caller: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AskedDocument {
    pub text: Arc<str>,
    pub fields: Vec<crate::rerank::Field>,
}

/// The scale on which a client reads scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    Logit,
    Probability,
}

/// What the client gets: documents by their position, best first.
#[derive(Debug)]
pub struct Answer {
    pub results: Vec<Scored>,
    pub model: Arc<str>,
    /// The model's logits became an order on the way (see [`Scale::Order`]).
    pub order_only: bool,
    pub report: Report,
    pub took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub index: u32,
    pub score: f32,
}
