//! What a server says that it did in a stretch of time: differences between two
//! readings of its `/metrics`. What a server does not say is `None` and never 0.

use serde::{Deserialize, Serialize};

use crate::metrics::reading::{Reading, Series};

/// What a server did in a stretch of time, as it says itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Means over the requests that ended in it.
    pub tokenize_ms: Option<f64>,
    pub queue_ms: Option<f64>,
    pub inference_ms: Option<f64>,
    pub policy_cpu_ms: Option<f64>,
    pub total_ms: Option<f64>,
    /// Of the tokens that were computed, padding included.
    pub padding_share: Option<f64>,
    pub pairs: Option<f64>,
    pub batches: Option<f64>,
    pub tokens: Option<f64>,
    /// Pairs that were waiting when it ended.
    pub queue_pairs: Option<f64>,
    pub replicas: Vec<ReplicaFigures>,
    /// Of the server's process, under the names that every Prometheus client uses.
    pub cpu_s: Option<f64>,
    pub memory_bytes: Option<u64>,
    /// Of the GPU, where it has one that says so.
    pub gpu_memory_bytes: Option<u64>,
    /// Share of its time: no server says that yet.
    pub gpu_share: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaFigures {
    pub model: String,
    pub replica: String,
    pub up: Option<bool>,
    /// Time it spent scoring.
    pub busy_s: Option<f64>,
    pub restarts: Option<f64>,
}

impl Figures {
    /// From two readings; empty where one failed.
    pub fn between(before: Option<&Reading>, after: Option<&Reading>) -> Figures {
        let (Some(before), Some(after)) = (before, after) else {
            return Figures::default();
        };
        // A counter that is not there before its first event began at 0; one that
        // fell belongs to another process.
        let grown = |name: &str, labels: &[(&str, &str)]| {
            let grown = after.sum(name, labels)? - before.sum(name, labels).unwrap_or(0.0);
            (grown >= 0.0).then_some(grown)
        };
        let stage_ms = |stage| {
            let labels = [("stage", stage)];
            let count = grown("maitred_request_duration_seconds_count", &labels)?;
            let sum = grown("maitred_request_duration_seconds_sum", &labels)?;
            (count > 0.0).then(|| sum * 1e3 / count)
        };
        let tokens = grown("maitred_batch_tokens_total", &[]);
        let padding = grown("maitred_batch_padding_tokens_total", &[]);
        let padding_share = tokens.zip(padding).and_then(|(tokens, padding)| {
            let computed = tokens + padding;
            (computed > 0.0).then(|| padding / computed)
        });
        let replica = |series: &Series| {
            let label = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
            let (model, replica) = (label("model"), label("replica"));
            let own = [("model", &*model), ("replica", &*replica)];
            ReplicaFigures {
                up: Some(series.value > 0.0),
                busy_s: grown("maitred_replica_busy_seconds_total", &own),
                restarts: grown("maitred_replica_restarts_total", &own),
                model,
                replica,
            }
        };
        Figures {
            tokenize_ms: stage_ms("tokenize"),
            queue_ms: stage_ms("queue"),
            inference_ms: stage_ms("inference"),
            policy_cpu_ms: stage_ms("guest_cpu"),
            total_ms: stage_ms("total"),
            padding_share,
            pairs: grown("maitred_pairs_total", &[]),
            batches: grown("maitred_batches_total", &[]),
            tokens,
            queue_pairs: after.sum("maitred_queue_pairs", &[]),
            replicas: after.lines("maitred_replica_up").iter().map(replica).collect(),
            cpu_s: grown("process_cpu_seconds_total", &[]),
            memory_bytes: after.sum("process_resident_memory_bytes", &[]).map(|b| b as u64),
            gpu_memory_bytes: after.sum("maitred_metal_memory_bytes", &[]).map(|b| b as u64),
            gpu_share: None,
        }
    }

    pub fn batch_pairs(&self) -> Option<f64> {
        let (pairs, batches) = self.pairs.zip(self.batches)?;
        (batches > 0.0).then(|| pairs / batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, Model, RouteStage};

    /// Read what the server really writes, so that a metric that is renamed is
    /// missed here.
    #[test]
    fn figures_are_differences_of_what_the_server_exports() {
        let metrics = Metrics::new();
        let model = Model { model: "m".into() };
        let stage = |stage: &str| {
            let labels = RouteStage { route: "r".into(), stage: stage.into() };
            metrics.request_duration.get_or_create(&labels).clone()
        };
        let replica = crate::metrics::Replica { model: "m".into(), replica: 0 };
        metrics.replica_up.get_or_create(&replica).set(1);
        stage("queue").observe(9.0);
        metrics.batch_tokens.get_or_create(&model).inc_by(1000);
        let before = Reading::parse(&metrics.render());
        stage("queue").observe(0.2);
        stage("queue").observe(0.4);
        stage("tokenize").observe(0.001);
        metrics.batch_tokens.get_or_create(&model).inc_by(300);
        metrics.batch_padding_tokens.get_or_create(&model).inc_by(100);
        metrics.pairs.get_or_create(&model).inc_by(6);
        metrics.batches.get_or_create(&model).inc_by(2);
        metrics.replica_busy.get_or_create(&replica).inc_by(0.5);
        let after = Reading::parse(&metrics.render());
        let figures = Figures::between(Some(&before), Some(&after));
        assert!((figures.queue_ms.unwrap() - 300.0).abs() < 1e-6, "{figures:?}");
        assert!((figures.tokenize_ms.unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(figures.inference_ms, None);
        assert_eq!((figures.padding_share, figures.batch_pairs()), (Some(0.25), Some(3.0)));
        assert_eq!(figures.replicas[0].busy_s, Some(0.5));
        assert_eq!(figures.replicas[0].up, Some(true));
    }

    #[test]
    fn a_failed_scrape_measures_nothing() {
        let reading = Reading::parse("maitred_pairs_total{model=\"m\"} 3\n# EOF");
        assert_eq!(Figures::between(None, Some(&reading)), Figures::default());
        assert_eq!(Figures::between(Some(&reading), Some(&Reading::default())).pairs, None);
        let figures = Figures::between(Some(&reading), Some(&reading));
        assert_eq!((figures.pairs, figures.tokens, figures.padding_share), (Some(0.0), None, None));
    }
}
