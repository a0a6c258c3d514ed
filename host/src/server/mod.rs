//! The composition root: builds the parts from settings, listens, runs until it
//! is told to stop, drains. It decides nothing that a part could.
//!
//! [`Stack`] is what is built and rebuilt, `reload` when that happens, `watch`
//! which files have changed, `identity` how what was built is named; `examine`
//! tries what a start would need.

mod examine;
mod identity;
mod reload;
mod stack;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::examine::{Findings, examine};
pub use self::reload::Source;
use self::reload::{Beginning, Hangups};
pub use self::stack::{Change, Stack};
use crate::checkpoint::Hub;
use crate::config::TlsSettings;
use crate::http::{self, App, Listeners, Tls};
use crate::telemetry;

/// After the grace, when nobody waits for an answer any more: how long threads may
/// take to end. One that hangs in its engine never does.
const THREADS_MS_MAX: Duration = Duration::from_secs(5);

/// Serves what `source` says until ctrl-c or SIGTERM, then drains.
pub async fn run(source: Source, hub: &Hub) -> anyhow::Result<()> {
    let (beginning, settings) = Beginning::of(source).await?;
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
    let mut stop = Box::pin(stop_signal().context("failed to listen for signals")?);
    let hangups = Hangups::listen().context("failed to listen for signals")?;
    // A start may fetch gigabytes; nobody should have to wait for that to stop it.
    let stack = tokio::select! {
        biased;
        () = &mut stop => return Ok(()),
        stack = Stack::start(&settings, hub) => stack?,
    };
    announce(&stack, &listeners)?;
    let (tracer, exporting) = telemetry::start(&settings.telemetry, stack.metrics())
        .map_err(|error| anyhow::anyhow!("failed to {error}"))?;
    let app = App::traced(stack.serving(None), server.clone(), stack.metrics().clone(), tracer);
    let (end, ended) = oneshot::channel();
    let follow = reload::follow(stack, app.clone(), beginning, hangups, ended);
    // A task of its own: loading must not keep connections from being accepted.
    let following = tokio::spawn(follow);
    let mut grace_ends = None;
    let stop = async {
        stop.await;
        grace_ends = Some(Instant::now() + server.drain_wait_ms + server.drain_ms_max);
        drop(end);
    };
    let drained = http::serve(listeners, app, stop).await;
    exporting.stop(grace_ends.unwrap_or_else(Instant::now)).await;
    let stack = following.await.context("the task that reloads failed")?;
    if tokio::time::timeout(THREADS_MS_MAX, stack.stop()).await.is_err() {
        tracing::warn!(
            "threads of a model did not end within {} ms and are left behind",
            THREADS_MS_MAX.as_millis()
        );
    }
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
    for model in stack.models() {
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
    announce_routes(stack);
    let public = listeners.public.local_addr()?;
    let operations = listeners.operations.local_addr()?;
    let scheme = if listeners.tls.is_some() { "https" } else { "http" };
    let callers = !stack.settings().callers.is_empty();
    if scheme == "http" && callers && !public.ip().is_loopback() {
        tracing::warn!(
            "callers' keys come in clear over http://{public}; set `server.tls`, unless a proxy in front ends TLS"
        );
    }
    tracing::info!("clients: {scheme}://{public} (/rerank, /v1/rerank, /v2/rerank, /info)");
    tracing::info!("operators: http://{operations} (/ in a browser, /metrics, /health, /ready)");
    Ok(())
}

fn announce_routes(stack: &Stack) {
    for route in stack.routes().iter() {
        tracing::info!("route `{}`: {}", route.name, route.chain.replace(',', " > "));
    }
}
