//! The real model against the reference: 221 pairs scored by transformers on the
//! same dequantised weights, and the reference's own tokens for 184 cases.

use std::sync::Arc;

use maitred::checkpoint::{self, Checkpoint, Hub};
use maitred::config::{ModelSettings, Raw, RawModel, Truncation, check};
use maitred::engine::{self, Batch, CrossEncoder, Pair};
use maitred::tokenize::{PairEncoder, TokenizeError};
use maitred_kernels::Isa;
use maitred_tests::fixtures::{goldens, repository};
use serde_json::Value;

/// `cargo xtask model` imports it.
const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";

/// Of a logit, against the reference.
const REFERENCE_DIFFERENCE_MAX: f32 = 1e-3;
/// Of a logit, alone and in any batch, where padding moves sums about.
const BATCH_DIFFERENCE_MAX: f32 = 1e-4;
/// Of all logits on average, against the reference on the same weights.
const INT8_MEAN_DIFFERENCE_MAX: f32 = 0.025;
const BF16_MEAN_DIFFERENCE_MAX: f32 = 0.02;

async fn model() -> Checkpoint {
    let hub = Hub { offline: true, ..Hub::from_env() };
    checkpoint::locate(MODEL, &hub).await.unwrap_or_else(|error| {
        panic!("`cargo xtask model` imports the model of this test, which is not there: {error}")
    })
}

fn settings(engine: &str, precision: &str) -> ModelSettings {
    let mut raw = Raw::default();
    let model = RawModel {
        engine: engine.into(),
        precision: precision.into(),
        replicas: Some(1),
        ..RawModel::default()
    };
    raw.models.insert("m".into(), model);
    check(&mut raw).unwrap().models["m"].clone()
}

fn encoder(model: &Checkpoint, length_max: usize, truncation: Truncation) -> PairEncoder {
    PairEncoder::load(&model.tokenizer, true, length_max, truncation).unwrap()
}

fn score(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> Vec<f32> {
    let mut logits = vec![f32::NAN; pairs.len()];
    engine.score(&Batch { pairs: pairs.to_vec() }, &mut logits).unwrap();
    logits
}

/// The goldens as pairs, with the reference's logits.
fn pairs(model: &Checkpoint) -> (Vec<Arc<Pair>>, Vec<f32>) {
    let truncation = Truncation::LongestFirst;
    let encoder = encoder(model, model.config.length_max, truncation);
    let goldens = goldens("tests/goldens/minilm-l12-dequantised.json");
    assert!(goldens.len() >= 200);
    let pairs = goldens.iter().map(|golden| {
        let query = encoder.query(&golden.query).unwrap();
        let pair = encoder.pair(&query, &golden.document, 0, truncation).unwrap().pair;
        assert_eq!(pair.tokens(), golden.tokens, "{golden:?}");
        Arc::new(pair)
    });
    (pairs.collect(), goldens.iter().map(|golden| golden.logit).collect())
}

/// Each pair's logit alone, and the largest difference from that in batches whose
/// members and sizes are drawn.
fn alone_and_in_batches(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> (Vec<f32>, f32) {
    let alone: Vec<f32> =
        pairs.iter().map(|pair| score(engine, std::slice::from_ref(pair))[0]).collect();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    random.shuffle(&mut order);
    let mut worst: f32 = 0.0;
    while !order.is_empty() {
        let batch = order.split_off(order.len() - random.usize(1..=7).min(order.len()));
        let together: Vec<_> = batch.iter().map(|&at| pairs[at].clone()).collect();
        for (&at, logit) in batch.iter().zip(score(engine, &together)) {
            worst = worst.max((logit - alone[at]).abs());
        }
    }
    (alone, worst)
}

fn differences(found: &[f32], expected: &[f32]) -> (f32, f32) {
    let each = || found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    (each().fold(0.0, f32::max), each().sum::<f32>() / found.len() as f32)
}

#[tokio::test]
async fn logits_are_the_references_alone_and_in_any_batch() {
    let model = model().await;
    let (pairs, expected) = pairs(&model);
    for (engine, batch_difference_max) in [("candle", BATCH_DIFFERENCE_MAX), ("packed", 0.0)] {
        let settings = settings(engine, "f32");
        let mut engine = engine::factory(&model, &settings).unwrap()().unwrap();
        let (alone, moved) = alone_and_in_batches(&mut *engine, &pairs);
        let (worst, mean) = differences(&alone, &expected);
        println!("{:?}: from the reference {worst:e}, {mean:e} on average", settings.engine);
        println!("{:?}: between alone and in a batch {moved:e}", settings.engine);
        assert!(worst < REFERENCE_DIFFERENCE_MAX, "{worst}");
        assert!(moved <= batch_difference_max, "{moved}");
    }
}

#[tokio::test]
async fn int8_logits_are_near_the_references() {
    let model = model().await;
    let (pairs, expected) = pairs(&model);
    // What a checkpoint of int8 weights is served with.
    let mut engine = engine::factory(&model, &settings("auto", "auto")).unwrap()().unwrap();
    assert_eq!(engine.traits().precision, "int8");
    let (alone, moved) = alone_and_in_batches(&mut *engine, &pairs);
    let (worst, mean) = differences(&alone, &expected);
    println!("int8: from the reference {worst:e}, {mean:e} on average");
    assert!(mean <= INT8_MEAN_DIFFERENCE_MAX, "{mean}");
    assert_eq!(moved, 0.0, "a pair's score depends on its batch");
}

/// Where the machine multiplies bf16; elsewhere the engine has to refuse.
#[tokio::test]
async fn bf16_logits_are_near_the_references() {
    let model = model().await;
    let (pairs, expected) = pairs(&model);
    let factory = engine::factory(&model, &settings("packed", "bf16"));
    if !Isa::detect().has_bf16() {
        let refusal = factory.err().unwrap().to_string();
        assert!(refusal.contains("does not multiply bf16"), "{refusal}");
        return;
    }
    let mut engine = factory.unwrap()().unwrap();
    assert_eq!(engine.traits().precision, "bf16");
    let (alone, moved) = alone_and_in_batches(&mut *engine, &pairs);
    let (worst, mean) = differences(&alone, &expected);
    println!("bf16: from the reference {worst:e}, {mean:e} on average");
    assert!(mean <= BF16_MEAN_DIFFERENCE_MAX, "{mean}");
    assert_eq!(moved, 0.0, "a pair's score depends on its batch");
}

#[tokio::test]
async fn the_stock_engine_agrees() {
    let model = model().await;
    let encoder = encoder(&model, model.config.length_max, Truncation::LongestFirst);
    let mut engine = engine::factory(&model, &settings("candle-stock", "f32")).unwrap()().unwrap();
    for golden in goldens("tests/goldens/minilm-l12-dequantised.json").iter().step_by(20) {
        let query = encoder.query(&golden.query).unwrap();
        let pair =
            encoder.pair(&query, &golden.document, 0, Truncation::LongestFirst).unwrap().pair;
        let logit = score(&mut *engine, &[Arc::new(pair)])[0];
        assert!((logit - golden.logit).abs() < REFERENCE_DIFFERENCE_MAX, "{golden:?} got {logit}");
    }
}

#[tokio::test]
async fn tokens_are_the_references() {
    let model = model().await;
    let goldens = std::fs::read(repository("tests/goldens/pairs-wordpiece.json")).unwrap();
    let goldens: Value = serde_json::from_slice(&goldens).unwrap();
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
    };
    for case in goldens["cases"].as_array().unwrap() {
        let truncation = match case["strategy"].as_str().unwrap() {
            "longest_first" => Truncation::LongestFirst,
            _ => Truncation::DocumentOnly,
        };
        let length_max = case["max_length"].as_u64().unwrap() as usize;
        let encoder = encoder(&model, length_max, truncation);
        let text =
            |name: &str| goldens["texts"][case[name].as_u64().unwrap() as usize].as_str().unwrap();
        let query = encoder.query(text("query")).unwrap();
        let found = encoder.pair(&query, text("document"), 0, truncation);
        if case["error"] == true {
            assert!(matches!(found, Err(TokenizeError::QueryTooLong { .. })), "{case}");
            continue;
        }
        let pair = found.unwrap().pair;
        assert_eq!(*pair.ids, *numbers(&case["ids"]), "{case}");
        let types: Vec<u32> =
            (0..pair.ids.len()).map(|at| u32::from(at >= pair.second_from as usize)).collect();
        assert_eq!(types, numbers(&case["type_ids"]), "{case}");
    }
}
