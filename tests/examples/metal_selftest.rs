//! Whether a device computes what it should, keeps its memory, and how fast it is:
//! `metal_selftest DEVICE BATCHES`. On a Mac it is run by `cargo xtask
//! metal-selftest`; with `cpu` it runs anywhere, which is how it is tested.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use maitred::checkpoint::{self, Hub};
use maitred::config::{Raw, RawModel, Truncation, check};
use maitred::engine::{self, Batch, CrossEncoder, Pair};
use maitred::tokenize::PairEncoder;
use maitred_tests::fixtures::goldens;

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
/// Pairs of a batch in the second part.
const PAIRS: usize = 32;
/// By how much the peak of memory may grow from the first half of the batches to
/// the second. Between two batches it varies by more, with the tensors' shapes.
const GROWTH_MAX: f64 = 0.03;
/// Looks at memory, evenly over the batches.
const LOOKS: usize = 1000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, batches] = &arguments[..] else {
        bail!("usage: metal_selftest DEVICE BATCHES, for example: metal_selftest metal 10000");
    };
    let batches: usize = batches.parse().context("BATCHES is a number")?;
    ensure!(batches > 1, "BATCHES is {batches}; the least is 2, to compare halves");
    let model = checkpoint::locate(MODEL, &Hub::from_env()).await?;
    let length_max = model.config.length_max;
    let truncation = Truncation::LongestFirst;
    let encoder = PairEncoder::load(&model.tokenizer, true, length_max, truncation)?;
    let goldens = goldens("tests/goldens/minilm-l12-dequantised.json");
    let mut pairs = Vec::new();
    for golden in &goldens {
        let query = encoder.query(&golden.query)?;
        pairs.push(Arc::new(encoder.pair(&query, &golden.document, 0, truncation)?.pair));
    }
    // f16 rounds: the reference computes in f32.
    for (precision, difference_max) in [("f32", 1e-3), ("f16", 0.2)] {
        let mut raw = Raw::default();
        let (device, precision) = (device.clone(), precision.to_owned());
        println!("{device}, {precision}");
        let settings = RawModel { device, precision, ..RawModel::default() };
        raw.models.insert("m".into(), settings);
        let settings = check(&mut raw)?.models["m"].clone();
        let mut engine = engine::factory(&model, &settings)?()?;
        let mut worst: f32 = 0.0;
        for (pair, golden) in pairs.iter().zip(&goldens) {
            let logit = score(&mut *engine, std::slice::from_ref(pair))?[0];
            worst = worst.max((logit - golden.logit).abs());
        }
        println!("  largest difference from the reference: {worst:e}");
        ensure!(worst < difference_max, "over the limit of {difference_max}");
        run_on(&mut *engine, &pairs, batches)?;
    }
    Ok(())
}

/// Speed and memory over many batches.
fn run_on(
    engine: &mut dyn CrossEncoder,
    pairs: &[Arc<Pair>],
    batches: usize,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut resident = Vec::new();
    for batch in 0..batches {
        let from = batch * PAIRS % pairs.len();
        let members: Vec<_> = pairs.iter().cycle().skip(from).take(PAIRS).cloned().collect();
        score(engine, &members)?;
        if batch % batches.div_ceil(LOOKS) == 0 {
            resident.push(resident_kib()?);
        }
    }
    let pairs_per_second = (batches * PAIRS) as f64 / began.elapsed().as_secs_f64();
    let (first, second) = resident.split_at(resident.len() / 2);
    let peak = |half: &[f64]| half.iter().copied().fold(0.0, f64::max);
    let (first, second) = (peak(first), peak(second));
    println!(
        "  {pairs_per_second:.1} pairs/s; resident memory at most {first:.0} KiB, then {second:.0} KiB"
    );
    ensure!(second <= first * (1.0 + GROWTH_MAX), "memory grew by more than {GROWTH_MAX}");
    Ok(())
}

fn score(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> anyhow::Result<Vec<f32>> {
    let mut logits = vec![f32::NAN; pairs.len()];
    engine.score(&Batch { pairs: pairs.to_vec() }, &mut logits)?;
    Ok(logits)
}

/// Resident memory of this process.
fn resident_kib() -> anyhow::Result<f64> {
    let pid = std::process::id().to_string();
    let output = Command::new("ps").args(["-o", "rss=", "-p", &pid]).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().with_context(|| format!("`ps` said {text:?}"))
}
