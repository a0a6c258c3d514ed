//! What is measured: something that is asked and answers. A server over HTTP is
//! one, a stage alone another; whoever drives and measures sees no difference.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::corpus::Asked;

pub trait Subject: Send + Sync {
    fn ask<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Reply>;
}

#[derive(Debug)]
pub struct Reply {
    /// When the work began that is measured; before it, the question was put into
    /// its form.
    pub sent: Instant,
    pub answer: Result<Answer, Failure>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The logit of each document, in the order of the request; `None` where
    /// there was no score (a policy left the document out).
    Scores(Vec<Option<f64>>),
    /// Done, and there are no scores to look at.
    Done,
}

/// Why there was no answer. Whose fault it is matters to whoever reads the
/// figures, so these are never thrown together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server has too much to do (429 or 503).
    #[error("the server refused")]
    Refused {
        /// How long the client should stay away, if the server says so.
        retry_after: Option<Duration>,
    },
    /// The server gave up (504 or 408).
    #[error("the server let the deadline pass")]
    Expired,
    /// The client gave up.
    #[error("no answer within `request.timeout_ms`")]
    TimedOut,
    #[error("no connection: {0}")]
    Connection(String),
    /// Another status than 200.
    #[error("status {0}")]
    Status(String),
    /// The answer is no ranking of the documents.
    #[error("{0}")]
    Invalid(String),
}
