//! What the page's tables show: models with their replicas, routes, policies.
//! Pure, like `sample`; the same figures, but of the last seconds and in parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::failures::Failure;
use super::sample::{BatchShape, Latency, Outcomes, Point, Stages, Stretch};
use super::scene::{ModelScene, RouteScene};

#[derive(Debug, Serialize)]
pub struct View {
    pub version: &'static str,
    pub generation: u64,
    pub draining: bool,
    /// Whether clients need a key.
    pub callers: bool,
    /// Whether every model can score, and the server does not stop.
    pub ready: bool,
    /// Seconds since the server began to serve.
    pub up_s: u64,
    /// Seconds that the figures here are of.
    pub window_s: f64,
    pub all: Point,
    pub connections: Option<f64>,
    pub policy_instances: Option<f64>,
    pub models: Vec<ModelView>,
    pub routes: Vec<RouteView>,
    pub policies: Vec<PolicyView>,
    /// Latest first.
    pub failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
pub struct ModelView {
    pub name: Arc<str>,
    pub source: Arc<str>,
    pub precision: &'static str,
    pub pairs: Option<f64>,
    pub tokens: Option<f64>,
    pub queue_pairs: Option<f64>,
    pub batch: BatchShape,
    /// Mean time of a batch.
    pub batch_ms: Option<f64>,
    pub replicas: Vec<ReplicaView>,
}

#[derive(Debug, Serialize)]
pub struct ReplicaView {
    /// `starting`, `idle`, `busy` or `failed`.
    pub state: &'static str,
    /// Share of its time that it spent scoring.
    pub busy: Option<f64>,
    /// In the window, so that one which takes less than a second is seen.
    pub restarts: Option<f64>,
    /// Since the server began.
    pub restarts_ever: u64,
}

#[derive(Debug, Serialize)]
pub struct RouteView {
    pub name: Arc<str>,
    pub default: bool,
    pub model: Arc<str>,
    pub policies: Vec<String>,
    pub requests: Outcomes,
    pub latency: Latency,
    pub stages: Stages,
    /// Answers of the plain model for a chain that failed; `None` where the route
    /// has no such rule.
    pub bypasses_ever: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct PolicyView {
    pub name: String,
    /// The first twelve digits of the component's sha256.
    pub version: String,
    pub calls: Option<f64>,
    /// CPU time of a call, as a mean.
    pub cpu_ms: Option<f64>,
    /// Below this is the largest memory of nineteen calls in twenty.
    pub memory_bytes_p95: Option<f64>,
    pub calls_ever: u64,
    /// Since the server began, by reason; reasons without any are left out.
    pub failures_ever: BTreeMap<String, u64>,
}

impl View {
    /// Of what happened in the stretch; the rest is as it is at its end.
    pub fn of(stretch: &Stretch<'_>, up_s: u64, failures: Vec<Failure>) -> View {
        let (reading, scene) = (&stretch.after.reading, &stretch.after.scene);
        let mut policies: Vec<&str> =
            scene.routes.iter().flat_map(|route| &route.policies).map(String::as_str).collect();
        policies.sort_unstable();
        policies.dedup();
        View {
            version: env!("CARGO_PKG_VERSION"),
            generation: scene.generation,
            draining: scene.draining,
            callers: scene.callers,
            ready: !scene.draining && scene.models.values().all(|model| model.ready),
            up_s,
            window_s: stretch.time().as_secs_f64(),
            all: stretch.point(),
            connections: reading.sum("maitred_connections", &[]),
            policy_instances: reading.sum("maitred_policy_instances", &[]),
            models: (scene.models.iter())
                .map(|(name, scene)| model(stretch, name, scene))
                .collect(),
            routes: (scene.routes.iter())
                .map(|scene| route(stretch, scene, &stretch.after.scene.default_route))
                .collect(),
            policies: policies.into_iter().map(|named| policy(stretch, named)).collect(),
            failures,
        }
    }
}

fn model(stretch: &Stretch<'_>, name: &Arc<str>, scene: &ModelScene) -> ModelView {
    let labels = [("model", &**name)];
    let replica = |(place, &state): (usize, &&'static str)| {
        let place = place.to_string();
        let labels = [("model", &**name), ("replica", &*place)];
        ReplicaView {
            state,
            busy: stretch.rate("maitred_replica_busy_seconds", &labels).map(|share| share.min(1.0)),
            restarts: stretch.grown("maitred_replica_restarts", &labels),
            restarts_ever: stretch.after.reading.counter("maitred_replica_restarts", &labels)
                as u64,
        }
    };
    let took = stretch.distribution("maitred_batch_duration_seconds", &labels);
    ModelView {
        name: name.clone(),
        source: scene.source.clone(),
        precision: scene.precision,
        pairs: stretch.rate("maitred_pairs", &labels),
        tokens: stretch.rate("maitred_batch_tokens", &labels),
        queue_pairs: stretch.after.reading.sum("maitred_queue_pairs", &labels),
        batch: stretch.batch(Some(name)),
        batch_ms: took.mean().map(|seconds| seconds * 1e3),
        replicas: scene.replicas.iter().enumerate().map(replica).collect(),
    }
}

fn route(stretch: &Stretch<'_>, scene: &RouteScene, default: &str) -> RouteView {
    let labels = [("route", &*scene.name)];
    let bypasses = || stretch.after.reading.counter("maitred_bypasses", &labels) as u64;
    RouteView {
        name: scene.name.clone(),
        default: *scene.name == *default,
        model: scene.model.clone(),
        policies: scene.policies.clone(),
        requests: stretch.outcomes(&labels),
        latency: stretch.latency(&labels),
        stages: stretch.stages(&labels),
        bypasses_ever: scene.bypasses.then(bypasses),
    }
}

/// A policy is named `name@version`.
fn policy(stretch: &Stretch<'_>, named: &str) -> PolicyView {
    let (name, version) = named.split_once('@').unwrap_or((named, ""));
    let labels = [("policy", name), ("version", version)];
    let (calls, cpu) = (
        stretch.grown("maitred_policy_calls", &labels),
        stretch.grown("maitred_policy_cpu_seconds", &labels),
    );
    let cpu_ms = calls.zip(cpu).and_then(|(calls, cpu)| (calls > 0.0).then(|| cpu * 1e3 / calls));
    let memory = stretch.distribution("maitred_policy_memory_peak_bytes", &labels);
    let failures = stretch.after.reading.counters_by("maitred_policy_failures", "reason", &labels);
    let failures = failures.into_iter().map(|(reason, count)| (reason, count as u64));
    PolicyView {
        calls: stretch.rate("maitred_policy_calls", &labels),
        cpu_ms,
        memory_bytes_p95: memory.quantile(0.95),
        calls_ever: stretch.after.reading.counter("maitred_policy_calls", &labels) as u64,
        failures_ever: failures.filter(|(_, count)| *count > 0).collect(),
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::tests::moment;
    use super::*;
    use crate::metrics::{self, Metrics};

    /// The metrics are the server's own, so that one which is renamed is missed.
    #[test]
    fn tables_show_parts_of_the_same_figures() {
        let (metrics, began) = (Metrics::new(), Instant::now());
        let model = metrics::Model { model: "m".into() };
        let replica = |replica| metrics::Replica { model: "m".into(), replica };
        let dedupe = metrics::Policy { policy: "dedupe".into(), version: "0123456789ab".into() };
        let failed = |reason: &str| metrics::PolicyFailure {
            policy: "dedupe".into(),
            version: "0123456789ab".into(),
            reason: reason.into(),
        };
        let before = moment(&metrics, began, Duration::from_secs(10), &["idle", "idle"]);
        let answered =
            metrics::RouteStatus { route: "r".into(), dialect: "tei".into(), status: 200 };
        metrics.requests.get_or_create(&answered).inc_by(4);
        metrics.replica_busy.get_or_create(&replica(0)).inc_by(1.0);
        metrics.replica_restarts.get_or_create(&replica(1)).inc();
        metrics.batch_duration.get_or_create(&model).observe(0.002);
        metrics.policy_calls.get_or_create(&dedupe).inc_by(4);
        metrics.policy_cpu.get_or_create(&dedupe).inc_by(0.002);
        metrics.policy_memory_peak.get_or_create(&dedupe).observe(100_000.0);
        metrics.policy_failures.get_or_create(&failed("trap")).inc();
        metrics.policy_failures.get_or_create(&failed("cpu")).inc_by(0);
        let route = metrics::Route { route: "r".into() };
        metrics.bypasses.get_or_create(&route).inc();
        let mut after = moment(&metrics, began, Duration::from_secs(12), &["busy", "failed"]);
        let routes = [("r", true), ("s", false)].map(|(name, bypasses)| RouteScene {
            name: name.into(),
            model: "m".into(),
            policies: vec!["dedupe@0123456789ab".into()],
            bypasses,
        });
        after.scene.routes = routes.into();

        let view = View::of(&Stretch { before: &before, after: &after }, 7, Vec::new());
        assert!(view.ready && !view.draining);
        assert_eq!((view.up_s, view.window_s), (7, 2.0));
        let [model] = &view.models[..] else { panic!("{view:?}") };
        assert_eq!(model.batch_ms, Some(2.0));
        let states: Vec<_> =
            model.replicas.iter().map(|replica| (replica.state, replica.busy)).collect();
        assert_eq!(states, [("busy", Some(0.5)), ("failed", Some(0.0))]);
        assert_eq!(model.replicas[1].restarts, Some(1.0));
        let [r, s] = &view.routes[..] else { panic!("{view:?}") };
        assert_eq!((r.requests.answered, r.default, r.bypasses_ever), (Some(2.0), true, Some(1)));
        assert_eq!((s.requests.answered, s.default, s.bypasses_ever), (Some(0.0), false, None));
        let [dedupe] = &view.policies[..] else { panic!("{view:?}") };
        assert_eq!((&*dedupe.name, &*dedupe.version), ("dedupe", "0123456789ab"));
        assert_eq!((dedupe.calls, dedupe.cpu_ms, dedupe.calls_ever), (Some(2.0), Some(0.5), 4));
        assert_eq!(dedupe.failures_ever, BTreeMap::from([("trap".into(), 1)]));
        assert!(dedupe.memory_bytes_p95.is_some_and(|bytes| (65536.0..131072.0).contains(&bytes)));
        serde_json::to_string(&view).unwrap();
    }
}
