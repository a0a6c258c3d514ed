//! Stages alone, in this process and without HTTP: the parts that a server is
//! made of, each asked directly. What a stage costs here and what it costs in a
//! server differ by what others do to it there.

mod policy;

pub use policy::Echo;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use self::policy::PolicyOnly;
use super::corpus::Asked;
use super::subject::{Answer, Failure, Reply, Subject};
use super::target::{About, configuration, without_folders};
use super::workload::{Stage, Workload};
use crate::batch::{BatchError, Call};
use crate::checkpoint::Hub;
use crate::config::{ModelSettings, RouteSettings, Settings, check};
use crate::metrics::Metrics;
use crate::metrics::reading::Reading;
use crate::model::{Model, ModelParts};
use crate::rerank::Priority;
use crate::tokenize::TokenizeError;

pub struct Alone {
    kind: Kind,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
enum Kind {
    Tokenize(Arc<Model>),
    Inference(Arc<Model>),
    Policy(Arc<PolicyOnly>),
}

impl Alone {
    pub async fn open(workload: &Workload) -> anyhow::Result<Alone> {
        let mut raw = configuration(workload)?;
        let settings = check(&mut raw)?;
        let (name, route) = route(&settings, workload.request.route.as_deref())?;
        let metrics = Metrics::new();
        let kind = match workload.stage {
            Stage::PolicyOnly => {
                let policy = PolicyOnly::open(&settings, name, route, metrics.clone()).await?;
                Kind::Policy(Arc::new(policy))
            }
            Stage::InferenceOnly => Kind::Inference(model(&settings, route, &metrics).await?),
            Stage::TokenizeOnly | Stage::Whole => {
                Kind::Tokenize(model(&settings, route, &metrics).await?)
            }
        };
        Ok(Alone { kind, metrics })
    }

    pub fn subject(&self, timeout: Duration) -> Arc<dyn Subject> {
        Arc::new(Asks { kind: self.kind.clone(), timeout })
    }

    pub fn reading(&self) -> Reading {
        Reading::parse(&self.metrics.render())
    }

    pub fn about(&self) -> About {
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        match &self.kind {
            Kind::Tokenize(model) | Kind::Inference(model) => {
                let info = model.info();
                About {
                    version,
                    model: Some(without_folders(&info.source)),
                    precision: Some(info.traits.precision.into()),
                    length_max: Some(model.length_max() as u64),
                    replicas: Some(info.replicas.len()),
                    chain: None,
                }
            }
            Kind::Policy(policy) => {
                About { version, chain: Some(policy.names()), ..About::default() }
            }
        }
    }

    pub async fn close(self) {
        if let Kind::Tokenize(model) | Kind::Inference(model) = self.kind {
            model.stop().await;
        }
    }
}

fn route<'a>(
    settings: &'a Settings,
    named: Option<&str>,
) -> anyhow::Result<(&'a Arc<str>, &'a RouteSettings)> {
    let name = named.unwrap_or(&settings.default_route);
    settings.routes.get_key_value(name).with_context(|| format!("no route is named `{name}`"))
}

/// The route's model, started as a server does it.
async fn model(
    settings: &Settings,
    route: &RouteSettings,
    metrics: &Metrics,
) -> anyhow::Result<Arc<Model>> {
    let settings: &ModelSettings = &settings.models[&route.model];
    let parts = ModelParts::load(&route.model, settings, &Hub::from_env()).await?;
    Ok(Model::start(route.model.clone(), settings, parts, metrics).await?)
}

struct Asks {
    kind: Kind,
    timeout: Duration,
}

impl Subject for Asks {
    fn ask<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Reply> {
        let texts = || (asked.query_text.clone(), asked.documents.clone());
        Box::pin(async move {
            match &self.kind {
                Kind::Tokenize(model) => {
                    let (query, documents) = texts();
                    let encoding = model.encode_alone(query, documents);
                    let (sent, encoded) = (Instant::now(), timeout(self.timeout, encoding).await);
                    let answer = match encoded {
                        Ok(encoded) => encoded.map(|_| Answer::Done).map_err(of_tokenizer),
                        Err(_) => Err(Failure::TimedOut),
                    };
                    Reply { sent, answer }
                }
                Kind::Inference(model) => {
                    // Tokenizing is not what is measured, so the clock starts after it.
                    let (query, documents) = texts();
                    let pairs = match model.encode_alone(query, documents).await {
                        Ok(encoded) => encoded.pairs,
                        Err(error) => {
                            let answer = Err(of_tokenizer(error));
                            return Reply { sent: Instant::now(), answer };
                        }
                    };
                    let sent = Instant::now();
                    let call = Call {
                        pairs,
                        route: "bench".into(),
                        weight: 1,
                        priority: Priority::Normal,
                        deadline: sent + self.timeout,
                    };
                    let scored = model.score_alone(call).await;
                    let answer = scored.map_err(of_batcher).map(|scored| {
                        let logits = scored.logits.into_iter();
                        Answer::Scores(logits.map(|logit| Some(f64::from(logit))).collect())
                    });
                    Reply { sent, answer }
                }
                Kind::Policy(policy) => policy.ask(asked, self.timeout).await,
            }
        })
    }
}

fn of_tokenizer(error: TokenizeError) -> Failure {
    match error {
        TokenizeError::Full { .. } => Failure::Refused { retry_after: None },
        error => Failure::Invalid(error.to_string()),
    }
}

fn of_batcher(error: BatchError) -> Failure {
    match error {
        BatchError::DeadlineExceeded => Failure::Expired,
        BatchError::Overloaded { retry_after } | BatchError::Unavailable { retry_after } => {
            Failure::Refused { retry_after: Some(retry_after) }
        }
        error => Failure::Status(error.to_string()),
    }
}
