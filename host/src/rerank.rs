//! The domain: a request goes in, a ranking comes out, and every stage of a
//! route (a policy, the model) is a [`Rerank`].
//!
//! This file knows no serde, WIT, tensor or status code.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::admission::Allowance;
use crate::telemetry::Trace;

/// A stage of a route. Policies and models are the same thing to whoever calls
/// them. Dropping the future cancels everything that it caused.
pub trait Rerank: Send + Sync {
    fn rerank<'a>(
        &'a self,
        request: Request,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>>;
}

/// A query and the documents to rank by it. Texts are shared, so that bypass
/// and fan-out clone cheaply.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub query: Arc<str>,
    pub documents: Vec<Document>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: DocumentId,
    pub text: Arc<str>,
    /// Metadata; the model never sees it.
    pub fields: Arc<[Field]>,
}

/// Names a document at every stage; unique in a request. It survives
/// filtering, splitting and reordering, so nobody maps positions back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId {
    /// Position in the client's request.
    pub index: u32,
    /// 0, or the number of a window that a policy cut out of the document.
    pub part: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Texts(Vec<String>),
}

/// Scores of (some of) the documents, in any order; a document without a score
/// was filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    pub results: Vec<Ranked>,
    pub scale: Scale,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    pub id: DocumentId,
    /// Finite; larger is more relevant.
    pub score: f32,
}

/// What the scores of a ranking mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The model's output before any activation.
    Logit,
    /// Between 0 and 1.
    Probability,
    /// Only the order means something.
    Order,
}

/// Why a request got no ranking. Each case says whose fault it is; the texts
/// are for the caller, and name the value and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The request is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The request is larger than a limit; no retry can help.
    #[error("{what} is {value}, over the limit of {limit}")]
    TooLarge { what: &'static str, value: u64, limit: u64 },
    #[error("{0}")]
    NotFound(String),
    /// A policy refuses the request.
    #[error("{0}")]
    Denied(String),
    #[error("the server is at capacity; try again in {} ms", retry_after.as_millis())]
    Overloaded { retry_after: Duration },
    #[error("the request's deadline passed")]
    DeadlineExceeded,
    /// A policy broke its contract or a limit.
    #[error("policy `{policy}` {reason}")]
    PolicyFailed { policy: Arc<str>, reason: String },
    /// No replica, draining, not ready.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after: Duration },
    /// A bug or a broken machine. The text goes to the log, never to a caller.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// One word for each case: for metrics and traces, where no text of a request
    /// belongs.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Invalid(_) => "invalid",
            Error::TooLarge { .. } => "too_large",
            Error::NotFound(_) => "not_found",
            Error::Denied(_) => "denied",
            Error::Overloaded { .. } => "overloaded",
            Error::DeadlineExceeded => "deadline_exceeded",
            Error::PolicyFailed { .. } => "policy_failed",
            Error::Unavailable { .. } => "unavailable",
            Error::Internal(_) => "internal",
        }
    }
}

/// Order of service among requests that wait; larger is served earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];
}

/// Everything about a request that is not its text: what stages may ask, what
/// they may still use, and what they report. A clone is of the same request.
#[derive(Debug, Clone)]
pub struct Context {
    /// Names the request in logs and in the answer's headers.
    pub request_id: Arc<str>,
    pub route: Arc<str>,
    /// Work that would end after it is not begun.
    pub deadline: Instant,
    pub priority: Priority,
    /// The route's share of the model, among routes of the same priority.
    pub weight: u32,
    /// Who calls, if the server knows callers; never from a header that anyone
    /// can write.
    pub caller: Option<Arc<str>>,
    /// How many documents the client wants back, if it said so.
    pub wanted: Option<u32>,
    /// Whether inputs longer than the model's limit are truncated or refused;
    /// `None` leaves it to the model's settings.
    pub truncate: Option<bool>,
    pub lengths: Lengths,
    /// The share of the model that this request was admitted with.
    pub allowance: Arc<Allowance>,
    pub report: Arc<Report>,
    /// Under what a stage begins its spans.
    pub trace: Trace,
}

/// How much of its texts a client lets the model read, beside what the model can
/// read anyway. What is over is cut off a text's end; `None` is no wish. The
/// limits hold for every text that the model is asked to score: where a policy
/// cuts documents into passages, for each passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lengths {
    /// Tokens of the query, without special ones.
    pub query_max: Option<NonZeroU32>,
    /// Tokens of a document, without special ones.
    pub document_max: Option<NonZeroU32>,
    /// Tokens of a query and a document together, special ones included.
    pub pair_max: Option<NonZeroU32>,
}

impl Context {
    /// The same for a stage that another one asks.
    pub fn under(&self, trace: Trace) -> Cow<'_, Context> {
        match trace.is_on() {
            true => Cow::Owned(Context { trace, ..self.clone() }),
            false => Cow::Borrowed(self),
        }
    }
}

/// What stages record about one request while it runs. Concurrent calls of the
/// model add up, so a stage's time can exceed the request's.
#[derive(Debug, Default)]
pub struct Report {
    tokens: AtomicU64,
    pairs: AtomicU64,
    pairs_truncated: AtomicU64,
    tokenize_ns: AtomicU64,
    queue_ns: AtomicU64,
    inference_ns: AtomicU64,
    guest_cpu_ns: AtomicU64,
    bypassed: AtomicBool,
}

/// The stages whose time a [`Report`] adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Turning texts into pairs of token ids.
    Tokenize,
    /// From hand-over to the batcher until the first batch with a pair of the
    /// call starts.
    Queue,
    /// From there until the last pair of the call is scored.
    Inference,
    /// CPU time of guests.
    GuestCpu,
}

impl Report {
    fn stage(&self, stage: Stage) -> &AtomicU64 {
        match stage {
            Stage::Tokenize => &self.tokenize_ns,
            Stage::Queue => &self.queue_ns,
            Stage::Inference => &self.inference_ns,
            Stage::GuestCpu => &self.guest_cpu_ns,
        }
    }

    pub fn add_time(&self, stage: Stage, time: Duration) {
        self.stage(stage).fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub fn time(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.stage(stage).load(Ordering::Relaxed))
    }

    /// Counts what one call of the model worked on.
    pub fn add_pairs(&self, pairs: u64, tokens: u64, truncated: u64) {
        self.pairs.fetch_add(pairs, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.pairs_truncated.fetch_add(truncated, Ordering::Relaxed);
    }

    pub fn pairs(&self) -> u64 {
        self.pairs.load(Ordering::Relaxed)
    }

    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    pub fn pairs_truncated(&self) -> u64 {
        self.pairs_truncated.load(Ordering::Relaxed)
    }

    /// A policy failed and its route answers without its chain.
    pub fn set_bypassed(&self) {
        self.bypassed.store(true, Ordering::Relaxed);
    }

    pub fn bypassed(&self) -> bool {
        self.bypassed.load(Ordering::Relaxed)
    }
}
