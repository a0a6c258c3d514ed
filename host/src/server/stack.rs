//! Models, policies and the routes over them: everything but the listeners.
//!
//! A stack is built of settings, and can be rebuilt of others beside what runs:
//! what did not change is kept, and nothing is given up before all that is new
//! stands. A model that is replaced or no longer configured ends when the last
//! request that began with it has its answer: requests own it through their
//! route, and whoever lets go last ends its threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::identity;
use crate::callers::Callers;
use crate::checkpoint::Hub;
use crate::config::{
    LinkSettings, ModelSettings, OnFailure, POLICY_MEMORY_BYTES_MAX, RouteSettings, Settings,
};
use crate::http::Serving;
use crate::metrics::{self, Metrics};
use crate::model::{Model, ModelParts};
use crate::policy::{
    Chain, Link, ModelInfo, Policy, PolicyError, Sandbox, check_chain, rehearse_chain,
};
use crate::route::{EdgeLimits, Route, Routes};

pub struct Stack {
    hub: Hub,
    metrics: Arc<Metrics>,
    /// Made when the first policy comes, and kept: its pool and its clock serve
    /// all that come after.
    sandbox: Option<Sandbox>,
    running: Parts,
    generation: u64,
}

/// What the settings decide.
struct Parts {
    settings: Settings,
    policies: BTreeMap<Arc<str>, Arc<Policy>>,
    models: BTreeMap<Arc<str>, Arc<Model>>,
    routes: Arc<Routes>,
}

/// Whether other settings made a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Replaced,
    Unchanged,
}

impl Stack {
    /// Loads and warms up everything; when it returns, requests can be served.
    pub async fn start(settings: &Settings, hub: &Hub) -> anyhow::Result<Stack> {
        let metrics = Metrics::new();
        metrics
            .build_info
            .get_or_create(&metrics::Build { version: env!("CARGO_PKG_VERSION") })
            .set(1);
        #[cfg(feature = "metal")]
        metrics.read_gpu_memory(crate::engine::gpu_memory_bytes);
        let mut sandbox = None;
        let build = Build { settings, running: None, hub, metrics: &metrics };
        let running = build.parts(&mut sandbox).await?;
        metrics.generation.set(1);
        Ok(Stack { hub: hub.clone(), metrics, sandbox, running, generation: 1 })
    }

    /// Runs by other settings from now on, or, if that fails, by those it had.
    /// The settings of the server and the sandbox are taken to be the same.
    pub async fn change(&mut self, settings: &Settings) -> anyhow::Result<Change> {
        let (hub, metrics) = (&self.hub, &self.metrics);
        let build = Build { settings, running: Some(&self.running), hub, metrics };
        let parts = build.parts(&mut self.sandbox).await?;
        if self.running.are(&parts) {
            return Ok(Change::Unchanged);
        }
        self.running = parts;
        self.generation += 1;
        self.metrics.generation.set(self.generation as i64);
        Ok(Change::Replaced)
    }

    pub fn settings(&self) -> &Settings {
        &self.running.settings
    }

    pub fn routes(&self) -> &Arc<Routes> {
        &self.running.routes
    }

    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.running.models.values()
    }

    /// What clients are offered.
    /// (A caller keeps what it has used of its rate under `previous`.)
    pub fn serving(&self, previous: Option<&Callers>) -> Serving {
        let callers = Callers::new(&self.running.settings.callers, previous);
        Serving::new(self.running.routes.clone(), callers).numbered(self.generation)
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Counts the configurations served, the present one included.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Finishes what is queued and joins every thread.
    pub async fn stop(self) {
        for model in self.running.models.into_values() {
            model.stop().await;
        }
    }
}

impl Parts {
    /// Whether these are the same things under the same settings. (Routes are
    /// built anew each time; they are what their settings and parts make them.)
    fn are(&self, other: &Parts) -> bool {
        let (a, b) = (&self.settings, &other.settings);
        let policy = |name: &Arc<str>| (&self.policies[name], other.policies.get(name));
        let same_policies = self.policies.len() == other.policies.len()
            && (self.policies.keys().map(policy))
                .all(|(a, b)| b.is_some_and(|b| Arc::ptr_eq(a, b)));
        let same_settings = a.models == b.models
            && a.routes == b.routes
            && a.callers == b.callers
            && a.default_route == b.default_route;
        same_policies && same_settings
    }

    /// Whether this very route is among them, over the same policies and model.
    fn has(
        &self,
        name: &Arc<str>,
        route: &RouteSettings,
        policies: &BTreeMap<Arc<str>, Arc<Policy>>,
        models: &BTreeMap<Arc<str>, Arc<Model>>,
    ) -> bool {
        let same_policy = |link: &LinkSettings| {
            let running = self.policies.get(&link.policy);
            running.is_some_and(|running| Arc::ptr_eq(running, &policies[&link.policy]))
        };
        let running = self.models.get(&route.model);
        self.settings.routes.get(name) == Some(route)
            && route.policies.iter().all(same_policy)
            && running.is_some_and(|running| Arc::ptr_eq(running, &models[&route.model]))
    }
}

/// What parts are built of.
struct Build<'a> {
    settings: &'a Settings,
    running: Option<&'a Parts>,
    hub: &'a Hub,
    metrics: &'a Arc<Metrics>,
}

impl Build<'_> {
    /// Policies first, and their parameters as far as manifests go: a broken one
    /// should not wait for weights to load.
    async fn parts(&self, sandbox: &mut Option<Sandbox>) -> anyhow::Result<Parts> {
        let policies = self.policies(sandbox).await?;
        for (name, route) in &self.settings.routes {
            check_chain(&links(route, &policies), route.on_failure)
                .map_err(failed)
                .with_context(|| format!("failed to build the route `{name}`"))?;
        }
        let mut models = BTreeMap::new();
        let mut started = Ok(());
        for (name, settings) in &self.settings.models {
            match self.model(name, settings).await {
                Ok(model) => _ = models.insert(name.clone(), model),
                Err(error) => {
                    started = Err(error.context(format!("failed to start the model `{name}`")));
                    break;
                }
            }
        }
        let rehearsed = match started {
            Ok(()) => self.rehearse(&policies, &models).await,
            Err(error) => Err(error),
        };
        let routes = match rehearsed.and_then(|()| self.routes(&policies, &models)) {
            Ok(routes) => routes,
            Err(error) => {
                self.stop_new(models).await;
                return Err(error);
            }
        };
        let routes = Arc::new(Routes::new(routes, self.settings.default_route.clone()));
        Ok(Parts { settings: self.settings.clone(), policies, models, routes })
    }

    /// Lets the policies of each route read their parameters, in front of the model that
    /// they will have. A route that runs already has done so.
    async fn rehearse(
        &self,
        policies: &BTreeMap<Arc<str>, Arc<Policy>>,
        models: &BTreeMap<Arc<str>, Arc<Model>>,
    ) -> anyhow::Result<()> {
        for (name, route) in &self.settings.routes {
            if self.running.is_some_and(|running| running.has(name, route, policies, models)) {
                continue;
            }
            let about = about(&models[&route.model]);
            let doubts = rehearse_chain(&links(route, policies), route.on_failure, &about)
                .await
                .map_err(failed)
                .with_context(|| format!("failed to build the route `{name}`"))?;
            for doubt in doubts {
                tracing::warn!(policy = &*doubt.policy, route = &**name, "{doubt}");
            }
        }
        Ok(())
    }

    /// Only policies that a route names are loaded, so that a command can leave
    /// out what it does not need.
    async fn policies(
        &self,
        sandbox: &mut Option<Sandbox>,
    ) -> anyhow::Result<BTreeMap<Arc<str>, Arc<Policy>>> {
        let links = self.settings.routes.values().flat_map(|route| &route.policies);
        let named: BTreeMap<_, _> = links
            .map(|link| (link.policy.clone(), &self.settings.policies[&link.policy]))
            .collect();
        let mut policies = BTreeMap::new();
        for (name, settings) in named {
            let sandbox = match &*sandbox {
                Some(sandbox) => sandbox,
                None => {
                    let (settings, metrics) = (&self.settings.sandbox, self.metrics.clone());
                    let made = Sandbox::new(settings, POLICY_MEMORY_BYTES_MAX, metrics);
                    sandbox.insert(made.map_err(failed)?)
                }
            };
            let running = self.running.and_then(|parts| parts.policies.get(&name));
            let policy = match running {
                Some(running) => sandbox.reload(running, settings).await,
                None => sandbox.load(&name, settings).await,
            };
            let policy = policy.map_err(failed).with_context(|| format!("`policies.{name}`"))?;
            if !running.is_some_and(|running| Arc::ptr_eq(running, &policy)) {
                for note in powerless(&policy) {
                    tracing::warn!(policy = &*name, version = &**policy.version(), "{note}");
                }
            }
            policies.insert(name, policy);
        }
        Ok(policies)
    }

    /// The running model if its settings are what they were.
    async fn model(&self, name: &Arc<str>, settings: &ModelSettings) -> anyhow::Result<Arc<Model>> {
        if let Some(running) = self.running
            && running.settings.models.get(name) == Some(settings)
        {
            return Ok(running.models[name].clone());
        }
        let parts = ModelParts::load(name, settings, self.hub).await?;
        if let Some(note) = shortened(name, settings, parts.length_max) {
            tracing::warn!(model = &**name, "{note}");
        }
        Ok(Model::start(name.clone(), settings, parts, self.metrics).await?)
    }

    fn routes(
        &self,
        policies: &BTreeMap<Arc<str>, Arc<Policy>>,
        models: &BTreeMap<Arc<str>, Arc<Model>>,
    ) -> anyhow::Result<Vec<Route>> {
        let routes = self.settings.routes.iter().map(|(name, settings)| {
            let model = &models[&settings.model];
            self.route(name, settings, policies, model)
                .with_context(|| format!("failed to build the route `{name}`"))
        });
        routes.collect()
    }

    fn route(
        &self,
        name: &Arc<str>,
        settings: &RouteSettings,
        policies: &BTreeMap<Arc<str>, Arc<Policy>>,
        model: &Arc<Model>,
    ) -> anyhow::Result<Route> {
        let links = links(settings, policies);
        let (mut versions, mut chain) = (Vec::new(), Vec::new());
        for Link { policy, params } in &links {
            let params = policy.params(params).map_err(failed)?;
            versions.push(format!("{}@{}", policy.name(), policy.version()));
            chain.push(identity::policy(
                policy.name(),
                policy.version(),
                policy.capabilities(),
                &params,
            ));
        }
        chain.push(identity::model(&model.name(), &self.settings.models[&settings.model]));
        let metrics = self.metrics.clone();
        let stage = Chain::new(links, model.clone(), about(model), settings.on_failure, metrics)
            .map_err(failed)?;
        Ok(Route {
            name: name.clone(),
            model: model.clone(),
            stage: Arc::new(stage),
            policies: versions,
            chain: chain.join(",").into(),
            weight: settings.weight,
            amplification_max: settings.amplification_max,
            bypasses: settings.on_failure == OnFailure::Bypass && !settings.policies.is_empty(),
            filtered: settings.filtered,
            limits: EdgeLimits {
                documents_max: self.settings.server.documents_max,
                queries_at_once: self.settings.server.queries_at_once,
                request_ms_max: self.settings.server.request_ms_max,
            },
            metrics: self.metrics.clone(),
        })
    }

    /// Stops the models that were started for nothing.
    async fn stop_new(&self, models: BTreeMap<Arc<str>, Arc<Model>>) {
        for (name, model) in models {
            let running = self.running.and_then(|parts| parts.models.get(&name));
            if !running.is_some_and(|running| Arc::ptr_eq(running, &model)) {
                model.stop().await;
            }
        }
    }
}

/// What the policies in front of a model may know of it.
fn about(model: &Model) -> ModelInfo {
    ModelInfo {
        name: model.name(),
        tokens_max: model.length_max() as u32,
        precision: model.info().traits.precision.into(),
    }
}

/// A route's chain, its policies and their parameters; outermost first.
pub(super) fn links(
    settings: &RouteSettings,
    policies: &BTreeMap<Arc<str>, Arc<Policy>>,
) -> Vec<Link> {
    let link = |link: &LinkSettings| Link {
        policy: policies[&link.policy].clone(),
        params: link.params.clone(),
    };
    settings.policies.iter().map(link).collect()
}

/// What a policy lacks, by its own manifest.
pub(super) fn powerless(policy: &Policy) -> impl Iterator<Item = String> {
    policy.ungranted().map(|grant| {
        let (name, grant) = (policy.name(), grant.name());
        format!("policy `{name}` asks for `{grant}`, and `policies.{name}.grants` does not have it")
    })
}

/// What becomes of a `length_max` that the model's files do not allow.
pub(super) fn shortened(name: &str, settings: &ModelSettings, allowed: usize) -> Option<String> {
    let asked = settings.length_max.filter(|asked| *asked > allowed)?;
    Some(format!(
        "`models.{name}.length_max` is {asked}, and the model's files allow {allowed} tokens, which is what a pair may have"
    ))
}

pub(super) fn failed(error: PolicyError) -> anyhow::Error {
    anyhow::anyhow!("failed to {error}")
}
