//! One request's line in the log and its count in the metrics, written exactly
//! once: when it is answered, or when its future is dropped because the client
//! has gone.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::time::Instant;

use super::credentials::Visitor;
use super::dialect::Dialect;
use super::errors::Problem;
use crate::callers::Holder;
use crate::metrics::{Caller, CallerOutcome, Metrics, RouteError, RouteShed, RouteStatus};
use crate::rerank::Stage;
use crate::route::Answer;

/// What proxies log when the client left before its answer.
const CLIENT_GONE: u16 = 499;
/// The label of what is not known (a request that named no known route).
const NONE: &str = "none";

/// A request's entry; filled in as things become known.
pub struct Entry {
    metrics: Arc<Metrics>,
    began: Instant,
    pub request_id: Arc<str>,
    pub dialect: Option<Dialect>,
    /// The caller's name, and the id of the key that it showed.
    caller: Option<(Arc<str>, Arc<str>)>,
    pub route: Option<Arc<str>>,
    /// What computed the answer, or was to.
    pub chain: Option<Arc<str>>,
    pub documents: usize,
    outcome: Outcome,
}

enum Outcome {
    Open,
    Answered(Work),
    Refused(StatusCode, String, &'static str),
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
    pub fn new(metrics: Arc<Metrics>, request_id: Arc<str>) -> Self {
        metrics.requests_in_flight.inc();
        Entry {
            metrics,
            began: Instant::now(),
            request_id,
            dialect: None,
            caller: None,
            route: None,
            chain: None,
            documents: 0,
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
        let kind = match problem {
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
        let labels = RouteError { route: self.route_name().to_owned(), kind: problem.kind() };
        self.metrics.errors.get_or_create(&labels).inc();
        self.outcome = Outcome::Refused(status, text, kind);
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
            Outcome::Refused(status, ..) => status.as_u16(),
        };
        let route = self.route_name();
        let dialect = self.dialect.map_or(NONE, Dialect::name);
        let labels = RouteStatus { route: route.to_owned(), dialect: dialect.to_owned(), status };
        self.metrics.requests.get_or_create(&labels).inc();
        self.metrics.requests_in_flight.dec();
        self.count_for_caller();

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
            Outcome::Refused(_, error, _) if status == 500 => tracing::error!(
                request_id, route, dialect, status, caller, key_id, documents, took_ms, error,
                "failed"
            ),
            Outcome::Refused(_, error, _) => tracing::info!(
                request_id, route, dialect, status, caller, key_id, documents, took_ms, error,
                "refused"
            ),
        }
    }
}

impl Entry {
    /// What the caller used. Labels are names out of the configuration, so there
    /// are no more series than an operator wrote.
    fn count_for_caller(&self) {
        let Some((name, _)) = &self.caller else {
            return;
        };
        let outcome = match &self.outcome {
            Outcome::Open => "gone",
            Outcome::Answered(_) => "answered",
            Outcome::Refused(.., kind) => kind,
        };
        let labels = CallerOutcome { caller: name.to_string(), outcome };
        self.metrics.caller_requests.get_or_create(&labels).inc();
        if let Outcome::Answered(work) = &self.outcome {
            let labels = Caller { caller: name.to_string() };
            self.metrics.caller_pairs.get_or_create(&labels).inc_by(work.pairs);
            self.metrics.caller_tokens.get_or_create(&labels).inc_by(work.tokens);
        }
    }
}
