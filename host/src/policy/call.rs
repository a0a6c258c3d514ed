//! One guest's life: a place in the pool, a store of its own, a fresh instance,
//! one call, and the bill. Nothing of it survives the call. The same without a bill are
//! the trials of a policy, before it serves anyone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use super::bindings::Policy as Instance;
use super::chain::ModelInfo;
use super::component::Policy;
use super::contract::Breach;
use super::convert::legible;
use super::failure::Failure;
use super::guest::{Facts, Forward, Guest, GuestError, Next};
use super::limits::{self, Meter};
use super::sandbox::Place;
use crate::rerank::{Context, Document, Error, Ranked, Ranking, Report, Request, Scale, Stage};
use crate::telemetry::{Span, Trace};

/// What a caller is told to wait when all instances are taken: calls of
/// policies last about as long as a batch.
const INSTANCES_RETRY_MS: Duration = Duration::from_millis(50);
/// Wall time of a trial: of the instance that is made when a policy is loaded, and of
/// the call that is made when it gets its place in a chain.
const TRIAL_MS_MAX: Duration = Duration::from_secs(10);

/// Runs `policy` on `request`.
pub(super) async fn call(
    policy: &Policy,
    facts: Facts,
    next: Next,
    request: Request,
    context: &Context,
) -> Result<Ranking, Error> {
    let mut span = context.trace.span_of("policy", policy.name());
    span.name("maitred.policy.version", policy.version());
    span.count("maitred.documents", request.documents.len() as u64);
    let next = Next { trace: span.trace(), ..next };
    // The order of these is the order in which they must not be dropped: the
    // store before its place in the pool and before the bill.
    let Some(_place) = policy.sandbox.place(&policy.share) else {
        policy.sandbox.shed(&context.route);
        let full = Error::Overloaded { retry_after: INSTANCES_RETRY_MS };
        span.end(Some(full.kind()));
        return Err(full);
    };
    let mut bill = Bill::open(policy, &context.report, span);
    let guest = Guest::new(policy, &bill.meter, facts, next, &request);
    let mut store = store(policy, &bill.meter, guest);

    let run = bill.meter.charge(run(policy, &mut store, request));
    // Outside the store: inside, a busy guest could keep the timer from being
    // looked at.
    let error = match timeout_at(context.deadline, run).await {
        Ok(Ok(Ok(ranking))) => {
            bill.ended = Some(None);
            return Ok(ranking);
        }
        Ok(Ok(Err(error))) => error,
        Ok(Err(trap)) => GuestError::Failed(classify(trap, policy, &bill.meter)),
        Err(_) if bill.meter.is_waiting() => GuestError::Returned(Error::DeadlineExceeded),
        Err(_) => GuestError::Failed(Failure::Deadline),
    };
    let error = match error {
        GuestError::Returned(error) => error,
        GuestError::Failed(failure) => {
            report(policy, &context.request_id, &failure);
            bill.span.word("maitred.policy.failure", failure.kind());
            failure.into_error(policy.name().clone())
        }
    };
    bill.ended = Some(Some(error.kind()));
    Err(error)
}

async fn run(
    policy: &Policy,
    store: &mut Store<Guest>,
    request: Request,
) -> wasmtime::Result<Result<Ranking, GuestError>> {
    let instance: Instance = policy.component.instantiate_async(&mut *store).await?;
    let rerank = instance.maitred_rerank_rerank();
    let answer = store
        .run_concurrent(async |accessor| rerank.call_rerank(accessor, request.into()).await)
        .await??;
    Ok(store.data().answer(answer))
}

/// Instantiates a policy once, within its limits, without calling it.
pub(super) async fn trial(policy: &Policy) -> Result<(), Failure> {
    let none = ModelInfo { name: "none".into(), tokens_max: 0, precision: "none".into() };
    let mut trial = Trial::begin(policy, Arc::default(), Arc::new(none)).await?;
    let instantiate = trial.meter.charge(policy.component.instantiate_async(&mut trial.store));
    match timeout_at(trial.deadline, instantiate).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let trapped = error.is::<Trap>() || error.is::<I32Exit>();
            Err(match classify(error, policy, &trial.meter) {
                // It did nothing yet: something about it does not fit.
                Failure::Trap(reason) if !trapped => Failure::Host(reason),
                failure => failure,
            })
        }
        Err(_) => Err(Failure::Deadline),
    }
}

/// Calls a policy once, within its limits, in a place of a chain: with its parameters
/// and powers, and with a request that has no documents. So it reads what it is
/// configured by, and hardly anything else. (A guest has no other export; the
/// package that says so never changes.) A refusal is no failure: it is the request,
/// which is nobody's, that was refused.
pub(super) async fn rehearse(
    policy: &Policy,
    params: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    model: Arc<ModelInfo>,
) -> Result<(), Failure> {
    let mut trial = Trial::begin(policy, params, model).await?;
    let run = trial.meter.charge(run(policy, &mut trial.store, Trial::request()));
    // The store holds the sender, so this ends with the run alone.
    let behind = async {
        while let Some(Forward { request, reply, .. }) = trial.asked.recv().await {
            let ranked = |document: &Document| Ranked { id: document.id, score: 0.0 };
            let results = request.documents.iter().map(ranked).collect();
            // Whoever asked may be gone by now.
            let _ = reply.send(Ok(Ranking { results, scale: Scale::Logit }));
        }
        std::future::pending().await
    };
    let ended = timeout_at(trial.deadline, async {
        tokio::select! {
            biased;
            ended = run => ended,
            ended = behind => ended,
        }
    });
    match ended.await {
        Ok(Ok(Ok(_) | Err(GuestError::Returned(_)))) => Ok(()),
        Ok(Ok(Err(GuestError::Failed(failure)))) => Err(failure),
        Ok(Err(trap)) => Err(classify(trap, policy, &trial.meter)),
        Err(_) => Err(Failure::Deadline),
    }
}

/// A store for a request that no client sent. Nothing of it is counted.
struct Trial {
    meter: Arc<Meter>,
    store: Store<Guest>,
    deadline: Instant,
    /// What the guest asks the next stage.
    asked: mpsc::UnboundedReceiver<Forward>,
    /// Dropped after the store.
    _place: Place,
}

impl Trial {
    async fn begin(
        policy: &Policy,
        params: Arc<BTreeMap<Arc<str>, Arc<str>>>,
        model: Arc<ModelInfo>,
    ) -> Result<Trial, Failure> {
        let deadline = Instant::now() + TRIAL_MS_MAX;
        let free = policy.sandbox.place_when_free(&policy.share);
        let Ok(place) = timeout_at(deadline, free).await else {
            return Err(Failure::Host("all instances are taken".into()));
        };
        let meter = Meter::new(policy.limits().cpu_ms_max);
        let facts = Facts {
            request_id: "trial".into(),
            deadline,
            wanted: None,
            caller: None,
            params,
            model,
        };
        let (driver, asked) = mpsc::unbounded_channel();
        let next = Next { stage: 0, driver, trace: Trace::default() };
        let guest = Guest::new(policy, &meter, facts, next, &Trial::request());
        let store = store(policy, &meter, guest);
        Ok(Trial { meter, store, deadline, asked, _place: place })
    }

    /// Its query is none that the edge would refuse.
    fn request() -> Request {
        Request { query: "trial".into(), documents: Vec::new() }
    }
}

fn store(policy: &Policy, meter: &Arc<Meter>, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(policy.sandbox.engine(), guest);
    store.limiter(|guest| &mut guest.limiter);
    // Per call of the host; the contract counts the sum of what is kept.
    store.set_hostcall_fuel(policy.limits().memory_bytes_max);
    store.set_max_component_handles(limits::HANDLES_MAX);
    if let Some(tasks) = store.concurrent_resource_table() {
        tasks.set_max_capacity(limits::HANDLES_MAX);
    }
    limits::watch(&mut store, meter, policy.sandbox.tick());
    store
}

/// What an error of wasmtime means. Whatever a guest can cause is the guest's
/// failure; what remains is a trap with wasmtime's own words.
fn classify(error: wasmtime::Error, policy: &Policy, meter: &Meter) -> Failure {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.clone();
    }
    let limit = policy.limits().memory_bytes_max;
    if meter.memory_refused() {
        return Failure::Memory { limit };
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return Failure::Trap(format!("it exited with status {status}"));
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Failure::Host(format!("{error:#}"));
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::Trap(legible(&trap.to_string()));
    }
    let text = error.root_cause().to_string();
    // wasmtime has no type for this one; a hostile guest in the tests notices
    // if its words change.
    if text.contains("fuel allocated for hostcalls") {
        return Failure::Contract(Breach::Bytes { max: limit });
    }
    Failure::Trap(legible(&text))
}

fn report(policy: &Policy, request_id: &str, failure: &Failure) {
    policy.metrics.failed(failure);
    let (name, version, kind) = (&**policy.name(), &**policy.version(), failure.kind());
    match failure {
        Failure::Host(error) => {
            tracing::error!(policy = name, version, request_id, kind, error, "policy {failure}");
        }
        _ => tracing::warn!(policy = name, version, request_id, kind, "policy {failure}"),
    }
}

/// Counts a call, and what it used, however it ends: also when it is dropped.
struct Bill<'a> {
    policy: &'a Policy,
    report: &'a Report,
    meter: Arc<Meter>,
    span: Span,
    /// The kind of error with which the call ended, if one; `None` while it has not.
    ended: Option<Option<&'static str>>,
}

impl<'a> Bill<'a> {
    fn open(policy: &'a Policy, report: &'a Report, span: Span) -> Self {
        policy.metrics.calls.inc();
        let meter = Meter::new(policy.limits().cpu_ms_max);
        Bill { policy, report, meter, span, ended: None }
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        let cpu = self.meter.cpu();
        let metrics = &self.policy.metrics;
        metrics.cpu_seconds.inc_by(cpu.as_secs_f64());
        let peak = self.meter.memory_bytes_peak();
        metrics.memory_bytes_peak.observe(peak as f64);
        self.report.add_time(Stage::GuestCpu, cpu);
        let mut span = std::mem::take(&mut self.span);
        span.count("maitred.policy.cpu_us", cpu.as_micros() as u64);
        span.count("maitred.policy.memory_bytes_peak", peak as u64);
        if let Some(failed) = self.ended {
            span.end(failed);
        }
    }
}
