//! A replica: one OS thread that owns one engine, and what becomes of it when it
//! fails. It knows batches, but no requests, queues or tickets.
//!
//! A replica fails when its engine panics, errs, answers with something that is
//! not a number, or hangs; an engine that says that the batch is at fault has not
//! failed, or any client could take it out. Then the thread is given up, and after
//! a pause a new one makes a new engine. A thread cannot be
//! killed: one that hangs keeps its engine's memory until it returns, if ever.
//! What it still reports carries an old generation and is not heard.
//!
//! The state machine here takes `now` as an argument; only starting a thread
//! touches the world.

#[cfg(test)]
pub mod fake;
mod thread;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::engine::{Batch, EngineFactory, EngineTraits, Pair};

/// The pause before a restart doubles with each failure in a row, so often.
const RESTART_DOUBLINGS_MAX: u32 = 6;

/// Failures in a row after which a replica no longer counts as about to return.
const HOPE_FAILURES_MAX: u32 = 3;

/// A batch hangs after so many times what the largest took while the engine warmed
/// up, though not before the time below and never later than `batch_ms_max`. So a
/// hung replica's pairs can still be scored elsewhere before their deadlines, which
/// a limit that is wide enough for any model would not leave time for.
const HANG_FACTOR: u32 = 20;
const HANG_MS_MIN: Duration = Duration::from_secs(10);

/// Threads that hang in their engine, beyond which a replica is not restarted
/// until one of them returns: each may hold a model's memory.
const HUNG_THREADS_MAX: usize = 4;

/// What all replicas of a model have in common.
pub struct Plan {
    /// Names the model in threads and logs.
    pub model: Arc<str>,
    pub factory: EngineFactory,
    pub warm_up: WarmUp,
    pub batch_ms_max: Duration,
    pub restart_ms: Duration,
}

/// What an engine scores before its replica counts as ready, so that no first
/// user pays for what happens only once.
#[derive(Debug, Clone)]
pub struct WarmUp {
    pub short: Arc<Pair>,
    pub long: Arc<Pair>,
    /// Tokens of a batch; `None` is what the engine says.
    pub batch_tokens_max: Option<usize>,
    pub batch_pairs_max: usize,
}

impl WarmUp {
    /// The smallest batch and the largest.
    fn batches(&self, traits: &EngineTraits) -> [Batch; 2] {
        let tokens_max = self.batch_tokens_max.unwrap_or(traits.batch_tokens_max);
        let pairs = tokens_max / self.long.tokens().max(1);
        let pairs = pairs.clamp(1, self.batch_pairs_max.max(1));
        [(&self.short, 1), (&self.long, pairs)]
            .map(|(pair, pairs)| Batch { pairs: vec![pair.clone(); pairs] })
    }
}

/// What a replica's thread says.
#[derive(Debug)]
pub struct Report {
    pub replica: usize,
    generation: u64,
    event: Event,
}

#[derive(Debug)]
enum Event {
    /// The engine is made and warms up.
    Made(EngineTraits),
    Ready {
        /// What the slowest batch took while it warmed up.
        longest: Duration,
    },
    Scored(Outcome),
    /// The batch is at fault; no replica can score it.
    Rejected(String),
    /// The thread's last word.
    Failed(Failure),
}

/// A batch that was scored.
#[derive(Debug)]
pub struct Outcome {
    /// In the batch's order, all finite.
    pub logits: Vec<f32>,
    /// Time in the engine.
    pub took: Duration,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    #[error("no thread could be started: {0}")]
    Thread(String),
    #[error("the engine panicked: {0}")]
    Panicked(String),
    #[error("{0}")]
    Engine(String),
    /// The batch is at fault. Only while it warms up does it end a replica.
    #[error("{0}")]
    Rejected(String),
    #[error("logit {position} of {pairs} is {value}")]
    NotFinite { position: usize, pairs: usize, value: f32 },
    #[error("a batch took longer than its limit, {} ms", .0.as_millis())]
    Hung(Duration),
}

/// What a replica is doing, for metrics and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its engine is being made or warms up.
    Starting,
    Idle,
    Busy,
    /// Out of service until its restart.
    Failed {
        reason: Arc<str>,
    },
}

impl State {
    /// One word, for metrics and people.
    pub fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Idle => "idle",
            State::Busy => "busy",
            State::Failed { .. } => "failed",
        }
    }

    /// The replica can score, now or after its present batch.
    pub fn is_up(&self) -> bool {
        matches!(self, State::Idle | State::Busy)
    }
}

pub struct Replica {
    plan: Arc<Plan>,
    index: usize,
    reports: UnboundedSender<Report>,
    /// Grows with each thread; reports of former ones are not heard.
    generation: u64,
    phase: Phase,
    /// There unless the replica failed.
    thread: Option<Thread>,
    /// There from when the first engine was made.
    traits: Option<EngineTraits>,
    /// What a batch may take.
    limit: Duration,
    /// In a row; a scored batch ends the row.
    failures: u32,
    /// Threads that were given up and have not been joined.
    former: Vec<Former>,
}

enum Phase {
    /// The limit is set while the engine warms up. Making it has none of its own:
    /// how long weights take to load is the disk's affair.
    Starting {
        until: Option<Instant>,
    },
    Idle,
    Busy {
        until: Instant,
    },
    Failed {
        reason: Arc<str>,
        restart_at: Instant,
    },
}

struct Thread {
    batches: mpsc::Sender<Batch>,
    handle: JoinHandle<()>,
}

struct Former {
    handle: JoinHandle<()>,
    hung: bool,
}

/// What a report or the passing of time meant.
#[derive(Debug)]
pub enum News {
    None,
    /// Made and warm.
    Ready,
    Scored(Outcome),
    /// Its batch is not scored; the replica goes on.
    Rejected(Failure),
    /// Taken out; its batch, if it had one, is not scored.
    Failed(Failure),
    Restarted,
}

impl Replica {
    pub fn start(
        plan: Arc<Plan>,
        index: usize,
        reports: UnboundedSender<Report>,
        now: Instant,
    ) -> Self {
        let mut replica = Replica {
            limit: plan.batch_ms_max,
            plan,
            index,
            reports,
            generation: 0,
            phase: Phase::Starting { until: None },
            thread: None,
            traits: None,
            failures: 0,
            former: Vec::new(),
        };
        replica.spawn(now);
        replica
    }

    /// The traits of its engine if it has nothing to do.
    pub fn idle(&self) -> Option<&EngineTraits> {
        match self.phase {
            Phase::Idle => self.traits.as_ref(),
            _ => None,
        }
    }

    /// The traits of its latest engine, once there was one.
    pub fn traits(&self) -> Option<&EngineTraits> {
        self.traits.as_ref()
    }

    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy { .. })
    }

    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Starting { .. } => State::Starting,
            Phase::Idle => State::Idle,
            Phase::Busy { .. } => State::Busy,
            Phase::Failed { reason, .. } => State::Failed { reason: reason.clone() },
        }
    }

    /// Neither up nor likely to be up soon.
    pub fn is_lost(&self) -> bool {
        let hopeless = self.failures >= HOPE_FAILURES_MAX || self.hung() >= HUNG_THREADS_MAX;
        !self.state().is_up() && hopeless
    }

    /// Former threads that hang.
    fn hung(&self) -> usize {
        self.former.iter().filter(|former| former.hung && !former.handle.is_finished()).count()
    }

    /// When [`Replica::tend`] has something to do.
    pub fn next_timer(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } => until,
            Phase::Idle => None,
            Phase::Busy { until } => Some(until),
            Phase::Failed { restart_at, .. } => Some(restart_at),
        }
    }

    /// Hands a batch to the replica, which is idle.
    pub fn score(&mut self, batch: Batch, now: Instant) {
        if let Some(thread) = &self.thread {
            // A thread that has gone is found out at its limit.
            let _ = thread.batches.send(batch);
        }
        self.phase = Phase::Busy { until: now + self.limit };
    }

    /// Hears what a thread reports.
    pub fn hear(&mut self, report: Report, now: Instant) -> News {
        if report.generation != self.generation {
            return News::None;
        }
        match report.event {
            Event::Made(traits) => {
                self.traits = Some(traits);
                let until = Some(now + 2 * self.plan.batch_ms_max);
                self.phase = Phase::Starting { until };
                News::None
            }
            Event::Ready { longest } => {
                self.limit = hang_limit(longest, self.plan.batch_ms_max);
                self.phase = Phase::Idle;
                News::Ready
            }
            Event::Scored(outcome) => {
                self.failures = 0;
                self.phase = Phase::Idle;
                News::Scored(outcome)
            }
            Event::Rejected(reason) => {
                self.phase = Phase::Idle;
                News::Rejected(Failure::Rejected(reason))
            }
            Event::Failed(failure) => self.fail(failure, now),
        }
    }

    /// Gives up a thread that hangs; restarts after the pause.
    pub fn tend(&mut self, now: Instant) -> News {
        if self.next_timer().is_none_or(|at| at > now) {
            return News::None;
        }
        if !matches!(self.phase, Phase::Failed { .. }) {
            return self.fail(Failure::Hung(self.limit), now);
        }
        self.join_finished();
        if self.hung() >= HUNG_THREADS_MAX {
            let restart_at = now + self.pause();
            self.phase =
                Phase::Failed { reason: "too many of its threads hang".into(), restart_at };
            return News::None;
        }
        self.spawn(now)
    }

    /// Lets the thread end. Returns those to join; a thread that hangs is not
    /// among them.
    pub fn stop(self) -> Vec<JoinHandle<()>> {
        let former = self.former.into_iter();
        let joinable = former.filter(|former| !former.hung || former.handle.is_finished());
        let present = self.thread.into_iter();
        present.map(|thread| thread.handle).chain(joinable.map(|former| former.handle)).collect()
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(RESTART_DOUBLINGS_MAX);
        self.plan.restart_ms * (1 << doublings)
    }

    fn fail(&mut self, failure: Failure, now: Instant) -> News {
        self.failures = self.failures.saturating_add(1);
        // What the thread may still report is not heard.
        self.generation += 1;
        if let Some(Thread { handle, .. }) = self.thread.take() {
            let hung = matches!(failure, Failure::Hung(_));
            self.former.push(Former { handle, hung });
        }
        self.phase =
            Phase::Failed { reason: failure.to_string().into(), restart_at: now + self.pause() };
        tracing::warn!(
            model = %self.plan.model,
            replica = self.index,
            failures = self.failures,
            restart_ms = self.pause().as_millis() as u64,
            "replica failed: {failure}",
        );
        News::Failed(failure)
    }

    fn join_finished(&mut self) {
        let (finished, left) = std::mem::take(&mut self.former)
            .into_iter()
            .partition(|former| former.handle.is_finished());
        self.former = left;
        let finished: Vec<Former> = finished;
        for former in finished {
            join(former.handle);
        }
    }

    fn spawn(&mut self, now: Instant) -> News {
        self.generation += 1;
        // Until the new engine has shown how fast it is.
        self.limit = self.plan.batch_ms_max;
        let (batches, given) = mpsc::channel();
        let voice = thread::Voice {
            replica: self.index,
            generation: self.generation,
            reports: self.reports.clone(),
        };
        let plan = self.plan.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("{} {}", self.plan.model, self.index))
            .spawn(move || thread::run(&plan, &given, &voice));
        match spawned {
            Ok(handle) => {
                self.thread = Some(Thread { batches, handle });
                self.phase = Phase::Starting { until: None };
                News::Restarted
            }
            Err(error) => self.fail(Failure::Thread(error.to_string()), now),
        }
    }
}

/// What a batch may take if the slowest took `longest`.
fn hang_limit(longest: Duration, batch_ms_max: Duration) -> Duration {
    (longest * HANG_FACTOR).max(HANG_MS_MIN).min(batch_ms_max)
}

/// Waits for a thread. Its panics were caught and reported, except one in
/// dropping the engine, which can hurt nobody any more.
pub fn join(handle: JoinHandle<()>) {
    if handle.join().is_err() {
        tracing::warn!("an engine panicked while it was dropped");
    }
}

#[cfg(test)]
mod tests;
