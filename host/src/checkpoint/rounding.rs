//! From matrices of floats to integers, with one scale for each output: each number to its
//! nearest, or all of them so that a model's scores change least.

use std::ops::RangeInclusive;

use rayon::prelude::*;

/// What the largest number of a row may be of a grid that the row lies on.
const GRID: RangeInclusive<u16> = 16..=126;
/// What the largest number becomes in a row that lies on none.
const LARGEST: f32 = 127.0;
/// How far off a grid a number may be, as a share of the row's largest: what f32 rounds off.
const GRID_SHARE_MAX: f32 = 1e-6;

/// Added to the mean squares of inputs and of outputs, as shares of their means: what some text
/// hardly showed is not to be trusted.
const INPUT_DAMPING_SHARE: f64 = 0.6;
const OUTPUT_DAMPING_SHARE: f64 = 0.5;
/// Added to the bias's, as a share of the inputs' mean: a key's bias moves no score, and must not
/// be trusted to make up for anything.
const BIAS_DAMPING_SHARE: f64 = 0.01;

/// Rounds in which each weight makes up for all others.
const SWEEPS_MAX: usize = 3;

/// Outputs that one task takes at least.
const OUTPUTS_MIN: usize = 64;

/// The rows of a matrix as the nearest integers, and the scale of each.
pub fn nearest(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> = values.chunks_exact(width).map(scale).collect();
    let integers = values.chunks_exact(width).zip(&scales).flat_map(|(row, scale)| {
        let steps = reciprocal(*scale);
        row.iter().map(move |x| (x * steps).round_ties_even() as i8)
    });
    (integers.collect(), scales)
}

/// What a score's gradients are with respect to a linear layer, in some text: sums over pairs,
/// of gradients G of the weights, `[outputs, inputs]`, and g of the bias.
pub struct Gradients {
    /// Gᵀ G, `[inputs, inputs]`
    pub by_inputs: Vec<f32>,
    /// G Gᵀ, `[outputs, outputs]`; empty where outputs do not make up for each other.
    pub by_outputs: Vec<f32>,
    /// Gᵀ g, `[inputs]`; empty where there is no bias.
    pub bias_by_inputs: Vec<f32>,
    /// gᵀ g
    pub bias: f32,
}

impl Gradients {
    /// How weights with these gradients are to be rounded.
    pub fn rounding(&self) -> Rounding {
        let floats = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let mut inputs = floats(&self.by_inputs);
        let width = inputs.len().isqrt();
        let mut biases = floats(&self.bias_by_inputs);
        biases.resize(width, 0.0);
        let bias = f64::from(self.bias) + damping(&inputs, width, BIAS_DAMPING_SHARE);
        for (row, product) in inputs.chunks_exact_mut(width).zip(&biases) {
            row.iter_mut().zip(&biases).for_each(|(square, by)| *square -= product * by / bias);
        }
        biases.iter_mut().for_each(|product| *product /= bias);
        damp(&mut inputs, width, INPUT_DAMPING_SHARE);
        let mut outputs = floats(&self.by_outputs);
        let height = outputs.len().isqrt();
        damp(&mut outputs, height, OUTPUT_DAMPING_SHARE);
        let mut feedback = inputs.clone();
        factorise(&mut feedback, width);
        Rounding { width, inputs, feedback, outputs, biases }
    }
}

/// A share of the mean of a matrix's diagonal. Without any gradients there is nothing to tell
/// apart, but something to divide by.
fn damping(matrix: &[f64], width: usize, share: f64) -> f64 {
    let mean = matrix.iter().step_by(width + 1).sum::<f64>() / width as f64;
    (share * mean).max(f64::MIN_POSITIVE.sqrt())
}

fn damp(matrix: &mut [f64], width: usize, share: f64) {
    let damping = damping(matrix, width, share);
    matrix.iter_mut().step_by(width + 1).for_each(|square| *square += damping);
}

/// Rounds the weights of a linear layer so that scores of text like that which was seen change
/// least.
///
/// Errors E of the weights move a score by the sum of E ∘ G, G its gradient. The mean square of
/// that is about tr(S E C Eᵀ), C = Σ Gᵀ G and S = Σ G Gᵀ (YAQA, arXiv 2505.22988), with C less
/// what a change of the bias makes up for. With C = U D Uᵀ, where D is diagonal and U has ones on
/// the diagonal and zeros below, an output's part is Σ D_k (e_k + Σ_{j<k} e_j U_jk)²: so first
/// each weight makes up for those before it (GPTQ, arXiv 2210.17323, in the form of LDLQ, arXiv
/// 2307.13304), and then each for all others, as long as that helps.
pub struct Rounding {
    width: usize,
    /// C, `[width, width]`
    inputs: Vec<f64>,
    /// `[width, width]`; row k has U_jk for each j before k.
    feedback: Vec<f64>,
    /// S, `[height, height]`; empty where outputs do not make up for each other.
    outputs: Vec<f64>,
    /// What to add to the bias for each unit of error of an input's weight.
    biases: Vec<f64>,
}

/// A matrix, and what its bias must become with it.
pub struct Rounded {
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    /// To be added to the bias.
    pub biases: Vec<f32>,
}

impl Rounding {
    pub fn round(&self, matrix: &[f32]) -> Rounded {
        let mut rows: Vec<_> =
            matrix.par_chunks_exact(self.width).map(|row| self.row(row)).collect();
        if !self.outputs.is_empty() {
            for _ in 0..SWEEPS_MAX {
                if !self.sweep(&mut rows) {
                    break;
                }
            }
        }
        let mut rounded = Rounded { values: Vec::new(), scales: Vec::new(), biases: Vec::new() };
        for row in rows {
            rounded.values.extend(row.values.iter().map(|value| *value as i8));
            rounded.scales.push(row.scale);
            rounded.biases.push(dot(&row.errors, &self.biases) as f32);
        }
        rounded
    }

    /// Each weight makes up for those before it.
    fn row(&self, exact: &[f32]) -> Row {
        let mut row = Row { values: Vec::new(), errors: Vec::new(), scale: scale(exact) };
        for (x, feedback) in exact.iter().zip(self.feedback.chunks_exact(self.width)) {
            let x = f64::from(*x);
            let value = row.nearest(x + dot(&row.errors, feedback));
            row.errors.push(x - value * f64::from(row.scale));
            row.values.push(value);
        }
        row
    }

    /// Each weight makes up for all others, input by input; whether one changed.
    fn sweep(&self, rows: &mut [Row]) -> bool {
        let (height, mut changed) = (rows.len(), false);
        for (input, squares) in self.inputs.chunks_exact(self.width).enumerate() {
            let along = rows.par_iter().with_min_len(OUTPUTS_MIN);
            let along: Vec<f64> = along.map(|row| dot(&row.errors, squares)).collect();
            // Half of how tr(S E C Eᵀ) changes with each output's error of this input.
            let slopes = self.outputs.par_chunks_exact(height).with_min_len(OUTPUTS_MIN);
            let mut slopes: Vec<f64> = slopes.map(|by| dot(by, &along)).collect();
            let each = rows.iter_mut().zip(self.outputs.chunks_exact(height));
            for (output, (row, by)) in each.enumerate() {
                let best = row.errors[input] - slopes[output] / (by[output] * squares[input]);
                if let Some(change) = row.replace(input, best) {
                    let change = change * squares[input];
                    slopes.iter_mut().zip(by).for_each(|(slope, by)| *slope += change * by);
                    changed = true;
                }
            }
        }
        changed
    }
}

/// An output's weights.
struct Row {
    /// Whole numbers.
    values: Vec<f64>,
    /// What was there less what is.
    errors: Vec<f64>,
    scale: f32,
}

impl Row {
    fn nearest(&self, x: f64) -> f64 {
        let most = f64::from(LARGEST);
        (x * f64::from(reciprocal(self.scale))).round_ties_even().clamp(-most, most)
    }

    /// Takes the integer whose error is nearest to that which would be best; by how much the
    /// error changed, if it did.
    fn replace(&mut self, at: usize, best: f64) -> Option<f64> {
        let (before, step) = (self.values[at], f64::from(self.scale));
        let after = self.nearest(before * step + self.errors[at] - best);
        let change = (before - after) * step;
        self.values[at] = after;
        self.errors[at] += change;
        (after != before).then_some(change)
    }
}

/// Of as many numbers as the shorter has; sums that do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const SUMS: usize = 8;
    let many = a.len().min(b.len());
    let (a, a_rest) = a[..many].as_chunks::<SUMS>();
    let (b, b_rest) = b[..many].as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

/// Writes U in place of a positive matrix U D Uᵀ: U_jk at `[k, j]`, for each j before k.
fn factorise(matrix: &mut [f64], width: usize) {
    for last in (1..width).rev() {
        let (above, row) = matrix.split_at_mut(last * width);
        let diagonal = row[last];
        let row = &mut row[..last];
        row.iter_mut().for_each(|product| *product /= diagonal);
        let row = &*row;
        above.par_chunks_exact_mut(width).zip(row).enumerate().for_each(|(at, (above, factor))| {
            let factor = factor * diagonal;
            for (product, by) in above[..=at].iter_mut().zip(row) {
                *product -= factor * by;
            }
        });
    }
}

/// Of a scale; a row of zeros has scale 0, and stays one.
fn reciprocal(scale: f32) -> f32 {
    if scale > 0.0 { scale.recip() } else { 0.0 }
}

/// Weights that have been int8 before lie on a grid, and get its step back.
fn scale(row: &[f32]) -> f32 {
    let most = row.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let lies_on = |step: &f32| {
        let steps = reciprocal(*step);
        let far = |x: &f32| (x - (x * steps).round_ties_even() * step).abs();
        row.iter().all(|x| far(x) <= GRID_SHARE_MAX * most)
    };
    let grid = GRID.map(|largest| most / f32::from(largest)).find(lies_on);
    nearest_scale(row, grid.unwrap_or(most / LARGEST))
}

/// The scale that leaves the least error with the integers that this one makes.
fn nearest_scale(row: &[f32], scale: f32) -> f32 {
    let steps = reciprocal(scale);
    let (mut products, mut squares) = (0.0, 0.0);
    for x in row {
        let integer = f64::from((x * steps).round_ties_even());
        products += f64::from(*x) * integer;
        squares += integer * integer;
    }
    if squares > 0.0 { (products / squares) as f32 } else { scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_scale() {
        let (integers, scales) = nearest(&[1.27, -0.5, 0.0, 0.0, -254.0, 1.0], 2);
        assert_eq!(integers, [127, -50, 0, 0, -127, 0]);
        assert!((scales[0] - 0.01).abs() < 1e-8);
        assert_eq!(scales[1..], [0.0, 2.0]);
    }

    const WIDTH: usize = 96;
    const HEIGHT: usize = 12;

    /// A pair's gradients, of the weights and the bias.
    struct Drawn {
        weights: Vec<f32>,
        bias: Vec<f32>,
    }

    /// Rows of inputs that vary together in a few directions, about means that are not 0, and
    /// gradients of outputs that do, too.
    fn drawn(random: &mut fastrand::Rng, pairs: usize) -> Vec<Drawn> {
        let mut normal = |spread: f32| (0..12).map(|_| random.f32() - 0.5).sum::<f32>() * spread;
        let mut directions = |width: usize| -> Vec<Vec<f32>> {
            (0..6).map(|_| (0..width).map(|_| normal(1.0)).collect()).collect()
        };
        let (of_inputs, of_outputs) = (directions(WIDTH), directions(HEIGHT));
        let mut row = |directions: &[Vec<f32>]| {
            let mut row = directions[0].clone();
            for direction in directions {
                let by = normal(1.0);
                row.iter_mut().zip(direction).for_each(|(x, along)| *x += by * along);
            }
            row.iter_mut().for_each(|x| *x += normal(0.1));
            row
        };
        let mut pair = |_| {
            let mut pair = Drawn { weights: vec![0.0; HEIGHT * WIDTH], bias: vec![0.0; HEIGHT] };
            for _ in 0..3 {
                let (inputs, outputs) = (row(&of_inputs), row(&of_outputs));
                for (weights, by) in pair.weights.chunks_mut(WIDTH).zip(&outputs) {
                    weights.iter_mut().zip(&inputs).for_each(|(weight, x)| *weight += by * x);
                }
                pair.bias.iter_mut().zip(&outputs).for_each(|(bias, by)| *bias += by);
            }
            pair
        };
        (0..pairs).map(&mut pair).collect()
    }

    fn summed(pairs: &[Drawn]) -> Gradients {
        let mut sums = Gradients {
            by_inputs: vec![0.0; WIDTH * WIDTH],
            by_outputs: vec![0.0; HEIGHT * HEIGHT],
            bias_by_inputs: vec![0.0; WIDTH],
            bias: 0.0,
        };
        for Drawn { weights, bias } in pairs {
            let rows: Vec<&[f32]> = weights.chunks(WIDTH).collect();
            for (row, by) in rows.iter().zip(bias) {
                for (x, sums) in row.iter().zip(sums.by_inputs.chunks_mut(WIDTH)) {
                    sums.iter_mut().zip(*row).for_each(|(sum, y)| *sum += x * y);
                }
                sums.bias_by_inputs.iter_mut().zip(*row).for_each(|(sum, x)| *sum += by * x);
                sums.bias += by * by;
            }
            for (row, sums) in rows.iter().zip(sums.by_outputs.chunks_mut(HEIGHT)) {
                let products = rows.iter().map(|other| row.iter().zip(*other).map(|(a, b)| a * b));
                sums.iter_mut().zip(products).for_each(|(sum, by)| *sum += by.sum::<f32>());
            }
        }
        sums
    }

    /// The mean square by which scores are off.
    fn error(matrix: &[f32], rounded: &Rounded, pairs: &[Drawn]) -> f64 {
        let off = |pair: &Drawn| {
            let mut off = 0.0;
            for (at, (exact, gradient)) in matrix.iter().zip(&pair.weights).enumerate() {
                let value = f32::from(rounded.values[at]) * rounded.scales[at / WIDTH];
                off += f64::from((value - exact) * gradient);
            }
            let biases = rounded.biases.iter().zip(&pair.bias);
            off + biases.map(|(more, gradient)| f64::from(more * gradient)).sum::<f64>()
        };
        pairs.iter().map(|pair| off(pair).powi(2)).sum::<f64>() / pairs.len() as f64
    }

    #[test]
    fn scores_of_the_same_kind_are_nearer() {
        let mut random = fastrand::Rng::with_seed(11);
        let pairs = drawn(&mut random, 600);
        let (seen, unseen) = pairs.split_at(400);
        let matrix: Vec<f32> = (0..HEIGHT * WIDTH).map(|_| random.f32() - 0.5).collect();
        let (values, scales) = nearest(&matrix, WIDTH);
        let plain = Rounded { values, biases: vec![0.0; scales.len()], scales };
        let better = summed(seen).rounding().round(&matrix);
        assert_eq!(better.scales, plain.scales);
        let (before, after) = (error(&matrix, &plain, unseen), error(&matrix, &better, unseen));
        assert!(after < before / 4.0, "{before:e} became {after:e}");
    }

    #[test]
    fn a_bias_that_moves_no_score_stays() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut gradients = summed(&drawn(&mut random, 100));
        gradients.bias *= 1e-12;
        gradients.bias_by_inputs.iter_mut().for_each(|product| *product *= 1e-6);
        let matrix: Vec<f32> = (0..HEIGHT * WIDTH).map(|_| random.f32() - 0.5).collect();
        let rounded = gradients.rounding().round(&matrix);
        assert!(rounded.biases.iter().all(|bias| bias.abs() < 1e-4), "{:?}", rounded.biases);
    }

    #[test]
    fn a_matrix_is_its_factors() {
        let mut random = fastrand::Rng::with_seed(5);
        let rows: Vec<Vec<f64>> = (0..20).map(|_| (0..9).map(|_| random.f64()).collect()).collect();
        let matrix: Vec<f64> = (0..81)
            .map(|at| rows.iter().map(|row| row[at / 9] * row[at % 9]).sum::<f64>())
            .collect();
        let mut factors = matrix.clone();
        factorise(&mut factors, 9);
        let u = |j: usize, k: usize| match j.cmp(&k) {
            std::cmp::Ordering::Less => factors[k * 9 + j],
            std::cmp::Ordering::Equal => 1.0,
            std::cmp::Ordering::Greater => 0.0,
        };
        for (at, expected) in matrix.iter().enumerate() {
            let (i, j) = (at / 9, at % 9);
            let product: f64 = (0..9).map(|k| u(i, k) * factors[k * 9 + k] * u(j, k)).sum();
            assert!((product - expected).abs() < 1e-12, "[{i}, {j}]: {product}, {expected}");
        }
    }

    #[test]
    fn what_was_int8_before_comes_back() {
        let mut random = fastrand::Rng::with_seed(7);
        let before: Vec<i8> = (0..HEIGHT * WIDTH).map(|_| random.i8(-90..=90)).collect();
        let values: Vec<f32> = before.iter().map(|value| f32::from(*value) * 0.003).collect();
        let (integers, scales) = nearest(&values, WIDTH);
        assert_eq!(integers, before);
        assert_eq!(scales, [0.003; HEIGHT]);
        let rounded = summed(&drawn(&mut random, 100)).rounding().round(&values);
        assert_eq!(rounded.values, before);
        assert_eq!(rounded.scales, scales);
        assert!(rounded.biases.iter().all(|bias| bias.abs() < 1e-5), "{:?}", rounded.biases);
    }

    #[test]
    fn without_gradients_the_nearest_is_the_best() {
        let matrix: Vec<f32> = (0..HEIGHT * WIDTH).map(|at| at as f32 - 80.3).collect();
        let rounded = summed(&[]).rounding().round(&matrix);
        assert_eq!((rounded.values, rounded.scales), nearest(&matrix, WIDTH));
        assert_eq!(rounded.biases, [0.0; HEIGHT]);
    }
}
