//! Each kernel at the shapes of an encoder of 384 numbers a token, and a layer of them: time,
//! and products as a share of what this core can do at most, measured in the same run.
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
        for tokens in [TOKENS, 4 * TOKENS] {
            Layer::new(isa, format, tokens).report(peak);
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
        let share = 100.0 * products / peak(isa, format, Duration::from_millis(200));
        println!("  {name:24} {:8.1} us {:7.1} G/s {share:5.1} %", time * 1e6, products / 1e9);
    }
}

fn linear(
    isa: Isa,
    format: Format,
    tokens: usize,
    (inputs, outputs): (usize, usize),
    activation: Option<Activation>,
) -> f64 {
    let mut x = placed(tokens * inputs);
    let linear = packed(isa, format, inputs, outputs);
    let mut operand = Operand::new(isa, format);
    let x = x.room(tokens * inputs);
    with_outliers(x, inputs);
    let rows = operand.rows(x, inputs);
    let mut output = Buffer::new();
    let output = output.room(tokens * outputs);
    best(|| linear.apply(rows, activation, output))
}

fn packed(isa: Isa, format: Format, inputs: usize, outputs: usize) -> Linear {
    let (values, bias) = (numbers(inputs * outputs), vec![0.5; outputs]);
    match format {
        Format::F32 => Linear::new(isa, inputs, Weights::F32(&values), &bias),
        Format::Bf16 => Linear::new(isa, inputs, Weights::Bf16(&values), &bias),
        Format::Int8 => {
            let values: Vec<i8> = values.iter().map(|value| (value * 254.0) as i8).collect();
            let weights = Weights::Int8 { values: &values, scales: &vec![1.0 / 254.0; outputs] };
            Linear::new(isa, inputs, weights, &bias)
        }
    }
}

/// A layer of a whole model, sequences of [`TOKENS`] each: as the engine has it, but for the
/// names of its weights.
struct Layer {
    isa: Isa,
    format: Format,
    lengths: Vec<usize>,
    attention: Attention,
    operand: Operand,
    norm: Norm,
    /// Query, key and value; output; wide; narrow.
    linears: [Linear; 4],
    /// States, what is projected of them, what attention found, and the feed-forward's.
    buffers: [Buffer; 5],
}

/// What a layer's time goes to, in the order of [`Layer::run`].
const STEPS: [&str; 6] =
    ["converting rows", "products", "wide products, gelu", "attention", "norms", "all"];

impl Layer {
    fn new(isa: Isa, format: Format, tokens: usize) -> Self {
        let products = match format {
            Format::Int8 if isa.has_bf16() => Format::Bf16,
            Format::Int8 => Format::F32,
            format => format,
        };
        let shapes = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, WIDE), (WIDE, HIDDEN)];
        Layer {
            isa,
            format,
            lengths: vec![TOKENS; tokens / TOKENS],
            attention: Attention::new(isa, products, HEADS, HIDDEN / HEADS),
            operand: Operand::new(isa, format),
            norm: Norm::new(isa, &[1.0; HIDDEN], &[0.0; HIDDEN], 1e-12),
            linears: shapes.map(|(inputs, outputs)| packed(isa, format, inputs, outputs)),
            buffers: [(); 5].map(|()| Buffer::new()),
        }
    }

    /// Seconds of each of the [`STEPS`].
    fn run(&mut self) -> [f64; STEPS.len()] {
        let tokens: usize = self.lengths.iter().sum();
        let [states, projected, context, wide, narrow] = &mut self.buffers;
        let states = states.room(tokens * HIDDEN);
        let projected = projected.room(3 * tokens * HIDDEN);
        let context = context.room(tokens * HIDDEN);
        let wide = wide.room(tokens * WIDE);
        let narrow = narrow.room(tokens * HIDDEN);
        let [query_key_value, output, to_wide, to_narrow] = &self.linears;
        let mut seconds = [0.0; STEPS.len()];
        let began = Instant::now();
        let mut last = began;
        let mut done = |step: usize| {
            let now = Instant::now();
            seconds[step] += (now - last).as_secs_f64();
            last = now;
        };

        let rows = self.operand.rows(states, HIDDEN);
        done(0);
        query_key_value.apply(rows, None, projected);
        done(1);
        let [queries, keys, values] = Columns::parts(projected, HIDDEN);
        let (lengths, asking) = (&self.lengths[..], Asking::Tokens);
        self.attention.apply(Sequences { lengths, asking, queries, keys, values }, context);
        done(3);
        let rows = self.operand.rows(context, HIDDEN);
        done(0);
        output.apply(rows, None, narrow);
        done(1);
        self.norm.apply_sum(states, narrow);
        done(4);
        let rows = self.operand.rows(states, HIDDEN);
        done(0);
        to_wide.apply(rows, Some(Activation::Gelu), wide);
        done(2);
        let rows = self.operand.rows(wide, WIDE);
        done(0);
        to_narrow.apply(rows, None, narrow);
        done(1);
        self.norm.apply_sum(states, narrow);
        done(4);
        seconds[5] = began.elapsed().as_secs_f64();
        seconds
    }

    /// The step's times are those of the fastest run of all.
    fn report(mut self, peak: f64) {
        let tokens: usize = self.lengths.iter().sum();
        let states = self.buffers[0].room(tokens * HIDDEN);
        states.copy_from_slice(&numbers(tokens * HIDDEN));
        let (began, mut fastest) = (Instant::now(), [f64::MAX; STEPS.len()]);
        while began.elapsed() < Duration::from_millis(500) {
            let seconds = self.run();
            if seconds[5] < fastest[5] {
                fastest = seconds;
            }
        }
        let products =
            2 * tokens * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * WIDE) + 4 * tokens * TOKENS * HIDDEN;
        let share = 100.0 * products as f64 / fastest[5] / peak;
        println!(
            "  a layer of {tokens}, {:?} on {}: {share:.1} % of the peak",
            self.format,
            self.isa.name()
        );
        for (step, seconds) in STEPS.iter().zip(fastest) {
            println!("    {step:22} {:8.1} us", seconds * 1e6);
        }
    }
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
