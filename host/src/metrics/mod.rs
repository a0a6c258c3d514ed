//! Every metric the server exports, as typed families. Whoever measures holds an
//! `Arc<Metrics>`; `/metrics` renders it.
//!
//! What stands above a family here is its text in `/metrics` and in the table
//! `docs/metrics.md` (`about`); its labels are in `labels`. `age` and `machine`
//! are read when somebody looks; `reading` is how the text is read back.

mod about;
mod age;
mod labels;
mod machine;
pub mod reading;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use self::about::About;
use self::about::Described;
pub use self::age::Age;
pub use self::labels::*;
use self::machine::Machine;

type Seconds = Counter<f64, AtomicU64>;
/// A point in time, as seconds since 1970.
type Moment = Gauge<f64, AtomicU64>;

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

/// Declares [`Metrics`]: each family by its name, its type, the unit that becomes
/// part of its name, and the buckets of a histogram.
macro_rules! families {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ty $(, in $unit:ident)? $(, of $buckets:ident)?;)+) => {
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            machine: Arc<Machine>,
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        impl Metrics {
            pub fn new() -> Arc<Self> {
                let (mut registry, machine) = (Registry::default(), Arc::new(Machine::new()));
                registry.register_collector(Box::new(machine.clone()));
                let ours = registry.sub_registry_with_prefix("maitred");
                $(
                    let $name: $type = made!($($buckets)?);
                    let help = sentence(concat!($($help),+));
                    match unit!($($unit)?) {
                        Some(unit) => {
                            ours.register_with_unit(stringify!($name), help, unit, $name.clone());
                        }
                        None => ours.register(stringify!($name), help, $name.clone()),
                    }
                )+
                Arc::new(Metrics { registry, machine, $($name),+ })
            }

            /// What every family is, in the order of the table.
            pub fn families() -> Vec<About> {
                let ours = [$(
                    <$type>::about(
                        stringify!($name),
                        unit!($($unit)?).as_ref(),
                        sentence(concat!($($help),+)),
                    ),
                )+];
                ours.into_iter().chain(Machine::about()).collect()
            }
        }
    };
}

macro_rules! made {
    () => {
        Default::default()
    };
    ($buckets:ident) => {
        Family::new_with_constructor($buckets as fn() -> Histogram)
    };
}

macro_rules! unit {
    () => {
        None::<Unit>
    };
    ($unit:ident) => {
        Some(Unit::$unit)
    };
}

/// A comment's text without its last stop, which the registry adds.
fn sentence(comment: &'static str) -> &'static str {
    comment.trim().trim_end_matches('.')
}

families! {
    /// Requests by route, dialect and status.
    requests: Family<RouteStatus, Counter>;
    /// Requests that got no ranking, by what was wrong.
    errors: Family<RouteError, Counter>;
    /// Requests, or calls of a chain, that were refused because something was full.
    shed: Family<RouteShed, Counter>;
    /// Time of an answered request, whole and by stage.
    request_duration: Family<RouteStage, Histogram>, in Seconds, of durations;
    /// Requests being served.
    requests_in_flight: Gauge;
    /// Requests answered without their chain because a policy failed.
    bypasses: Family<Route, Counter>;
    /// Requests of a caller by their outcome.
    caller_requests: Family<CallerOutcome, Counter>;
    /// Pairs that a caller's answered requests had the model score.
    caller_pairs: Family<Caller, Counter>;
    /// Tokens of those pairs.
    caller_tokens: Family<Caller, Counter>;
    /// Requests without a key that somebody holds.
    keys_refused: Counter;
    /// Open connections on the public listener.
    connections: Gauge;
    /// Connections closed for a broken or slow request head.
    connections_refused: Counter;
    /// Connections closed because their TLS handshake failed or was slow.
    tls_handshakes_failed: Counter;
    /// Changes of the certificate's files by what became of them.
    tls_reloads: Family<TlsReload, Counter>;
    /// When the certificate that is shown expires, since 1970.
    tls_certificate_end: Family<Listener, Gauge>, in Seconds;
    /// Pieces of work that wait for a tokenizer thread.
    tokenizer_queue: Family<Model, Gauge>;
    /// Tokenizer threads.
    tokenizer_threads: Family<Model, Gauge>;
    /// Time that tokenizer threads spent tokenizing.
    tokenizer_busy: Family<Model, Seconds>, in Seconds;
    /// Pairs that wait for a replica.
    queue_pairs: Family<Model, Gauge>;
    /// Tokens that wait for a replica.
    queue_tokens: Family<Model, Gauge>;
    /// How long the pair has waited that came first; 0 while none waits.
    queue_age: Family<Model, Age>, in Seconds;
    /// Pairs scored.
    pairs: Family<Model, Counter>;
    /// Pairs not scored because their request holds an identical one.
    pairs_shared: Family<Model, Counter>;
    /// Pairs that lost tokens to a limit: the model's, the client's, or that of a text's bytes.
    pairs_truncated: Family<Model, Counter>;
    /// Pairs that left the queue at their deadline.
    pairs_expired: Family<Model, Counter>;
    /// Pairs that left the queue because their client had gone.
    pairs_cancelled: Family<Model, Counter>;
    /// Batches scored.
    batches: Family<Model, Counter>;
    /// Pairs of a batch.
    batch_pairs: Family<Model, Histogram>, of counts;
    /// Real tokens scored.
    batch_tokens: Family<Model, Counter>;
    /// Padding computed beside real tokens.
    batch_padding_tokens: Family<Model, Counter>;
    /// Time of a batch on its replica.
    batch_duration: Family<Model, Histogram>, in Seconds, of durations;
    /// 1 while the replica can score.
    replica_up: Family<Replica, Gauge>;
    /// 1 for what the replica is doing, 0 for what it has done before.
    replica_state: Family<ReplicaState, Gauge>;
    /// Time the replica spent scoring.
    replica_busy: Family<Replica, Seconds>, in Seconds;
    /// Restarts after a failure.
    replica_restarts: Family<Replica, Counter>;
    /// Calls of a policy.
    policy_calls: Family<Policy, Counter>;
    /// Calls that ended in a trap, at a limit or in a broken contract.
    policy_failures: Family<PolicyFailure, Counter>;
    /// CPU time of a policy's guests.
    policy_cpu: Family<Policy, Seconds>, in Seconds;
    /// Largest memory of a call.
    policy_memory_peak: Family<Policy, Histogram>, in Bytes, of bytes;
    /// Guest instances alive.
    policy_instances: Gauge;
    /// Guest instances that may be alive at once (`sandbox.instances_max`); 0 without policies.
    policy_instances_max: Gauge;
    /// How many configurations the process has served, the present one included.
    generation: Gauge;
    /// Reloads by outcome.
    reloads: Family<Reload, Counter>;
    /// 1 while what is configured is not served, because the last reload was refused.
    reload_refused: Gauge;
    /// When the server last found that it serves what is configured, since 1970.
    reload_success_time: Moment, in Seconds;
    /// Spans that a collector took.
    spans_exported: Counter;
    /// Spans that no collector took.
    spans_dropped: Family<SpansDropped, Counter>;
    /// 1, with the version of the program.
    build_info: Family<Build, Gauge>;
}

impl Metrics {
    /// How the memory is read that a GPU holds for this process; asked at each look.
    pub fn read_gpu_memory(&self, read: fn() -> Option<u64>) {
        // Whoever came first reads the same.
        let _ = self.machine.gpu_memory.set(read);
    }

    /// The text that a Prometheus server scrapes (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string cannot fail");
        text
    }
}
