//! Each kernel at the shapes of an encoder of 384 numbers a token: time, and products
//! as a share of what this core can do at most, measured in the same run.
//!
//! `cargo bench -p maitred-kernels [-- ISA]`. Each line is the best of many rounds: the
//! machine's neighbours can only slow it down. It cannot show what a whole model
//! costs, whose weights come from far memory; `tests/benches/engine.rs` does.

use std::time::{Duration, Instant};

use maitred_kernels::{
    Activation, Asking, Attention, Buffer, Columns, Format, Isa, Linear, Norm, Operand, Sequences,
    Weights, peak,
};

const TOKENS: usize = 88;
const HIDDEN: usize = 384;
const WIDE: usize = 4 * HIDDEN;
const HEADS: usize = 12;
/// Rows that are converted, of which the time of [`TOKENS`] is told: a processor learns by
/// heart where the outliers of a few rows are.
const ROWS: usize = 16 * TOKENS;

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for isa in Isa::available() {
        if wanted.as_ref().is_none_or(|wanted| wanted == isa.name()) {
            all(isa);
        }
    }
}

fn all(isa: Isa) {
    for format in [Format::F32, Format::Bf16, Format::Int8] {
        if format == Format::Bf16 && !isa.has_bf16() {
            continue;
        }
        let peak = peak(isa, format, Duration::from_millis(500));
        println!("{} {format:?}: peak {:.1} G/s", isa.name(), peak / 1e9);
        for (inputs, outputs, activation) in [
            (HIDDEN, HIDDEN, None),
            (HIDDEN, 3 * HIDDEN, None),
            (HIDDEN, WIDE, None),
            (HIDDEN, WIDE, Some(Activation::Gelu)),
            (WIDE, HIDDEN, None),
        ] {
            for tokens in [1, TOKENS, 4 * TOKENS] {
                let time = linear(isa, format, tokens, (inputs, outputs), activation);
                let products = (2 * tokens * inputs * outputs) as f64 / time;
                let name = format!(
                    "{tokens} × {inputs} × {outputs}{}",
                    if activation.is_some() { " gelu" } else { "" }
                );
                let share = 100.0 * products / peak;
                println!(
                    "  {name:24} {:8.1} us {:7.1} G/s {share:5.1} %",
                    time * 1e6,
                    products / 1e9
                );
            }
        }
    }
    println!("{} the rest, {TOKENS} tokens", isa.name());
    let formats = [isa.has_bf16().then_some(Format::Bf16), Some(Format::Int8)];
    for format in formats.into_iter().flatten() {
        let mut operand = Operand::new(isa, format);
        for width in [HIDDEN, WIDE] {
            let mut x = placed(ROWS * width);
            let x = x.room(ROWS * width);
            with_outliers(x, width);
            let time = best(|| {
                operand.rows(x, width);
            });
            let time = time * TOKENS as f64 / ROWS as f64;
            println!("  to {:<21} {:8.1} us", format!("{format:?} {width}"), time * 1e6);
        }
    }
    let norm = Norm::new(isa, &[1.0; HIDDEN], &[0.0; HIDDEN], 1e-12);
    let (mut x, mut added) = (placed(TOKENS * HIDDEN), placed(TOKENS * HIDDEN));
    let (x, added) = (x.room(TOKENS * HIDDEN), added.room(TOKENS * HIDDEN));
    let time = best(|| norm.apply_sum(x, added));
    println!("  add and normalise        {:8.1} us", time * 1e6);
    let formats = [Some(Format::F32), isa.has_bf16().then_some(Format::Bf16)];
    let formats = formats.into_iter().flatten();
    for (tokens, format) in formats.flat_map(|format| [(TOKENS, format), (512, format)]) {
        let mut attention = Attention::new(isa, format, HEADS, HIDDEN / HEADS);
        let mut projected = placed(3 * tokens * HIDDEN);
        let mut context = Buffer::new();
        let context = context.room(tokens * HIDDEN);
        let [queries, keys, values] = Columns::parts(projected.room(3 * tokens * HIDDEN), HIDDEN);
        let asking = Asking::Tokens;
        let sequences = Sequences { lengths: &[tokens], asking, queries, keys, values };
        let time = best(|| attention.apply(sequences, context));
        let products = (4 * tokens * tokens * HIDDEN) as f64 / time;
        let name = format!("attention of {tokens} {format:?}");
        println!("  {name:24} {:8.1} us {:7.1} G/s", time * 1e6, products / 1e9);
    }
}

fn linear(
    isa: Isa,
    format: Format,
    tokens: usize,
    (inputs, outputs): (usize, usize),
    activation: Option<Activation>,
) -> f64 {
    let (mut x, bias) = (placed(tokens * inputs), vec![0.5; outputs]);
    let linear = match format {
        Format::F32 => Linear::new(isa, inputs, Weights::F32(&numbers(inputs * outputs)), &bias),
        Format::Bf16 => Linear::new(isa, inputs, Weights::Bf16(&numbers(inputs * outputs)), &bias),
        Format::Int8 => {
            let values = vec![3; inputs * outputs];
            let weights = Weights::Int8 { values: &values, scales: &vec![0.1; outputs] };
            Linear::new(isa, inputs, weights, &bias)
        }
    };
    let mut operand = Operand::new(isa, format);
    let x = x.room(tokens * inputs);
    with_outliers(x, inputs);
    let rows = operand.rows(x, inputs);
    let mut output = Buffer::new();
    let output = output.room(tokens * outputs);
    best(|| linear.apply(rows, activation, output))
}

/// In half of the rows, at either end and wherever: as in a real model, nobody can
/// foresee them.
fn with_outliers(x: &mut [f32], width: usize) {
    let mut rng = fastrand::Rng::with_seed(11);
    for row in x.chunks_exact_mut(width) {
        if rng.bool() {
            row[rng.usize(..width)] = if rng.bool() { 5.0 } else { -5.0 };
        }
    }
}

fn numbers(count: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(|_| rng.f32() - 0.5).collect()
}

/// The same where an engine has them: from a cache line on.
fn placed(count: usize) -> Buffer {
    let mut buffer = Buffer::new();
    buffer.room(count).copy_from_slice(&numbers(count));
    buffer
}

/// Seconds of the fastest round.
fn best(mut round: impl FnMut()) -> f64 {
    let (began, mut best) = (Instant::now(), f64::MAX);
    while began.elapsed() < Duration::from_millis(150) {
        let began = Instant::now();
        round();
        best = best.min(began.elapsed().as_secs_f64());
    }
    best
}
