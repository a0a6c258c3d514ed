//! Every metric the server exports, as typed families. Whoever measures holds an
//! `Arc<Metrics>`; `/metrics` renders it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Seconds = Counter<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteStatus {
    pub route: String,
    pub dialect: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteStage {
    pub route: String,
    /// `total`, `tokenize`, `queue`, `inference` or `guest_cpu`.
    pub stage: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Model {
    pub model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Replica {
    pub model: String,
    pub replica: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Policy {
    pub policy: String,
    /// The first twelve digits of the component's sha256.
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyFailure {
    pub policy: String,
    pub version: String,
    /// `trap`, `cpu`, `memory`, `deadline`, `contract`, …
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Caller {
    /// One of the configured names.
    pub caller: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallerOutcome {
    /// One of the configured names.
    pub caller: String,
    /// `answered`, `limited` (by the caller's rate), `overloaded`, `refused`
    /// (its own fault), `failed` or `gone`.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Listener {
    /// `public`; the operators' listener has no certificate.
    pub listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TlsReload {
    /// `replaced`, or `refused` for a broken one.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    pub route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reload {
    /// `replaced`, `unchanged` or `refused`.
    pub outcome: String,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub requests: Family<RouteStatus, Counter>,
    pub request_duration: Family<RouteStage, Histogram>,
    pub requests_in_flight: Gauge,
    pub bypasses: Family<Route, Counter>,
    pub caller_requests: Family<CallerOutcome, Counter>,
    pub caller_pairs: Family<Caller, Counter>,
    pub caller_tokens: Family<Caller, Counter>,
    pub keys_refused: Counter,
    pub connections: Gauge,
    pub connections_refused: Counter,
    pub tls_handshakes_failed: Counter,
    pub tls_reloads: Family<TlsReload, Counter>,
    pub tls_certificate_end: Family<Listener, Gauge>,
    pub queue_pairs: Family<Model, Gauge>,
    pub queue_tokens: Family<Model, Gauge>,
    pub pairs: Family<Model, Counter>,
    pub pairs_shared: Family<Model, Counter>,
    pub pairs_truncated: Family<Model, Counter>,
    pub pairs_expired: Family<Model, Counter>,
    pub pairs_cancelled: Family<Model, Counter>,
    pub batches: Family<Model, Counter>,
    pub batch_pairs: Family<Model, Histogram>,
    pub batch_tokens: Family<Model, Counter>,
    pub batch_padding_tokens: Family<Model, Counter>,
    pub batch_duration: Family<Model, Histogram>,
    pub replica_up: Family<Replica, Gauge>,
    pub replica_busy: Family<Replica, Seconds>,
    pub replica_restarts: Family<Replica, Counter>,
    pub tokenizer_queue: Family<Model, Gauge>,
    pub policy_calls: Family<Policy, Counter>,
    pub policy_failures: Family<PolicyFailure, Counter>,
    pub policy_cpu: Family<Policy, Seconds>,
    pub policy_memory_peak: Family<Policy, Histogram>,
    pub policy_instances: Gauge,
    pub generation: Gauge,
    pub reloads: Family<Reload, Counter>,
    pub reload_refused: Gauge,
    pub reload_success_time: Gauge<f64, AtomicU64>,
}

/// 100 µs to 26 s, doubling.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 19))
}

/// 1 to 4096, doubling.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

/// 64 KiB to 1 GiB, doubling.
fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(65536.0, 2.0, 15))
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut r = Registry::with_prefix("maitred");
        let metrics = Metrics {
            requests: add(
                &mut r,
                "requests",
                "Answered requests by route, dialect and status.",
                Family::default(),
            ),
            request_duration: add_in(
                &mut r,
                "request_duration",
                "Time of a request, whole and by stage.",
                Unit::Seconds,
                Family::new_with_constructor(durations as fn() -> Histogram),
            ),
            requests_in_flight: add(
                &mut r,
                "requests_in_flight",
                "Requests being served.",
                Gauge::default(),
            ),
            bypasses: add(
                &mut r,
                "bypasses",
                "Requests answered without their chain because a policy failed.",
                Family::default(),
            ),
            caller_requests: add(
                &mut r,
                "caller_requests",
                "Requests of a caller by their outcome.",
                Family::default(),
            ),
            caller_pairs: add(
                &mut r,
                "caller_pairs",
                "Pairs that a caller's answered requests had the model score.",
                Family::default(),
            ),
            caller_tokens: add(
                &mut r,
                "caller_tokens",
                "Tokens of those pairs.",
                Family::default(),
            ),
            keys_refused: add(
                &mut r,
                "keys_refused",
                "Requests without a key that somebody holds.",
                Counter::default(),
            ),
            connections: add(
                &mut r,
                "connections",
                "Open connections on the public listener.",
                Gauge::default(),
            ),
            connections_refused: add(
                &mut r,
                "connections_refused",
                "Connections closed for a broken or slow request head.",
                Counter::default(),
            ),
            tls_handshakes_failed: add(
                &mut r,
                "tls_handshakes_failed",
                "Connections closed because their TLS handshake failed or was slow.",
                Counter::default(),
            ),
            tls_reloads: add(
                &mut r,
                "tls_reloads",
                "Changes of the certificate's files by what became of them.",
                Family::default(),
            ),
            tls_certificate_end: add_in(
                &mut r,
                "tls_certificate_end",
                "When the certificate that is shown expires, since 1970.",
                Unit::Seconds,
                Family::default(),
            ),
            queue_pairs: add(
                &mut r,
                "queue_pairs",
                "Pairs that wait for a replica.",
                Family::default(),
            ),
            queue_tokens: add(
                &mut r,
                "queue_tokens",
                "Tokens that wait for a replica.",
                Family::default(),
            ),
            pairs: add(&mut r, "pairs", "Pairs scored.", Family::default()),
            pairs_shared: add(
                &mut r,
                "pairs_shared",
                "Pairs not scored because their request holds an identical one.",
                Family::default(),
            ),
            pairs_truncated: add(
                &mut r,
                "pairs_truncated",
                "Pairs that lost tokens to the model's length limit.",
                Family::default(),
            ),
            pairs_expired: add(
                &mut r,
                "pairs_expired",
                "Pairs that left the queue at their deadline.",
                Family::default(),
            ),
            pairs_cancelled: add(
                &mut r,
                "pairs_cancelled",
                "Pairs that left the queue because their client had gone.",
                Family::default(),
            ),
            batches: add(&mut r, "batches", "Batches scored.", Family::default()),
            batch_pairs: add(
                &mut r,
                "batch_pairs",
                "Pairs of a batch.",
                Family::new_with_constructor(counts as fn() -> Histogram),
            ),
            batch_tokens: add(&mut r, "batch_tokens", "Real tokens scored.", Family::default()),
            batch_padding_tokens: add(
                &mut r,
                "batch_padding_tokens",
                "Padding computed beside real tokens.",
                Family::default(),
            ),
            batch_duration: add_in(
                &mut r,
                "batch_duration",
                "Time of a batch on its replica.",
                Unit::Seconds,
                Family::new_with_constructor(durations as fn() -> Histogram),
            ),
            replica_up: add(
                &mut r,
                "replica_up",
                "1 while the replica can score.",
                Family::default(),
            ),
            replica_busy: add_in(
                &mut r,
                "replica_busy",
                "Time the replica spent scoring.",
                Unit::Seconds,
                Family::default(),
            ),
            replica_restarts: add(
                &mut r,
                "replica_restarts",
                "Restarts after a failure.",
                Family::default(),
            ),
            tokenizer_queue: add(
                &mut r,
                "tokenizer_queue",
                "Pieces of work that wait for a tokenizer thread.",
                Family::default(),
            ),
            policy_calls: add(&mut r, "policy_calls", "Calls of a policy.", Family::default()),
            policy_failures: add(
                &mut r,
                "policy_failures",
                "Calls that ended in a trap, at a limit or in a broken contract.",
                Family::default(),
            ),
            policy_cpu: add_in(
                &mut r,
                "policy_cpu",
                "CPU time of a policy's guests.",
                Unit::Seconds,
                Family::default(),
            ),
            policy_memory_peak: add_in(
                &mut r,
                "policy_memory_peak",
                "Largest memory of a call.",
                Unit::Bytes,
                Family::new_with_constructor(bytes as fn() -> Histogram),
            ),
            policy_instances: add(
                &mut r,
                "policy_instances",
                "Guest instances alive.",
                Gauge::default(),
            ),
            generation: add(
                &mut r,
                "generation",
                "How many configurations the process has served, the present one included.",
                Gauge::default(),
            ),
            reloads: add(
                &mut r,
                "reloads",
                "Reloads by outcome: replaced, unchanged or refused.",
                Family::default(),
            ),
            reload_refused: add(
                &mut r,
                "reload_refused",
                "1 while what is configured is not served, because the last reload was refused.",
                Gauge::default(),
            ),
            reload_success_time: add_in(
                &mut r,
                "reload_success_time",
                "When the server last found that it serves what is configured, since 1970.",
                Unit::Seconds,
                Gauge::default(),
            ),
            registry: Registry::default(),
        };
        Arc::new(Metrics { registry: r, ..metrics })
    }

    /// The text that a Prometheus server scrapes (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }
}

fn add<M>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
    metric
}

fn add_in<M>(registry: &mut Registry, name: &str, help: &str, unit: Unit, metric: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}
