//! The way of ended spans to the collector: a bounded queue, and a task that sends
//! what is in it by OTLP over HTTP. Whoever ends a span waits for nobody: what does
//! not fit, and what the collector does not take, is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter as Otlp, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Tracer;
use crate::config::TelemetrySettings;
use crate::metrics::{Metrics, SpansDropped};

/// Spans of one message to the collector.
const BATCH_SPANS_MAX: usize = 512;

/// Why nothing can be traced. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
#[error("trace to {endpoint}: {reason}")]
pub struct TelemetryError {
    endpoint: String,
    reason: String,
}

/// Begins to trace if there is a collector; must be called on a tokio runtime.
/// Whoever starts it stops it.
pub fn start(
    settings: &TelemetrySettings,
    metrics: &Metrics,
) -> Result<(Tracer, Exporting), TelemetryError> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok((Tracer::default(), Exporting(None)));
    };
    let exporter = Otlp::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.export_ms_max)
        .with_retry_policy(RetryPolicy::recommended())
        .build();
    let mut exporter = exporter.map_err(|error| TelemetryError {
        endpoint: endpoint.clone(),
        reason: error.to_string(),
    })?;
    // Beside what the environment says (`OTEL_RESOURCE_ATTRIBUTES`).
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let (door, exporting) = open(exporter, settings, metrics);
    let share = Sampler::TraceIdRatioBased(settings.sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_span_processor(door)
        .build();
    let scope = InstrumentationScope::builder("maitred").with_version(env!("CARGO_PKG_VERSION"));
    Ok((Tracer(Some(provider.tracer_with_scope(scope.build()))), exporting))
}

/// The queue, and the task at its end.
fn open(
    exporter: impl SpanExporter + 'static,
    settings: &TelemetrySettings,
    metrics: &Metrics,
) -> (Door, Exporting) {
    let dropped = |reason| metrics.spans_dropped.get_or_create(&SpansDropped { reason }).clone();
    let (queue, spans) = mpsc::channel(settings.queue_spans_max);
    let (stop, stopped) = oneshot::channel();
    let waiting = Arc::new(AtomicU64::new(0));
    let sender = Sender {
        exporter,
        spans,
        every: settings.export_ms,
        waiting: waiting.clone(),
        exported: metrics.spans_exported.clone(),
        dropped: dropped("export"),
        failing: false,
    };
    let door = Door { queue, waiting: waiting.clone(), dropped: dropped("queue") };
    let task = tokio::spawn(sender.run(stopped));
    let open = Open { stop, task, waiting, dropped: dropped("shutdown") };
    (door, Exporting(Some(open)))
}

/// Takes each span that ends.
#[derive(Debug)]
struct Door {
    queue: mpsc::Sender<SpanData>,
    /// Spans that were taken and are neither exported nor dropped.
    waiting: Arc<AtomicU64>,
    dropped: Counter,
}

impl SpanProcessor for Door {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        // Before it is in the queue: the task may be faster.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(span).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what is in the queue.
struct Sender<E> {
    exporter: E,
    spans: mpsc::Receiver<SpanData>,
    /// How long a span waits for others.
    every: Duration,
    waiting: Arc<AtomicU64>,
    exported: Counter,
    dropped: Counter,
    /// Whether the last message was not taken.
    failing: bool,
}

impl<E: SpanExporter> Sender<E> {
    /// Until it is told to stop and all is sent.
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH_SPANS_MAX);
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut stop, if !stopping => {
                    // What is in the queue can still be taken out.
                    self.spans.close();
                    stopping = true;
                }
                () = fill(&mut self.spans, &mut batch, self.every) => {
                    if batch.is_empty() {
                        return;
                    }
                    self.send(std::mem::take(&mut batch)).await;
                }
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => self.exported.inc_by(spans),
            Err(_) => self.dropped.inc_by(spans),
        };
        // A collector that is down is said once, not with each message.
        match (sent, self.failing) {
            (Err(error), false) => {
                tracing::warn!(%error, "spans are dropped: the collector does not take them")
            }
            (Ok(()), true) => tracing::info!("the collector takes spans again"),
            (Err(_), true) | (Ok(()), false) => return,
        }
        self.failing = !self.failing;
    }
}

/// Adds to a batch until it is full, or its first span has waited long enough, or
/// the queue has ended. Dropping the future loses nothing.
async fn fill(spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>, every: Duration) {
    if batch.is_empty() && spans.recv_many(batch, BATCH_SPANS_MAX).await == 0 {
        return;
    }
    let until = Instant::now() + every;
    while batch.len() < BATCH_SPANS_MAX {
        let more = spans.recv_many(batch, BATCH_SPANS_MAX - batch.len());
        if !matches!(timeout_at(until, more).await, Ok(1..)) {
            return;
        }
    }
}

/// The task that sends spans, if there is one.
#[derive(Debug)]
pub struct Exporting(Option<Open>);

#[derive(Debug)]
struct Open {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    waiting: Arc<AtomicU64>,
    dropped: Counter,
}

impl Exporting {
    /// Sends what is left, until then at most; takes no more.
    pub async fn stop(self, until: Instant) {
        let Some(Open { stop, mut task, waiting, dropped }) = self.0 else {
            return;
        };
        // A task that has ended has nothing to stop.
        let _ = stop.send(());
        if timeout_at(until, &mut task).await.is_err() {
            task.abort();
            let left = waiting.load(Ordering::Relaxed);
            dropped.inc_by(left);
            tracing::warn!("{left} spans were not sent within the grace");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, pending, ready};
    use std::sync::Mutex;

    use futures_util::future::Either;
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;
    use crate::telemetry::Caller;

    /// What a collector does with each message.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fate {
        Takes,
        Refuses,
        Hangs,
    }

    #[derive(Debug, Clone)]
    struct Collector {
        fate: Arc<Mutex<Fate>>,
        got: Arc<Mutex<Vec<SpanData>>>,
    }

    impl SpanExporter for Collector {
        fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
            match *self.fate.lock().unwrap() {
                Fate::Takes => {
                    self.got.lock().unwrap().extend(batch);
                    Either::Left(ready(Ok(())))
                }
                Fate::Refuses => {
                    Either::Left(ready(Err(OTelSdkError::InternalFailure("no".into()))))
                }
                Fate::Hangs => Either::Right(pending()),
            }
        }
    }

    struct Stage {
        tracer: Tracer,
        exporting: Exporting,
        collector: Collector,
        metrics: Arc<Metrics>,
    }

    fn stage(fate: Fate, queue_spans_max: usize) -> Stage {
        let settings = TelemetrySettings {
            otlp_endpoint: None,
            sample_ratio: 1.0,
            service_name: "test".into(),
            queue_spans_max,
            export_ms: Duration::from_millis(100),
            export_ms_max: Duration::from_secs(1),
        };
        let collector = Collector { fate: Arc::new(Mutex::new(fate)), got: Arc::default() };
        let metrics = Metrics::new();
        let (door, exporting) = open(collector.clone(), &settings, &metrics);
        let provider = SdkTracerProvider::builder().with_span_processor(door).build();
        Stage { tracer: Tracer(Some(provider.tracer("test"))), exporting, collector, metrics }
    }

    impl Stage {
        fn dropped(&self, reason: &'static str) -> u64 {
            self.metrics.spans_dropped.get_or_create(&SpansDropped { reason }).get()
        }

        fn names(&self) -> Vec<String> {
            let got = self.collector.got.lock().unwrap();
            got.iter().map(|span| span.name.to_string()).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn spans_are_sent_together_with_what_became_of_them() {
        let stage = stage(Fate::Takes, 10);
        let request = stage.tracer.request(&Caller::default());
        request.trace().span_of("policy", "p").end(Some("denied"));
        drop(request.trace().span("queue"));
        request.end(None);
        assert_eq!(stage.names(), [""; 0], "others may come");
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert_eq!(stage.names(), ["policy p", "queue", "request"]);
        assert_eq!(stage.metrics.spans_exported.get(), 3);
        let got = stage.collector.got.lock().unwrap();
        let request = got[2].span_context.span_id();
        assert!(got[..2].iter().all(|span| span.parent_span_id == request));
        let has = |place: usize, key: &str| {
            got[place].attributes.iter().any(|attribute| attribute.key.as_str() == key)
        };
        assert!(has(0, "error.type") && has(1, "maitred.dropped"));
        assert!(!has(0, "maitred.dropped") && !has(2, "maitred.dropped"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_dropped_and_counted() {
        let stage = stage(Fate::Hangs, 3);
        let end =
            |count| (0..count).for_each(|_| stage.tracer.request(&Caller::default()).end(None));
        end(1);
        // It is on its way, and that never ends.
        tokio::time::sleep(Duration::from_millis(101)).await;
        end(5);
        assert_eq!(stage.dropped("queue"), 2);
        let Stage { exporting, metrics, .. } = stage;
        exporting.stop(Instant::now() + Duration::from_secs(1)).await;
        let left = metrics.spans_dropped.get_or_create(&SpansDropped { reason: "shutdown" }).get();
        assert_eq!(left, 4, "one on its way, three in the queue");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_drops_and_the_next_message_is_sent_all_the_same() {
        let stage = stage(Fate::Refuses, 10);
        stage.tracer.request(&Caller::default()).end(None);
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert_eq!((stage.dropped("export"), stage.metrics.spans_exported.get()), (1, 0));
        *stage.collector.fate.lock().unwrap() = Fate::Takes;
        stage.tracer.request(&Caller::default()).end(None);
        let Stage { exporting, metrics, .. } = stage;
        exporting.stop(Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(metrics.spans_exported.get(), 1, "what is left is sent at the end");
    }

    #[test]
    fn nothing_is_made_where_nothing_is_traced() {
        let request = Tracer::default().request(&Caller::default());
        assert!(request.0.is_none() && request.response().is_none());
        let trace = request.trace();
        assert!(!trace.is_on() && trace.span("queue").0.is_none());
    }
}
