//! What a guest can ask of the host: the next stage, the facts about its
//! request, WASI. This is the data of its store.
//!
//! The next stage is never polled from here: wasmtime panics when one store is
//! driven inside another. A call becomes a message to the request's driver
//! (`chain.rs`), and the guest waits for the reply.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wasmtime::component::{Accessor, HasSelf, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::maitred::rerank as host;
use super::bindings::types as wit;
use super::chain::ModelInfo;
use super::component::Policy;
use super::contract::{Contract, ContractLimits};
use super::convert;
use super::failure::Failure;
use super::journal::Journal;
use super::limits::{HANDLES_MAX, Limiter, Meter, Waiting};
use super::wasi;
use crate::config::Grant;
use crate::rerank::{Error, Ranking, Request};
use crate::telemetry::{Span, Trace};

/// A call of a stage, on its way to the request's driver.
#[derive(Debug)]
pub(super) struct Forward {
    /// Position in the chain; one past the last policy is the model.
    pub stage: usize,
    pub request: Request,
    pub reply: oneshot::Sender<Result<Ranking, Error>>,
    /// Under what the stage begins its spans.
    pub trace: Trace,
}

/// The facts that a guest may ask about.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub request_id: Arc<str>,
    pub deadline: Instant,
    pub wanted: Option<u32>,
    pub caller: Option<Arc<str>>,
    pub params: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    pub model: Arc<ModelInfo>,
}

/// The way to the stage behind a guest.
#[derive(Debug, Clone)]
pub(super) struct Next {
    pub stage: usize,
    pub driver: mpsc::UnboundedSender<Forward>,
    /// Under what the spans of calls begin.
    pub trace: Trace,
}

pub(super) struct Guest {
    pub limiter: Limiter,
    pub contract: Contract,
    meter: Arc<Meter>,
    facts: Facts,
    next: Next,
    journal: Journal,
    grants: Box<[Grant]>,
    /// Made when the guest first asks for it; most never do.
    wasi: Option<WasiCtx>,
    table: ResourceTable,
    /// Errors that the guest got from the next stage: as it read them, and as
    /// they were. Bounded by the number of calls.
    heard: Vec<(wit::Error, Error)>,
}

impl Guest {
    pub fn new(
        policy: &Policy,
        meter: &Arc<Meter>,
        facts: Facts,
        next: Next,
        received: &Request,
    ) -> Self {
        let limits = policy.limits();
        let contract_limits = ContractLimits {
            calls_max: limits.calls_max,
            // What a guest makes the host hold is bounded like what it holds
            // itself.
            bytes_max: limits.memory_bytes_max,
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Guest {
            limiter: Limiter::new(meter.clone(), limits.memory_bytes_max),
            contract: Contract::new(received, contract_limits),
            meter: meter.clone(),
            journal: Journal::new(
                policy.name().clone(),
                facts.request_id.clone(),
                limits.log_bytes_max,
            ),
            facts,
            next,
            grants: policy.capabilities().into(),
            wasi: None,
            table,
            heard: Vec::new(),
        }
    }

    /// The guest's answer, checked.
    pub fn answer(&self, answer: Result<wit::Ranking, wit::Error>) -> Result<Ranking, GuestError> {
        match answer {
            Ok(ranking) => {
                let checked = self.contract.answers(Ranking::from(ranking));
                checked.map_err(|breach| GuestError::Failed(breach.into()))
            }
            Err(error) => Err(self.meaning(error)),
        }
    }

    /// An error of the next stage that the guest returned as it got it stays
    /// what it was; any other is the guest's own.
    fn meaning(&self, error: wit::Error) -> GuestError {
        if let Some((_, was)) = self.heard.iter().find(|(read, _)| *read == error) {
            return GuestError::Returned(was.clone());
        }
        match convert::refusal(error) {
            Ok(refusal) => GuestError::Returned(refusal),
            Err(text) => GuestError::Failed(Failure::Reported(text)),
        }
    }

    /// Hands a request to the driver; the receiver gets the answer.
    fn send(&mut self, request: Request) -> Result<Reply, Failure> {
        self.contract.sends(&request)?;
        let (reply, answer) = oneshot::channel();
        let stage = self.next.stage;
        let mut span = self.next.trace.span("next");
        span.count("maitred.documents", request.documents.len() as u64);
        let forward = Forward { stage, request, reply, trace: span.trace() };
        // Without a driver there is no request: this is a trial instance, whose
        // reply never comes.
        let _ = self.next.driver.send(forward);
        Ok(Reply { answer, span, _waiting: self.meter.wait() })
    }

    fn receive(&mut self, answer: Result<Ranking, Error>) -> Result<wit::Ranking, wit::Error> {
        match answer {
            Ok(ranking) => {
                self.contract.receives(&ranking);
                Ok(ranking.into())
            }
            Err(error) => {
                let read = wit::Error::from(&error);
                self.heard.push((read.clone(), error));
                Err(read)
            }
        }
    }
}

/// A call that ended without a ranking.
#[derive(Debug)]
pub(super) enum GuestError {
    /// The guest is at fault.
    Failed(Failure),
    /// A refusal, or an error of the next stage.
    Returned(Error),
}

struct Reply {
    answer: oneshot::Receiver<Result<Ranking, Error>>,
    /// Of the call, from when the guest asked.
    span: Span,
    _waiting: Waiting,
}

impl host::rerank::Host for Guest {}

impl host::rerank::HostWithStore<Guest> for HasSelf<Guest> {
    async fn rerank(
        accessor: &Accessor<Guest, Self>,
        request: wit::Request,
    ) -> wasmtime::Result<Result<wit::Ranking, wit::Error>> {
        let reply = accessor.with(|mut access| access.get().send(request.into()))?;
        let answer = reply
            .answer
            .await
            .unwrap_or_else(|_| Err(Error::Internal("a stage was dropped without a reply".into())));
        reply.span.end(answer.as_ref().err().map(Error::kind));
        drop(reply._waiting);
        Ok(accessor.with(|mut access| access.get().receive(answer)))
    }
}

impl host::context::Host for Guest {
    fn request_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.facts.request_id.to_string())
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<u32> {
        let remaining = (self.facts.deadline).saturating_duration_since(Instant::now());
        Ok(u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX))
    }

    fn wanted(&mut self) -> wasmtime::Result<Option<u32>> {
        Ok(self.facts.wanted)
    }

    fn caller(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.facts.caller.as_deref().map(String::from))
    }

    fn param(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.facts.params.get(&*name).map(|value| value.to_string()))
    }

    fn model(&mut self) -> wasmtime::Result<host::context::ModelInfo> {
        Ok(host::context::ModelInfo {
            name: self.facts.model.name.to_string(),
            tokens_max: self.facts.model.tokens_max,
            precision: self.facts.model.precision.to_string(),
        })
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = || wasi::context(&self.journal, &self.grants);
        WasiCtxView { ctx: self.wasi.get_or_insert_with(wasi), table: &mut self.table }
    }
}
