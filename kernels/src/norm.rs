//! Layer normalisation: (x - mean) / √(variance + eps) × weight + bias, row by row.

use crate::fold::{Fold, Sum, fold};
use crate::isa::{Isa, Vectors, Work};
use crate::lines::Lines;

/// Rows that take each step together: what ends a step keeps a row waiting, and others
/// can go on.
const ROWS: usize = 8;

pub struct Norm {
    isa: Isa,
    width: usize,
    weight: Lines,
    bias: Lines,
    eps: f32,
}

impl Norm {
    pub fn new(isa: Isa, weight: &[f32], bias: &[f32], eps: f32) -> Self {
        assert_eq!(weight.len(), bias.len());
        let width = weight.len();
        let [weight, bias] = [weight, bias].map(Lines::of_floats);
        Norm { isa, width, weight, bias, eps }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// rows = norm(rows).
    pub fn apply(&self, rows: &mut [f32]) {
        assert!(rows.len().is_multiple_of(self.width));
        self.isa.run(Apply { norm: self, rows });
    }

    /// rows = norm(rows + added).
    pub fn apply_sum(&self, rows: &mut [f32], added: &[f32]) {
        assert!(rows.len().is_multiple_of(self.width) && rows.len() == added.len());
        self.isa.run(ApplySum { norm: self, rows, added });
    }
}

struct Apply<'a> {
    norm: &'a Norm,
    rows: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        for rows in self.rows.chunks_mut(ROWS * self.norm.width) {
            normalise(v, self.norm, rows);
        }
    }
}

struct ApplySum<'a> {
    norm: &'a Norm,
    rows: &'a mut [f32],
    added: &'a [f32],
}

impl Work for ApplySum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let block = ROWS * self.norm.width;
        for (rows, added) in self.rows.chunks_mut(block).zip(self.added.chunks(block)) {
            add(v, rows, added);
            normalise(v, self.norm, rows);
        }
    }
}

#[inline(always)]
fn add<V: Vectors>(v: V, to: &mut [f32], added: &[f32]) {
    let (to, to_rest) = to.split_at_mut(to.len() - to.len() % V::LANES);
    let (added, rest) = added.split_at(to.len());
    for (to, added) in to.chunks_exact_mut(V::LANES).zip(added.chunks_exact(V::LANES)) {
        v.store(v.add(v.load(to), v.load(added)), to);
    }
    v.store_part(v.add(v.load_part(to_rest, 0.0), v.load_part(rest, 0.0)), to_rest);
}

/// At most [`ROWS`].
#[inline(always)]
fn normalise<V: Vectors>(v: V, norm: &Norm, rows: &mut [f32]) {
    let width = norm.width;
    let (mut means, mut scales) = ([0.0; ROWS], [0.0; ROWS]);
    for (row, mean) in rows.chunks_exact(width).zip(&mut means) {
        let Sum(sum) = fold(v, row, 0.0, Sum(v.splat(0.0)));
        *mean = v.sum(sum) / width as f32;
    }
    for ((row, mean), scale) in rows.chunks_exact(width).zip(means).zip(&mut scales) {
        let none = Squares { mean: v.splat(mean), sum: v.splat(0.0) };
        let variance = v.sum(fold(v, row, mean, none).sum) / width as f32;
        *scale = 1.0 / (variance + norm.eps).sqrt();
    }
    let whole = width - width % V::LANES;
    let (weight, weight_rest) = norm.weight.floats().split_at(whole);
    let (bias, bias_rest) = norm.bias.floats().split_at(whole);
    for ((row, mean), scale) in rows.chunks_exact_mut(width).zip(means).zip(scales) {
        let (mean, scale) = (v.splat(mean), v.splat(scale));
        let (row, rest) = row.split_at_mut(whole);
        let factors = weight.chunks_exact(V::LANES).zip(bias.chunks_exact(V::LANES));
        for (part, (weight, bias)) in row.chunks_exact_mut(V::LANES).zip(factors) {
            let unit = v.mul(v.sub(v.load(part), mean), scale);
            v.store(v.mul_add(unit, v.load(weight), v.load(bias)), part);
        }
        let unit = v.mul(v.sub(v.load_part(rest, 0.0), mean), scale);
        let [weight, bias] = [v.load_part(weight_rest, 0.0), v.load_part(bias_rest, 0.0)];
        v.store_part(v.mul_add(unit, weight, bias), rest);
    }
}

/// Squares of how far numbers are from their mean.
#[derive(Clone, Copy)]
struct Squares<F> {
    mean: F,
    sum: F,
}

impl<V: Vectors> Fold<V> for Squares<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        let far = v.sub(x, self.mean);
        self.sum = v.mul_add(far, far, self.sum);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        self.sum = v.add(self.sum, other.sum);
    }
}
