//! One rerank request, from its head and body to its response.

use std::panic::AssertUnwindSafe;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Response, Version};
use tracing::Instrument;

use super::App;
use super::body::{Whole, check_media_type};
use super::credentials::visitor;
use super::dialect::object::Object;
use super::dialect::{Dialect, KNOWN, Served};
use super::errors::{Problem, Timeout};
use super::headers::{REQUEST_ID, check_host, envelope, new_request_id, request_id, trace_caller};
use super::journal::Entry;
use super::router::Target;
use crate::rerank::Error;
use crate::route::{Answer, Ask, Route};
use crate::telemetry::Span;

const ROUTE: HeaderName = HeaderName::from_static("x-maitred-route");
const CHAIN: HeaderName = HeaderName::from_static("x-maitred-chain");
const BYPASSED: HeaderName = HeaderName::from_static("x-maitred-bypassed");
const SCORES: HeaderName = HeaderName::from_static("x-maitred-scores");
/// How a client shows who it is (RFC 6750).
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"maitred\"");
const FILTERED: HeaderName = HeaderName::from_static("x-maitred-filtered");
/// Where the request is in its trace (W3C Trace Context, level 2).
pub const TRACE: HeaderName = HeaderName::from_static("traceresponse");
const TRUNCATED: HeaderName = HeaderName::from_static("x-maitred-truncated");
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers a rerank request, or one that was meant to be one. If the future is
/// dropped, everything that the request caused is dropped with it.
pub async fn answer<B>(
    app: &App,
    target: Result<Target<'_>, Problem>,
    head: &Parts,
    body: B,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut entry, id) = begin(app, head);
    let trace = entry.span.response();
    entry.dialect = target.as_ref().ok().and_then(|target| target.dialect);
    let outcome = guarded(rank(app, id.and(target), head, body, &mut entry)).await;
    let mut response = match outcome {
        Ok(ranked) => {
            entry.answered(&ranked.answer);
            success(ranked, &entry.request_id)
        }
        Err(problem) => {
            entry.refused(&problem);
            let mut response = refusal(&problem, entry.dialect, &entry.request_id, head.version);
            if let Some(chain) = &entry.chain {
                response.headers_mut().insert(CHAIN, visible(chain));
            }
            response
        }
    };
    if let Some(trace) = trace {
        response.headers_mut().insert(TRACE, visible(&trace));
    }
    response
}

/// A request's entry in the journal, with its place in a trace; and whether its id
/// can be used.
pub fn begin(app: &App, head: &Parts) -> (Entry, Result<(), Problem>) {
    let id = request_id(&head.headers);
    let known_id = id.clone().unwrap_or_else(|_| new_request_id());
    let span = match app.tracer.is_on() {
        true => app.tracer.request(&trace_caller(&head.headers)),
        false => Span::default(),
    };
    (Entry::new(app, known_id, span), id.map(drop))
}

/// A panic is a bug of ours; the other requests of its connection must not pay for
/// it, and this one gets its one answer.
pub async fn guarded<T>(outcome: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    AssertUnwindSafe(outcome).catch_unwind().await.unwrap_or_else(|_| {
        let detail = "the request's handler panicked";
        Err(Problem::Domain(Error::Internal(detail.into())))
    })
}

/// An answer, and what the client reads of it.
struct Ranked {
    answer: Answer,
    body: Bytes,
    /// Of its dialect.
    headers: Vec<(&'static str, u64)>,
}

async fn rank<B>(
    app: &App,
    target: Result<Target<'_>, Problem>,
    head: &Parts,
    body: B,
    entry: &mut Entry,
) -> Result<Ranked, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let serving = app.serving();
    let begun = target.and_then(|target| {
        check_host(head)?;
        let visitor = visitor(&serving, &head.headers)?;
        entry.came(&visitor);
        let named = target.route.map(|route| visitor.named(route)).transpose()?;
        check_media_type(&head.headers)?;
        let envelope = envelope(&head.headers, entry.request_id.clone())?;
        Ok((target, visitor, named, envelope))
    });
    let (target, visitor, named, envelope) = match begun {
        Ok(begun) => begun,
        Err(problem) => {
            let until = app.room.patience();
            app.room.discard(&head.headers, body, until).await;
            return Err(problem);
        }
    };
    let whole = app.room.collect(&head.headers, body).await;
    let Whole { bytes, share } = whole.inspect_err(|problem| shed(entry, problem))?;
    let object = Object::body(&bytes, KNOWN)?;
    let dialect = Dialect::recognise(target.dialect, &object)?;
    entry.dialect = Some(dialect);
    let mut call = dialect.decode(&object, &envelope, &app.bounds())?;
    // What was decoded has its own copies.
    drop(bytes);
    entry.documents = call.ask.documents.len();
    let route = match named {
        Some(route) => route,
        None => visitor.for_model(call.model.as_deref())?,
    };
    entry.route = Some(route.name.clone());
    entry.chain = Some(route.chain.clone());
    call.ask.caller = visitor.name();
    call.ask.trace = entry.span.trace();
    call.ask.priority = visitor.granted(call.ask.priority);
    let charge = visitor.charge(call.ask.documents.len())?;
    let report = call.ask.report.clone();
    let answer = match ask(route, call.ask).await {
        Ok(answer) => answer,
        Err(problem) => {
            charge.settle(&problem, &report);
            return Err(problem);
        }
    };
    let encoded = call.reply.encode(&Served {
        answer: &answer,
        request_id: &entry.request_id,
        length_max: route.model.length_max(),
        created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    });
    // What it is encoded from need not be held beside it.
    drop(call.reply);
    let body = app.room.answer(share, encoded.body).inspect_err(|problem| shed(entry, problem))?;
    Ok(Ranked { answer, body, headers: encoded.headers })
}

/// Counts a refusal for want of room.
fn shed(entry: &Entry, problem: &Problem) {
    if matches!(problem, Problem::BodiesFull { .. }) {
        entry.shed("bodies");
    }
}

/// What stages log meanwhile carries the request's id.
pub async fn ask(route: &Route, ask: Ask) -> Result<Answer, Problem> {
    let span = tracing::info_span!("request", id = &*ask.request_id, route = &*route.name);
    let timeout = Timeout::of(ask.timeout, route.limits.request_ms_max);
    let answer = route.rerank(ask).instrument(span).await.map_err(|error| match error {
        Error::DeadlineExceeded => Problem::Late(timeout),
        error => Problem::Domain(error),
    })?;
    // JSON has no word for NaN, and a client could not sort by it.
    if let Some(bad) = answer.results.iter().find(|r| !r.score.is_finite()) {
        let detail = format!("the score of document {} is {}", bad.index, bad.score);
        return Err(Problem::Domain(Error::Internal(detail)));
    }
    Ok(answer)
}

fn success(ranked: Ranked, request_id: &str) -> Response<Full<Bytes>> {
    let answer = &ranked.answer;
    let mut response = Response::new(Full::new(ranked.body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(REQUEST_ID, visible(request_id));
    headers.insert(ROUTE, visible(&answer.route));
    headers.insert(CHAIN, visible(&answer.chain));
    if answer.report.bypassed() {
        headers.insert(BYPASSED, HeaderValue::from_static("true"));
    }
    if answer.order_only {
        headers.insert(SCORES, HeaderValue::from_static("order"));
    }
    // Most dialects have no word for what was lost on the way.
    if answer.filtered > 0 {
        headers.insert(FILTERED, HeaderValue::from(answer.filtered));
    }
    if answer.report.pairs_truncated() > 0 {
        headers.insert(TRUNCATED, HeaderValue::from(answer.report.pairs_truncated()));
    }
    for (name, value) in ranked.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    response
}

pub fn refusal(
    problem: &Problem,
    dialect: Option<Dialect>,
    request_id: &str,
    version: Version,
) -> Response<Full<Bytes>> {
    let body = problem.body(dialect, request_id);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = problem.status(dialect);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(REQUEST_ID, visible(request_id));
    if let Some(seconds) = problem.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *problem == Problem::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, BEARER);
    }
    if let Problem::Method { allow, .. } = problem {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    // What is left of such a body may still be on its way; HTTP/2 resets the
    // stream instead.
    let unread = matches!(
        problem,
        Problem::BodySlow { .. } | Problem::BodyTooLarge { .. } | Problem::BodyBroken
    );
    if unread && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Request ids and the names in routes and chains were checked to be visible
/// ASCII; places in traces are digits.
pub fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the text was checked to be visible ASCII")
}
