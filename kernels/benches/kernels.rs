//! Each kernel at the shapes of an encoder of 384 numbers a token: time, and products
//! as a share of what this core can do at most, measured in the same run.
//!
//! `cargo bench -p maitred-kernels [-- ISA]`. Each line is the best of many rounds: the
//! machine's neighbours can only slow it down. It cannot show what a whole model
//! costs, whose weights come from far memory; `tests/benches/engine.rs` does.

use std::time::{Duration, Instant};

use maitred_kernels::{
    Activation, Asking, Attention, Format, Isa, Linear, Norm, Operand, Sequences, Weights, peak,
};

const TOKENS: usize = 88;
const HIDDEN: usize = 384;
const WIDE: usize = 4 * HIDDEN;
const HEADS: usize = 12;

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for isa in Isa::available() {
        if wanted.as_ref().is_none_or(|wanted| wanted == isa.name()) {
            all(isa);
        }
    }
}

fn all(isa: Isa) {
    for format in [Format::F32, Format::Int8] {
        let peak = peak(isa, format, Duration::from_millis(500));
        println!("{} {format:?}: peak {:.1} G/s", isa.name(), peak / 1e9);
        for (inputs, outputs, activation) in [
            (HIDDEN, HIDDEN, None),
            (HIDDEN, 2 * HIDDEN, None),
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
    let mut operand = Operand::new(isa, Format::Int8);
    for width in [HIDDEN, WIDE] {
        let x = numbers(TOKENS * width);
        let time = best(|| {
            operand.rows(&x, width);
        });
        println!("  quantise {width:<15} {:8.1} us", time * 1e6);
    }
    let norm = Norm::new(isa, vec![1.0; HIDDEN], vec![0.0; HIDDEN], 1e-12);
    let (mut x, added) = (numbers(TOKENS * HIDDEN), numbers(TOKENS * HIDDEN));
    let time = best(|| norm.apply_sum(&mut x, &added));
    println!("  add and normalise        {:8.1} us", time * 1e6);
    for tokens in [TOKENS, 512] {
        let mut attention = Attention::new(isa, HEADS, HIDDEN / HEADS);
        let (queries, keys_values) = (numbers(tokens * HIDDEN), numbers(2 * tokens * HIDDEN));
        let mut context = vec![0.0; tokens * HIDDEN];
        let sequences = Sequences {
            lengths: &[tokens],
            asking: Asking::All,
            queries: &queries,
            keys_values: &keys_values,
        };
        let time = best(|| attention.apply(sequences, &mut context));
        let products = (4 * tokens * tokens * HIDDEN) as f64 / time;
        println!("  attention of {tokens:<11} {:8.1} us {:7.1} G/s", time * 1e6, products / 1e9);
    }
}

fn linear(
    isa: Isa,
    format: Format,
    tokens: usize,
    (inputs, outputs): (usize, usize),
    activation: Option<Activation>,
) -> f64 {
    let (x, bias) = (numbers(tokens * inputs), vec![0.5; outputs]);
    let linear = match format {
        Format::F32 => Linear::new(isa, inputs, Weights::F32(&numbers(inputs * outputs)), &bias),
        Format::Int8 => {
            let values = vec![3; inputs * outputs];
            let weights = Weights::Int8 { values: &values, scales: &vec![0.1; outputs] };
            Linear::new(isa, inputs, weights, &bias)
        }
    };
    let mut operand = Operand::new(isa, format);
    let rows = operand.rows(&x, inputs);
    let mut output = vec![0.0; tokens * outputs];
    best(|| linear.apply(rows, activation, &mut output))
}

fn numbers(count: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(|_| rng.f32() - 0.5).collect()
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
