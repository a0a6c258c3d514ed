//! A new configuration while the server runs: taken up whole, or refused whole
//! with its reason while the old one keeps serving.
//!
//! SIGHUP asks for it, and, unless `server.reload` says otherwise, a change of
//! the configuration file or of a policy's component or manifest. Routes,
//! policies, callers, models and weights can change. The listeners, their limits and the
//! sandbox's pool are made once; a configuration that changes one of them is
//! refused with the list of what needs a restart, since half of a configuration
//! is one that nobody wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::bail;
use tokio::sync::oneshot;

use super::stack::{Change, Stack};
use super::watch::Watch;
use crate::config::{Raw, ReloadOn, Settings, fixed_differences};
use crate::http::App;
use crate::metrics::{self, Metrics};

/// Where the configuration is read, each time it is asked for: the file, then
/// the environment and flags that the process was started with.
pub struct Source {
    /// `None` if everything comes from flags and defaults.
    pub file: Option<PathBuf>,
    pub read: Box<dyn Fn() -> anyhow::Result<(Raw, Settings)> + Send + Sync>,
}

/// What there is to follow, from before anything was built of it: a change that comes
/// while the server starts is one, too.
pub struct Beginning {
    source: Source,
    raw: Raw,
    watch: Watch,
}

impl Beginning {
    /// Reads what is configured, as `source` has it now.
    pub async fn of(source: Source) -> anyhow::Result<(Beginning, Settings)> {
        let mut watch = Watch::default();
        let (raw, settings) = watched(&source, &mut watch).await?;
        Ok((Beginning { source, raw, watch }, settings))
    }
}

/// Reads what is configured. Every file is watched as it is before it is read, also
/// those that are named for the first time: if one is missing or broken, its repair
/// is a reason to try again.
async fn watched(source: &Source, watch: &mut Watch) -> anyhow::Result<(Raw, Settings)> {
    watch.also(source.file.clone()).await;
    let (raw, settings) = (source.read)()?;
    watch.also(files(source, &settings)).await;
    Ok((raw, settings))
}

/// Serves what is configured until `end` is dropped, and gives the stack back.
pub async fn follow(
    stack: Stack,
    app: Arc<App>,
    Beginning { source, raw, watch }: Beginning,
    mut hangups: Hangups,
    mut end: oneshot::Receiver<()>,
) -> Stack {
    let server = &stack.settings().server;
    let (on, poll) = (server.reload, server.reload_poll_ms);
    succeeded(&app.metrics);
    let mut reload = Reload { source, raw, stack, app, watch };
    loop {
        let attempt = async {
            let why = tokio::select! {
                () = hangups.next() => "SIGHUP".to_owned(),
                changed = reload.watch.changed(poll), if on == ReloadOn::Auto => named(&changed),
            };
            match on {
                ReloadOn::Off => tracing::warn!("{why} is ignored: `server.reload` is \"off\""),
                _ => reload.attempt(&why).await,
            }
        };
        // What was begun and not finished serves nobody; whatever it started
        // ends with it.
        tokio::select! {
            biased;
            _ = &mut end => return reload.stack,
            () = attempt => {}
        }
    }
}

struct Reload {
    source: Source,
    /// What is in force, as it was written.
    raw: Raw,
    stack: Stack,
    app: Arc<App>,
    watch: Watch,
}

impl Reload {
    async fn attempt(&mut self, why: &str) {
        tracing::info!("reloading: {why}");
        let outcome = match self.exchange().await {
            Ok(Change::Replaced) => {
                let generation = self.stack.generation();
                tracing::info!(generation, "reloaded");
                super::announce_routes(&self.stack);
                "replaced"
            }
            Ok(Change::Unchanged) => {
                tracing::info!("nothing has changed");
                "unchanged"
            }
            Err(error) => {
                let generation = self.stack.generation();
                tracing::error!(
                    generation,
                    "the new configuration is refused, and the old one keeps serving: {error:#}"
                );
                "refused"
            }
        };
        let metrics = &self.app.metrics;
        let label = metrics::Reload { outcome: outcome.into() };
        metrics.reloads.get_or_create(&label).inc();
        match outcome {
            "refused" => _ = metrics.reload_refused.set(1),
            _ => succeeded(metrics),
        }
    }

    async fn exchange(&mut self) -> anyhow::Result<Change> {
        self.watch.only(files(&self.source, self.stack.settings())).await;
        let (raw, settings) = watched(&self.source, &mut self.watch).await?;
        let fixed = fixed_differences(&self.raw, &raw);
        if !fixed.is_empty() {
            bail!("only a restart can change {}", fixed.join(", "));
        }
        let change = self.stack.change(&settings).await?;
        if change == Change::Replaced {
            let serving = self.stack.serving(Some(self.app.serving().callers()));
            self.app.replace(serving);
        }
        self.raw = raw;
        self.watch.keep(files(&self.source, self.stack.settings()));
        Ok(change)
    }
}

/// What settings are made of, and the parts that they name.
fn files(source: &Source, settings: &Settings) -> BTreeSet<PathBuf> {
    let components = settings.policies.values().map(|policy| policy.component.clone());
    let files = components.flat_map(|path| [path.with_extension("toml"), path]);
    files.chain(source.file.clone()).collect()
}

fn succeeded(metrics: &Metrics) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    metrics.reload_success_time.set(now.unwrap_or_default().as_secs_f64());
    metrics.reload_refused.set(0);
}

fn named(changed: &[PathBuf]) -> String {
    let names: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
    format!("{} changed", names.join(", "))
}

/// SIGHUP, where there is such a thing.
pub struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl Hangups {
    /// The handler stands when it returns: before, the signal ends the process.
    pub fn listen() -> std::io::Result<Hangups> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Hangups { signals: signal(SignalKind::hangup())? })
        }
        #[cfg(not(unix))]
        Ok(Hangups {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::time::Duration;

    use super::*;
    use crate::config::check;

    /// Whatever was read of it before, and long before anything was built.
    #[tokio::test]
    async fn a_change_while_the_server_starts_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, component) = (folder.path().join("maitred.toml"), folder.path().join("p.wasm"));
        write(&file, format!("[policies.p]\ncomponent = {component:?}\n[models.m]\nsource = 'm'"))
            .unwrap();
        let read = {
            let file = file.clone();
            move || {
                let mut raw = Raw::read(&file)?;
                let settings = check(&mut raw)?;
                write(&file, "as it is when everything was read")?;
                Ok((raw, settings))
            }
        };
        let source = Source { file: Some(file.clone()), read: Box::new(read) };
        let (mut beginning, settings) = Beginning::of(source).await.unwrap();
        assert_eq!(settings.policies["p"].component, component);
        assert_eq!(beginning.watch.changed(Duration::from_millis(1)).await, [file]);
        write(&component, "a first one").unwrap();
        assert_eq!(beginning.watch.changed(Duration::from_millis(1)).await, [component]);
    }
}
