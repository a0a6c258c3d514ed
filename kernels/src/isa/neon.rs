//! NEON, which every 64-bit ARM has. Those since about 2018, and every Apple processor that
//! runs macOS, have byte products (`dotprod`). Those since about 2021 (ARMv8.6: Apple's M2,
//! Graviton 3) multiply bf16 as well, and squares of bytes (`i8mm`): two rows by two columns
//! at once.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{Vectors, Work, bf16};
use crate::tile::{Bytes, Factor, one_by_one};

/// sum + a b by an instruction whose intrinsic is not stable in Rust yet.
macro_rules! add_product {
    ($instruction:literal, $lanes:literal, $sum:ident, $a:ident, $b:ident) => {
        asm!(
            concat!($instruction, " {sum:v}.4s, {a:v}.", $lanes, ", {b:v}.", $lanes),
            sum = inout(vreg) $sum,
            a = in(vreg) $a,
            b = in(vreg) $b,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// Proof that the machine has the instructions, byte products and those of ARMv8.6 (which
/// has them all) among them or not: only `detect` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon<const DOT: bool, const V8_6: bool>(());

impl<const DOT: bool, const V8_6: bool> Neon<DOT, V8_6> {
    pub fn detect() -> Option<Self> {
        const { assert!(DOT || !V8_6, "ARMv8.6 has byte products") };
        let newer = || is_aarch64_feature_detected!("bf16") && is_aarch64_feature_detected!("i8mm");
        let found = is_aarch64_feature_detected!("neon")
            && (!DOT || is_aarch64_feature_detected!("dotprod"))
            && (!V8_6 || newer());
        found.then_some(Neon(()))
    }
}

#[target_feature(enable = "neon")]
fn compiled<W: Work>(work: W, v: Neon<false, false>) -> W::Output {
    work.run(v)
}

#[target_feature(enable = "neon,dotprod")]
fn compiled_dot<W: Work>(work: W, v: Neon<true, false>) -> W::Output {
    work.run(v)
}

#[target_feature(enable = "neon,dotprod,bf16,i8mm")]
fn compiled_v8_6<W: Work>(work: W, v: Neon<true, true>) -> W::Output {
    work.run(v)
}

// SAFETY of every block below: the method takes `self`, a `Neon`, which exists only
// where `detect` found the instructions. What reads or writes memory checks the
// slice's length first.
#[allow(clippy::undocumented_unsafe_blocks, reason = "argued once, above")]
impl<const DOT: bool, const V8_6: bool> Vectors for Neon<DOT, V8_6> {
    type F32 = float32x4_t;
    type I32 = int32x4_t;

    const LANES: usize = 4;
    /// 8 × 3 sums, 3 weights and a factor are 28 of 32 registers.
    const TILE_ROWS: usize = 8;
    /// The product of bytes without a sign and bytes with one came years later.
    const BYTE_OFFSET: u8 = 128;

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        unsafe {
            match (DOT, V8_6) {
                (_, true) => compiled_v8_6(work, Neon(())),
                (true, _) => compiled_dot(work, Neon(())),
                _ => compiled(work, Neon(())),
            }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        assert!(from.len() >= Self::LANES);
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: float32x4_t, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        unsafe { vst1q_f32(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn recip(self, a: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(vdupq_n_f32(1.0), a) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(a) }
    }

    #[inline(always)]
    fn largest(self, a: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(a) }
    }

    #[inline(always)]
    fn round(self, a: float32x4_t) -> int32x4_t {
        unsafe { vcvtnq_s32_f32(a) }
    }

    #[inline(always)]
    fn float(self, a: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(a) }
    }

    #[inline(always)]
    fn power_of_two(self, n: int32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127)))) }
    }

    #[inline(always)]
    fn store_bytes(self, values: int32x4_t, to: &mut [u8]) {
        let bytes: [u8; 8] = unsafe {
            let signed = vqsubq_s32(values, vdupq_n_s32(i32::from(Self::BYTE_OFFSET)));
            let words = vqmovn_s32(signed);
            std::mem::transmute(vqmovn_s16(vcombine_s16(words, words)))
        };
        to[..Self::LANES].copy_from_slice(&bytes[..Self::LANES]);
    }

    #[inline(always)]
    fn splat_lane(self, lane: u32) -> int32x4_t {
        unsafe { vdupq_n_s32(lane as i32) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u32]) -> int32x4_t {
        assert!(from.len() >= Self::LANES);
        unsafe { vld1q_s32(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn as_f32(self, lanes: int32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(lanes) }
    }

    #[inline(always)]
    fn dot_bytes(self, mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe {
            if !DOT {
                let [a, b] = [a, b].map(|lanes| vreinterpretq_s8_s32(lanes));
                let first = vmull_s8(vget_low_s8(a), vget_low_s8(b));
                let last = vmull_high_s8(a, b);
                return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(first), vpaddlq_s16(last)));
            }
            add_product!("sdot", "16b", sum, a, b);
        }
        sum
    }

    #[inline(always)]
    fn tile_bytes<const R: usize, const C: usize>(
        self,
        rows: Factor<'_>,
        strip: &[u32],
    ) -> [[int32x4_t; C]; R] {
        match V8_6 {
            true => unsafe { squares(rows, strip) },
            false => one_by_one::<Self, Bytes, R, C>(self, rows, strip),
        }
    }

    #[inline(always)]
    fn store_bf16(self, value: float32x4_t, to: &mut [u32]) {
        assert!(to.len() >= Self::LANES / 2);
        if !V8_6 {
            return bf16::store(self, value, to);
        }
        unsafe { vst1_u32(to.as_mut_ptr(), vreinterpret_u32_u16(halves(value))) }
    }

    #[inline(always)]
    fn zip_bf16(self, first: float32x4_t, second: float32x4_t, to: &mut [u32]) {
        assert!(to.len() >= Self::LANES);
        if !V8_6 {
            return bf16::zip(self, first, second, to);
        }
        unsafe {
            let (low, high) = (vmovl_u16(halves(first)), vmovl_u16(halves(second)));
            vst1q_u32(to.as_mut_ptr(), vorrq_u32(low, vshlq_n_u32::<16>(high)));
        }
    }

    #[inline(always)]
    fn dot_bf16(self, mut sum: float32x4_t, a: int32x4_t, b: int32x4_t) -> float32x4_t {
        if !V8_6 {
            return bf16::dot(self, sum, a, b);
        }
        unsafe {
            add_product!("bfdot", "8h", sum, a, b);
        }
        sum
    }
}

/// The nearest bf16 of each number.
///
/// # Safety
///
/// The machine has the instructions for bf16.
#[inline(always)]
unsafe fn halves(value: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: the instruction is there, as the caller says, and touches no memory.
    unsafe {
        asm!(
            "bfcvtn {halves:v}.4h, {value:v}.4s",
            halves = out(vreg) halves,
            value = in(vreg) value,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    halves
}

/// The micro-kernel for bytes, of squares: of two rows, two columns and eight inputs,
/// which are two steps.
///
/// # Safety
///
/// The machine has `i8mm`.
#[inline(always)]
unsafe fn squares<const R: usize, const C: usize>(
    rows: Factor<'_>,
    strip: &[u32],
) -> [[int32x4_t; C]; R] {
    let width = C * LANES;
    assert!(rows.lanes.len() >= R * rows.stride && rows.stride >= rows.steps.next_multiple_of(2));
    assert!(strip.len() >= rows.steps * width);
    // SAFETY: the instructions are there, as the caller says. By the assertions above, all
    // rows have an even number of lanes, and no step is read of the strip that it has not.
    unsafe {
        let zero = vdupq_n_s32(0);
        let mut sums = [[[zero; 2]; C]; ROWS_MAX / 2];
        let weights =
            |step: usize, c: usize| vld1q_s32(strip.as_ptr().add(step * width + c * LANES).cast());
        let odd = rows.steps % 2;
        for step in (0..rows.steps - odd).step_by(2) {
            let both = |c| [weights(step, c), weights(step + 1, c)];
            add_squares::<R, C>(&mut sums, rows, step, both);
        }
        if odd == 1 {
            let step = rows.steps - 1;
            add_squares::<R, C>(&mut sums, rows, step, |c| [weights(step, c), zero]);
        }
        let mut tile = [[zero; C]; R];
        for (r, tile) in tile.iter_mut().enumerate() {
            for (tile, sums) in tile.iter_mut().zip(sums[r / 2]) {
                let [left, right] = sums.map(|sum| vreinterpretq_s64_s32(sum));
                let row = match r % 2 {
                    0 => vzip1q_s64(left, right),
                    _ => vzip2q_s64(left, right),
                };
                *tile = vreinterpretq_s32_s64(row);
            }
        }
        tile
    }
}

/// Two steps of all rows by all columns. A sum holds one row's two columns and then the
/// other's; `weights` are those of both steps for a vector of columns.
///
/// # Safety
///
/// The machine has `i8mm`, and the `R` rows have both steps.
#[inline(always)]
unsafe fn add_squares<const R: usize, const C: usize>(
    sums: &mut [[[int32x4_t; 2]; C]; ROWS_MAX / 2],
    rows: Factor<'_>,
    step: usize,
    weights: impl Fn(usize) -> [int32x4_t; 2],
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut pairs = [vdupq_n_s32(0); ROWS_MAX / 2];
        for (pair, lanes) in pairs.iter_mut().enumerate().take(R.div_ceil(2)) {
            // A row that is left over is multiplied twice.
            let [first, second] = [2 * pair, (2 * pair + 1).min(R - 1)]
                .map(|row| vld1_s32(rows.lanes.as_ptr().add(row * rows.stride + step).cast()));
            *lanes = vcombine_s32(first, second);
        }
        for c in 0..C {
            let [even, odd] = weights(c);
            let columns = [vzip1q_s32(even, odd), vzip2q_s32(even, odd)];
            for (sums, rows) in sums.iter_mut().zip(pairs).take(R.div_ceil(2)) {
                for (sum, columns) in sums[c].iter_mut().zip(columns) {
                    *sum = multiply_squares(*sum, rows, columns);
                }
            }
        }
    }
}

const LANES: usize = Neon::<true, true>::LANES;
/// Of any tile.
const ROWS_MAX: usize = Neon::<true, true>::TILE_ROWS;

/// sum + a bᵀ, of squares of two rows: sums in order, and eight signed bytes each.
///
/// # Safety
///
/// The machine has `i8mm`.
#[inline(always)]
unsafe fn multiply_squares(mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the instruction is there, as the caller says, and touches no memory.
    unsafe {
        add_product!("smmla", "16b", sum, a, b);
    }
    sum
}
