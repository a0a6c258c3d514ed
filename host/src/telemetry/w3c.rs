//! What clients say of their traces, and what they are told: W3C Trace Context.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// A longer `tracestate` is not taken along; nobody has to (Trace Context, 3.3.1.5),
/// and every span of the trace would carry it.
const STATE_BYTES_MAX: usize = 512;

/// The caller's place in its trace, as its headers say it. What cannot be read is
/// as good as absent: the trace begins here then.
#[derive(Debug, Clone, Default)]
pub struct Caller<'a> {
    pub traceparent: Option<&'a str>,
    /// All lines of the header, joined by commas.
    pub tracestate: Option<String>,
}

impl Caller<'_> {
    pub(super) fn context(&self) -> Context {
        TraceContextPropagator::new().extract_with_context(&Context::new(), self)
    }
}

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate.as_deref().filter(|s| s.len() <= STATE_BYTES_MAX),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// `version-trace-span-flags`, as `traceparent` has it.
pub(super) fn response(context: &SpanContext) -> String {
    let flags = context.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt as _;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_is_taken_up_or_begins_here() {
        let check = |traceparent: &str, expected: Option<(&str, bool)>| {
            let caller = Caller { traceparent: Some(traceparent), tracestate: None };
            let context = caller.context();
            let found = context.span().span_context().clone();
            let seen = found.is_valid().then(|| (found.trace_id().to_string(), found.is_sampled()));
            let expected = expected.map(|(trace, sampled)| (trace.to_owned(), sampled));
            assert_eq!(seen, expected, "{traceparent}");
        };
        check(&format!("00-{TRACE}-b7ad6b7169203331-01"), Some((TRACE, true)));
        check(&format!("00-{TRACE}-b7ad6b7169203331-00"), Some((TRACE, false)));
        check(&format!("00-{TRACE}-0000000000000000-01"), None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check(&format!("ff-{TRACE}-b7ad6b7169203331-01"), None);
        check(&format!("00-{TRACE}-b7ad6b7169203331"), None);
        check("", None);
        check("what?", None);
    }

    #[test]
    fn the_state_is_kept_unless_it_is_long() {
        let state = |tracestate: String| {
            let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
            let caller = Caller { traceparent: Some(&traceparent), tracestate: Some(tracestate) };
            caller.context().span().span_context().trace_state().header()
        };
        assert_eq!(state("a=1,b=2".into()), "a=1,b=2");
        assert_eq!(state(format!("a={}", "x".repeat(STATE_BYTES_MAX))), "");
    }
}
