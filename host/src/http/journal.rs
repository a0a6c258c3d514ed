//! One request's line in the log and its count in the metrics, written exactly
//! once: when it is answered, or when its future is dropped because the client
//! has gone.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::StatusCode;
use tokio::time::Instant;

use super::App;
use super::credentials::Visitor;
use super::dialect::Dialect;
use super::errors::Problem;
use crate::callers::Holder;
use crate::dashboard::{Dashboard, What};
use crate::metrics::{Caller, CallerOutcome, Metrics, RouteError, RouteShed, RouteStatus};
use crate::rerank::Stage;
use crate::route::Answer;
use crate::telemetry::Span;

/// What proxies log when the client left before its answer.
const CLIENT_GONE: u16 = 499;
/// The label of what is not known (a request that named no known route).
const NONE: &str = "none";

/// A request's entry; filled in as things become known.
pub struct Entry {
    metrics: Arc<Metrics>,
    dashboard: Arc<Dashboard>,
    began: Instant,
    pub request_id: Arc<str>,
    pub dialect: Option<Dialect>,
    /// The label where no dialect is known.
    pub otherwise: &'static str,
    /// The caller's name, and the id of the key that it showed.
    caller: Option<(Arc<str>, Arc<str>)>,
    pub route: Option<Arc<str>>,
    /// What computed the answer, or was to.
    pub chain: Option<Arc<str>>,
    pub documents: usize,
    /// The request's own; it ends with this.
    pub span: Span,
    outcome: Outcome,
}

enum Outcome {
    Open,
    Answered(Work),
    Refused(Refused),
}

struct Refused {
    status: StatusCode,
    /// For the log.
    text: String,
    /// What a caller's requests are counted by.
    outcome: &'static str,
    /// What was wrong, for metrics, traces and the operators' page.
    kind: &'static str,
    /// For the operators' page.
    message: Cow<'static, str>,
}

/// What an answer cost.
struct Work {
    pairs: u64,
    tokens: u64,
    tokenize_ms: u64,
    queue_ms: u64,
    inference_ms: u64,
    guest_cpu_ms: u64,
    bypassed: bool,
}

impl Entry {
    pub fn new(app: &App, request_id: Arc<str>, span: Span) -> Self {
        app.metrics.requests_in_flight.inc();
        Entry {
            metrics: app.metrics.clone(),
            dashboard: app.dashboard.clone(),
            began: Instant::now(),
            request_id,
            dialect: None,
            otherwise: NONE,
            caller: None,
            route: None,
            chain: None,
            documents: 0,
            span,
            outcome: Outcome::Open,
        }
    }

    /// It is known who asks.
    pub fn came(&mut self, visitor: &Visitor<'_>) {
        let named = |holder: &Holder| (holder.caller.name.clone(), holder.key_id.clone());
        self.caller = visitor.holder.map(named);
    }

    pub fn answered(&mut self, answer: &Answer) {
        let report = &answer.report;
        let ms = |stage| report.time(stage).as_millis() as u64;
        self.outcome = Outcome::Answered(Work {
            pairs: report.pairs(),
            tokens: report.tokens(),
            tokenize_ms: ms(Stage::Tokenize),
            queue_ms: ms(Stage::Queue),
            inference_ms: ms(Stage::Inference),
            guest_cpu_ms: ms(Stage::GuestCpu),
            bypassed: report.bypassed(),
        });
    }

    pub fn refused(&mut self, problem: &Problem) {
        let text = match problem.internal() {
            Some(detail) => detail.to_owned(),
            None => problem.text(&self.request_id),
        };
        let status = problem.status(self.dialect);
        let outcome = match problem {
            Problem::RateLimited { .. } => "limited",
            _ if status == StatusCode::TOO_MANY_REQUESTS => "overloaded",
            _ if status.is_server_error() => "failed",
            _ => "refused",
        };
        match problem {
            Problem::Unauthenticated => _ = self.metrics.keys_refused.inc(),
            Problem::RateLimited { .. } => self.shed("rate"),
            _ => {}
        }
        let (kind, message) = (problem.kind(), problem.account());
        let labels = RouteError { route: self.route_name().to_owned(), kind };
        self.metrics.errors.get_or_create(&labels).inc();
        self.outcome = Outcome::Refused(Refused { status, text, outcome, kind, message });
    }

    /// The request is refused because something is full.
    pub fn shed(&self, reason: &'static str) {
        let labels = RouteShed { route: self.route_name().to_owned(), reason };
        self.metrics.shed.get_or_create(&labels).inc();
    }

    fn route_name(&self) -> &str {
        self.route.as_deref().unwrap_or(NONE)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let status = match &self.outcome {
            Outcome::Open => CLIENT_GONE,
            Outcome::Answered(_) => StatusCode::OK.as_u16(),
            Outcome::Refused(refused) => refused.status.as_u16(),
        };
        let route = self.route_name();
        let dialect = self.dialect.map_or(self.otherwise, Dialect::name);
        let labels = RouteStatus { route: route.to_owned(), dialect: dialect.to_owned(), status };
        self.metrics.requests.get_or_create(&labels).inc();
        self.metrics.requests_in_flight.dec();
        self.count_for_caller();
        self.show_operators();
        let trace_id = self.span.trace_id();
        let trace_id = trace_id.as_deref();
        self.end_span(status);

        let route = self.route_name();
        let request_id = &*self.request_id;
        let documents = self.documents;
        // Fields without a value are not written.
        let caller = self.caller.as_ref().map(|(name, _)| &**name);
        let key_id = self.caller.as_ref().map(|(_, id)| &**id);
        let took_ms = self.began.elapsed().as_millis() as u64;
        match &self.outcome {
            Outcome::Open => {
                tracing::info!(
                    request_id,
                    trace_id,
                    route,
                    dialect,
                    status,
                    caller,
                    key_id,
                    documents,
                    took_ms,
                    "dropped: the client left, or the grace of shutdown ended"
                );
            }
            Outcome::Answered(work) => tracing::info!(
                request_id,
                trace_id,
                route,
                dialect,
                status,
                caller,
                key_id,
                documents,
                pairs = work.pairs,
                tokens = work.tokens,
                took_ms,
                tokenize_ms = work.tokenize_ms,
                queue_ms = work.queue_ms,
                inference_ms = work.inference_ms,
                guest_cpu_ms = work.guest_cpu_ms,
                bypassed = work.bypassed,
                "answered"
            ),
            // Our fault is an error in the log; a client's own is not.
            Outcome::Refused(Refused { text: error, .. }) if status == 500 => tracing::error!(
                request_id, trace_id, route, dialect, status, caller, key_id, documents, took_ms,
                error, "failed"
            ),
            Outcome::Refused(Refused { text: error, .. }) => tracing::info!(
                request_id, trace_id, route, dialect, status, caller, key_id, documents, took_ms,
                error, "refused"
            ),
        }
    }
}

impl Entry {
    /// What a trace tells of the request. That it was refused is no failure of the
    /// server's, and so none of the span; the kind of error is there all the same.
    fn end_span(&mut self, status: u16) {
        let mut span = std::mem::take(&mut self.span);
        span.word("http.request.method", "POST");
        span.count("maitred.documents", self.documents as u64);
        if let Some(dialect) = self.dialect {
            span.word("maitred.dialect", dialect.name());
        }
        if let Some(route) = &self.route {
            span.name("maitred.route", route);
        }
        if let Some((caller, _)) = &self.caller {
            span.name("maitred.caller", caller);
        }
        match &self.outcome {
            // It ends as dropped.
            Outcome::Open => {}
            Outcome::Answered(work) => {
                span.count("http.response.status_code", status.into());
                span.count("maitred.pairs", work.pairs);
                span.count("maitred.tokens", work.tokens);
                span.flag("maitred.bypassed", work.bypassed);
                span.end(None);
            }
            Outcome::Refused(refused) => {
                span.count("http.response.status_code", status.into());
                if refused.status.is_server_error() {
                    return span.end(Some(refused.kind));
                }
                span.word("error.type", refused.kind);
                span.end(None);
            }
        }
    }

    /// What the caller used. Labels are names out of the configuration, so there
    /// are no more series than an operator wrote.
    fn count_for_caller(&self) {
        let Some((name, _)) = &self.caller else {
            return;
        };
        let outcome = match &self.outcome {
            Outcome::Open => "gone",
            Outcome::Answered(_) => "answered",
            Outcome::Refused(refused) => refused.outcome,
        };
        let labels = CallerOutcome { caller: name.to_string(), outcome };
        self.metrics.caller_requests.get_or_create(&labels).inc();
        if let Outcome::Answered(work) = &self.outcome {
            let labels = Caller { caller: name.to_string() };
            self.metrics.caller_pairs.get_or_create(&labels).inc_by(work.pairs);
            self.metrics.caller_tokens.get_or_create(&labels).inc_by(work.tokens);
        }
    }

    fn show_operators(&self) {
        if let Outcome::Refused(refused) = &self.outcome {
            let what = What {
                status: refused.status.as_u16(),
                kind: refused.kind,
                message: refused.message.clone(),
                route: self.route.clone(),
                caller: self.caller.as_ref().map(|(name, _)| name.clone()),
            };
            self.dashboard.failed(self.request_id.clone(), what);
        }
    }
}
