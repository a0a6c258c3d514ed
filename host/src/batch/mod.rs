//! The batcher: calls of the model go in, batches for replicas come out, logits
//! come back. Reading order: [`schedule`] decides, [`worker`] moves messages,
//! this file is what callers see. None of it knows models or texts.

pub mod backlog;
mod lanes;
mod meters;
pub mod schedule;
pub mod shape;
mod spans;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::backlog::{Backlog, Newcomer};
use self::schedule::Queued;
use self::spans::Spans;
use self::worker::{Message, Worker};
use crate::config::BatchSettings;
use crate::engine::{EngineTraits, Pair};
use crate::metrics::Metrics;
use crate::replica::{Plan, State};
use crate::rerank::Priority;
use crate::telemetry::Trace;

/// One call of the model: pairs that are answered together.
#[derive(Debug, Clone)]
pub struct Call {
    pub pairs: Vec<Arc<Pair>>,
    pub route: Arc<str>,
    /// The route's share of the model, among routes of the same priority.
    pub weight: u32,
    pub priority: Priority,
    pub deadline: Instant,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// In the order of the call's pairs.
    pub logits: Vec<f32>,
    /// From hand-over until the first batch with a pair of the call.
    pub queue: Duration,
    /// From there until the last pair was scored.
    pub inference: Duration,
}

/// Why a call has no scores. None of it is the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The deadline would pass while the call waits.
    #[error("the queue is longer than the call's time")]
    Overloaded { retry_after: Duration },
    /// Two replicas, or one twice, failed with pairs of this call.
    #[error("scoring failed twice, the second time because {reason}")]
    Failed { reason: Arc<str> },
    /// Every replica has failed repeatedly.
    #[error("no replica is in service")]
    Unavailable { retry_after: Duration },
    /// The batcher no longer takes calls.
    #[error("the model is shutting down")]
    Stopped,
}

impl BatchError {
    /// What a trace calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            BatchError::DeadlineExceeded => "deadline_exceeded",
            BatchError::Overloaded { .. } => "overloaded",
            BatchError::Failed { .. } => "internal",
            BatchError::Unavailable { .. } | BatchError::Stopped => "unavailable",
        }
    }
}

/// Replicas and queue at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    pub replicas: Vec<State>,
    /// What the engine says of itself, once one was made.
    pub traits: Option<EngineTraits>,
    pub queued: Queued,
    pub backlog: Backlog,
    /// What all replicas together scored lately, while they were busy; zero
    /// before the first batch.
    pub tokens_per_second: f64,
}

impl Status {
    /// When a call that comes now would have been scored, at somewhat less than the
    /// recent speed; zero while that is unknown.
    pub fn time_until_served(&self, call: Newcomer<'_>) -> Duration {
        time_to_score(self.backlog.until_served(call), self.tokens_per_second)
    }
}

/// The part of the recent speed that is relied on when a call is let in: the next
/// seconds may be slower than the last, and who is let in should be served.
const SPEED_RELIED_ON: f64 = 0.8;

/// Zero if the speed is unknown.
fn time_to_score(tokens: u64, tokens_per_second: f64) -> Duration {
    let speed = SPEED_RELIED_ON * tokens_per_second;
    Duration::try_from_secs_f64(tokens as f64 / speed).unwrap_or_default()
}

/// Where calls are handed over. Clones reach the same queue.
#[derive(Debug, Clone)]
pub struct Batcher {
    /// Unbounded, but admission bounds it: whoever calls holds pairs of the
    /// model's allowance, a call has at least one pair, and each call sends two
    /// messages at most. A bound here would be a second queue in front of the
    /// queue, and the cancellation sent from `drop` could not wait for a place.
    messages: mpsc::UnboundedSender<Message>,
    status: watch::Receiver<Status>,
    calls: Arc<AtomicU64>,
}

impl Batcher {
    /// Starts the replicas and the task that owns the queue; must be called on a
    /// tokio runtime. Calls are taken at once and wait for the first replica.
    pub fn start(plan: Plan, replicas: usize, settings: &BatchSettings, metrics: &Metrics) -> Self {
        let (messages, mailbox) = mpsc::unbounded_channel();
        let (publish, status) = watch::channel(Status::default());
        let worker = Worker::new(plan, replicas, settings, metrics, publish);
        tokio::spawn(worker.run(mailbox));
        Batcher { messages, status, calls: Arc::default() }
    }

    /// Scores the pairs of a call. Dropping the future takes those that still
    /// wait out of the queue.
    pub async fn score(&self, call: Call) -> Result<Scored, BatchError> {
        self.score_under(call, Trace::default()).await
    }

    /// The same, with spans below that place of a trace.
    pub async fn score_under(&self, call: Call, trace: Trace) -> Result<Scored, BatchError> {
        if call.pairs.is_empty() {
            return Ok(Scored {
                logits: Vec::new(),
                queue: Duration::ZERO,
                inference: Duration::ZERO,
            });
        }
        let key = self.calls.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let message =
            Message::Call { key, call, handed: Instant::now(), reply, spans: Spans::queued(trace) };
        self.messages.send(message).map_err(|_| BatchError::Stopped)?;
        let mut cancel = Cancel { key: Some(key), messages: &self.messages };
        let answer = answer.await;
        cancel.key = None;
        answer.unwrap_or(Err(BatchError::Stopped))
    }

    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the status is as asked; `None` if the batcher ended before.
    pub async fn status_when(&self, asked: impl FnMut(&Status) -> bool) -> Option<Status> {
        let mut status = self.status.clone();
        let found = status.wait_for(asked).await.ok()?;
        Some(found.clone())
    }

    /// Takes no more calls, answers those it has, and returns when the replicas'
    /// threads have ended. Calls end with their deadlines at the latest; a
    /// thread that still makes its engine is waited for.
    pub async fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
        self.messages.closed().await;
    }
}

/// Tells the worker that nobody waits for a call any more.
struct Cancel<'a> {
    key: Option<u64>,
    messages: &'a mpsc::UnboundedSender<Message>,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // A worker that has ended has nothing to cancel.
            let _ = self.messages.send(Message::Cancel { key });
        }
    }
}

#[cfg(test)]
mod tests;
