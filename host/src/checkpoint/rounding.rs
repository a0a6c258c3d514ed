//! From matrices of floats to integers, with one scale for each output: each number to its
//! nearest, or all of them so that products with inputs of a known kind come out nearest.

use std::ops::RangeInclusive;

use rayon::prelude::*;

/// What the largest number of a row may be of a grid that the row lies on.
const GRID: RangeInclusive<u16> = 16..=126;
/// What the largest number becomes in a row that lies on none.
const LARGEST: f32 = 127.0;
/// How far off a grid a number may be, as a share of the row's largest: what f32 rounds off.
const GRID_SHARE_MAX: f32 = 1e-6;

/// Added to each input's variance, as a share of their mean: inputs that the text hardly
/// showed are not to be trusted. Anything from 0.01 to 0.2 does as well.
const DAMPING_SHARE: f64 = 0.05;

/// Rounds in which each weight makes up for all others.
const SWEEPS_MAX: usize = 10;

/// The rows of a matrix as the nearest integers, and the scale of each.
pub fn nearest(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> = values.chunks_exact(width).map(scale).collect();
    let integers = values.chunks_exact(width).zip(&scales).flat_map(|(row, scale)| {
        let steps = reciprocal(*scale);
        row.iter().map(move |x| (x * steps).round_ties_even() as i8)
    });
    (integers.collect(), scales)
}

/// What the inputs of a linear layer were in some text: sums of them, and of their products
/// with each other.
pub struct Inputs {
    width: usize,
    count: usize,
    sums: Vec<f64>,
    /// `[width, width]`
    products: Vec<f64>,
}

impl Inputs {
    pub fn new(width: usize) -> Self {
        Inputs { width, count: 0, sums: vec![0.0; width], products: vec![0.0; width * width] }
    }

    /// Adds the sums of `count` rows, and of their products.
    pub fn add(&mut self, count: usize, sums: &[f32], products: &[f32]) {
        assert!(sums.len() == self.sums.len() && products.len() == self.products.len());
        let add = |to: &mut [f64], more: &[f32]| {
            to.iter_mut().zip(more).for_each(|(to, more)| *to += f64::from(*more));
        };
        self.count += count;
        add(&mut self.sums, sums);
        add(&mut self.products, products);
    }

    /// How matrices that take these inputs are to be rounded.
    pub fn rounding(&self) -> Rounding {
        let (width, count) = (self.width, self.count.max(1) as f64);
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / count).collect();
        let mut covariance: Vec<f64> = self
            .products
            .iter()
            .enumerate()
            .map(|(at, product)| product / count - means[at / width] * means[at % width])
            .collect();
        let variances = covariance.iter().step_by(width + 1);
        let damping = DAMPING_SHARE * variances.sum::<f64>() / width as f64;
        // Without any inputs there is nothing to tell apart.
        let damping = damping.max(f64::MIN_POSITIVE.sqrt());
        covariance.iter_mut().step_by(width + 1).for_each(|variance| *variance += damping);
        let mut feedback = covariance.clone();
        factorise(&mut feedback, width);
        Rounding { means, covariance, feedback }
    }
}

/// Rounds the weights of an output so that its errors cancel in text like that which was seen.
///
/// An output is off by the errors e of its weights times the inputs x. What is the same for all
/// x goes into the bias; the rest has the mean square e C eᵀ, C the covariance of x. With
/// C = U D Uᵀ, where D is diagonal and U has ones on the diagonal and zeros below, that is
/// Σ D_k (e_k + Σ_{j<k} e_j U_jk)²: so first each weight makes up for those before it (GPTQ,
/// arXiv 2210.17323, in the form of LDLQ, arXiv 2307.13304), and then each for all others, as
/// long as that helps.
pub struct Rounding {
    means: Vec<f64>,
    /// `[width, width]`
    covariance: Vec<f64>,
    /// `[width, width]`; row k has U_jk for each j before k.
    feedback: Vec<f64>,
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
        let width = self.means.len();
        let rows: Vec<_> = matrix.par_chunks_exact(width).map(|row| self.row(row)).collect();
        let mut rounded = Rounded { values: Vec::new(), scales: Vec::new(), biases: Vec::new() };
        for row in rows {
            rounded.values.extend(row.values.iter().map(|value| *value as i8));
            rounded.scales.push(row.scale);
            let biases = row.errors.iter().zip(&self.means).map(|(error, mean)| error * mean);
            rounded.biases.push(biases.sum::<f64>() as f32);
        }
        rounded
    }

    fn row(&self, row: &[f32]) -> Row {
        let scale = scale(row);
        let exact: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let (step, steps) = (f64::from(scale), f64::from(reciprocal(scale)));
        let most = f64::from(LARGEST);
        let nearest = |x: f64| (x * steps).round_ties_even().clamp(-most, most);
        let width = self.means.len();
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for (x, feedback) in exact.iter().zip(self.feedback.chunks_exact(width)) {
            let value = nearest(x + dot(&errors, feedback));
            errors.push(x - value * step);
            values.push(value);
        }
        let covariance = |input: usize| &self.covariance[input * width..][..width];
        // Half of how e C eᵀ changes with each error.
        let mut slopes: Vec<f64> = (0..width).map(|at| dot(&errors, covariance(at))).collect();
        for _ in 0..SWEEPS_MAX {
            let mut settled = true;
            for (at, x) in exact.iter().enumerate() {
                let best = errors[at] - slopes[at] / covariance(at)[at];
                let value = nearest(x - best);
                if value != values[at] {
                    let change = (values[at] - value) * step;
                    errors[at] += change;
                    values[at] = value;
                    let each = slopes.iter_mut().zip(covariance(at));
                    each.for_each(|(slope, by)| *slope += change * by);
                    settled = false;
                }
            }
            if settled {
                break;
            }
        }
        Row { values, scale, errors }
    }
}

/// An output's weights.
struct Row {
    /// Whole numbers.
    values: Vec<f64>,
    scale: f32,
    errors: Vec<f64>,
}

/// Of as many numbers as the shorter has.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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

    /// Inputs that vary together in a few directions, about means that are not 0.
    fn drawn(random: &mut fastrand::Rng, rows: usize) -> Vec<Vec<f32>> {
        let mut normal = |spread: f32| (0..12).map(|_| random.f32() - 0.5).sum::<f32>() * spread;
        let directions: Vec<Vec<f32>> =
            (0..6).map(|_| (0..WIDTH).map(|_| normal(1.0)).collect()).collect();
        let mean: Vec<f32> = (0..WIDTH).map(|_| normal(1.0)).collect();
        (0..rows)
            .map(|_| {
                let mut row = mean.clone();
                for direction in &directions {
                    let by = normal(1.0);
                    row.iter_mut().zip(direction).for_each(|(x, along)| *x += by * along);
                }
                row.iter_mut().for_each(|x| *x += normal(0.1));
                row
            })
            .collect()
    }

    fn observed(rows: &[Vec<f32>]) -> Inputs {
        let mut inputs = Inputs::new(WIDTH);
        for row in rows {
            let products: Vec<f32> =
                row.iter().flat_map(|a| row.iter().map(move |b| a * b)).collect();
            inputs.add(1, row, &products);
        }
        inputs
    }

    /// The mean square by which outputs are off, on rows.
    fn error(matrix: &[f32], rounded: &Rounded, rows: &[Vec<f32>]) -> f64 {
        let each = matrix.chunks(WIDTH).zip(rounded.values.chunks(WIDTH)).enumerate();
        let off = each.flat_map(|(output, (exact, values))| {
            let (scale, bias) = (rounded.scales[output], rounded.biases[output]);
            rows.iter().map(move |row| {
                let errors = exact.iter().zip(values).map(|(x, q)| x - f32::from(*q) * scale);
                let off: f32 = errors.zip(row).map(|(error, x)| error * x).sum();
                f64::from(off - bias).powi(2)
            })
        });
        off.sum::<f64>() / (rows.len() * rounded.scales.len()) as f64
    }

    #[test]
    fn products_with_inputs_of_the_same_kind_are_nearer() {
        let mut random = fastrand::Rng::with_seed(11);
        let rows = drawn(&mut random, 600);
        let (seen, unseen) = rows.split_at(400);
        let matrix: Vec<f32> = (0..8 * WIDTH).map(|_| random.f32() - 0.5).collect();
        let (values, scales) = nearest(&matrix, WIDTH);
        let plain = Rounded { values, biases: vec![0.0; scales.len()], scales };
        let better = observed(seen).rounding().round(&matrix);
        assert_eq!(better.scales, plain.scales);
        let (before, after) = (error(&matrix, &plain, unseen), error(&matrix, &better, unseen));
        assert!(after < before / 4.0, "{before:e} became {after:e}");
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
        let before: Vec<i8> = (0..8 * WIDTH).map(|_| random.i8(-90..=90)).collect();
        let values: Vec<f32> = before.iter().map(|value| f32::from(*value) * 0.003).collect();
        let (integers, scales) = nearest(&values, WIDTH);
        assert_eq!(integers, before);
        assert_eq!(scales, [0.003; 8]);
        let rounded = observed(&drawn(&mut random, 100)).rounding().round(&values);
        assert_eq!(rounded.values, before);
        assert_eq!(rounded.scales, scales);
        assert!(rounded.biases.iter().all(|bias| bias.abs() < 1e-5), "{:?}", rounded.biases);
    }

    #[test]
    fn without_inputs_the_nearest_is_the_best() {
        let matrix: Vec<f32> = (0..2 * WIDTH).map(|at| at as f32 - 80.3).collect();
        let rounded = Inputs::new(WIDTH).rounding().round(&matrix);
        assert_eq!((rounded.values, rounded.scales), nearest(&matrix, WIDTH));
        assert_eq!(rounded.biases, [0.0; 2]);
    }
}
