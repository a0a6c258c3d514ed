//! A chain: policies in front of a model, and the driver that runs one request
//! through them.
//!
//! The driver polls all stages of its request side by side, each outside every
//! other stage's store; a guest that calls the next stage sends the driver a
//! message and waits. So bypass, charging and cancellation have one place, and
//! dropping the driver drops everything that the request caused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::PolicyError;
use super::call::{self, call};
use super::component::Policy;
use super::failure::Failure;
use super::guest::{Facts, Forward, Next};
use crate::config::OnFailure;
use crate::metrics::{self, Metrics};
use crate::rerank::{Context, Error, Ranking, Request, Rerank};

/// Guests of one place in the chain that one request may have at a time; its
/// further calls wait for these. A policy that asks the next one sixteen times
/// at once, with a third behind both, would otherwise hold more instances than
/// there are, and everybody else would be refused. The bound is each place's
/// own, because guests wait only for places behind them: so nobody waits in a
/// circle.
const GUESTS_PER_PLACE_MAX: usize = 4;

/// Why a chain, and none of its policies alone, is counted as failed.
const AMPLIFICATION: &str = "amplification";

/// A policy's place in a chain.
#[derive(Debug, Clone)]
pub struct Link {
    pub policy: Arc<Policy>,
    pub params: BTreeMap<String, String>,
}

/// What policies may know of the model behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub name: Arc<str>,
    /// Tokens that a pair of query and document may have.
    pub tokens_max: u32,
    /// The numbers it computes in.
    pub precision: Arc<str>,
}

pub struct Chain {
    /// Outermost first.
    stages: Vec<Stage>,
    model: Arc<dyn Rerank>,
    about: Arc<ModelInfo>,
    on_failure: OnFailure,
    metrics: Arc<Metrics>,
}

/// A link whose parameters were checked.
struct Stage {
    policy: Arc<Policy>,
    params: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

/// Whether a chain can be made of these.
pub fn check(links: &[Link], on_failure: OnFailure) -> Result<(), PolicyError> {
    stages(links, on_failure).map(|_| ())
}

/// Lets each policy of a chain read its parameters, as every request would: once, now,
/// so that one which does not take them is refused, and not each of the requests. A
/// policy that fails of anything else is told of, and may serve: that it says so
/// itself is certain, but what a trap has to do with a request that nobody sent is not.
pub async fn rehearse(
    links: &[Link],
    on_failure: OnFailure,
    about: &ModelInfo,
) -> Result<Vec<Doubt>, PolicyError> {
    let about = Arc::new(about.clone());
    let mut doubts = Vec::new();
    for Stage { policy, params } in stages(links, on_failure)? {
        let name = || policy.name().clone();
        match call::rehearse(&policy, params, about.clone()).await {
            Ok(()) => {}
            Err(Failure::Reported(said)) => {
                return Err(PolicyError::Refused { policy: name(), said });
            }
            Err(Failure::Host(reason)) => {
                let reason = format!("could not be run: {reason}");
                return Err(PolicyError::Trial { policy: name(), reason });
            }
            Err(failure) => doubts.push(Doubt { policy: name(), failure: failure.to_string() }),
        }
    }
    Ok(doubts)
}

/// A policy that was tried and failed, of something that need not fail a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub policy: Arc<str>,
    failure: String,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Doubt { policy, failure } = self;
        write!(f, "policy `{policy}` {failure}, in a trial without documents")
    }
}

fn stages(links: &[Link], on_failure: OnFailure) -> Result<Vec<Stage>, PolicyError> {
    if on_failure == OnFailure::Bypass
        && let Some(link) = links.iter().find(|link| link.policy.required())
    {
        let policy = link.policy.name().clone();
        return Err(PolicyError::Required { policy });
    }
    let stage = |link: &Link| {
        let params = Arc::new(link.policy.params(&link.params)?);
        Ok(Stage { policy: link.policy.clone(), params })
    };
    links.iter().map(stage).collect()
}

impl Chain {
    /// Refuses parameters that a policy does not know, and a bypass of a
    /// required policy.
    pub fn new(
        links: Vec<Link>,
        model: Arc<dyn Rerank>,
        about: ModelInfo,
        on_failure: OnFailure,
        metrics: Arc<Metrics>,
    ) -> Result<Chain, PolicyError> {
        Ok(Chain {
            stages: stages(&links, on_failure)?,
            model,
            about: Arc::new(about),
            on_failure,
            metrics,
        })
    }

    async fn run(&self, request: Request, context: &Context) -> Result<Ranking, Error> {
        if self.stages.is_empty() {
            return self.model.rerank(request, context).await;
        }
        match self.on_failure {
            OnFailure::Fail => self.drive(request, context).await,
            OnFailure::Bypass => {
                let original = request.clone();
                match self.drive(request, context).await {
                    Err(Error::PolicyFailed { .. }) => self.bypass(original, context).await,
                    answer => answer,
                }
            }
        }
    }

    /// The plain model's ranking. The chain is gone by now, and with it what it
    /// had asked of the model.
    async fn bypass(&self, request: Request, context: &Context) -> Result<Ranking, Error> {
        context.report.set_bypassed();
        let route = context.route.to_string();
        (self.metrics.bypasses).get_or_create(&metrics::Route { route }).inc();
        self.model.rerank(request, context).await
    }

    async fn drive(&self, request: Request, context: &Context) -> Result<Ranking, Error> {
        // Unbounded, and bounded all the same: by how often a policy may call
        // and how much it may send (`contract.rs`).
        let (driver, mut forwards) = mpsc::unbounded_channel();
        let (reply, mut answer) = oneshot::channel();
        let mut queues = Queues::new(self.stages.len());
        let mut running = FuturesUnordered::new();
        let first = Forward { stage: 0, request, reply, trace: context.trace.clone() };
        running.extend(queues.enter(first).map(|first| self.stage(first, context, &driver)));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    return answer.unwrap_or_else(|_| {
                        Err(Error::Internal("the first stage ended without a reply".into()))
                    });
                }
                Some(forward) = forwards.recv() => {
                    let next = queues.enter(forward);
                    running.extend(next.map(|next| self.stage(next, context, &driver)));
                }
                Some(ended) = running.next() => {
                    let next = queues.leave(ended?);
                    running.extend(next.map(|next| self.stage(next, context, &driver)));
                }
            }
        }
    }

    /// Runs one stage until it has answered or nobody waits for it any more, and
    /// says which one it was. An error ends the whole chain: where failures are
    /// bypassed, no policy in front needs to hear of one behind it.
    async fn stage(
        &self,
        forward: Forward,
        context: &Context,
        driver: &mpsc::UnboundedSender<Forward>,
    ) -> Result<usize, Error> {
        let Forward { stage, request, mut reply, trace } = forward;
        let context = &*context.under(trace);
        let work: BoxFuture<'_, _> = match self.stages.get(stage) {
            Some(Stage { policy, params }) => {
                let facts = Facts {
                    request_id: context.request_id.clone(),
                    deadline: context.deadline,
                    wanted: context.wanted,
                    caller: context.caller.clone(),
                    params: params.clone(),
                    model: self.about.clone(),
                };
                let (driver, trace) = (driver.clone(), context.trace.clone());
                let next = Next { stage: stage + 1, driver, trace };
                Box::pin(call(policy, facts, next, request, context))
            }
            None => self.model.rerank(request, context),
        };
        let answer = tokio::select! {
            biased;
            () = reply.closed() => return Ok(stage),
            answer = work => answer,
        };
        // Policies report their own failures; that the chain as a whole asks for
        // too much is found by the model, which knows no policies.
        let answer = match answer {
            Err(Error::PolicyFailed { policy, reason }) if stage == self.stages.len() => {
                Err(self.overdrawn(&policy, reason, context))
            }
            answer => answer,
        };
        match (self.on_failure, answer) {
            (OnFailure::Bypass, Err(failed @ Error::PolicyFailed { .. })) => Err(failed),
            (_, answer) => {
                // Whoever asked may be gone by now.
                let _ = reply.send(answer);
                Ok(stage)
            }
        }
    }

    /// Counts that the chain asked the model for more than its request was
    /// admitted with. The error names the policy that asked, which is the last one, and
    /// those in front, whose doing it may be.
    fn overdrawn(&self, chain: &str, reason: String, context: &Context) -> Error {
        let versions: Vec<&str> = self.stages.iter().map(|s| &**s.policy.version()).collect();
        let (policy, version) = (chain.to_owned(), versions.join("+"));
        let labels = metrics::PolicyFailure { policy, version, reason: AMPLIFICATION.into() };
        self.metrics.policy_failures.get_or_create(&labels).inc();
        let (request_id, kind) = (&*context.request_id, AMPLIFICATION);
        tracing::warn!(policy = chain, request_id, kind, "policy {reason}");
        let mut names = self.stages.iter().map(|stage| stage.policy.name());
        let last = names.next_back().cloned().unwrap_or_else(|| chain.into());
        let in_front: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        let reason = match in_front.is_empty() {
            true => reason,
            false => format!("{reason}: it stands behind {}", in_front.join(", ")),
        };
        Error::PolicyFailed { policy: last, reason }
    }
}

/// Calls that wait for a guest's place, by the place. What is in here is bounded
/// by what the waiting guests may send.
struct Queues {
    places: Vec<Queue>,
}

#[derive(Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<Forward>,
}

impl Queues {
    fn new(places: usize) -> Self {
        Queues { places: (0..places).map(|_| Queue::default()).collect() }
    }

    /// The call, if it can run now. The model has queues and bounds of its own.
    fn enter(&mut self, forward: Forward) -> Option<Forward> {
        let Some(queue) = self.places.get_mut(forward.stage) else {
            return Some(forward);
        };
        if queue.running < GUESTS_PER_PLACE_MAX {
            queue.running += 1;
            return Some(forward);
        }
        queue.waiting.push_back(forward);
        None
    }

    /// The call that takes over from one that has ended. Calls that nobody waits
    /// for any more are forgotten.
    fn leave(&mut self, stage: usize) -> Option<Forward> {
        let queue = self.places.get_mut(stage)?;
        while let Some(next) = queue.waiting.pop_front() {
            if !next.reply.is_closed() {
                return Some(next);
            }
        }
        queue.running -= 1;
        None
    }
}

impl Rerank for Chain {
    fn rerank<'a>(
        &'a self,
        request: Request,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        Box::pin(self.run(request, context))
    }
}
