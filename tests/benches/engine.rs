//! The CPU engine and candle's on one core, whole models on real text: time of a pair,
//! and arithmetic as a share of what the core can do at most, measured in the same run.
//!
//! `cargo bench -p maitred-tests --bench engine [-- LAYERS] [ENGINE] [PRECISION]` (with one
//! engine, add `--profile dev` to measure without building the world again: the kernels are
//! optimised there too, but candle's side is not). The model is the one that `cargo xtask
//! model` imports; fewer layers make it another size, whose scores mean nothing. Engines take
//! turns, batch by batch, so that a noisy machine is noisy for all of them. It cannot show what
//! several replicas cost each other, nor what the way to an engine costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use maitred::checkpoint::{self, Hub, ModelConfig};
use maitred::config::{Raw, RawModel, Truncation, check};
use maitred::engine::{self, Batch, CrossEncoder, Pair};
use maitred::tokenize::PairEncoder;
use maitred_kernels::{Format, Isa, peak};
use maitred_tests::fixtures::goldens;

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
const ROUNDS: usize = 5;

/// An engine, a number format, and pairs of a batch.
const CANDIDATES: [(&str, &str, &[usize]); 5] = [
    ("packed", "int8", &[1, 4, 8]),
    ("packed", "bf16", &[1, 4, 8]),
    ("packed", "f32", &[1, 4, 8]),
    ("candle", "f32", &[4]),
    // As its own crate has it, which is what one gets without an engine.
    ("candle-stock", "f32", &[4]),
];

struct Candidate {
    name: String,
    engine: Box<dyn CrossEncoder>,
    batches: Vec<Batch>,
    /// Seconds for all pairs, round by round.
    seconds: Vec<f64>,
    /// Seconds for each batch in its fastest round: nothing else had the core then.
    fastest: Vec<f64>,
    logits: Vec<f32>,
    peak: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut model = checkpoint::locate(MODEL, &Hub::from_env()).await?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let layers = words.iter().find_map(|word| word.parse().ok()).unwrap_or(model.config.layers);
    let engine = words.iter().find(|word| CANDIDATES.iter().any(|(engine, ..)| engine == word));
    let precision = words.iter().find(|word| CANDIDATES.iter().any(|(_, of, _)| of == word));
    let whole = layers == model.config.layers;
    model.config.layers = layers.min(model.config.layers);
    let truncation = Truncation::LongestFirst;
    let encoder = PairEncoder::load(&model.tokenizer, true, model.config.length_max, truncation)?;
    let goldens = goldens("tests/goldens/minilm-l12-dequantised.json");
    let mut pairs = Vec::new();
    for golden in &goldens {
        let query = encoder.query(&golden.query)?;
        pairs.push(Arc::new(encoder.pair(&query, &golden.document, 0, truncation)?.pair));
    }
    let tokens: usize = pairs.iter().map(|pair| pair.tokens()).sum();
    let operations: f64 = pairs.iter().map(|pair| operations(pair, &model.config)).sum();
    println!(
        "{MODEL}, {} layers, {} pairs of {:.1} tokens, {:.2} G operations a pair",
        model.config.layers,
        pairs.len(),
        tokens as f64 / pairs.len() as f64,
        operations / pairs.len() as f64 / 1e9,
    );

    let isa = Isa::detect();
    println!("{}", isa.name());
    let mut candidates = Vec::new();
    let wanted = CANDIDATES.iter().filter(|(of_engine, of_precision, _)| {
        engine.is_none_or(|engine| engine == of_engine)
            && precision.is_none_or(|precision| precision == of_precision)
    });
    for &(engine, precision, sizes) in wanted {
        let format = match precision {
            "int8" => Format::Int8,
            "bf16" if !isa.has_bf16() => continue,
            "bf16" => Format::Bf16,
            _ => Format::F32,
        };
        let peak = peak(isa, format, Duration::from_secs(1));
        println!("at most {:.0} G/s in {precision}", peak / 1e9);
        let mut raw = Raw::default();
        let settings = RawModel {
            engine: engine.into(),
            precision: precision.into(),
            device: "cpu".into(),
            ..RawModel::default()
        };
        raw.models.insert("m".into(), settings);
        let factory = engine::factory(&model, &check(&mut raw)?.models["m"])?;
        for size in sizes {
            let batches: Vec<Batch> =
                pairs.chunks(*size).map(|pairs| Batch { pairs: pairs.to_vec() }).collect();
            candidates.push(Candidate {
                name: format!("{engine} {precision}, {size} a batch"),
                engine: factory()?,
                seconds: vec![0.0; ROUNDS],
                fastest: vec![f64::MAX; batches.len()],
                batches,
                logits: vec![f32::NAN; pairs.len()],
                peak,
            });
        }
    }

    for round in 0..ROUNDS {
        for candidate in &mut candidates {
            candidate.round(round)?;
        }
    }
    let reference: Vec<f32> = goldens.iter().map(|golden| golden.logit).collect();
    for Candidate { name, seconds, fastest, logits, peak, .. } in &mut candidates {
        seconds.sort_by(f64::total_cmp);
        let fastest: f64 = fastest.iter().sum();
        let pair = |seconds: f64| seconds / pairs.len() as f64;
        let far = logits.iter().zip(&reference).map(|(a, b)| (a - b).abs());
        let far = far.sum::<f32>() / pairs.len() as f32;
        print!(
            "{name:24} {:6.2} ms a pair (undisturbed {:6.2}, {:6.1} G/s, {:4.1} % of the peak)",
            pair(seconds[ROUNDS / 2]) * 1e3,
            pair(fastest) * 1e3,
            operations / fastest / 1e9,
            100.0 * operations / fastest / *peak,
        );
        match whole {
            true => println!(", off by {far:.1e}"),
            false => println!(),
        }
    }
    Ok(())
}

impl Candidate {
    fn round(&mut self, round: usize) -> anyhow::Result<()> {
        let mut done = 0;
        for (batch, fastest) in self.batches.iter().zip(&mut self.fastest) {
            let began = Instant::now();
            let logits = &mut self.logits[done..done + batch.pairs.len()];
            self.engine.score(batch, logits)?;
            let took = began.elapsed().as_secs_f64();
            self.seconds[round] += took;
            *fastest = fastest.min(took);
            done += batch.pairs.len();
        }
        Ok(())
    }
}

/// Additions and multiplications that a pair needs, with only the [CLS] row in the last
/// layer, whose keys and values are not made.
fn operations(pair: &Pair, config: &ModelConfig) -> f64 {
    let (tokens, hidden, wide) = (pair.tokens(), config.hidden, config.intermediate);
    let row = 4 * hidden * hidden + 2 * hidden * wide;
    let before = tokens * row + 2 * tokens * tokens * hidden;
    let last = row + 2 * config.heads * tokens * hidden;
    2.0 * ((config.layers - 1) * before + last) as f64
}
