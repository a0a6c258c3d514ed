//! What the batcher measures, looked up once: finding a metric by its labels
//! costs a lock and a hash.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::schedule::Slot;
use crate::metrics::{self, Age, Metrics};
use crate::replica::State;

/// The metrics of one model's batcher.
pub struct Meters {
    pub queue_pairs: Gauge,
    pub queue_tokens: Gauge,
    pub queue_age: Age,
    pairs: Counter,
    pub pairs_expired: Counter,
    pub pairs_cancelled: Counter,
    batches: Counter,
    batch_pairs: Histogram,
    batch_tokens: Counter,
    batch_padding_tokens: Counter,
    batch_duration: Histogram,
    pub replicas: Vec<ReplicaMeters>,
}

pub struct ReplicaMeters {
    up: Up,
    states: States,
    busy: Counter<f64, AtomicU64>,
    pub restarts: Counter,
}

impl ReplicaMeters {
    pub fn set(&mut self, state: &State) {
        self.up.set(state.is_up());
        self.states.set(state);
    }
}

/// Counts a replica in while it can score. It adds and takes away where it could
/// set, because the old and the new replica of one name share a series while a
/// reload exchanges them.
struct Up {
    gauge: Gauge,
    up: bool,
}

impl Up {
    fn set(&mut self, up: bool) {
        match (self.up, up) {
            (false, true) => self.gauge.inc(),
            (true, false) => self.gauge.dec(),
            _ => return,
        };
        self.up = up;
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The same for what the replica is doing, of which one is true.
struct States {
    /// By `State::name`; made when it is needed first.
    gauges: HashMap<&'static str, Gauge>,
    family: Family<metrics::ReplicaState, Gauge>,
    label: metrics::Replica,
    now: Option<&'static str>,
}

impl States {
    fn set(&mut self, state: &State) {
        let name = state.name();
        if self.now != Some(name) {
            self.leave();
            self.gauge(name).inc();
            self.now = Some(name);
        }
    }

    fn leave(&mut self) {
        if let Some(before) = self.now.take() {
            self.gauge(before).dec();
        }
    }

    fn gauge(&mut self, state: &'static str) -> &Gauge {
        self.gauges.entry(state).or_insert_with(|| {
            let metrics::Replica { model, replica } = self.label.clone();
            self.family.get_or_create(&metrics::ReplicaState { model, replica, state }).clone()
        })
    }
}

impl Drop for States {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Meters {
    pub fn new(metrics: &Metrics, model: &str, replicas: usize) -> Self {
        let label = metrics::Model { model: model.into() };
        let replica = |replica| {
            let label = metrics::Replica { model: model.into(), replica: replica as u32 };
            ReplicaMeters {
                up: Up { gauge: metrics.replica_up.get_or_create(&label).clone(), up: false },
                states: States {
                    gauges: HashMap::new(),
                    family: metrics.replica_state.clone(),
                    label: label.clone(),
                    now: None,
                },
                busy: metrics.replica_busy.get_or_create(&label).clone(),
                restarts: metrics.replica_restarts.get_or_create(&label).clone(),
            }
        };
        Meters {
            queue_pairs: metrics.queue_pairs.get_or_create(&label).clone(),
            queue_tokens: metrics.queue_tokens.get_or_create(&label).clone(),
            queue_age: metrics.queue_age.get_or_create(&label).clone(),
            pairs: metrics.pairs.get_or_create(&label).clone(),
            pairs_expired: metrics.pairs_expired.get_or_create(&label).clone(),
            pairs_cancelled: metrics.pairs_cancelled.get_or_create(&label).clone(),
            batches: metrics.batches.get_or_create(&label).clone(),
            batch_pairs: metrics.batch_pairs.get_or_create(&label).clone(),
            batch_tokens: metrics.batch_tokens.get_or_create(&label).clone(),
            batch_padding_tokens: metrics.batch_padding_tokens.get_or_create(&label).clone(),
            batch_duration: metrics.batch_duration.get_or_create(&label).clone(),
            replicas: (0..replicas).map(replica).collect(),
        }
    }

    /// A batch was scored.
    pub fn scored(&self, replica: usize, ragged: bool, slots: &[Slot], took: Duration) {
        let tokens: u64 = slots.iter().map(|slot| u64::from(slot.tokens)).sum();
        let longest = slots.iter().map(|slot| u64::from(slot.tokens)).max();
        self.pairs.inc_by(slots.len() as u64);
        self.batches.inc();
        self.batch_pairs.observe(slots.len() as f64);
        self.batch_tokens.inc_by(tokens);
        if !ragged {
            let computed = longest.unwrap_or(0) * slots.len() as u64;
            self.batch_padding_tokens.inc_by(computed - tokens);
        }
        self.batch_duration.observe(took.as_secs_f64());
        self.replicas[replica].busy.inc_by(took.as_secs_f64());
    }
}
