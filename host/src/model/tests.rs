//! The whole model over the tiny tokenizer, with engines whose answers are a
//! function of a pair's ids.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::future::join_all;

use super::*;
use crate::admission::Work;
use crate::config::{BatchSettings, DeviceKind, EngineKind, Precision};
use crate::engine::{Batch, EngineError};
use crate::replica::fake::{self, Act, Script, truth};
use crate::rerank::{DocumentId, Lengths, Priority};
use crate::telemetry::Trace;

fn settings() -> ModelSettings {
    ModelSettings {
        source: "tiny".into(),
        engine: EngineKind::Candle,
        device: DeviceKind::Cpu,
        precision: Precision::F32,
        replicas: 2,
        replica_threads: 1,
        length_max: None,
        truncation: Truncation::LongestFirst,
        tokenizers: 2,
        batch: BatchSettings {
            queue_pairs_max: 1000,
            queue_tokens_max: 100_000,
            batch_tokens_max: None,
            batch_pairs_max: 64,
            batch_wait_ms: Duration::ZERO,
            queue_cuts_max: 100,
        },
        batch_ms_max: Duration::from_secs(60),
        restart_ms: Duration::from_millis(1),
    }
}

fn parts(factory: EngineFactory) -> ModelParts {
    let tokenizer =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert/tokenizer.json");
    ModelParts {
        source: "folder/tiny".into(),
        tokenizer: tokenizer.into(),
        token_types: true,
        length_max: 128,
        factory,
    }
}

/// The batches that engines were given.
type Seen = Arc<Mutex<Vec<Batch>>>;

async fn start(settings: ModelSettings, act: Act) -> (Arc<Model>, Seen, Arc<Metrics>) {
    let seen = Seen::default();
    // Replicas warm up on real words, which are scored in any case.
    let warm = Arc::new(AtomicBool::new(false));
    let script: Script = {
        let (seen, warm) = (seen.clone(), warm.clone());
        Arc::new(move |_, batch| {
            seen.lock().unwrap().push(batch.clone());
            if warm.load(SeqCst) { act } else { Act::Score }
        })
    };
    let metrics = Metrics::new();
    let parts = parts(fake::scripted(fake::traits(), script));
    let model = Model::start("tiny".into(), &settings, parts, &metrics).await.unwrap();
    let up = |status: &Status| status.replicas.iter().all(State::is_up);
    model.batcher.status_when(up).await.unwrap();
    warm.store(true, SeqCst);
    seen.lock().unwrap().clear();
    (model, seen, metrics)
}

fn request(query: &str, texts: &[&str]) -> Request {
    let document = |(index, text): (usize, &&str)| Document {
        id: DocumentId { index: 10 * index as u32, part: index as u32 % 2 },
        text: (*text).into(),
        fields: Arc::default(),
    };
    Request { query: query.into(), documents: texts.iter().enumerate().map(document).collect() }
}

fn context(model: &Model, work: Work) -> Context {
    Context {
        request_id: "1".into(),
        route: "route".into(),
        deadline: Instant::now() + Duration::from_secs(60),
        priority: Priority::Normal,
        weight: 1,
        caller: None,
        wanted: None,
        truncate: None,
        lengths: Lengths::default(),
        allowance: Arc::new(model.admission().admit(work, Duration::ZERO).unwrap()),
        report: Arc::default(),
        trace: Trace::default(),
    }
}

fn work(pairs: u64, tokens: u64) -> Work {
    Work { pairs, tokens }
}

/// The logit that the document's pair must have.
fn expected(model: &Model, query: &str, document: &str) -> f32 {
    let encoder = model.tokenizers.encoder();
    let query = encoder.query(query).unwrap();
    let encoded = encoder.pair(&query, document, 0, Truncation::LongestFirst).unwrap();
    truth(&encoded.pair.ids)
}

#[tokio::test]
async fn documents_are_scored_under_their_own_names() {
    let (model, seen, metrics) = start(settings(), Act::Score).await;
    let context = context(&model, work(10, 2000));
    let long = "bread ".repeat(300);
    let texts = ["bread and tides", "", "apples in winter", "bread and tides", &long];
    let request = request("why do leaves fall", &texts);
    let ranking = model.rerank(request.clone(), &context).await.unwrap();
    assert_eq!(ranking.scale, Scale::Logit);
    let ids: Vec<_> = ranking.results.iter().map(|ranked| ranked.id).collect();
    let sent: Vec<_> = request.documents.iter().map(|document| document.id).collect();
    assert_eq!(ids, sent);
    for (ranked, text) in ranking.results.iter().zip(texts) {
        assert_eq!(ranked.score, expected(&model, &request.query, text), "{text}");
    }
    // Identical pairs are computed once, and counted twice for the client.
    let scored: usize = seen.lock().unwrap().iter().map(|batch| batch.pairs.len()).sum();
    assert_eq!(scored, 4);
    let report = &context.report;
    assert_eq!((report.pairs(), report.pairs_truncated()), (5, 1));
    assert!(report.tokens() > 128 && report.tokens() < 250, "{}", report.tokens());
    assert!(report.time(Stage::Tokenize) > Duration::ZERO);
    assert!(report.time(Stage::Inference) > Duration::ZERO);
    let text = metrics.render();
    assert!(text.contains("maitred_pairs_shared_total{model=\"tiny\"} 1"), "{text}");
    assert!(text.contains("maitred_pairs_truncated_total{model=\"tiny\"} 1"), "{text}");
    model.stop().await;
}

#[tokio::test]
async fn no_documents_touch_nothing() {
    let (model, seen, _) = start(settings(), Act::Score).await;
    let context = context(&model, work(0, 0));
    let ranking = model.rerank(request("query", &[]), &context).await.unwrap();
    assert_eq!(ranking.results, []);
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(context.report.time(Stage::Tokenize), Duration::ZERO);
    model.stop().await;
}

#[tokio::test]
async fn a_chain_cannot_ask_for_more_than_its_share() {
    let (model, _, _) = start(settings(), Act::Score).await;
    let context = context(&model, work(3, 100));
    let twice = request("a query", &["bread", "tide"]);
    model.rerank(twice.clone(), &context).await.unwrap();
    let error = model.rerank(twice, &context).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy `chain of route` asks the model for 2 more pairs and 31 more tokens, and is over \
         the 3 pairs and 100 tokens that the request was admitted with (`amplification_max` of the route)"
    );
    model.stop().await;
}

#[tokio::test]
async fn long_inputs_are_refused_if_the_client_wishes_so() {
    let (model, _, _) = start(settings(), Act::Score).await;
    let mut context = context(&model, work(10, 1000));
    context.truncate = Some(false);
    let long = "bread ".repeat(130);
    let refused = model.rerank(request("query", &["short", &long]), &context).await;
    let Err(Error::Invalid(text)) = refused else {
        panic!("{refused:?}");
    };
    // Its index, not its place.
    assert!(text.starts_with("document 10 and the query have "), "{text}");
    assert!(text.ends_with("over the limit of 128"), "{text}");
    model.stop().await;
}

#[tokio::test]
async fn pairs_that_limits_make_identical_are_scored_once() {
    let (model, seen, _) = start(settings(), Act::Score).await;
    let mut context = context(&model, work(10, 1000));
    context.lengths.document_max = NonZeroU32::new(1);
    let texts = ["a b c", "a d", "b"];
    let ranking = model.rerank(request("query", &texts), &context).await.unwrap();
    for (ranked, text) in ranking.results.iter().zip(["a", "a", "b"]) {
        assert_eq!(ranked.score, expected(&model, "query", text), "{text}");
    }
    let scored: usize = seen.lock().unwrap().iter().map(|batch| batch.pairs.len()).sum();
    assert_eq!(scored, 2);
    assert_eq!(context.report.pairs_truncated(), 2);
    context.lengths.pair_max = NonZeroU32::new(3);
    let refused = model.rerank(request("query", &texts), &context).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    model.stop().await;
}

#[tokio::test]
async fn failures_are_told_with_whose_fault_they_are() {
    let (model, _, _) = start(settings(), Act::Err).await;
    let context = context(&model, work(10, 1000));
    let failed = model.rerank(request("query", &["bread"]), &context).await;
    let Err(Error::Internal(text)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(
        text,
        "model `tiny`: scoring failed twice, the second time because the device failed: as the \
         test wished"
    );
    let late = Context { deadline: Instant::now(), ..self::context(&model, work(10, 1000)) };
    let expired = model.rerank(request("query", &["bread"]), &late).await;
    assert_eq!(expired, Err(Error::DeadlineExceeded));
    model.stop().await;
    let stopped = model.rerank(request("query", &["bread"]), &context).await;
    assert!(matches!(stopped, Err(Error::Unavailable { .. })), "{stopped:?}");
}

#[tokio::test]
async fn models_that_cannot_run_are_errors_at_the_start() {
    let check = async |settings: ModelSettings, parts: ModelParts, expected: &str| {
        let started = Model::start("tiny".into(), &settings, parts, &Metrics::new()).await;
        let error = started.map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let healthy = || fake::scripted(fake::traits(), Arc::new(|_, _: &Batch| Act::Score));
    let away: EngineFactory = Arc::new(|| Err(EngineError::Unsupported("not this one".into())));
    check(settings(), parts(away), "the model is not supported: not this one").await;
    let tokenizer = "nowhere/tokenizer.json".into();
    let nowhere = ModelParts { tokenizer, ..parts(healthy()) };
    check(settings(), nowhere, "nowhere/tokenizer.json").await;
    let longer = ModelParts { length_max: 1000, ..parts(healthy()) };
    check(settings(), longer, "takes 512 tokens, fewer than its pairs may have: 1000").await;
}

#[tokio::test]
async fn a_model_tells_of_itself() {
    let (model, _, _) =
        start(ModelSettings { length_max: Some(64), ..settings() }, Act::Score).await;
    assert!(model.ready());
    assert!(model.is_named("tiny") && model.is_named("folder/tiny") && !model.is_named("folder"));
    assert_eq!(model.length_max(), 64);
    assert_eq!(model.admission().limit(), work(1000, 100_000));
    let info = model.info();
    assert_eq!((&*info.name, info.replicas.len()), ("tiny", 2));
    assert_eq!(info.traits.precision, "f32");
    model.stop().await;
}

#[test]
fn clients_are_told_to_return_when_the_queue_has_been_scored() {
    let check = |tokens, tokens_per_second, expected| {
        let mut status = Status { tokens_per_second, ..Status::default() };
        status.queued.tokens = tokens;
        assert_eq!(retry_after(&status), Duration::from_millis(expected));
    };
    check(5000, 1000.0, 5000);
    check(0, 1000.0, 100);
    check(1_000_000, 10.0, 30_000);
    check(0, 0.0, 1000);
    check(1000, 0.0, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_get_their_own_scores() {
    let (model, _, _) = start(settings(), Act::Score).await;
    let requests = (0..40).map(|number| {
        let model = model.clone();
        tokio::spawn(async move {
            let texts: Vec<String> =
                (0..number % 7 + 1).map(|n| format!("text {} bread", n * number)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let context = context(&model, work(7, 700));
            let query = format!("query {number}");
            let ranking = model.rerank(request(&query, &texts), &context).await.unwrap();
            for (ranked, text) in ranking.results.iter().zip(texts) {
                assert_eq!(ranked.score, expected(&model, &query, text));
            }
        })
    });
    for done in join_all(requests).await {
        done.unwrap();
    }
    assert_eq!(model.admission().inside(), Work::default());
    model.stop().await;
}
