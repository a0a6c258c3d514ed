//! Layer normalisation: (x - mean) / √(variance + eps) × weight + bias, row by row.

use crate::isa::{Isa, Vectors, Work};
use crate::lines::Lines;

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
        self.isa.run(Apply { norm: self, rows, added: &[] });
    }

    /// rows = norm(rows + added).
    pub fn apply_sum(&self, rows: &mut [f32], added: &[f32]) {
        assert!(rows.len().is_multiple_of(self.width) && rows.len() == added.len());
        self.isa.run(Apply { norm: self, rows, added });
    }
}

struct Apply<'a> {
    norm: &'a Norm,
    rows: &'a mut [f32],
    /// As many as the rows, or none.
    added: &'a [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let Norm { width, eps, .. } = *self.norm;
        let (weight, bias) = (self.norm.weight.floats(), self.norm.bias.floats());
        let mut added = self.added.chunks_exact(width);
        for row in self.rows.chunks_exact_mut(width) {
            let mut sum = v.splat(0.0);
            match added.next() {
                Some(added) => {
                    for (part, added) in row.chunks_mut(V::LANES).zip(added.chunks(V::LANES)) {
                        let x = v.add(v.load_part(part, 0.0), v.load_part(added, 0.0));
                        v.store_part(x, part);
                        sum = v.add(sum, x);
                    }
                }
                None => {
                    for part in row.chunks(V::LANES) {
                        sum = v.add(sum, v.load_part(part, 0.0));
                    }
                }
            }
            let mean = v.sum(sum) / width as f32;
            let means = v.splat(mean);
            let mut squares = v.splat(0.0);
            for part in row.chunks(V::LANES) {
                let far = v.sub(v.load_part(part, mean), means);
                squares = v.mul_add(far, far, squares);
            }
            let deviation = (v.sum(squares) / width as f32 + eps).sqrt();
            let scale = v.splat(1.0 / deviation);
            let factors = weight.chunks(V::LANES).zip(bias.chunks(V::LANES));
            for (part, (weight, bias)) in row.chunks_mut(V::LANES).zip(factors) {
                let unit = v.mul(v.sub(v.load_part(part, 0.0), means), scale);
                let x = v.mul_add(unit, v.load_part(weight, 0.0), v.load_part(bias, 0.0));
                v.store_part(x, part);
            }
        }
    }
}
