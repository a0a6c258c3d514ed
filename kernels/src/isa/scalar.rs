//! Plain Rust: what runs where nothing better does, and what everything else is
//! compared with.

use std::array::from_fn;

use super::{Vectors, Work};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scalar;

/// As the vectors of every 64-bit machine; the compiler may find them.
const LANES: usize = 4;

impl Vectors for Scalar {
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];

    const LANES: usize = LANES;
    const TILE_ROWS: usize = 2;
    const BYTE_OFFSET: u8 = 0;

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F32 {
        from_fn(|lane| from[lane])
    }

    #[inline(always)]
    fn store(self, value: Self::F32, to: &mut [f32]) {
        to[..LANES].copy_from_slice(&value);
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|lane| a[lane] * b[lane])
    }

    /// In two steps: `f32::mul_add` is a call where the machine cannot do it.
    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn recip(self, a: Self::F32) -> Self::F32 {
        from_fn(|lane| 1.0 / a[lane])
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        from_fn(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }

    #[inline(always)]
    fn sum(self, a: Self::F32) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }

    #[inline(always)]
    fn largest(self, a: Self::F32) -> f32 {
        a[0].max(a[2]).max(a[1].max(a[3]))
    }

    #[inline(always)]
    fn round(self, a: Self::F32) -> Self::I32 {
        from_fn(|lane| a[lane].round_ties_even() as i32)
    }

    #[inline(always)]
    fn float(self, a: Self::I32) -> Self::F32 {
        from_fn(|lane| a[lane] as f32)
    }

    #[inline(always)]
    fn power_of_two(self, n: Self::I32) -> Self::F32 {
        from_fn(|lane| f32::from_bits(((n[lane] + 127) as u32) << 23))
    }

    #[inline(always)]
    fn store_bytes(self, values: Self::I32, to: &mut [u8]) {
        to[..LANES].copy_from_slice(&values.map(|value| value.clamp(0, 255) as u8));
    }

    #[inline(always)]
    fn splat_lane(self, lane: u32) -> Self::I32 {
        [lane as i32; LANES]
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u32]) -> Self::I32 {
        from_fn(|lane| from[lane] as i32)
    }

    #[inline(always)]
    fn as_f32(self, lanes: Self::I32) -> Self::F32 {
        lanes.map(|lane| f32::from_bits(lane as u32))
    }

    #[inline(always)]
    fn dot_bytes(self, sum: Self::I32, a: Self::I32, b: Self::I32) -> Self::I32 {
        // By shifts: the compiler makes no vectors of arrays of bytes.
        from_fn(|lane| {
            let (a, b) = (a[lane], b[lane]);
            sum[lane]
                + (a & 255) * (b << 24 >> 24)
                + (a >> 8 & 255) * (b << 16 >> 24)
                + (a >> 16 & 255) * (b << 8 >> 24)
                + (a >> 24 & 255) * (b >> 24)
        })
    }
}
