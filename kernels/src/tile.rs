//! The micro-kernel of every matrix product: a few rows times a strip of columns,
//! with all sums in registers.
//!
//! It multiplies lanes of 32 bits and leaves it to a [`Multiply`] what a lane holds. The
//! rows are read as they lie, one lane at a time for all columns; the strip is packed
//! in the order in which it is read.

use crate::isa::Vectors;

/// What a lane of a product's factors holds.
pub trait Multiply {
    /// Numbers of a lane.
    const GROUP: usize;
    type Sum<V: Vectors>: Copy;

    fn zero<V: Vectors>(v: V) -> Self::Sum<V>;
    /// sum + a b.
    fn add_product<V: Vectors>(v: V, sum: Self::Sum<V>, a: V::I32, b: V::I32) -> Self::Sum<V>;
    fn float<V: Vectors>(v: V, sum: Self::Sum<V>) -> V::F32;

    /// The products of the first `R` rows with a strip of `C` vectors, whose lanes of one
    /// step follow those of the step before. Every sum is made in the order of the steps,
    /// so a row's do not depend on the rows beside it.
    #[inline(always)]
    fn tile<V: Vectors, const R: usize, const C: usize>(
        v: V,
        rows: Factor<'_>,
        strip: &[u32],
    ) -> [[Self::Sum<V>; C]; R]
    where
        Self: Sized,
    {
        one_by_one::<V, Self, R, C>(v, rows, strip)
    }
}

/// One f32 a lane.
pub struct Floats;

impl Multiply for Floats {
    const GROUP: usize = 1;
    type Sum<V: Vectors> = V::F32;

    #[inline(always)]
    fn zero<V: Vectors>(v: V) -> V::F32 {
        v.splat(0.0)
    }

    #[inline(always)]
    fn add_product<V: Vectors>(v: V, sum: V::F32, a: V::I32, b: V::I32) -> V::F32 {
        v.mul_add(v.as_f32(a), v.as_f32(b), sum)
    }

    #[inline(always)]
    fn float<V: Vectors>(_: V, sum: V::F32) -> V::F32 {
        sum
    }
}

/// Two bf16 a lane.
pub struct Bf16;

impl Multiply for Bf16 {
    const GROUP: usize = 2;
    type Sum<V: Vectors> = V::F32;

    #[inline(always)]
    fn zero<V: Vectors>(v: V) -> V::F32 {
        v.splat(0.0)
    }

    #[inline(always)]
    fn add_product<V: Vectors>(v: V, sum: V::F32, a: V::I32, b: V::I32) -> V::F32 {
        v.dot_bf16(sum, a, b)
    }

    #[inline(always)]
    fn float<V: Vectors>(_: V, sum: V::F32) -> V::F32 {
        sum
    }
}

/// Four bytes a lane.
pub struct Bytes;

impl Multiply for Bytes {
    const GROUP: usize = 4;
    type Sum<V: Vectors> = V::I32;

    #[inline(always)]
    fn zero<V: Vectors>(v: V) -> V::I32 {
        v.splat_lane(0)
    }

    #[inline(always)]
    fn add_product<V: Vectors>(v: V, sum: V::I32, a: V::I32, b: V::I32) -> V::I32 {
        v.dot_bytes(sum, a, b)
    }

    #[inline(always)]
    fn float<V: Vectors>(v: V, sum: V::I32) -> V::F32 {
        v.float(sum)
    }

    #[inline(always)]
    fn tile<V: Vectors, const R: usize, const C: usize>(
        v: V,
        rows: Factor<'_>,
        strip: &[u32],
    ) -> [[V::I32; C]; R] {
        v.tile_bytes(rows, strip)
    }
}

/// Rows of lanes, each `stride` after the one before, of which `steps` are read.
#[derive(Clone, Copy)]
pub struct Factor<'a> {
    pub lanes: &'a [u32],
    pub stride: usize,
    pub steps: usize,
}

impl<'a> Factor<'a> {
    /// From this row on.
    #[inline(always)]
    pub fn from(self, row: usize) -> Factor<'a> {
        Factor { lanes: &self.lanes[row * self.stride..], ..self }
    }
}

/// A [`tile`](Multiply::tile), step by step and row by row.
#[inline(always)]
pub fn one_by_one<V: Vectors, M: Multiply, const R: usize, const C: usize>(
    v: V,
    rows: Factor<'_>,
    strip: &[u32],
) -> [[M::Sum<V>; C]; R] {
    let width = C * V::LANES;
    assert!(rows.lanes.len() >= (R - 1) * rows.stride + rows.steps);
    let mut sums = [[M::zero(v); C]; R];
    for (step, weights) in strip[..rows.steps * width].chunks_exact(width).enumerate() {
        let mut column = [v.splat_lane(0); C];
        for (c, column) in column.iter_mut().enumerate() {
            *column = v.load_lanes(&weights[c * V::LANES..]);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `r` < R ends at `r * stride + steps`, which the assertion
            // above found within the lanes, and `step` < `steps`.
            let lane = unsafe { *rows.lanes.get_unchecked(r * rows.stride + step) };
            let factor = v.splat_lane(lane);
            for (sum, weights) in sums.iter_mut().zip(column) {
                *sum = M::add_product(v, *sum, factor, weights);
            }
        }
    }
    sums
}

/// What is made of tiles, one below the other.
pub trait Tiles {
    /// The tile of `R` rows from `row` on. The size is known when it is compiled, or
    /// the sums would not be in registers.
    fn tile<V: Vectors, const R: usize>(&mut self, v: V, row: usize);
}

/// Covers `rows` with as few tiles as can be.
#[inline(always)]
pub fn each_tile<V: Vectors, T: Tiles>(v: V, rows: usize, tiles: &mut T) {
    let mut row = 0;
    while row < rows {
        let count = (rows - row).min(V::TILE_ROWS);
        match count {
            1 => tiles.tile::<V, 1>(v, row),
            2 if V::TILE_ROWS >= 2 => tiles.tile::<V, 2>(v, row),
            3 if V::TILE_ROWS >= 3 => tiles.tile::<V, 3>(v, row),
            4 if V::TILE_ROWS >= 4 => tiles.tile::<V, 4>(v, row),
            5 if V::TILE_ROWS >= 5 => tiles.tile::<V, 5>(v, row),
            6 if V::TILE_ROWS >= 6 => tiles.tile::<V, 6>(v, row),
            7 if V::TILE_ROWS >= 7 => tiles.tile::<V, 7>(v, row),
            8 if V::TILE_ROWS >= 8 => tiles.tile::<V, 8>(v, row),
            _ => unreachable!("no instruction set has tiles of more than 8 rows"),
        }
        row += count;
    }
}
