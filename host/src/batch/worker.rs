//! The batcher's task: it owns the schedule and the replicas, and moves messages
//! between callers, schedule and replicas. It takes no decisions of its own; the
//! schedule's are pure and so are a replica's.
//!
//! While no replica is up, calls wait within their deadlines as long as one may
//! soon return: a restart after a rare failure takes a second, and refusing
//! would turn it into errors. Once all have failed several times in a row the
//! queue is answered `Unavailable` and so is who comes, until one is up again: a
//! client learns at once what it would else learn at its deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::backlog::{Backlog, Newcomer};
use super::meters::Meters;
use super::schedule::{Entry, Left, Schedule, Slot, TicketId};
use super::shape::Shape;
use super::spans::Spans;
use super::{BatchError, Call, Scored, Status, time_to_score};
use crate::config::BatchSettings;
use crate::engine::{Batch, EngineTraits, Pair};
use crate::metrics::Metrics;
use crate::replica::{self, Failure, News, Outcome, Plan, Replica, Report};

/// Weight of the latest batch in the replicas' recent speed.
const SPEED_SMOOTHING: f64 = 0.2;

pub type Reply = oneshot::Sender<Result<Scored, BatchError>>;

pub enum Message {
    Call {
        /// The caller's name for it.
        key: u64,
        call: Call,
        handed: Instant,
        reply: Reply,
        spans: Spans,
    },
    /// Nobody waits for the answer any more.
    Cancel {
        key: u64,
    },
    Stop,
}

pub struct Worker {
    schedule: Schedule,
    calls: HashMap<TicketId, Running>,
    tickets: HashMap<u64, TicketId>,
    replicas: Vec<Replica>,
    /// The batch of each replica.
    flights: Vec<Option<Vec<Slot>>>,
    reports: mpsc::UnboundedReceiver<Report>,
    batch_tokens_max: Option<usize>,
    batch_pairs_max: usize,
    /// Tokens a second of a busy replica.
    speed: f64,
    /// How many were cut; names a batch for the spans.
    batches: u64,
    meters: Meters,
    publish: watch::Sender<Status>,
    stopping: bool,
}

/// A call that is not answered.
struct Running {
    key: u64,
    pairs: Vec<Arc<Pair>>,
    logits: Vec<f32>,
    /// Pairs not yet scored.
    left: usize,
    handed: Instant,
    /// When the first batch with one of its pairs began.
    began: Option<Instant>,
    reply: Reply,
    spans: Spans,
}

impl Worker {
    pub fn new(
        plan: Plan,
        replicas: usize,
        settings: &BatchSettings,
        metrics: &Metrics,
        publish: watch::Sender<Status>,
    ) -> Self {
        let meters = Meters::new(metrics, &plan.model, replicas);
        let plan = Arc::new(plan);
        let (report, reports) = mpsc::unbounded_channel();
        let now = Instant::now();
        let start = |index| Replica::start(plan.clone(), index, report.clone(), now);
        let mut worker = Worker {
            schedule: Schedule::new(settings.queue_cuts_max, settings.batch_wait_ms),
            calls: HashMap::new(),
            tickets: HashMap::new(),
            replicas: (0..replicas).map(start).collect(),
            flights: vec![None; replicas],
            reports,
            batch_tokens_max: settings.batch_tokens_max,
            batch_pairs_max: settings.batch_pairs_max,
            speed: 0.0,
            batches: 0,
            meters,
            publish,
            stopping: false,
        };
        worker.publish();
        worker
    }

    /// Runs until it is told to stop, or nobody is left to call it, and all is
    /// answered.
    pub async fn run(mut self, mut mailbox: mpsc::UnboundedReceiver<Message>) {
        let mut open = true;
        while !self.is_done() {
            let wake = self.next_timer();
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = mailbox.recv(), if open => {
                    open = message.is_some();
                    self.handle(message.unwrap_or(Message::Stop));
                }
                Some(report) = self.reports.recv() => self.hear(report),
                () = timer => {}
            }
            // Whatever has come meanwhile is in the next batch, too.
            while let Ok(report) = self.reports.try_recv() {
                self.hear(report);
            }
            while let Ok(message) = mailbox.try_recv() {
                self.handle(message);
            }
            self.tend();
            self.dispatch();
            self.publish();
        }
        let threads: Vec<_> = self.replicas.into_iter().flat_map(Replica::stop).collect();
        let join = move || threads.into_iter().for_each(replica::join);
        // Their channels are closed: idle threads end at once.
        let _ = tokio::task::spawn_blocking(join).await;
        // `Batcher::stop` waits for the end of the mailbox, so it ends last.
        drop(mailbox);
    }

    fn is_done(&self) -> bool {
        self.stopping && self.schedule.is_empty() && !self.replicas.iter().any(Replica::is_busy)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Stop => self.stopping = true,
            Message::Cancel { key } => {
                if let Some(ticket) = self.tickets.get(&key)
                    && let Some(left) = self.schedule.remove(*ticket)
                {
                    self.meters.pairs_cancelled.inc_by(left.pairs as u64);
                    self.forget(left.ticket);
                }
            }
            Message::Call { reply, spans, .. } if self.stopping => {
                answer(reply, spans, Err(BatchError::Stopped));
            }
            Message::Call { key, call, handed, reply, spans } => {
                let now = Instant::now();
                if let Some(late_by) = self.late_by(&call, now) {
                    return answer(
                        reply,
                        spans,
                        Err(BatchError::Overloaded { retry_after: late_by }),
                    );
                }
                let entry = Entry {
                    route: call.route,
                    weight: call.weight,
                    priority: call.priority,
                    deadline: call.deadline,
                    tokens: call.pairs.iter().map(|pair| pair.tokens() as u32).collect(),
                };
                let ticket = self.schedule.push(entry, now);
                let running = Running {
                    key,
                    logits: vec![f32::NAN; call.pairs.len()],
                    left: call.pairs.len(),
                    pairs: call.pairs,
                    handed,
                    began: None,
                    reply,
                    spans,
                };
                self.tickets.insert(key, ticket);
                self.calls.insert(ticket, running);
            }
        }
    }

    /// By how much a call would miss its deadline: it is better told now. Where
    /// nobody is before it there is nothing to wait for; and were it refused for a
    /// speed that was measured in a bad moment, nothing would ever measure another.
    fn late_by(&self, call: &Call, now: Instant) -> Option<Duration> {
        if self.schedule.is_empty() && self.flights.iter().all(Option::is_none) {
            return None;
        }
        let tokens = call.pairs.iter().map(|pair| pair.tokens() as u64).sum();
        let Call { route, priority, weight, .. } = call;
        let call_now = Newcomer { route, priority: *priority, weight: *weight, tokens };
        let wait = time_to_score(self.backlog().until_served(call_now), self.tokens_per_second());
        let left = call.deadline.saturating_duration_since(now);
        (wait > left).then(|| wait - left)
    }

    fn backlog(&self) -> Backlog {
        let mut backlog = self.schedule.backlog();
        let slots = self.flights.iter().flatten().flatten();
        backlog.first += slots.map(|slot| u64::from(slot.tokens)).sum::<u64>();
        backlog
    }

    /// Of all replicas that are up.
    fn tokens_per_second(&self) -> f64 {
        let up = self.replicas.iter().filter(|replica| replica.state().is_up());
        self.speed * up.count() as f64
    }

    fn hear(&mut self, report: Report) {
        let index = report.replica;
        let news = self.replicas[index].hear(report, Instant::now());
        self.follow(index, news);
    }

    /// What is due because time has passed.
    fn tend(&mut self) {
        let now = Instant::now();
        for index in 0..self.replicas.len() {
            let news = self.replicas[index].tend(now);
            self.follow(index, news);
        }
        for left in self.schedule.expire(now) {
            self.meters.pairs_expired.inc_by(left.pairs as u64);
            self.refuse(left, BatchError::DeadlineExceeded);
        }
        if self.replicas.iter().all(Replica::is_lost) {
            let retry_after = self.next_restart(now);
            for left in self.schedule.clear() {
                self.refuse(left, BatchError::Unavailable { retry_after });
            }
        }
    }

    fn follow(&mut self, index: usize, news: News) {
        match news {
            News::None | News::Ready => {}
            News::Restarted => {
                self.meters.replicas[index].restarts.inc();
            }
            News::Scored(outcome) => {
                if let Some(slots) = self.flights[index].take() {
                    self.land(index, &slots, &outcome);
                }
            }
            News::Rejected(failure) | News::Failed(failure) => {
                if let Some(slots) = self.flights[index].take() {
                    self.crash(&slots, &failure);
                }
            }
        }
    }

    /// Hands a batch to each idle replica, as long as one is due.
    fn dispatch(&mut self) {
        let now = Instant::now();
        for index in 0..self.replicas.len() {
            let Some(traits) = self.replicas[index].idle() else {
                continue;
            };
            let shape = self.shape(traits);
            if self.schedule.due(&shape).is_none_or(|due| due > now) {
                continue;
            }
            let slots = self.schedule.cut(&shape);
            self.batches += 1;
            let mut pairs = Vec::with_capacity(slots.len());
            for slot in &slots {
                let call = self.calls.get_mut(&slot.ticket);
                let call = call.expect("a queued pair's call is not answered");
                call.began.get_or_insert(now);
                call.spans.dispatched(self.batches, index, slots.len());
                pairs.push(call.pairs[slot.pair as usize].clone());
            }
            self.flights[index] = Some(slots);
            self.replicas[index].score(Batch { pairs }, now);
        }
    }

    /// What a replica with this engine wants of its next batch.
    fn shape(&self, traits: &EngineTraits) -> Shape {
        let up = self.replicas.iter().filter(|replica| replica.state().is_up());
        Shape {
            ragged: traits.ragged,
            tokens_min: traits.batch_tokens_min,
            tokens_max: self.batch_tokens_max.unwrap_or(traits.batch_tokens_max),
            pairs_max: self.batch_pairs_max,
            replicas: up.count(),
        }
    }

    /// A batch was scored.
    fn land(&mut self, index: usize, slots: &[Slot], outcome: &Outcome) {
        let ragged = self.replicas[index].idle().is_none_or(|traits| traits.ragged);
        self.meters.scored(index, ragged, slots, outcome.took);
        let tokens: u32 = slots.iter().map(|slot| slot.tokens).sum();
        let speed = f64::from(tokens) / outcome.took.as_secs_f64().max(1e-9);
        self.speed = match self.speed {
            0.0 => speed,
            before => before + SPEED_SMOOTHING * (speed - before),
        };
        let now = Instant::now();
        for (slot, logit) in slots.iter().zip(&outcome.logits) {
            // The call may have been cancelled or have expired meanwhile.
            let Some(call) = self.calls.get_mut(&slot.ticket) else {
                continue;
            };
            call.logits[slot.pair as usize] = *logit;
            call.left -= 1;
            if call.left == 0 {
                self.schedule.remove(slot.ticket);
                self.finish(slot.ticket, now);
            }
        }
    }

    fn finish(&mut self, ticket: TicketId, now: Instant) {
        if let Some(call) = self.forget(ticket) {
            let began = call.began.unwrap_or(now);
            let scored = Scored {
                logits: call.logits,
                queue: began.saturating_duration_since(call.handed),
                inference: now.saturating_duration_since(began),
            };
            answer(call.reply, call.spans, Ok(scored));
        }
    }

    /// A batch was not scored, for whatever reason.
    fn crash(&mut self, slots: &[Slot], failure: &Failure) {
        let reason: Arc<str> = failure.to_string().into();
        for left in self.schedule.put_back(slots) {
            let reason = reason.clone();
            self.refuse(left, BatchError::Failed { reason });
        }
    }

    fn refuse(&mut self, left: Left, error: BatchError) {
        if let Some(call) = self.forget(left.ticket) {
            answer(call.reply, call.spans, Err(error));
        }
    }

    fn forget(&mut self, ticket: TicketId) -> Option<Running> {
        let call = self.calls.remove(&ticket)?;
        self.tickets.remove(&call.key);
        Some(call)
    }

    /// When something happens though nobody sends anything.
    fn next_timer(&self) -> Option<Instant> {
        let replicas = self.replicas.iter().filter_map(Replica::next_timer);
        let idle = self.replicas.iter().find_map(Replica::idle);
        let batch = idle.and_then(|traits| self.schedule.due(&self.shape(traits)));
        replicas.chain(batch).chain(self.schedule.next_deadline()).min()
    }

    fn next_restart(&self, now: Instant) -> Duration {
        let timers = self.replicas.iter().filter_map(Replica::next_timer);
        let next = timers.min().unwrap_or(now);
        next.saturating_duration_since(now)
    }

    fn publish(&mut self) {
        let queued = self.schedule.queued();
        self.meters.queue_pairs.set(queued.pairs as i64);
        self.meters.queue_tokens.set(queued.tokens as i64);
        self.meters.queue_age.set(self.schedule.oldest());
        let replicas: Vec<_> = self.replicas.iter().map(Replica::state).collect();
        for (state, meters) in replicas.iter().zip(&mut self.meters.replicas) {
            meters.set(state);
        }
        let status = Status {
            traits: self.replicas.iter().find_map(Replica::traits).cloned(),
            replicas,
            queued,
            backlog: self.backlog(),
            tokens_per_second: self.tokens_per_second(),
        };
        self.publish.send_if_modified(|before| {
            let changed = *before != status;
            *before = status;
            changed
        });
    }
}

fn answer(reply: Reply, spans: Spans, answer: Result<Scored, BatchError>) {
    spans.end(answer.as_ref().err().map(BatchError::kind));
    // Whoever does not wait any more has sent a cancellation.
    let _ = reply.send(answer);
}
