//! What a row comes to: its sum, its ends and the like.

use crate::isa::Vectors;

/// What has been seen of a row, lane by lane.
pub trait Fold<V: Vectors>: Copy {
    fn take(&mut self, v: V, x: V::F32);
    /// What another has seen.
    fn join(&mut self, v: V, other: Self);
}

/// Folds side by side: one alone would wait for itself at each vector.
const SIDES: usize = 4;

/// All of a row, from nothing on. `fill` stands for what the last vector lacks.
#[inline(always)]
pub fn fold<V: Vectors, F: Fold<V>>(v: V, row: &[f32], fill: f32, nothing: F) -> F {
    let mut sides = [nothing; SIDES];
    let blocks = row.chunks_exact(SIDES * V::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (nth, side) in sides.iter_mut().enumerate() {
            side.take(v, v.load(&block[nth * V::LANES..]));
        }
    }
    for (side, part) in sides.iter_mut().zip(rest.chunks(V::LANES)) {
        side.take(v, v.load_part(part, fill));
    }
    let [mut all, others @ ..] = sides;
    for other in others {
        all.join(v, other);
    }
    all
}

#[derive(Clone, Copy)]
pub struct Sum<F>(pub F);

impl<V: Vectors> Fold<V> for Sum<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        self.0 = v.add(self.0, x);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        self.take(v, other.0);
    }
}

#[derive(Clone, Copy)]
pub struct Largest<F>(pub F);

impl<V: Vectors> Fold<V> for Largest<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        self.0 = v.max(self.0, x);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        self.take(v, other.0);
    }
}
