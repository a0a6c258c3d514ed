//! NEON with byte products (`dotprod`): 64-bit ARM since about 2018, and every Apple
//! processor that runs macOS.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{Vectors, Work};

/// Proof that the machine has the instructions: only `detect` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    pub fn detect() -> Option<Self> {
        let found = is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod");
        found.then_some(Neon(()))
    }
}

#[target_feature(enable = "neon,dotprod")]
fn compiled<W: Work>(work: W, v: Neon) -> W::Output {
    work.run(v)
}

// SAFETY of every block below: the method takes `self`, a `Neon`, which exists only
// where `detect` found the instructions. What reads or writes memory checks the
// slice's length first.
#[allow(clippy::undocumented_unsafe_blocks, reason = "argued once, above")]
impl Vectors for Neon {
    type F32 = float32x4_t;
    type I32 = int32x4_t;

    const LANES: usize = 4;
    /// 8 × 3 sums, 3 weights and a factor are 28 of 32 registers.
    const TILE_ROWS: usize = 8;
    /// The product of bytes without a sign and bytes with one came years later.
    const BYTE_OFFSET: u8 = 128;

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        unsafe { compiled(work, self) }
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
        let signed: [i32; 4] = unsafe {
            let signed = vsubq_s32(values, vdupq_n_s32(i32::from(Self::BYTE_OFFSET)));
            std::mem::transmute(signed)
        };
        to[..Self::LANES].copy_from_slice(&signed.map(|value| value as u8));
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

    /// The intrinsic (`vdotq_s32`) is not stable in Rust yet; the instruction is.
    #[inline(always)]
    fn dot_bytes(self, mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }
}
