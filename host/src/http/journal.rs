//! One request's line in the log and its count in the metrics, written exactly
//! once: when it is answered, or when its future is dropped because the client
//! has gone.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::time::Instant;

use super::dialect::Dialect;
use super::errors::Problem;
use crate::metrics::{Metrics, RouteStatus};
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
    pub route: Option<Arc<str>>,
    /// What computed the answer, or was to.
    pub chain: Option<Arc<str>>,
    pub documents: usize,
    outcome: Outcome,
}

enum Outcome {
    Open,
    Answered(Work),
    Refused(StatusCode, String),
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
            route: None,
            chain: None,
            documents: 0,
            outcome: Outcome::Open,
        }
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
        self.outcome = Outcome::Refused(problem.status(self.dialect), text);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let status = match &self.outcome {
            Outcome::Open => CLIENT_GONE,
            Outcome::Answered(_) => StatusCode::OK.as_u16(),
            Outcome::Refused(status, _) => status.as_u16(),
        };
        let route = self.route.as_deref().unwrap_or(NONE);
        let dialect = self.dialect.map_or(NONE, Dialect::name);
        let labels = RouteStatus { route: route.to_owned(), dialect: dialect.to_owned(), status };
        self.metrics.requests.get_or_create(&labels).inc();
        self.metrics.requests_in_flight.dec();

        let request_id = &*self.request_id;
        let documents = self.documents;
        let took_ms = self.began.elapsed().as_millis() as u64;
        match &self.outcome {
            Outcome::Open => {
                tracing::info!(
                    request_id,
                    route,
                    dialect,
                    status,
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
            Outcome::Refused(_, error) if status == 500 => tracing::error!(
                request_id, route, dialect, status, documents, took_ms, error, "failed"
            ),
            Outcome::Refused(_, error) => tracing::info!(
                request_id, route, dialect, status, documents, took_ms, error, "refused"
            ),
        }
    }
}
