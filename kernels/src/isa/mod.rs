//! Instruction sets, and the vocabulary of vectors that kernels are written in.
//!
//! To add one: a token type that only its `detect` makes, this trait for it, and a
//! line in each `match` of [`Isa`]. The tests then run every kernel on it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::tile::{Bytes, Factor, one_by_one};

/// An instruction set that this machine has. Chosen once, at load: matrices are
/// packed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(avx512::Avx512<true>),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512<false>),
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni(avx2::Avx2<true>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2<false>),
    #[cfg(target_arch = "aarch64")]
    NeonV8_6(neon::Neon<true, true>),
    #[cfg(target_arch = "aarch64")]
    NeonDot(neon::Neon<true, false>),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon<false, false>),
    Scalar(scalar::Scalar),
}

impl Isa {
    /// The best that this machine has.
    pub fn detect() -> Isa {
        Isa::available().next().expect("plain Rust runs everywhere")
    }

    /// All that this machine has, the best first.
    pub fn available() -> impl Iterator<Item = Isa> {
        let kinds = [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Kind::Avx512Bf16),
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::detect().map(Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Kind::Avx2Vnni),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::detect().map(Kind::Avx2),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Kind::NeonV8_6),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Kind::NeonDot),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Kind::Neon),
            Some(Kind::Scalar(scalar::Scalar)),
        ];
        kinds.into_iter().flatten().map(Isa)
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16(_) => "avx512-bf16",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Vnni(_) => "avx2-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonV8_6(_) => "neon-bf16-i8mm",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot(_) => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
            Kind::Scalar(_) => "scalar",
        }
    }

    /// Whether it has vectors; plain Rust is for tests, and for what nothing else runs.
    pub fn has_vectors(self) -> bool {
        !matches!(self.0, Kind::Scalar(_))
    }

    /// Whether it multiplies bf16. Any other does it number by number, for tests.
    pub fn has_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16(_) => true,
            #[cfg(target_arch = "aarch64")]
            Kind::NeonV8_6(_) => true,
            _ => false,
        }
    }

    /// Runs `work` as compiled for this instruction set.
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16(v) => v.run(work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(v) => v.run(work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Vnni(v) => v.run(work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(v) => v.run(work),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonV8_6(v) => v.run(work),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDot(v) => v.run(work),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(v) => v.run(work),
            Kind::Scalar(v) => v.run(work),
        }
    }
}

/// A kernel with its arguments, before an instruction set is chosen. `run` and all
/// that it calls must be `#[inline(always)]`: what is not inlined is compiled
/// without the instructions, and calls them one by one. Closures that the standard
/// library calls, as `array::from_fn` does, cannot be, so loops hold no vectors in them.
pub trait Work {
    type Output;

    fn run<V: Vectors>(self, v: V) -> Self::Output;
}

/// The words that kernels are written in. A value of the type proves that the
/// machine has the instructions.
pub trait Vectors: Copy {
    /// [`LANES`](Self::LANES) numbers.
    type F32: Copy;
    /// As many integers, or lanes of a product's factors.
    type I32: Copy;

    const LANES: usize;
    /// Rows of the micro-kernel: with three columns of vectors, their factors and
    /// one more, all sums stay in registers.
    const TILE_ROWS: usize;
    /// What is taken from the bytes 0 to 255 of quantised rows before
    /// [`dot_bytes`](Self::dot_bytes) reads them: 128 where it wants them signed.
    const BYTE_OFFSET: u8;

    fn run<W: Work>(self, work: W) -> W::Output;

    fn splat(self, value: f32) -> Self::F32;
    /// The first of the slice, which has enough.
    fn load(self, from: &[f32]) -> Self::F32;
    fn store(self, value: Self::F32, to: &mut [f32]);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a b + c.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// 1 / a, to a few units in the last place, for 2^-100 < a < 2^100.
    fn recip(self, a: Self::F32) -> Self::F32;
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The sum of the lanes, in an order that is always the same.
    fn sum(self, a: Self::F32) -> f32;
    fn largest(self, a: Self::F32) -> f32;

    /// The nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::I32;
    fn float(self, a: Self::I32) -> Self::F32;
    /// 2^n, for -127 < n < 128.
    fn power_of_two(self, n: Self::I32) -> Self::F32;
    /// a 2^n, for whole numbers -127 < n < 128.
    #[inline(always)]
    fn scale(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        self.mul(a, self.power_of_two(self.round(n)))
    }
    /// The nearest integer as a number, ties to even.
    #[inline(always)]
    fn whole(self, a: Self::F32) -> Self::F32 {
        self.float(self.round(a))
    }
    /// Each lane, or what is nearest to it of 0 to 255, as a byte less
    /// [`BYTE_OFFSET`](Self::BYTE_OFFSET).
    fn store_bytes(self, values: Self::I32, to: &mut [u8]);

    fn splat_lane(self, lane: u32) -> Self::I32;
    /// The first of the slice, which has enough.
    fn load_lanes(self, from: &[u32]) -> Self::I32;
    /// The same bits as numbers.
    fn as_f32(self, lanes: Self::I32) -> Self::F32;
    /// sum + a · b for each lane, of four bytes each: those of `a` as
    /// [`BYTE_OFFSET`](Self::BYTE_OFFSET) says, those of `b` signed. Nothing saturates.
    fn dot_bytes(self, sum: Self::I32, a: Self::I32, b: Self::I32) -> Self::I32;

    /// The [`tile`](crate::tile::Multiply::tile) of bytes, for machines that have more for it than
    /// [`dot_bytes`](Self::dot_bytes).
    #[inline(always)]
    fn tile_bytes<const R: usize, const C: usize>(
        self,
        rows: Factor<'_>,
        strip: &[u32],
    ) -> [[Self::I32; C]; R] {
        one_by_one::<Self, Bytes, R, C>(self, rows, strip)
    }

    /// A square of [`LANES`](Self::LANES) rows and as many lanes, its rows as columns.
    /// Rows follow each other by these strides.
    #[inline(always)]
    fn transpose(self, from: &[u32], from_stride: usize, to: &mut [u32], to_stride: usize) {
        for row in 0..Self::LANES {
            for (column, lane) in from[row * from_stride..][..Self::LANES].iter().enumerate() {
                to[column * to_stride + row] = *lane;
            }
        }
    }

    /// Each number as the nearest bf16, two a lane.
    #[inline(always)]
    fn store_bf16(self, value: Self::F32, to: &mut [u32]) {
        bf16::store(self, value, to);
    }

    /// Lanes of two bf16 each, the nearest of a number of `first` and one of `second`.
    #[inline(always)]
    fn zip_bf16(self, first: Self::F32, second: Self::F32, to: &mut [u32]) {
        bf16::zip(self, first, second, to);
    }

    /// sum + a · b for each lane, of two bf16 each. Denormals may count as 0.
    #[inline(always)]
    fn dot_bf16(self, sum: Self::F32, a: Self::I32, b: Self::I32) -> Self::F32 {
        bf16::dot(self, sum, a, b)
    }

    /// The first of a slice that may have too few, and then `fill`.
    #[inline(always)]
    fn load_part(self, from: &[f32], fill: f32) -> Self::F32 {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        let mut whole = [fill; LANES_MAX];
        whole[..from.len()].copy_from_slice(from);
        self.load(&whole)
    }

    /// As many as the slice takes.
    #[inline(always)]
    fn store_part(self, value: Self::F32, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(value, to);
        }
        let mut whole = [0.0; LANES_MAX];
        self.store(value, &mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }

    /// The polynomial with these coefficients, that of the highest power first.
    #[inline(always)]
    fn polynomial<const N: usize>(self, x: Self::F32, coefficients: [f32; N]) -> Self::F32 {
        let mut sum = self.splat(coefficients[0]);
        for coefficient in &coefficients[1..] {
            sum = self.mul_add(sum, x, self.splat(*coefficient));
        }
        sum
    }

    #[inline(always)]
    fn clamp(self, x: Self::F32, from: f32, to: f32) -> Self::F32 {
        self.min(self.max(x, self.splat(from)), self.splat(to))
    }
}

/// Of any instruction set.
pub const LANES_MAX: usize = 16;
