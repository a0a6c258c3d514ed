//! The request headers that are ours. What they say is checked like any other
//! input, and one that does not exist is an error: a deadline that is silently
//! not applied is worse than none.

use std::sync::Arc;
use std::time::Duration;

use hyper::Version;
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use uuid::Uuid;

use super::dialect::Envelope;
use super::errors::{Problem, shown, shown_bytes};
use crate::config::nearest;
use crate::rerank::Priority;
use crate::telemetry;

/// Names the request, here and in every answer.
pub const REQUEST_ID: &str = "x-request-id";
/// The caller's place in a trace (W3C Trace Context), and what goes along with it.
const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";
const PREFIX: &str = "x-maitred-";
const PRIORITY: &str = "x-maitred-priority";
const TIMEOUT: &str = "x-maitred-timeout-ms";

/// Characters of a request id that a client chose.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The client's id for the request, else a new one that sorts by time.
pub fn request_id(headers: &HeaderMap) -> Result<Arc<str>, Problem> {
    once(headers, REQUEST_ID)?;
    let Some(value) = headers.get(REQUEST_ID) else {
        return Ok(new_request_id());
    };
    let value = value.as_bytes();
    let allowed = 1..=REQUEST_ID_CHARS_MAX;
    if allowed.contains(&value.len()) && value.iter().all(u8::is_ascii_graphic) {
        let id = std::str::from_utf8(value).expect("ASCII is UTF-8");
        return Ok(Arc::from(id));
    }
    let fault = match value.iter().position(|byte| !byte.is_ascii_graphic()) {
        Some(place) if allowed.contains(&value.len()) => {
            format!("character {} is \"{}\"", place + 1, shown_bytes(&value[place..=place]))
        }
        _ => format!("it has {}", value.len()),
    };
    Err(Problem::Header(format!(
        "`{REQUEST_ID}` must be 1 to {REQUEST_ID_CHARS_MAX} visible ASCII characters; {fault}"
    )))
}

/// The request's place in its caller's trace. Of two places neither is believed.
pub fn trace_caller(headers: &HeaderMap) -> telemetry::Caller<'_> {
    let mut parents = headers.get_all(TRACE_PARENT).iter();
    let traceparent = match (parents.next(), parents.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    };
    let states: Vec<_> =
        headers.get_all(TRACE_STATE).iter().filter_map(|state| state.to_str().ok()).collect();
    let tracestate = (!states.is_empty()).then(|| states.join(","));
    telemetry::Caller { traceparent, tracestate }
}

pub fn new_request_id() -> Arc<str> {
    Arc::from(Uuid::now_v7().to_string())
}

/// What our headers say about the request.
pub fn envelope(headers: &HeaderMap, request_id: Arc<str>) -> Result<Envelope, Problem> {
    for name in headers.keys().filter(|name| name.as_str().starts_with(PREFIX)) {
        known(name.as_str())?;
        once(headers, name.as_str())?;
    }
    Ok(Envelope { request_id, priority: priority(headers)?, timeout: timeout(headers)? })
}

/// Of two values that say different things, one would be ignored.
fn once(headers: &HeaderMap, name: &str) -> Result<(), Problem> {
    match headers.get_all(name).iter().count() {
        0 | 1 => Ok(()),
        times => Err(Problem::Header(format!("`{name}` is there {times} times; say it once"))),
    }
}

/// HTTP/1.1 wants to hear which host is meant, and once (RFC 9112, 3.2): servers
/// that each believe another line do not see the same request.
pub fn check_host(head: &Parts) -> Result<(), Problem> {
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts == 1 || head.version != Version::HTTP_11 {
        return Ok(());
    }
    let text = format!("an HTTP/1.1 request needs one `host` header; it has {hosts}");
    Err(Problem::Header(text))
}

fn known(name: &str) -> Result<(), Problem> {
    let names = [PRIORITY, TIMEOUT];
    if names.contains(&name) {
        return Ok(());
    }
    let shown = shown(name);
    // All of them begin alike; what follows must be close.
    let own = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
    let asked = shown.strip_prefix(PREFIX).unwrap_or(&shown);
    let hint = match nearest(asked, names.map(own)) {
        Some(nearest) => format!("did you mean `{PREFIX}{nearest}`?"),
        None => format!("there are `{}`", names.join("`, `")),
    };
    Err(Problem::Header(format!("there is no header `{shown}`; {hint}")))
}

fn priority(headers: &HeaderMap) -> Result<Option<Priority>, Problem> {
    let Some(value) = headers.get(PRIORITY) else {
        return Ok(None);
    };
    match value.as_bytes() {
        b"low" => Ok(Some(Priority::Low)),
        b"normal" => Ok(Some(Priority::Normal)),
        b"high" => Ok(Some(Priority::High)),
        other => Err(Problem::Header(format!(
            "`{PRIORITY}` is \"{}\"; it must be low, normal or high",
            shown_bytes(other)
        ))),
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let ms = value.to_str().ok().and_then(|text| text.parse().ok());
    match ms {
        Some(ms @ 1_u64..) => Ok(Some(Duration::from_millis(ms))),
        _ => Err(Problem::Header(format!(
            "`{TIMEOUT}` is \"{}\"; it must be a whole number of milliseconds from 1 to {}",
            shown_bytes(value.as_bytes()),
            u64::MAX
        ))),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        given.iter().map(pair).collect()
    }

    fn envelope_of(given: &[(&'static str, &'static str)]) -> Result<Envelope, String> {
        let headers = headers(given);
        request_id(&headers)
            .and_then(|id| envelope(&headers, id))
            .map_err(|problem| problem.text(""))
    }

    #[test]
    fn what_headers_say() {
        let plain = envelope_of(&[("accept", "*/*")]).unwrap();
        assert_eq!((plain.priority, plain.timeout), (None, None));
        assert_eq!(Uuid::parse_str(&plain.request_id).unwrap().get_version_num(), 7);
        let said = envelope_of(&[(REQUEST_ID, "trace/7:a"), (PRIORITY, "high"), (TIMEOUT, "250")])
            .unwrap();
        assert_eq!(&*said.request_id, "trace/7:a");
        assert_eq!(said.priority, Some(Priority::High));
        assert_eq!(said.timeout, Some(Duration::from_millis(250)));
    }

    #[test]
    fn one_place_in_a_trace_is_believed() {
        let map = |given: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for &(name, value) in given {
                map.append(name, HeaderValue::from_static(value));
            }
            map
        };
        let check = |given: &[(&'static str, &'static str)], parent, state: Option<&str>| {
            let map = map(given);
            let caller = trace_caller(&map);
            assert_eq!(caller.traceparent, parent, "{given:?}");
            assert_eq!(caller.tracestate.as_deref(), state, "{given:?}");
        };
        check(&[], None, None);
        check(&[(TRACE_PARENT, "a"), (TRACE_STATE, "b=1")], Some("a"), Some("b=1"));
        check(&[(TRACE_PARENT, "a"), (TRACE_PARENT, "b")], None, None);
        check(&[(TRACE_STATE, "b=1"), (TRACE_STATE, "c=2")], None, Some("b=1,c=2"));
    }

    #[test]
    fn what_is_said_twice_is_not_understood() {
        for name in [REQUEST_ID, PRIORITY, TIMEOUT] {
            let twice = envelope_of(&[(name, "5"), (name, "6")]);
            assert_eq!(twice.unwrap_err(), format!("`{name}` is there 2 times; say it once"));
        }
    }

    #[test]
    fn bad_headers_are_named() {
        let check = |name, value, expected: &str| {
            assert_eq!(envelope_of(&[(name, value)]).unwrap_err(), expected);
        };
        check(REQUEST_ID, "", "`x-request-id` must be 1 to 128 visible ASCII characters; it has 0");
        check(
            REQUEST_ID,
            "a b",
            "`x-request-id` must be 1 to 128 visible ASCII characters; character 2 is \" \"",
        );
        check(
            REQUEST_ID,
            "\ta",
            "`x-request-id` must be 1 to 128 visible ASCII characters; character 1 is \"\\t\"",
        );
        check(
            PRIORITY,
            "urgent",
            "`x-maitred-priority` is \"urgent\"; it must be low, normal or high",
        );
        let whole = "it must be a whole number of milliseconds from 1 to 18446744073709551615";
        for value in ["0", "-1", "1.5", "1s", "", "18446744073709551616"] {
            let expected = format!("`x-maitred-timeout-ms` is \"{value}\"; {whole}");
            check(TIMEOUT, value, &expected);
        }
        check(
            "x-maitred-timeout",
            "100",
            "there is no header `x-maitred-timeout`; did you mean `x-maitred-timeout-ms`?",
        );
        let all = "there are `x-maitred-priority`, `x-maitred-timeout-ms`";
        for name in ["x-maitred-foo", "x-maitred-"] {
            check(name, "1", &format!("there is no header `{name}`; {all}"));
        }
    }
}
