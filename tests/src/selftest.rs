//! Whether a device computes what it should, alone and in batches, keeps its memory,
//! and how fast it is. It runs on every device that the host has, so that what is for
//! a Mac (`examples/metal_selftest.rs`) is tested where there is none.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use maitred::checkpoint::{self, Hub};
use maitred::config::{Raw, RawModel, Truncation, check};
use maitred::engine::{self, Batch, CrossEncoder, Pair};
use maitred::tokenize::PairEncoder;

use crate::fixtures::goldens;
use crate::process::resident_bytes;

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
/// Pairs of a batch in the second part.
const PAIRS: usize = 32;
/// What logits may differ by, by the numbers that they are computed in: f16 rounds.
const PRECISIONS: [Tolerance; 2] = [
    Tolerance { precision: "f32", reference: 1e-3, batch: 1e-3 },
    Tolerance { precision: "f16", reference: 0.2, batch: 0.1 },
];
/// By how much the peak of memory may grow from the first half of the batches to
/// the second. Between two batches it varies by more, with the tensors' shapes.
const GROWTH_MAX: f64 = 0.03;
/// Looks at memory, evenly over the batches.
const LOOKS: usize = 1000;

/// Prints what it finds of the first `pairs_max` pairs that there are; an error is the
/// first that is wrong.
pub async fn run(device: &str, pairs_max: usize, batches: usize) -> anyhow::Result<()> {
    ensure!(batches > 1, "BATCHES is {batches}; the least is 2, to compare halves");
    let model = checkpoint::locate(MODEL, &Hub::from_env()).await?;
    let length_max = model.config.length_max;
    let truncation = Truncation::LongestFirst;
    let encoder = PairEncoder::load(&model.tokenizer, true, length_max, truncation)?;
    let mut goldens = goldens("tests/goldens/minilm-l12-dequantised.json");
    goldens.truncate(pairs_max);
    let mut pairs = Vec::new();
    for golden in &goldens {
        let query = encoder.query(&golden.query)?;
        pairs.push(Arc::new(encoder.pair(&query, &golden.document, 0, truncation)?.pair));
    }
    for Tolerance { precision, reference, batch } in PRECISIONS {
        println!("{device}, {precision}");
        let mut raw = Raw::default();
        let (device, precision) = (device.to_owned(), precision.to_owned());
        // The engine of GPUs, also where the device is the CPU.
        let engine = "candle".to_owned();
        let settings = RawModel { engine, device, precision, ..RawModel::default() };
        raw.models.insert("m".into(), settings);
        let settings = check(&mut raw)?.models["m"].clone();
        let mut engine = engine::factory(&model, &settings)?()?;
        let mut alone = Vec::new();
        for pair in &pairs {
            alone.extend(score(&mut *engine, std::slice::from_ref(pair))?);
        }
        let expected: Vec<_> = goldens.iter().map(|golden| golden.logit).collect();
        let worst = largest_difference(&alone, &expected);
        println!("  largest difference from the reference: {worst:e}");
        ensure!(worst < reference, "over the limit of {reference}");
        let worst = run_on(&mut *engine, &pairs, &alone, batches)?;
        println!("  largest difference between a pair alone and in a batch: {worst:e}");
        ensure!(worst < batch, "over the limit of {batch}");
    }
    Ok(())
}

/// What logits in one format may differ by.
struct Tolerance {
    precision: &'static str,
    /// From the reference, which computes in f32.
    reference: f32,
    /// Of a pair alone from the same pair in a batch: sums are added up in another
    /// order.
    batch: f32,
}

/// Speed and memory over many batches, and by how much their logits differ from
/// those of the pairs alone. Before they count, each pair is in a batch once: memory is
/// kept by shape, and the first of each takes more.
fn run_on(
    engine: &mut dyn CrossEncoder,
    pairs: &[Arc<Pair>],
    alone: &[f32],
    batches: usize,
) -> anyhow::Result<f32> {
    let mut began = Instant::now();
    let mut resident = Vec::new();
    let mut worst: f32 = 0.0;
    let warming = pairs.len().div_ceil(PAIRS);
    for batch in 0..warming + batches {
        if batch == warming {
            began = Instant::now();
        }
        let places = (batch * PAIRS..).take(PAIRS).map(|place| place % pairs.len());
        let members: Vec<_> = places.clone().map(|place| pairs[place].clone()).collect();
        let expected: Vec<_> = places.map(|place| alone[place]).collect();
        let logits = score(engine, &members)?;
        worst = worst.max(largest_difference(&logits, &expected));
        if batch >= warming && batch % batches.div_ceil(LOOKS) == 0 {
            let bytes = resident_bytes(std::process::id()).context("there is no `ps`")?;
            resident.push(bytes as f64 / 1024.0);
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
    Ok(worst)
}

/// Infinite if something is no number.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    differences.fold(0.0, |worst, difference| match difference.is_nan() {
        true => f32::INFINITY,
        false => worst.max(difference),
    })
}

fn score(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> anyhow::Result<Vec<f32>> {
    let mut logits = vec![f32::NAN; pairs.len()];
    engine.score(&Batch { pairs: pairs.to_vec() }, &mut logits)?;
    Ok(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_as_wrong_as_can_be() {
        for (found, expected) in [
            (&[1.0, 2.5, -3.0][..], 0.5),
            (&[1.0, 2.0, -3.0], 0.0),
            (&[f32::NAN, 2.0, -3.0], f32::INFINITY),
            (&[1.0, f32::INFINITY, -3.0], f32::INFINITY),
        ] {
            assert_eq!(largest_difference(found, &[1.0, 2.0, -3.0]), expected, "{found:?}");
        }
    }
}
