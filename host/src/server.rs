//! The composition root: builds the parts from settings, listens, runs until it
//! is told to stop, drains. It decides nothing that a part could.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::callers::Callers;
use crate::checkpoint::{self, Hub};
use crate::config::{
    CallerSettings, ModelSettings, OnFailure, RouteSettings, Settings, TlsSettings,
};
use crate::engine;
use crate::http::{self, App, Listeners, Serving, Tls};
use crate::metrics::Metrics;
use crate::model::{Model, ModelParts};
use crate::policy::{Chain, Link, ModelInfo, Policy, Sandbox};
use crate::route::{EdgeLimits, Route, Routes};

/// Models, policies and the routes over them: everything but the listeners.
pub struct Stack {
    routes: Arc<Routes>,
    callers: BTreeMap<Arc<str>, CallerSettings>,
    models: BTreeMap<Arc<str>, Arc<Model>>,
    metrics: Arc<Metrics>,
}

impl Stack {
    /// Loads and warms up everything; when it returns, requests can be served.
    pub async fn start(settings: &Settings, hub: &Hub) -> anyhow::Result<Stack> {
        let metrics = Metrics::new();
        // Policies first: a broken one should not wait for weights to load.
        let policies = load_policies(settings, &metrics).await?;
        let mut models = BTreeMap::new();
        for (name, model) in &settings.models {
            let route_weights = (settings.routes.iter())
                .map(|(name, route)| (name.clone(), route.weight))
                .collect();
            let model = start_model(name, model, route_weights, (hub, &metrics))
                .await
                .with_context(|| format!("failed to start the model `{name}`"))?;
            models.insert(name.clone(), model);
        }
        let limits = EdgeLimits {
            documents_max: settings.server.documents_max,
            queries_at_once: settings.server.queries_at_once,
            request_ms_max: settings.server.request_ms_max,
        };
        let mut routes = Vec::new();
        for (name, route) in &settings.routes {
            let parts =
                RouteParts { policies: &policies, models: &models, limits, metrics: &metrics };
            let route = build_route(name, route, parts)
                .with_context(|| format!("failed to build the route `{name}`"))?;
            routes.push(route);
        }
        let routes = Arc::new(Routes::new(routes, settings.default_route.clone()));
        Ok(Stack { routes, callers: settings.callers.clone(), models, metrics })
    }

    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// What clients are offered.
    pub fn serving(&self) -> Serving {
        Serving::new(self.routes.clone(), Callers::new(&self.callers, None))
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Finishes what is queued and joins every thread.
    pub async fn stop(self) {
        for model in self.models.into_values() {
            model.stop().await;
        }
    }
}

/// Only policies that a route names are loaded, so that a command can leave out
/// what it does not need.
async fn load_policies(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<BTreeMap<Arc<str>, Arc<Policy>>> {
    let links = settings.routes.values().flat_map(|route| &route.policies);
    let named: BTreeMap<_, _> =
        links.map(|link| (link.policy.clone(), &settings.policies[&link.policy])).collect();
    let Some(memory_bytes_max) = named.values().map(|policy| policy.limits.memory_bytes_max).max()
    else {
        return Ok(BTreeMap::new());
    };
    let sandbox = Sandbox::new(&settings.sandbox, memory_bytes_max, metrics.clone())
        .map_err(|error| anyhow::anyhow!("failed to {error}"))?;
    let mut policies = BTreeMap::new();
    for (name, policy) in named {
        let policy = sandbox
            .load(&name, policy)
            .await
            .map_err(|error| anyhow::anyhow!("failed to {error}"))?;
        policies.insert(name, policy);
    }
    Ok(policies)
}

async fn start_model(
    name: &Arc<str>,
    settings: &ModelSettings,
    route_weights: BTreeMap<Arc<str>, u32>,
    (hub, metrics): (&Hub, &Metrics),
) -> anyhow::Result<Arc<Model>> {
    let checkpoint = checkpoint::locate(&settings.source, hub).await?;
    if let Some(warning) = &checkpoint.warning {
        tracing::warn!(model = &**name, "{warning}");
    }
    let parts = ModelParts {
        source: settings.source.as_str().into(),
        tokenizer: checkpoint.tokenizer.clone(),
        token_types: checkpoint.config.type_vocab > 1,
        length_max: checkpoint.config.length_max,
        factory: engine::factory(&checkpoint, settings)?,
        route_weights,
    };
    Ok(Model::start(name.clone(), settings, parts, metrics).await?)
}

/// What routes are built over.
struct RouteParts<'a> {
    policies: &'a BTreeMap<Arc<str>, Arc<Policy>>,
    models: &'a BTreeMap<Arc<str>, Arc<Model>>,
    limits: EdgeLimits,
    metrics: &'a Arc<Metrics>,
}

fn build_route(
    name: &Arc<str>,
    settings: &RouteSettings,
    parts: RouteParts<'_>,
) -> anyhow::Result<Route> {
    let model = &parts.models[&settings.model];
    let links: Vec<Link> = settings
        .policies
        .iter()
        .map(|link| Link {
            policy: parts.policies[&link.policy].clone(),
            params: link.params.clone(),
        })
        .collect();
    let versions = links
        .iter()
        .map(|link| format!("{}@{}", link.policy.name(), link.policy.version()))
        .collect();
    let about = ModelInfo { name: model.name(), tokens_max: model.length_max() as u32 };
    let chain = Chain::new(links, model.clone(), about, settings.on_failure, parts.metrics.clone())
        .map_err(|error| anyhow::anyhow!("failed to {error}"))?;
    Ok(Route {
        name: name.clone(),
        model: model.clone(),
        stage: Arc::new(chain),
        policies: versions,
        // A bypass asks the model once more, after the chain may have used its share.
        amplification_max: settings.amplification_max
            + u64::from(settings.on_failure == OnFailure::Bypass),
        filtered: settings.filtered,
        limits: parts.limits,
        metrics: parts.metrics.clone(),
    })
}

/// Serves until ctrl-c or SIGTERM, then drains.
pub async fn run(settings: Settings, hub: &Hub) -> anyhow::Result<()> {
    // Listening comes first: a port that is taken should not wait for weights
    // to load, and early clients wait in the kernel's queue.
    let server = &settings.server;
    let listeners = Listeners {
        public: listen("server.listen", server.listen).await?,
        operations: listen("server.ops_listen", server.ops_listen).await?,
        tls: match &server.tls {
            Some(tls) => Some(load_tls(tls).await?),
            None => None,
        },
    };
    let stop = stop_signal().context("failed to listen for signals")?;
    let stack = Stack::start(&settings, hub).await?;
    announce(&stack, &listeners)?;
    let app = App::new(stack.serving(), server.clone(), stack.metrics.clone());
    let drained = http::serve(listeners, app, stop).await;
    stack.stop().await;
    if drained.requests_cut > 0 {
        let grace_ms = settings.server.drain_ms_max.as_millis();
        anyhow::bail!(
            "{} requests were cut off after the grace of {grace_ms} ms",
            drained.requests_cut
        );
    }
    tracing::info!("drained and stopped");
    Ok(())
}

async fn load_tls(settings: &TlsSettings) -> anyhow::Result<Tls> {
    Tls::load(settings).await.map_err(|error| anyhow::anyhow!("failed to {error}"))
}

async fn listen(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address} (`{key}`)"))
}

/// Resolves at ctrl-c or SIGTERM. The handlers stand when it returns, so that a
/// signal during start-up is not lost.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "ctrl-c",
                _ = terminate.recv() => "SIGTERM",
            };
            tracing::info!("{name}: finishing what was admitted");
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// What is served and where, in a few lines.
fn announce(stack: &Stack, listeners: &Listeners) -> anyhow::Result<()> {
    for model in stack.models.values() {
        let info = model.info();
        tracing::info!(
            "model `{}` is {} ({}, up to {} tokens, {} replicas)",
            info.name,
            info.source,
            info.traits.precision,
            info.traits.length_max,
            info.replicas.len(),
        );
    }
    for route in stack.routes.iter() {
        let stages: Vec<&str> = route.policies.iter().map(String::as_str).collect();
        let chain = [&stages[..], &[&*route.model.name()]].concat().join(" > ");
        tracing::info!("route `{}`: {chain}", route.name);
    }
    let public = listeners.public.local_addr()?;
    let operations = listeners.operations.local_addr()?;
    let scheme = if listeners.tls.is_some() { "https" } else { "http" };
    if scheme == "http" && !stack.callers.is_empty() && !public.ip().is_loopback() {
        tracing::warn!(
            "callers' keys come in clear over http://{public}; set `server.tls`, unless a proxy in front ends TLS"
        );
    }
    tracing::info!("clients: {scheme}://{public} (/rerank, /v1/rerank, /v2/rerank, /info)");
    tracing::info!("operators: http://{operations} (/metrics, /health, /ready)");
    Ok(())
}
