//! For the tests of engines: small models, and what the reference scores with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::{Batch, CrossEncoder, Pair};
use crate::checkpoint::Checkpoint;
use crate::config::{BatchSettings, DeviceKind, EngineKind, ModelSettings, Precision, Truncation};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

/// Padding moves sums about; f32 leaves this much of a logit open.
pub const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Goldens {
    max_length: usize,
    pairs: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    query: String,
    document: String,
    tokens: usize,
    logit: f32,
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

pub fn settings(kind: EngineKind) -> ModelSettings {
    ModelSettings {
        source: String::new(),
        engine: kind,
        device: DeviceKind::Cpu,
        precision: Precision::Auto,
        replicas: 1,
        replica_threads: 1,
        length_max: None,
        truncation: Truncation::LongestFirst,
        tokenizers: 1,
        batch: BatchSettings {
            queue_pairs_max: 1,
            queue_tokens_max: 1,
            batch_tokens_max: None,
            batch_pairs_max: 1,
            batch_wait_ms: Duration::ZERO,
            queue_cuts_max: 1,
        },
        batch_ms_max: Duration::from_secs(1),
        restart_ms: Duration::from_secs(1),
    }
}

/// The pairs of a goldens file, tokenized by the reference's own library, with
/// their logits.
pub fn goldens(path: &Path, tokenizer: &Path) -> (Vec<Arc<Pair>>, Vec<f32>) {
    let goldens: Goldens = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut tokenizer = Tokenizer::from_file(tokenizer).unwrap();
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(Some(TruncationParams {
            max_length: goldens.max_length,
            ..Default::default()
        }))
        .unwrap();
    let pairs = goldens.pairs.iter().map(|golden| {
        let text = (golden.query.as_str(), golden.document.as_str());
        let encoding = tokenizer.encode(text, true).unwrap();
        assert_eq!(encoding.len(), golden.tokens, "{}", golden.query);
        let types = encoding.get_type_ids();
        let second = types.iter().position(|kind| *kind == 1);
        Arc::new(Pair {
            ids: encoding.get_ids().into(),
            second_from: second.unwrap_or(types.len()) as u32,
        })
    });
    let logits = goldens.pairs.iter().map(|golden| golden.logit).collect();
    (pairs.collect(), logits)
}

pub fn score(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> Vec<f32> {
    let batch = Batch { pairs: pairs.to_vec() };
    let mut logits = vec![f32::NAN; pairs.len()];
    engine.score(&batch, &mut logits).unwrap();
    logits
}

pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn engine(dir: &Path, kind: EngineKind) -> Box<dyn CrossEncoder> {
    let checkpoint = Checkpoint::open("tiny", dir).unwrap();
    super::factory(&checkpoint, &settings(kind)).unwrap()().unwrap()
}

pub const TINY: [&str; 5] =
    ["tiny-bert", "tiny-bert-f16", "tiny-bert-bf16-sharded", "tiny-bert-odd", "tiny-xlm-roberta"];
