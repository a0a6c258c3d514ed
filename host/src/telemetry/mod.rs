//! Traces: where the time of one request went, as spans that an OpenTelemetry
//! collector receives.
//!
//! A [`Span`] is a stage at work; it ends when it is told to, or when it is
//! dropped with whoever had it. A [`Trace`] is the place in a trace under which
//! spans begin; it travels in the request's `Context`, because the stages of a
//! request are polled by one driver and no thread is a stage's own. Where nothing
//! is traced (no collector, or a request that is not sampled) both are empty: no
//! span is made, and nothing is allocated.
//!
//! What a span says of its stage is counts, names out of the configuration, and
//! words of ours; no text of a request is among it. `w3c` is what clients say of
//! their traces, `export` the way to the collector.

mod export;
mod w3c;

use std::sync::Arc;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

pub use self::export::{Exporting, TelemetryError, start};
pub use self::w3c::Caller;

/// Where traces begin; the default traces nothing.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<SdkTracer>);

impl Tracer {
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a request, below that of its caller if it has one.
    pub fn request(&self, caller: &Caller<'_>) -> Span {
        let Some(tracer) = &self.0 else {
            return Span::default();
        };
        let builder = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
        Span::begin(tracer, builder, &caller.context())
    }
}

/// A place in a trace, under which spans begin. A clone is the same place.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    tracer: SdkTracer,
    context: Context,
}

impl Trace {
    /// Whether what begins here is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a stage.
    pub fn span(&self, stage: &'static str) -> Span {
        match &self.0 {
            Some(place) => {
                Span::begin(&place.tracer, SpanBuilder::from_name(stage), &place.context)
            }
            None => Span::default(),
        }
    }

    /// The same of a stage that there are several of, by its configured name.
    pub fn span_of(&self, stage: &'static str, name: &str) -> Span {
        match &self.0 {
            Some(place) => {
                let builder = SpanBuilder::from_name(format!("{stage} {name}"));
                Span::begin(&place.tracer, builder, &place.context)
            }
            None => Span::default(),
        }
    }
}

/// A stage at work. Dropped before it [ended](Span::end), it says so
/// (`maitred.dropped`): its client left, or another stage gave up on it.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    span: SdkSpan,
    tracer: SdkTracer,
    ended: bool,
}

impl Span {
    fn begin(tracer: &SdkTracer, builder: SpanBuilder, context: &Context) -> Span {
        let span = tracer.build_with_context(builder, context);
        Span(Some(Box::new(Open { span, tracer: tracer.clone(), ended: false })))
    }

    /// The place below it.
    pub fn trace(&self) -> Trace {
        let recorded = self.0.as_ref().filter(|open| open.span.is_recording());
        Trace(recorded.map(|open| {
            let context = Context::new().with_remote_span_context(open.span.span_context().clone());
            Arc::new(Place { tracer: open.tracer.clone(), context })
        }))
    }

    /// Names the trace, whether or not it is recorded; 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|open| open.span.span_context().trace_id().to_string())
    }

    /// What the header `traceresponse` tells the client: the trace, this span, and
    /// whether it is recorded.
    pub fn response(&self) -> Option<String> {
        self.0.as_ref().map(|open| w3c::response(open.span.span_context()))
    }

    pub fn count(&mut self, key: &'static str, count: u64) {
        self.set(key, || i64::try_from(count).unwrap_or(i64::MAX).into());
    }

    /// A name out of the configuration.
    pub fn name(&mut self, key: &'static str, name: &Arc<str>) {
        self.set(key, || name.clone().into());
    }

    pub fn word(&mut self, key: &'static str, word: &'static str) {
        self.set(key, || word.into());
    }

    pub fn flag(&mut self, key: &'static str, flag: bool) {
        self.set(key, || flag.into());
    }

    fn set(&mut self, key: &'static str, value: impl FnOnce() -> Value) {
        if let Some(open) = self.0.as_mut().filter(|open| open.span.is_recording()) {
            open.span.set_attribute(KeyValue::new(key, value()));
        }
    }

    /// The stage is done; if it failed, with the kind of its error.
    pub fn end(mut self, failed: Option<&'static str>) {
        if let Some(kind) = failed {
            self.word("error.type", kind);
        }
        if let Some(open) = &mut self.0 {
            open.ended = true;
            if let Some(kind) = failed {
                open.span.set_status(Status::error(kind));
            }
            open.span.end();
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|open| !open.ended) {
            self.flag("maitred.dropped", true);
        }
    }
}
