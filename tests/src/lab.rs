//! Policies in a sandbox: real components, a real chain, and a model that counts
//! words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use maitred::admission::{Admission, Work};
use maitred::config::{Grant, OnFailure, PolicyLimits, PolicySettings, SandboxSettings};
use maitred::metrics::Metrics;
use maitred::policy::{Chain, Link, ModelInfo, Policy, PolicyError, Sandbox};
use maitred::rerank::{
    Context, Document, DocumentId, Error, Lengths, Priority, Ranked, Ranking, Request, Rerank,
    Scale,
};
use maitred::telemetry::Trace;
use tokio::time::{Instant, timeout};

use crate::guests;
use crate::process::built_folder;

pub const CPU_MS_MAX: Duration = Duration::from_millis(60);
pub const TICK_MS: Duration = Duration::from_millis(1);
pub const MEMORY_BYTES_MAX: usize = 16 << 20;
pub const CALLS_MAX: u32 = 8;
/// Time that a request has.
pub const DEADLINE: Duration = Duration::from_millis(600);
/// Time after which a test calls a request hung: a guest may be late by some
/// ticks of a busy machine.
pub const HUNG: Duration = Duration::from_secs(10);

/// A sandbox with its model.
pub struct Lab {
    pub sandbox: Sandbox,
    pub metrics: Arc<Metrics>,
    pub model: Arc<Words>,
}

impl Lab {
    pub fn new(instances_max: u32) -> Lab {
        let metrics = Metrics::new();
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max,
            tick_ms: TICK_MS,
            // Compiled once for all tests; no installed server uses it.
            cache_dir: Some(built_folder().join("compiled-guests")),
        };
        Lab {
            sandbox: Sandbox::new(&settings, MEMORY_BYTES_MAX, metrics.clone()).unwrap(),
            metrics,
            model: Arc::default(),
        }
    }

    pub async fn try_policy(
        &self,
        name: &str,
        grants: &[Grant],
    ) -> Result<Arc<Policy>, PolicyError> {
        let settings =
            PolicySettings { grants: grants.into(), ..settings(guests::component(name)) };
        self.sandbox.load(name, &settings).await
    }

    pub async fn link(&self, name: &str) -> Link {
        link(self.try_policy(name, &[]).await.unwrap())
    }

    pub fn chain(&self, links: Vec<Link>, on_failure: OnFailure) -> Chain {
        self.try_chain(links, on_failure).unwrap()
    }

    pub fn try_chain(&self, links: Vec<Link>, on_failure: OnFailure) -> Result<Chain, PolicyError> {
        let about = ModelInfo { name: "words".into(), tokens_max: 512, precision: "f32".into() };
        let (model, metrics) = (self.model.clone(), self.metrics.clone());
        Chain::new(links, model, about, on_failure, metrics)
    }

    /// The value of a metric with these labels; 0 if it is not there yet.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics.render();
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let of = |line: &&str| {
            let begins = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            begins && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
        metrics.lines().find(of).and_then(value).unwrap_or(0.0)
    }

    /// Instances of guests that are alive.
    pub fn instances(&self) -> f64 {
        self.metric("maitred_policy_instances", &[])
    }
}

pub fn settings(component: PathBuf) -> PolicySettings {
    PolicySettings {
        component,
        required: None,
        grants: Vec::new(),
        limits: PolicyLimits {
            cpu_ms_max: CPU_MS_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
            calls_max: CALLS_MAX,
            log_bytes_max: 4096,
        },
    }
}

pub fn link(policy: Arc<Policy>) -> Link {
    let params = BTreeMap::new();
    Link { policy, params }
}

pub fn with(link: Link, params: &[(&str, &str)]) -> Link {
    let params = params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Link { params: params.collect(), ..link }
}

/// A model: a document's score is the share of its words that the query has.
#[derive(Default)]
pub struct Words {
    /// Calls that it works on.
    pub running: Arc<AtomicU32>,
    /// What it says instead, if anything.
    pub error: Option<Error>,
    /// How long it takes.
    pub takes: Duration,
}

impl Words {
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }
}

impl Rerank for Words {
    fn rerank<'a>(
        &'a self,
        request: Request,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        let running = Running::begin(&self.running);
        Box::pin(async move {
            let _running = running;
            if !self.takes.is_zero() {
                tokio::time::sleep(self.takes).await;
            }
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            let score = |document: &Document| {
                let words: Vec<_> = document.text.split_whitespace().collect();
                let known = words.iter().filter(|w| request.query.split(' ').any(|q| q == **w));
                known.count() as f32 / words.len().max(1) as f32
            };
            let ranked = |document: &Document| Ranked { id: document.id, score: score(document) };
            Ok(Ranking {
                results: request.documents.iter().map(ranked).collect(),
                scale: Scale::Probability,
            })
        })
    }
}

struct Running(Arc<AtomicU32>);

impl Running {
    fn begin(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Running(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub fn document(index: u32, text: &str) -> Document {
    Document { id: DocumentId { index, part: 0 }, text: text.into(), fields: Arc::default() }
}

pub fn request() -> Request {
    Request {
        query: "red shoe".into(),
        documents: vec![
            document(0, "blue shoe"),
            document(1, "red shoe"),
            document(2, "green hat with a feather"),
        ],
    }
}

/// What the model says of [`request`].
pub fn ranked_by_words() -> Ranking {
    ranking(&[(0, 0, 0.5), (1, 0, 1.0), (2, 0, 0.0)])
}

pub fn ranking(results: &[(u32, u32, f32)]) -> Ranking {
    let ranked =
        |&(index, part, score): &(u32, u32, f32)| Ranked { id: DocumentId { index, part }, score };
    Ranking { results: results.iter().map(ranked).collect(), scale: Scale::Probability }
}

pub fn context(deadline: Duration) -> Context {
    let much = Work { pairs: 1 << 20, tokens: 1 << 30 };
    let door = Admission::new(much);
    Context {
        request_id: "test".into(),
        route: "route".into(),
        deadline: Instant::now() + deadline,
        priority: Priority::Normal,
        weight: 1,
        caller: Some("tester".into()),
        wanted: Some(2),
        truncate: None,
        lengths: Lengths::default(),
        allowance: Arc::new(door.admit(much, Duration::ZERO).unwrap()),
        report: Arc::default(),
        trace: Trace::default(),
    }
}

/// # Panics
///
/// If the request hangs.
pub async fn ask(chain: &Chain, request: Request, deadline: Duration) -> Result<Ranking, Error> {
    let context = context(deadline);
    let answer = timeout(deadline + HUNG, chain.rerank(request, &context)).await;
    answer.expect("the request hangs")
}
