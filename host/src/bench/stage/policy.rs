//! A route's chain of policies before a model that answers at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::admission::{Admission, Work};
use crate::bench::corpus::Asked;
use crate::bench::subject::{Answer, Failure, Reply};
use crate::config::{POLICY_MEMORY_BYTES_MAX, RouteSettings, Settings};
use crate::metrics::Metrics;
use crate::policy::{Chain, Link, ModelInfo, Sandbox};
use crate::rerank::{
    Context, Document, DocumentId, Error, Lengths, Priority, Ranked, Ranking, Request, Rerank,
    Scale,
};
use crate::telemetry::Trace;

/// Tokens of a pair, as far as policies ask.
const TOKENS_MAX: u32 = 512;

pub struct PolicyOnly {
    route: Arc<str>,
    names: String,
    chain: Chain,
    /// Never full: what admission costs is not measured here.
    admission: Arc<Admission>,
}

impl PolicyOnly {
    pub async fn open(
        settings: &Settings,
        name: &Arc<str>,
        route: &RouteSettings,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<PolicyOnly> {
        let failed = |error| anyhow!("failed to {error}");
        let sandbox = Sandbox::new(&settings.sandbox, POLICY_MEMORY_BYTES_MAX, metrics.clone());
        let sandbox = sandbox.map_err(failed)?;
        let (mut links, mut names) = (Vec::new(), Vec::new());
        for link in &route.policies {
            let policy = &settings.policies[&link.policy];
            let policy = sandbox.load(&link.policy, policy).await.map_err(failed)?;
            names.push(format!("{}@{}", policy.name(), policy.version()));
            links.push(Link { policy, params: link.params.clone() });
        }
        let about =
            ModelInfo { name: "echo".into(), tokens_max: TOKENS_MAX, precision: "f32".into() };
        let chain = Chain::new(links, Arc::new(Echo), about, route.on_failure, metrics);
        Ok(PolicyOnly {
            route: name.clone(),
            names: names.join(","),
            chain: chain.map_err(failed)?,
            admission: Admission::new(much()),
        })
    }

    /// The chain, outermost first.
    pub fn names(&self) -> String {
        self.names.clone()
    }

    pub async fn ask(&self, asked: &Asked, timeout: Duration) -> Reply {
        let document = |(index, text): (usize, &Arc<str>)| Document {
            id: DocumentId { index: index as u32, part: 0 },
            text: text.clone(),
            fields: Arc::default(),
        };
        let documents = asked.documents.iter().enumerate().map(document).collect();
        let request = Request { query: asked.query_text.clone(), documents };
        let sent = Instant::now();
        let share = Work { pairs: 1 << 20, tokens: 1 << 30 };
        let allowance = match self.admission.admit(share, Duration::ZERO) {
            Ok(allowance) => allowance,
            Err(_) => {
                return Reply { sent, answer: Err(Failure::Refused { retry_after: None }) };
            }
        };
        let context = Context {
            request_id: "bench".into(),
            route: self.route.clone(),
            deadline: sent + timeout,
            priority: Priority::Normal,
            weight: 1,
            caller: None,
            wanted: None,
            truncate: None,
            lengths: Lengths::default(),
            allowance: Arc::new(allowance),
            report: Arc::default(),
            trace: Trace::default(),
        };
        let ranking = tokio::time::timeout(timeout, self.chain.rerank(request, &context)).await;
        let answer = match ranking {
            Ok(Ok(_)) => Ok(Answer::Done),
            Ok(Err(Error::Overloaded { retry_after })) => {
                Err(Failure::Refused { retry_after: Some(retry_after) })
            }
            Ok(Err(Error::DeadlineExceeded)) => Err(Failure::Expired),
            Ok(Err(error)) => Err(Failure::Status(error.to_string())),
            Err(_) => Err(Failure::TimedOut),
        };
        Reply { sent, answer }
    }
}

fn much() -> Work {
    Work { pairs: 1 << 50, tokens: 1 << 60 }
}

/// A model that answers at once: scores are lengths.
pub struct Echo;

impl Rerank for Echo {
    fn rerank<'a>(
        &'a self,
        request: Request,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        let ranked =
            |document: &Document| Ranked { id: document.id, score: document.text.len() as f32 };
        let results = request.documents.iter().map(ranked).collect();
        Box::pin(std::future::ready(Ok(Ranking { results, scale: Scale::Logit })))
    }
}
