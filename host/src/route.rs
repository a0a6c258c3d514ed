//! A route: a model with a chain of policies in front, and the edge, which turns
//! what a client asks into a request and a ranking into an answer.
//!
//! The edge alone admits, applies top-n, maps scores to the scale the client
//! reads, and lets the best part speak for its document.

mod results;
mod routes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::time::Instant;

pub use self::results::{Scored, Scores};
use self::results::{merged, put_filtered_last};
pub use self::routes::Routes;
use crate::admission::{Admission, Allowance, Needs, Work};
use crate::config::Filtered;
use crate::metrics::{self, Metrics};
use crate::model::{Model, ModelInfo, RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use crate::rerank::{
    Context, Document, DocumentId, Error, Field, Lengths, Priority, Report, Request, Rerank, Scale,
    Stage,
};
use crate::telemetry::Trace;

/// Share of a request's time that it may be expected to wait in the queue; the
/// rest is for its own work, and for the estimate's error.
const WAIT_SHARE_MAX: f64 = 0.8;

/// What a client asks, whatever dialect it speaks.
#[derive(Debug, Clone)]
pub struct Ask {
    pub query: Queries,
    /// In the client's order; the edge numbers them.
    pub documents: Vec<AskedDocument>,
    /// How many results the client wants; all if it does not say.
    pub top_n: Option<u32>,
    /// The scale that the dialect promises.
    pub scores: Scores,
    /// Time the client gives; the server's default if it does not say, and
    /// never more than that.
    pub timeout: Option<Duration>,
    pub priority: Priority,
    /// Whether long inputs are truncated; the model's settings if it does not
    /// say.
    pub truncate: Option<bool>,
    pub lengths: Lengths,
    /// What becomes of documents that a policy left out, where a dialect's
    /// answer depends on it; the route's settings if it does not.
    pub filtered: Option<Filtered>,
    pub request_id: Arc<str>,
    pub caller: Option<Arc<str>>,
    /// Under what its spans begin.
    pub trace: Trace,
    /// Where stages record what they do, for whoever wants to know it of a request that failed.
    pub report: Arc<Report>,
}

/// What the documents are ranked by.
#[derive(Debug, Clone, PartialEq)]
pub enum Queries {
    One(Arc<str>),
    /// Each document by the query at its place. Stages know requests of one
    /// query, so the chain gets one request for each distinct query; admission,
    /// deadline, numbering and answer are those of a single one.
    Each(Vec<Arc<str>>),
}

impl From<&str> for Queries {
    fn from(query: &str) -> Self {
        Queries::One(query.into())
    }
}

impl Queries {
    /// That of the document at `index`.
    fn of(&self, index: usize) -> &Arc<str> {
        match self {
            Queries::One(query) => query,
            Queries::Each(queries) => &queries[index],
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct AskedDocument {
    pub text: Arc<str>,
    pub fields: Vec<Field>,
}

/// What the client gets: documents by their position, best first.
#[derive(Debug)]
pub struct Answer {
    pub results: Vec<Scored>,
    pub model: Arc<str>,
    pub route: Arc<str>,
    /// What computed it: see [`Route::chain`].
    pub chain: Arc<str>,
    /// The chain gave an order, not scores; the numbers are ranks (see
    /// [`Scale::Order`]).
    pub order_only: bool,
    /// Documents that a policy left out, whether or not `results` has them.
    pub filtered: usize,
    pub report: Arc<Report>,
    pub took: Duration,
}

/// The edge's own limits, the same for every route.
#[derive(Debug, Clone, Copy)]
pub struct EdgeLimits {
    pub documents_max: usize,
    /// Queries of one request that are worked on at once; each holds an
    /// instance of every policy.
    pub queries_at_once: usize,
    pub request_ms_max: Duration,
}

/// A model as the edge and clients know it: the innermost stage, with a door,
/// limits, a state.
pub trait Backend: Rerank {
    fn name(&self) -> Arc<str>;
    fn is_named(&self, name: &str) -> bool;
    fn admission(&self) -> &Arc<Admission>;
    /// When what is queued now will have been scored.
    fn retry_after(&self) -> Duration;
    /// What a request of this route and priority would wait, if it came now.
    fn wait(&self, route: &str, priority: Priority, weight: u32) -> Duration;
    /// Tokens of a pair.
    fn length_max(&self) -> usize;
    fn ready(&self) -> bool;
    fn info(&self) -> ModelInfo;
}

impl Backend for Model {
    fn name(&self) -> Arc<str> {
        self.name()
    }

    fn is_named(&self, name: &str) -> bool {
        self.is_named(name)
    }

    fn admission(&self) -> &Arc<Admission> {
        self.admission()
    }

    fn retry_after(&self) -> Duration {
        self.retry_after()
    }

    fn wait(&self, route: &str, priority: Priority, weight: u32) -> Duration {
        self.wait(route, priority, weight)
    }

    fn length_max(&self) -> usize {
        self.length_max()
    }

    fn ready(&self) -> bool {
        self.ready()
    }

    fn info(&self) -> ModelInfo {
        self.info()
    }
}

pub struct Route {
    pub name: Arc<str>,
    pub model: Arc<dyn Backend>,
    /// The whole chain; its innermost stage is the model.
    pub stage: Arc<dyn Rerank>,
    /// The chain's policies with their versions, outermost first.
    pub policies: Vec<String>,
    /// Names the versions of all that has a say in the scores: policies, their
    /// parameters, the model. Visible ASCII.
    pub chain: Arc<str>,
    /// Share of the model in proportion to other routes' weights.
    pub weight: u32,
    pub amplification_max: u64,
    /// Whether the plain model answers for a chain that fails.
    pub bypasses: bool,
    pub filtered: Filtered,
    pub limits: EdgeLimits,
    pub metrics: Arc<Metrics>,
}

impl Route {
    /// Serves one request, from the client's words to the client's answer.
    pub async fn rerank(&self, ask: Ask) -> Result<Answer, Error> {
        let began = Instant::now();
        let timeout = ask.timeout.unwrap_or(Duration::MAX).min(self.limits.request_ms_max);
        let span = ask.trace.span("admission");
        let admitted = self.admit(&ask, timeout);
        span.end(admitted.as_ref().err().map(Error::kind));
        let allowance = admitted?;
        let context = Context {
            request_id: ask.request_id,
            route: self.name.clone(),
            deadline: began + timeout,
            priority: ask.priority,
            weight: self.weight,
            caller: ask.caller,
            wanted: ask.top_n,
            truncate: ask.truncate,
            lengths: ask.lengths,
            allowance: Arc::new(allowance),
            report: ask.report,
            trace: ask.trace,
        };
        let sent = ask.documents.len();
        // All of them or none: the first error drops the rest.
        let rankings = iter(number(ask.query, ask.documents))
            .map(|request| self.stage.rerank(request, &context))
            .buffer_unordered(self.limits.queries_at_once)
            .try_collect::<Vec<_>>();
        // The deadline stands outside the chain, so that no stage can outlive it.
        let rankings = tokio::time::timeout_at(context.deadline, rankings)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))?;
        let order_only = rankings.iter().any(|ranking| ranking.scale == Scale::Order);
        let mut results = merged(rankings, ask.scores);
        let filtered = sent - results.len();
        if ask.filtered.unwrap_or(self.filtered) == Filtered::Last {
            put_filtered_last(&mut results, sent, ask.scores);
        }
        results.truncate(ask.top_n.map_or(usize::MAX, |n| n as usize));
        let took = began.elapsed();
        self.observe(&context.report, took);
        Ok(Answer {
            results,
            model: self.model.name(),
            route: self.name.clone(),
            chain: self.chain.clone(),
            order_only,
            filtered,
            report: context.report,
            took,
        })
    }

    /// The same without its policies: what the model alone answers. The route's metrics are
    /// about requests that go through them, so this one has its own, which nobody reads.
    pub fn plain(&self) -> Route {
        Route {
            name: self.name.clone(),
            model: self.model.clone(),
            stage: self.model.clone(),
            policies: Vec::new(),
            chain: self.chain.rsplit(',').next().unwrap_or_default().into(),
            weight: self.weight,
            amplification_max: 1,
            bypasses: false,
            filtered: self.filtered,
            limits: self.limits,
            metrics: Metrics::new(),
        }
    }

    /// The request's share of the model, if it can be served in its time.
    fn admit(&self, ask: &Ask, timeout: Duration) -> Result<Allowance, Error> {
        self.check(ask)?;
        self.check_wait(ask.priority, timeout)?;
        let admitted = self.model.admission().admit(self.needs(ask), self.model.retry_after());
        admitted.map_err(|error| match error {
            Error::Overloaded { retry_after } => self.shed("admission", retry_after),
            error => error,
        })
    }

    fn check(&self, ask: &Ask) -> Result<(), Error> {
        match &ask.query {
            Queries::One(query) if query.trim().is_empty() => {
                return Err(Error::Invalid("`query` is empty".into()));
            }
            Queries::One(_) => {}
            Queries::Each(queries) if queries.len() != ask.documents.len() => {
                return Err(Error::Invalid(format!(
                    "there are {} queries for {} documents",
                    queries.len(),
                    ask.documents.len()
                )));
            }
            Queries::Each(queries) => {
                if let Some(index) = queries.iter().position(|query| query.trim().is_empty()) {
                    return Err(Error::Invalid(format!("the query at {index} is empty")));
                }
            }
        }
        if ask.documents.is_empty() {
            return Err(Error::Invalid("there are no documents to rank".into()));
        }
        if ask.documents.len() > self.limits.documents_max {
            return Err(Error::TooLarge {
                what: "the number of documents",
                value: ask.documents.len() as u64,
                limit: self.limits.documents_max as u64,
            });
        }
        if ask.top_n == Some(0) {
            return Err(Error::Invalid(
                "the number of results asked for is 0; the least is 1".into(),
            ));
        }
        Ok(())
    }

    /// Refuses who would only wait until the deadline: it costs others the place
    /// in the queue, and the client its time.
    fn check_wait(&self, priority: Priority, timeout: Duration) -> Result<(), Error> {
        let wait = self.model.wait(&self.name, priority, self.weight);
        match wait.checked_sub(timeout.mul_f64(WAIT_SHARE_MAX)) {
            Some(over) if !over.is_zero() => Err(self.shed("wait", over)),
            _ => Ok(()),
        }
    }

    /// The refusal of a request for which there is no room, counted by the reason.
    fn shed(&self, reason: &'static str, retry_after: Duration) -> Error {
        let labels = metrics::RouteShed { route: self.name.to_string(), reason };
        self.metrics.shed.get_or_create(&labels).inc();
        let retry_after = retry_after.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
        Error::Overloaded { retry_after }
    }

    /// A bound on what the request may cost the model, its chain included.
    fn needs(&self, ask: &Ask) -> Needs {
        let length_max = self.model.length_max() as u64;
        let tokens = ask
            .documents
            .iter()
            .enumerate()
            .map(|(index, document)| {
                crate::model::tokens_bound(ask.query.of(index), &document.text, length_max)
            })
            .sum();
        let sent = Work { pairs: ask.documents.len() as u64, tokens };
        Needs {
            chain: sent.times(self.amplification_max),
            bypass: sent.times(u64::from(self.bypasses)),
        }
    }

    fn observe(&self, report: &Report, took: Duration) {
        let observe = |stage: &str, time: Duration| {
            let labels = metrics::RouteStage { route: self.name.to_string(), stage: stage.into() };
            self.metrics.request_duration.get_or_create(&labels).observe(time.as_secs_f64());
        };
        observe("total", took);
        observe("tokenize", report.time(Stage::Tokenize));
        observe("queue", report.time(Stage::Queue));
        observe("inference", report.time(Stage::Inference));
        if !self.policies.is_empty() {
            observe("guest_cpu", report.time(Stage::GuestCpu));
        }
    }
}

/// Gives every document the index by which all stages will name it, and makes
/// a request of each distinct query.
fn number(query: Queries, documents: Vec<AskedDocument>) -> Vec<Request> {
    let documents = documents.into_iter().enumerate().map(|(index, document)| Document {
        id: DocumentId { index: index as u32, part: 0 },
        text: document.text,
        fields: document.fields.into(),
    });
    let queries = match query {
        Queries::One(query) => return vec![Request { query, documents: documents.collect() }],
        Queries::Each(queries) => queries,
    };
    let mut places = HashMap::new();
    let mut requests: Vec<Request> = Vec::new();
    for (query, document) in queries.into_iter().zip(documents) {
        let place = *places.entry(query).or_insert_with_key(|query| {
            requests.push(Request { query: query.clone(), documents: Vec::new() });
            requests.len() - 1
        });
        requests[place].documents.push(document);
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distinct_query_is_a_request_of_its_own() {
        let asked = |text: &str| AskedDocument { text: text.into(), fields: Vec::new() };
        let queries = ["a", "b", "a", "c", "b"].map(Arc::from).to_vec();
        let texts = ["0", "1", "2", "3", "4"].map(asked).to_vec();
        let requests = number(Queries::Each(queries), texts);
        let seen: Vec<_> = requests
            .iter()
            .map(|request| {
                let indexes = request.documents.iter().map(|document| document.id.index);
                (&*request.query, indexes.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(seen, [("a", vec![0, 2]), ("b", vec![1, 4]), ("c", vec![3])]);
    }
}
