//! From two moments to what happened between them. Pure; the page draws these
//! points and computes nothing.
//!
//! What cannot be known is `None`: there is no latency where nobody asked, and no
//! padding where no batch was scored. It is never 0.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::scene::Scene;
use crate::metrics::reading::{Distribution, Label, Reading};

/// All there is to know at one time.
#[derive(Debug, Clone)]
pub struct Moment {
    pub at: Instant,
    /// The same for people: milliseconds since 1970.
    pub at_ms: u64,
    pub reading: Reading,
    pub scene: Scene,
}

/// What all requests of a stretch of time have in common. Rates are per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// When the stretch ended, in milliseconds since 1970.
    pub at_ms: u64,
    pub requests: Outcomes,
    pub pairs: Option<f64>,
    pub tokens: Option<f64>,
    pub latency: Latency,
    pub stages: Stages,
    pub batch: BatchShape,
    /// Pairs that wait for a replica.
    pub queue_pairs: Option<f64>,
    /// Requests being served.
    pub in_flight: Option<f64>,
    /// Replicas that can score.
    pub replicas_up: usize,
    pub replicas: usize,
    /// How often one was restarted; a number, not a rate.
    pub restarts: Option<f64>,
    pub memory_bytes: Option<u64>,
    /// CPU seconds a second: how many cores were busy.
    pub cpu_cores: Option<f64>,
}

/// Requests a second, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcomes {
    pub answered: Option<f64>,
    /// Their own fault, or more than there was room for: statuses of 400 to 499.
    pub refused: Option<f64>,
    /// Ours, or a policy's.
    pub failed: Option<f64>,
    /// The client left before its answer.
    pub gone: Option<f64>,
}

/// Estimates from a histogram's buckets, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// Mean time of a request in each stage, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stages {
    pub tokenize_ms: Option<f64>,
    pub queue_ms: Option<f64>,
    pub inference_ms: Option<f64>,
    /// CPU time of guests, over the requests of routes that have policies.
    pub guest_cpu_ms: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BatchShape {
    /// Mean pairs of a batch.
    pub pairs: Option<f64>,
    /// Share of the tokens that the engines would have taken.
    pub fill: Option<f64>,
    /// Share of the computed tokens that was padding.
    pub padding: Option<f64>,
}

/// A stretch of time.
pub struct Stretch<'m> {
    pub before: &'m Moment,
    pub after: &'m Moment,
}

impl Stretch<'_> {
    pub fn point(&self) -> Point {
        let scene = &self.after.scene;
        let states = || scene.models.values().flat_map(|model| &model.replicas);
        let cpu = |moment: &Moment| moment.scene.usage.cpu;
        let cpu = cpu(self.after).zip(cpu(self.before));
        let cpu = cpu.and_then(|(after, before)| after.checked_sub(before));
        Point {
            at_ms: self.after.at_ms,
            requests: self.outcomes(&[]),
            pairs: self.rate("maitred_pairs", &[]),
            tokens: self.rate("maitred_batch_tokens", &[]),
            latency: self.latency(&[]),
            stages: self.stages(&[]),
            batch: self.batch(None),
            queue_pairs: self.after.reading.sum("maitred_queue_pairs", &[]),
            in_flight: self.after.reading.sum("maitred_requests_in_flight", &[]),
            replicas_up: states().filter(|state| is_up(state)).count(),
            replicas: states().count(),
            restarts: self.grown("maitred_replica_restarts", &[]),
            memory_bytes: scene.usage.memory_bytes,
            cpu_cores: cpu.and_then(|cpu| self.per_second(cpu.as_secs_f64())),
        }
    }

    pub fn time(&self) -> Duration {
        self.after.at.saturating_duration_since(self.before.at)
    }

    /// How much a counter grew. One that fell is not the one that it was.
    pub fn grown(&self, family: &str, labels: &[Label<'_>]) -> Option<f64> {
        let value = |moment: &Moment| moment.reading.counter(family, labels);
        let grown = value(self.after) - value(self.before);
        (grown >= 0.0).then_some(grown)
    }

    /// How much a counter grew in a second.
    pub fn rate(&self, family: &str, labels: &[Label<'_>]) -> Option<f64> {
        self.per_second(self.grown(family, labels)?)
    }

    /// What came into a histogram.
    pub fn distribution(&self, family: &str, labels: &[Label<'_>]) -> Distribution {
        let distribution = |moment: &Moment| moment.reading.histogram(family, labels);
        distribution(self.after).since(&distribution(self.before))
    }

    /// How many requests with these labels ended, by their outcome.
    pub fn outcomes(&self, labels: &[Label<'_>]) -> Outcomes {
        let by_status =
            |moment: &Moment| moment.reading.counters_by("maitred_requests", "status", labels);
        let mut ended = by_status(self.after);
        for (status, count) in by_status(self.before) {
            *ended.entry(status).or_default() -= count;
        }
        let of = |statuses: fn(u16) -> bool| {
            let ended = ended.iter().filter(|(status, _)| status.parse().is_ok_and(statuses));
            // The sum of nothing would be -0, and be shown as such.
            self.per_second(ended.fold(0.0, |sum, (_, count)| sum + count))
        };
        Outcomes {
            answered: of(|status| status < 400),
            refused: of(|status| (400..499).contains(&status)),
            gone: of(|status| status == CLIENT_GONE),
            failed: of(|status| status >= 500),
        }
    }

    /// Of requests with these labels, from the first byte of work to the answer.
    pub fn latency(&self, labels: &[Label<'_>]) -> Latency {
        let whole = self.stage("total", labels);
        let ms = |q: f64| Some(whole.quantile(q)? * 1e3);
        Latency { p50_ms: ms(0.5), p95_ms: ms(0.95), p99_ms: ms(0.99) }
    }

    pub fn stages(&self, labels: &[Label<'_>]) -> Stages {
        let ms = |stage: &str| Some(self.stage(stage, labels).mean()? * 1e3);
        Stages {
            tokenize_ms: ms("tokenize"),
            queue_ms: ms("queue"),
            inference_ms: ms("inference"),
            guest_cpu_ms: ms("guest_cpu"),
        }
    }

    /// Of one model, or of all.
    pub fn batch(&self, model: Option<&str>) -> BatchShape {
        let label = model.map(|model| ("model", model));
        let labels = label.as_slice();
        let share = |part: Option<f64>, whole: Option<f64>| {
            let (part, whole) = part.zip(whole)?;
            (whole > 0.0).then(|| part / whole)
        };
        let tokens = self.grown("maitred_batch_tokens", labels);
        let padding = self.grown("maitred_batch_padding_tokens", labels);
        let computed = tokens.zip(padding).map(|(tokens, padding)| tokens + padding);
        let models = self.after.scene.models.iter();
        let models = models.filter(|(name, _)| model.is_none_or(|model| ***name == *model));
        let room = models.map(|(name, scene)| {
            Some(
                self.grown("maitred_batches", &[("model", &**name)])?
                    * scene.batch_tokens_max as f64,
            )
        });
        BatchShape {
            pairs: self.distribution("maitred_batch_pairs", labels).mean(),
            fill: share(tokens, room.sum()),
            padding: share(padding, computed),
        }
    }

    fn stage(&self, stage: &str, labels: &[Label<'_>]) -> Distribution {
        let labels = [&[("stage", stage)][..], labels].concat();
        self.distribution("maitred_request_duration_seconds", &labels)
    }

    fn per_second(&self, amount: f64) -> Option<f64> {
        let seconds = self.time().as_secs_f64();
        (seconds > 0.0).then(|| amount / seconds)
    }
}

/// The status that a request is counted with whose client left.
const CLIENT_GONE: u16 = 499;

pub fn is_up(state: &str) -> bool {
    matches!(state, "idle" | "busy")
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dashboard::scene::{ModelScene, Usage};
    use crate::metrics::{self, Metrics};

    /// A moment so long after the beginning, with what is counted by then.
    pub fn moment(
        metrics: &Metrics,
        began: Instant,
        after: Duration,
        replicas: &[&'static str],
    ) -> Moment {
        let model = ModelScene {
            source: "hub/m".into(),
            precision: "f32",
            ready: true,
            batch_tokens_max: 100,
            replicas: replicas.to_vec(),
        };
        let scene = Scene {
            default_route: "r".into(),
            models: [(Arc::from("m"), model)].into(),
            usage: Usage { cpu: Some(after / 2), memory_bytes: None },
            ..Scene::default()
        };
        let reading = Reading::parse(&metrics.render());
        Moment { at: began + after, at_ms: after.as_millis() as u64, reading, scene }
    }

    fn status(metrics: &Metrics, status: u16, count: u64) {
        let labels = metrics::RouteStatus { route: "r".into(), dialect: "tei".into(), status };
        metrics.requests.get_or_create(&labels).inc_by(count);
    }

    fn took(metrics: &Metrics, stage: &str, seconds: f64) {
        let labels = metrics::RouteStage { route: "r".into(), stage: stage.into() };
        metrics.request_duration.get_or_create(&labels).observe(seconds);
    }

    fn near(found: Option<f64>, expected: f64) {
        assert!(
            found.is_some_and(|found| (found - expected).abs() < 1e-6),
            "{found:?} not {expected}"
        );
    }

    /// The metrics are the server's own, so that one which is renamed is missed.
    #[test]
    fn a_point_is_what_happened_in_between() {
        let (metrics, began) = (Metrics::new(), Instant::now());
        let model = metrics::Model { model: "m".into() };
        let replica = metrics::Replica { model: "m".into(), replica: 0 };
        status(&metrics, 200, 1000);
        took(&metrics, "total", 20.0);
        metrics.batch_tokens.get_or_create(&model).inc_by(1000);
        metrics.replica_restarts.get_or_create(&replica).inc();
        let before = moment(&metrics, began, Duration::from_secs(10), &["idle", "idle"]);
        for (code, count) in [(200, 6), (429, 3), (400, 1), (502, 2), (499, 4)] {
            status(&metrics, code, count);
        }
        for _ in 0..4 {
            took(&metrics, "total", 0.01);
        }
        took(&metrics, "queue", 0.004);
        took(&metrics, "queue", 0.002);
        metrics.pairs.get_or_create(&model).inc_by(12);
        metrics.batches.get_or_create(&model).inc_by(2);
        metrics.batch_pairs.get_or_create(&model).observe(8.0);
        metrics.batch_pairs.get_or_create(&model).observe(4.0);
        metrics.batch_tokens.get_or_create(&model).inc_by(150);
        metrics.batch_padding_tokens.get_or_create(&model).inc_by(50);
        metrics.queue_pairs.get_or_create(&model).set(7);
        metrics.requests_in_flight.set(5);
        metrics.replica_restarts.get_or_create(&replica).inc();
        let after = moment(&metrics, began, Duration::from_secs(12), &["busy", "failed"]);

        let point = Stretch { before: &before, after: &after }.point();
        assert_eq!(point.at_ms, 12_000);
        near(point.requests.answered, 3.0);
        near(point.requests.refused, 2.0);
        near(point.requests.failed, 1.0);
        near(point.requests.gone, 2.0);
        near(point.pairs, 6.0);
        near(point.tokens, 75.0);
        for percentile in [point.latency.p50_ms, point.latency.p99_ms] {
            assert!(percentile.is_some_and(|ms| (6.4..=12.8).contains(&ms)), "{percentile:?}");
        }
        near(point.stages.queue_ms, 3.0);
        near(point.batch.pairs, 6.0);
        near(point.batch.fill, 0.75);
        near(point.batch.padding, 0.25);
        near(point.queue_pairs, 7.0);
        near(point.in_flight, 5.0);
        assert_eq!((point.replicas_up, point.replicas, point.restarts), (1, 2, Some(1.0)));
        near(point.cpu_cores, 0.5);
    }

    #[test]
    fn what_cannot_be_known_is_missing() {
        let (metrics, began) = (Metrics::new(), Instant::now());
        let before = moment(&metrics, began, Duration::from_secs(1), &["idle"]);
        let after = moment(&metrics, began, Duration::from_secs(2), &["idle"]);
        let point = Stretch { before: &before, after: &after }.point();
        let none = Latency { p50_ms: None, p95_ms: None, p99_ms: None };
        assert_eq!(point.latency, none, "nobody asked");
        assert_eq!(point.stages.inference_ms, None);
        assert_eq!(point.batch, BatchShape { pairs: None, fill: None, padding: None });
        assert_eq!(point.memory_bytes, None);
        assert_eq!(point.queue_pairs, None, "no model has said so");
        // But that nobody asked is known.
        assert_eq!((point.requests.answered, point.pairs), (Some(0.0), Some(0.0)));

        let point = Stretch { before: &after, after: &after }.point();
        assert_eq!((point.pairs, point.cpu_cores), (None, None), "no time has passed");
    }
}
