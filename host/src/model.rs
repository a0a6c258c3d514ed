//! The innermost stage: the tokenizers, the batcher and the replicas of one
//! model behind one [`Rerank`]. It knows no tensors, and of HTTP and policies
//! nothing at all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::time::{Instant, timeout_at};

use crate::admission::{Admission, Work};
use crate::batch::backlog::Newcomer;
use crate::batch::{BatchError, Batcher, Call, Scored, Status};
use crate::checkpoint::{self, Hub};
use crate::config::{ModelSettings, Truncation};
use crate::engine::{self, EngineFactory, EngineTraits, Pair};
use crate::metrics::{self, Metrics};
use crate::replica::{Plan, State, WarmUp};
use crate::rerank::{
    Context, Document, Error, Lengths, Priority, Ranked, Ranking, Request, Rerank, Scale, Stage,
};
use crate::tokenize::{Encoded, PairEncoder, PoolMeters, TokenizeError, TokenizerPool};

/// Bounds of what a client is told to wait before it tries again: less would be
/// a busy loop, more would be a guess.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What to tell a client before anything was measured.
const RETRY_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// What a model is made of.
pub struct ModelParts {
    /// The folder or hub id it comes from.
    pub source: Arc<str>,
    /// A `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// Whether the model tells query and document apart by token types.
    pub token_types: bool,
    /// Tokens that the model's files allow a pair.
    pub length_max: usize,
    pub factory: EngineFactory,
}

impl ModelParts {
    /// Finds the model's files, fetches them if need be, and reads its weights.
    pub async fn load(
        name: &str,
        settings: &ModelSettings,
        hub: &Hub,
    ) -> anyhow::Result<ModelParts> {
        let checkpoint = checkpoint::locate(&settings.source, hub).await?;
        if let Some(warning) = &checkpoint.warning {
            tracing::warn!(model = name, "{warning}");
        }
        // Weights are read and converted here, which may take seconds of a core.
        let factory = tokio::task::spawn_blocking({
            let (checkpoint, settings) = (checkpoint.clone(), settings.clone());
            move || engine::factory(&checkpoint, &settings)
        });
        Ok(ModelParts {
            source: settings.source.as_str().into(),
            tokenizer: checkpoint.tokenizer,
            token_types: checkpoint.config.token_types(),
            length_max: checkpoint.config.length_max,
            factory: factory.await.context("the task that loads the model failed")??,
        })
    }
}

/// A running model.
pub struct Model {
    name: Arc<str>,
    source: Arc<str>,
    admission: Arc<Admission>,
    tokenizers: Arc<TokenizerPool>,
    batcher: Batcher,
    traits: EngineTraits,
    pairs_shared: Counter,
    pairs_truncated: Counter,
    shed: Family<metrics::RouteShed, Counter>,
}

/// Why a model does not run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    #[error("no replica of the model `{model}` came up: {reason}")]
    Replicas { model: Arc<str>, reason: String },
    #[error(
        "the engine of the model `{model}` takes {engine} tokens, fewer than its pairs may have: {pairs}"
    )]
    Length { model: Arc<str>, engine: usize, pairs: usize },
}

/// What `/info` tells of a model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    pub name: Arc<str>,
    /// The folder or hub id.
    pub source: Arc<str>,
    pub traits: EngineTraits,
    /// What each replica is doing: `starting`, `idle`, `busy` or `failed`.
    pub replicas: Vec<&'static str>,
}

impl Model {
    /// Starts threads and replicas, and returns when the first replica is warm.
    /// A model none of whose replicas comes up is an error here, so that a wrong
    /// file is found at the start and not by the first client.
    pub async fn start(
        name: Arc<str>,
        settings: &ModelSettings,
        parts: ModelParts,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, ModelError> {
        let label = metrics::Model { model: name.to_string() };
        let length_max = settings.length_within(parts.length_max);
        let (path, truncation) = (parts.tokenizer, settings.truncation);
        // A tokenizer of 250,000 pieces takes a second to load.
        let load = move || PairEncoder::load(&path, parts.token_types, length_max, truncation);
        let encoder = tokio::task::spawn_blocking(load).await;
        let encoder = encoder.map_err(|panic| TokenizeError::Failed(panic.to_string()))??;
        let plan = Plan {
            model: name.clone(),
            factory: parts.factory,
            warm_up: warm_up(&encoder, settings)?,
            batch_ms_max: settings.batch_ms_max,
            restart_ms: settings.restart_ms,
        };
        let tokenizers = TokenizerPool::start(
            &name,
            encoder,
            settings.tokenizers,
            // Whoever comes here holds at least a pair's place.
            settings.batch.queue_pairs_max as usize,
            PoolMeters {
                waiting: metrics.tokenizer_queue.get_or_create(&label).clone(),
                threads: metrics.tokenizer_threads.get_or_create(&label).clone(),
                busy: metrics.tokenizer_busy.get_or_create(&label).clone(),
            },
        )?;
        let batcher = Batcher::start(plan, settings.replicas, &settings.batch, metrics);
        let traits = match first_up(&name, &batcher).await {
            Ok(traits) if traits.length_max >= length_max => traits,
            Ok(traits) => {
                batcher.stop().await;
                return Err(ModelError::Length {
                    model: name,
                    engine: traits.length_max,
                    pairs: length_max,
                });
            }
            Err(error) => {
                batcher.stop().await;
                return Err(error);
            }
        };
        Ok(Arc::new(Model {
            admission: Admission::new(Work {
                pairs: settings.batch.queue_pairs_max,
                tokens: settings.batch.queue_tokens_max,
            }),
            tokenizers: Arc::new(tokenizers),
            batcher,
            traits,
            source: parts.source,
            pairs_shared: metrics.pairs_shared.get_or_create(&label).clone(),
            pairs_truncated: metrics.pairs_truncated.get_or_create(&label).clone(),
            shed: metrics.shed.clone(),
            name,
        }))
    }

    /// The name that the configuration gives it.
    pub fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Whether `name` is the model's name or the id or folder it came from.
    pub fn is_named(&self, name: &str) -> bool {
        *self.name == *name || *self.source == *name
    }

    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Tokens of a pair; the rest is truncated.
    pub fn length_max(&self) -> usize {
        self.tokenizers.encoder().length_max()
    }

    /// When what is queued now will have been scored, at the recent speed.
    pub fn retry_after(&self) -> Duration {
        retry_after(&self.batcher.status())
    }

    /// When a request that comes now would be served, however small it is: what
    /// stands before it, at the recent speed.
    pub fn wait(&self, route: &str, priority: Priority, weight: u32) -> Duration {
        self.batcher.status().time_until_served(Newcomer { route, priority, weight, tokens: 0 })
    }

    /// What `/info` tells of it.
    pub fn info(&self) -> ModelInfo {
        ModelInfo {
            name: self.name.clone(),
            source: self.source.clone(),
            traits: self.traits.clone(),
            replicas: self.batcher.status().replicas.iter().map(State::name).collect(),
        }
    }

    /// The pairs of a query and documents, without asking anybody else: for who
    /// measures the tokenizers alone.
    pub async fn encode_alone(
        &self,
        query: Arc<str>,
        documents: Vec<Arc<str>>,
    ) -> Result<Encoded, TokenizeError> {
        self.tokenizers.encode(query, documents, None, Lengths::default()).await
    }

    /// The scores of pairs that are there: for who measures batcher and replicas
    /// alone. It stands outside admission.
    pub async fn score_alone(&self, call: Call) -> Result<Scored, BatchError> {
        self.batcher.score(call).await
    }

    /// Whether at least one replica can score.
    pub fn ready(&self) -> bool {
        self.batcher.status().replicas.iter().any(State::is_up)
    }

    /// Finishes the calls it has, takes no more, and joins every thread. Those
    /// who call the model should have stopped before.
    pub async fn stop(&self) {
        let tokenizers = self.tokenizers.clone();
        // Only a panic could keep it from ending, and then it has ended, too.
        let _ = tokio::task::spawn_blocking(move || tokenizers.stop()).await;
        self.batcher.stop().await;
    }

    async fn score(&self, request: Request, context: &Context) -> Result<Ranking, Error> {
        let mut span = context.trace.span_of("model", &self.name);
        span.count("maitred.documents", request.documents.len() as u64);
        let context = context.under(span.trace());
        let ranking = self.score_here(request, &context).await;
        span.end(ranking.as_ref().err().map(Error::kind));
        ranking
    }

    async fn score_here(&self, request: Request, context: &Context) -> Result<Ranking, Error> {
        let documents = request.documents;
        if documents.is_empty() {
            return Ok(ranking(&documents, |_| 0.0));
        }
        self.take_share(&request.query, &documents, context)?;
        let mut span = context.trace.span("tokenize");
        let encoded = self.encode(request.query, &documents, context).await;
        if let Ok(pairs) = &encoded {
            span.count("maitred.tokens", pairs.iter().map(|pair| pair.tokens() as u64).sum());
        }
        span.end(encoded.as_ref().err().map(Error::kind));
        let distinct = Distinct::of(encoded?);
        let shared = documents.len() - distinct.pairs.len();
        self.pairs_shared.inc_by(shared as u64);
        let call = Call {
            pairs: distinct.pairs,
            weight: context.weight,
            route: context.route.clone(),
            priority: context.priority,
            deadline: context.deadline,
        };
        let scored = self.batcher.score_under(call, context.trace.clone()).await;
        let scored = scored.map_err(|error| self.batch_error(error, &context.route))?;
        context.report.add_time(Stage::Queue, scored.queue);
        context.report.add_time(Stage::Inference, scored.inference);
        Ok(ranking(&documents, |place| scored.logits[distinct.places[place]]))
    }

    /// Uses the share that the edge reserved. Only a chain can exceed it, by
    /// asking for more than its route allows; the client sent what was admitted.
    fn take_share(
        &self,
        query: &str,
        documents: &[Document],
        context: &Context,
    ) -> Result<(), Error> {
        let length_max = self.length_max() as u64;
        let bound = |document: &Document| tokens_bound(query, &document.text, length_max);
        let work =
            Work { pairs: documents.len() as u64, tokens: documents.iter().map(bound).sum() };
        let granted = context.allowance.granted();
        let taken = match context.report.bypassed() {
            false => context.allowance.take(work),
            // Of several queries others may still be with their chains, which are
            // held to the chain's share first.
            true => context.allowance.take_bypass(work).or_else(|| context.allowance.take(work)),
        };
        taken.ok_or_else(|| Error::PolicyFailed {
            policy: format!("chain of {}", context.route).into(),
            reason: format!(
                "asks the model for {} more pairs and {} more tokens, and is over the \
                     {} pairs and {} tokens that the request was admitted with \
                     (`amplification_max` of the route)",
                work.pairs, work.tokens, granted.pairs, granted.tokens
            ),
        })
    }

    /// The pair of each document, in their order.
    async fn encode(
        &self,
        query: Arc<str>,
        documents: &[Document],
        context: &Context,
    ) -> Result<Vec<Arc<Pair>>, Error> {
        let began = Instant::now();
        let texts = documents.iter().map(|document| document.text.clone());
        let encoding =
            self.tokenizers.encode(query, texts.collect(), context.truncate, context.lengths);
        let encoded = timeout_at(context.deadline, encoding)
            .await
            .map_err(|_| Error::DeadlineExceeded)?
            .map_err(|error| self.tokenize_error(error, documents, &context.route))?;
        let tokens = encoded.pairs.iter().map(|pair| pair.tokens() as u64).sum();
        let (pairs, truncated) = (encoded.pairs.len() as u64, encoded.truncated as u64);
        context.report.add_pairs(pairs, tokens, truncated);
        context.report.add_time(Stage::Tokenize, began.elapsed());
        self.pairs_truncated.inc_by(truncated);
        Ok(encoded.pairs)
    }

    fn tokenize_error(&self, error: TokenizeError, documents: &[Document], route: &str) -> Error {
        // The caller knows a document by its index, not by its place here.
        let named = |place: usize| documents[place].id.index as usize;
        match error {
            TokenizeError::PairTooLong { document, tokens, at_least, limit } => Error::Invalid(
                TokenizeError::PairTooLong { document: named(document), tokens, at_least, limit }
                    .to_string(),
            ),
            TokenizeError::QueryTooLong { document, tokens, limit } => Error::Invalid(
                TokenizeError::QueryTooLong { document: named(document), tokens, limit }
                    .to_string(),
            ),
            TokenizeError::TextTooLong { document, bytes, limit } => Error::Invalid(
                TokenizeError::TextTooLong { document: document.map(named), bytes, limit }
                    .to_string(),
            ),
            TokenizeError::NoRoom { .. } => Error::Invalid(error.to_string()),
            TokenizeError::Full { .. } => {
                self.count_shed(route, "tokenizer");
                Error::Overloaded { retry_after: self.retry_after() }
            }
            TokenizeError::Stopped => self.stopped(),
            TokenizeError::Unsupported { .. } | TokenizeError::Failed(_) => {
                Error::Internal(format!("model `{}`: {error}", self.name))
            }
        }
    }

    fn batch_error(&self, error: BatchError, route: &str) -> Error {
        match error {
            BatchError::DeadlineExceeded => Error::DeadlineExceeded,
            BatchError::Overloaded { retry_after } => {
                self.count_shed(route, "wait");
                let retry_after = retry_after.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
                Error::Overloaded { retry_after }
            }
            BatchError::Failed { .. } => Error::Internal(format!("model `{}`: {error}", self.name)),
            BatchError::Unavailable { retry_after } => Error::Unavailable {
                reason: format!("no replica of the model `{}` is in service", self.name),
                retry_after: retry_after.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX),
            },
            BatchError::Stopped => self.stopped(),
        }
    }

    fn count_shed(&self, route: &str, reason: &'static str) {
        let labels = metrics::RouteShed { route: route.to_owned(), reason };
        self.shed.get_or_create(&labels).inc();
    }

    fn stopped(&self) -> Error {
        Error::Unavailable {
            reason: format!("the model `{}` is shutting down", self.name),
            retry_after: RETRY_AFTER_UNKNOWN,
        }
    }
}

impl Rerank for Model {
    fn rerank<'a>(
        &'a self,
        request: Request,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        Box::pin(self.score(request, context))
    }
}

/// Tokens that a pair counts as before anyone tokenized it (see `admission`).
pub fn tokens_bound(query: &str, document: &str, length_max: u64) -> u64 {
    (query.len() as u64 + document.len() as u64 + 4).min(length_max)
}

/// The pairs of a request, identical ones once.
struct Distinct {
    pairs: Vec<Arc<Pair>>,
    /// Where each document's pair is.
    places: Vec<usize>,
}

impl Distinct {
    fn of(all: Vec<Arc<Pair>>) -> Self {
        let mut known: HashMap<Arc<Pair>, usize> = HashMap::with_capacity(all.len());
        let mut pairs = Vec::with_capacity(all.len());
        let mut place = |pair: Arc<Pair>| {
            *known.entry(pair).or_insert_with_key(|pair| {
                pairs.push(pair.clone());
                pairs.len() - 1
            })
        };
        let places = all.into_iter().map(&mut place).collect();
        Distinct { pairs, places }
    }
}

fn ranking(documents: &[Document], score: impl Fn(usize) -> f32) -> Ranking {
    let ranked =
        |(place, document): (usize, &Document)| Ranked { id: document.id, score: score(place) };
    Ranking { results: documents.iter().enumerate().map(ranked).collect(), scale: Scale::Logit }
}

/// Pairs of the least length and of the greatest, from real words: made-up ids
/// might not be in the model's vocabulary.
fn warm_up(encoder: &PairEncoder, settings: &ModelSettings) -> Result<WarmUp, TokenizeError> {
    let query = encoder.query("a")?;
    let pair = |document: &str| {
        let encoded = encoder.pair(&query, document, 0, Truncation::LongestFirst)?;
        Ok::<_, TokenizeError>(Arc::new(encoded.pair))
    };
    Ok(WarmUp {
        short: pair("a")?,
        long: pair(&"a ".repeat(encoder.length_max()))?,
        batch_tokens_max: settings.batch.batch_tokens_max,
        batch_pairs_max: settings.batch.batch_pairs_max,
    })
}

/// Waits until a replica is up, or all have failed.
async fn first_up(name: &Arc<str>, batcher: &Batcher) -> Result<EngineTraits, ModelError> {
    let failed = |state: &State| matches!(state, State::Failed { .. });
    let status = batcher.status_when(|status| {
        status.replicas.iter().any(State::is_up) || status.replicas.iter().all(failed)
    });
    let status = status.await.unwrap_or_default();
    if let Some(traits) = status.traits
        && status.replicas.iter().any(State::is_up)
    {
        return Ok(traits);
    }
    let reasons = status.replicas.iter().find_map(|state| match state {
        State::Failed { reason } => Some(reason.to_string()),
        _ => None,
    });
    Err(ModelError::Replicas {
        model: name.clone(),
        reason: reasons.unwrap_or_else(|| "the batcher has ended".into()),
    })
}

fn retry_after(status: &Status) -> Duration {
    let seconds = status.queued.tokens as f64 / status.tokens_per_second;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) => time.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX),
        // Nothing was scored yet, or no replica is up.
        Err(_) => RETRY_AFTER_UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
