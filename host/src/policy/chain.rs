//! A chain: policies in front of a model, and the driver that runs one request
//! through them.
//!
//! The driver polls all stages of its request side by side, each outside every
//! other stage's store; a guest that calls the next stage sends the driver a
//! message and waits. So bypass, charging and cancellation have one place, and
//! dropping the driver drops everything that the request caused.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::PolicyError;
use super::call::call;
use super::component::Policy;
use super::guest::{Facts, Forward, Next};
use crate::config::OnFailure;
use crate::metrics::{self, Metrics};
use crate::rerank::{Context, Error, Ranking, Request, Rerank};

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
        let first = Forward { stage: 0, request, reply };
        let mut running = FuturesUnordered::new();
        running.push(self.stage(first, context, &driver));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    return answer.unwrap_or_else(|_| {
                        Err(Error::Internal("the first stage ended without a reply".into()))
                    });
                }
                Some(forward) = forwards.recv() => {
                    running.push(self.stage(forward, context, &driver));
                }
                Some(ended) = running.next() => ended?,
            }
        }
    }

    /// Runs one stage until it has answered or nobody waits for it any more. An
    /// error ends the whole chain: where failures are bypassed, no policy in
    /// front needs to hear of one behind it.
    async fn stage(
        &self,
        forward: Forward,
        context: &Context,
        driver: &mpsc::UnboundedSender<Forward>,
    ) -> Result<(), Error> {
        let Forward { stage, request, mut reply } = forward;
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
                let next = Next { stage: stage + 1, driver: driver.clone() };
                Box::pin(call(policy, facts, next, request, context))
            }
            None => self.model.rerank(request, context),
        };
        let answer = tokio::select! {
            biased;
            () = reply.closed() => return Ok(()),
            answer = work => answer,
        };
        match (self.on_failure, answer) {
            (OnFailure::Bypass, Err(failed @ Error::PolicyFailed { .. })) => Err(failed),
            (_, answer) => {
                // Whoever asked may be gone by now.
                let _ = reply.send(answer);
                Ok(())
            }
        }
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
