//! What the batcher measures, looked up once: finding a metric by its labels
//! costs a lock and a hash.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::schedule::Slot;
use crate::metrics::{self, Metrics};

/// The metrics of one model's batcher.
pub struct Meters {
    pub queue_pairs: Gauge,
    pub queue_tokens: Gauge,
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
    pub up: Up,
    busy: Counter<f64, AtomicU64>,
    pub restarts: Counter,
}

/// Counts a replica in while it can score. It adds and takes away where it could
/// set, because the old and the new replica of one name share a series while a
/// reload exchanges them.
pub struct Up {
    gauge: Gauge,
    up: bool,
}

impl Up {
    pub fn set(&mut self, up: bool) {
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

impl Meters {
    pub fn new(metrics: &Metrics, model: &str, replicas: usize) -> Self {
        let label = metrics::Model { model: model.into() };
        let replica = |replica| {
            let label = metrics::Replica { model: model.into(), replica: replica as u32 };
            ReplicaMeters {
                up: Up { gauge: metrics.replica_up.get_or_create(&label).clone(), up: false },
                busy: metrics.replica_busy.get_or_create(&label).clone(),
                restarts: metrics.replica_restarts.get_or_create(&label).clone(),
            }
        };
        Meters {
            queue_pairs: metrics.queue_pairs.get_or_create(&label).clone(),
            queue_tokens: metrics.queue_tokens.get_or_create(&label).clone(),
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
