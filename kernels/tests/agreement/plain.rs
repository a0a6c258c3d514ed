//! The plain twin of each kernel: its definition, in f64, one number at a time.

use maitred_kernels::{Activation, Asking, Columns, Sequences};

/// x wᵀ + bias, w of shape [outputs, inputs].
pub fn linear(x: &[f64], w: &[f64], bias: &[f32]) -> Vec<f64> {
    let (outputs, inputs) = (bias.len(), w.len() / bias.len());
    let dot =
        |row: &[f64], weights: &[f64]| -> f64 { row.iter().zip(weights).map(|(x, w)| x * w).sum() };
    x.chunks_exact(inputs)
        .flat_map(|row| {
            (0..outputs).map(|o| dot(row, &w[o * inputs..][..inputs]) + f64::from(bias[o]))
        })
        .collect()
}

/// Each number with eight bits of precision: the nearest, and of two the even one.
pub fn bf16(values: &[f32]) -> Vec<f64> {
    let nearest = |value: &f32| {
        if *value == 0.0 {
            return 0.0;
        }
        let value = f64::from(*value);
        let unit = value.abs().log2().floor().exp2() / 128.0;
        (value / unit).round_ties_even() * unit
    };
    values.iter().map(nearest).collect()
}

pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

/// By its series where that converges soon, else by its continued fraction.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..60).rev().fold(z, |below, n| z + f64::from(n) / 2.0 / below);
        1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

pub fn norm(row: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Vec<f64> {
    let width = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width;
    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    let factors = weight.iter().zip(bias);
    row.iter()
        .zip(factors)
        .map(|(x, (w, b))| (f64::from(*x) - mean) * scale * f64::from(*w) + f64::from(*b))
        .collect()
}

/// `heads` of `head` numbers each.
pub fn attention((heads, head): (usize, usize), sequences: Sequences<'_>) -> Vec<f64> {
    let width = heads * head;
    let mut context = Vec::new();
    let (mut asked, mut tokens) = (0, 0);
    for &length in sequences.lengths {
        let rows = |columns: Columns<'_>, from: usize, count: usize| -> Vec<Vec<f32>> {
            let rows = columns.numbers.chunks_exact(columns.stride).skip(from).take(count);
            rows.map(|row| row[columns.from..][..width].to_vec()).collect()
        };
        let [keys, values] =
            [sequences.keys, sequences.values].map(|all| rows(all, tokens, length));
        let count = match sequences.asking {
            Asking::Tokens => length,
            Asking::Rows(rows) => rows,
        };
        let queries = rows(sequences.queries, asked, count);
        (asked, tokens) = (asked + count, tokens + length);
        for query in queries {
            for at in (0..width).step_by(head) {
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|row| {
                        let (q, k) = (&query[at..at + head], &row[at..at + head]);
                        q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let powers: Vec<f64> = scores.iter().map(|s| (s - largest).exp2()).collect();
                let sum: f64 = powers.iter().sum();
                context.extend((0..head).map(|n| {
                    let values = values.iter().map(|row| f64::from(row[at + n]));
                    powers.iter().zip(values).map(|(p, v)| p * v).sum::<f64>() / sum
                }));
            }
        }
    }
    context
}
