//! AVX-512 with the byte products of VNNI: Intel from Cascade Lake, AMD from Zen 4. Those
//! since Cooper Lake, and AMD's, multiply bf16 as well.
//!
//! Processors with AVX-512 but no VNNI (Skylake) run as AVX2.

use std::arch::x86_64::*;

use super::{Vectors, Work, bf16};

/// Proof that the machine has the instructions, those for bf16 among them or not: only
/// `detect` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512<const BF16: bool>(());

impl<const BF16: bool> Avx512<BF16> {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        found.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn compiled<W: Work>(work: W, v: Avx512<false>) -> W::Output {
    work.run(v)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
fn compiled_bf16<W: Work>(work: W, v: Avx512<true>) -> W::Output {
    work.run(v)
}

/// The lanes of a slice that has fewer than 16: no other is read or written.
#[inline(always)]
fn mask(length: usize) -> __mmask16 {
    (1 << length) - 1
}

// SAFETY of every block below: the method takes `self`, an `Avx512`, which exists only
// where `detect` found the instructions. What reads or writes memory checks the
// slice's length first, or masks what is not in it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "argued once, above")]
impl<const BF16: bool> Vectors for Avx512<BF16> {
    type F32 = __m512;
    type I32 = __m512i;

    const LANES: usize = 16;
    /// 8 × 3 sums, 3 weights and a factor are 28 of 32 registers.
    const TILE_ROWS: usize = 8;
    const BYTE_OFFSET: u8 = 0;

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        unsafe {
            match BF16 {
                true => compiled_bf16(work, Avx512(())),
                false => compiled(work, Avx512(())),
            }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        assert!(from.len() >= Self::LANES);
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    /// 14 bits from the table, doubled by a step of Newton's: a division holds its
    /// port for 16 cycles.
    #[inline(always)]
    fn recip(self, a: __m512) -> __m512 {
        unsafe {
            let rough = _mm512_rcp14_ps(a);
            _mm512_mul_ps(rough, _mm512_fnmadd_ps(a, rough, _mm512_set1_ps(2.0)))
        }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }

    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(a) }
    }

    #[inline(always)]
    fn float(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m512i) -> __m512 {
        unsafe {
            let exponent = _mm512_add_epi32(n, _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }

    #[inline(always)]
    fn whole(self, a: __m512) -> __m512 {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { _mm512_roundscale_ps::<NEAREST>(a) }
    }

    #[inline(always)]
    fn store_bytes(self, values: __m512i, to: &mut [u8]) {
        assert!(to.len() >= Self::LANES);
        unsafe {
            let bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(values, _mm512_setzero_si512()));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes)
        }
    }

    #[inline(always)]
    fn splat_lane(self, lane: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(lane as i32) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u32]) -> __m512i {
        assert!(from.len() >= Self::LANES);
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn as_f32(self, lanes: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(lanes) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32], fill: f32) -> __m512 {
        if from.len() >= Self::LANES {
            return self.load(from);
        }
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    fn store_part(self, value: __m512, to: &mut [f32]) {
        if to.len() >= Self::LANES {
            return self.store(value, to);
        }
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), value) }
    }

    #[inline(always)]
    fn dot_bytes(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }

    /// Four lanes of each row at a time: those of rows 0, 4, 8 and 12 side by side, and so on,
    /// of which shuffles within quarters make columns. A quarter of the square takes eight
    /// registers; the whole would not fit.
    #[inline(always)]
    fn transpose(self, from: &[u32], from_stride: usize, to: &mut [u32], to_stride: usize) {
        assert!(from.len() >= (Self::LANES - 1) * from_stride + Self::LANES);
        assert!(to.len() >= (Self::LANES - 1) * to_stride + Self::LANES);
        for lane in (0..Self::LANES).step_by(4) {
            unsafe {
                let four = |row: usize| {
                    _mm_loadu_si128(from.as_ptr().add(row * from_stride + lane).cast())
                };
                let rows = |first: usize| {
                    let rows = _mm512_castsi128_si512(four(first));
                    let rows = _mm512_inserti32x4::<1>(rows, four(first + 4));
                    let rows = _mm512_inserti32x4::<2>(rows, four(first + 8));
                    _mm512_inserti32x4::<3>(rows, four(first + 12))
                };
                let [a, b, c, d] = [rows(0), rows(1), rows(2), rows(3)];
                let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
                let (next_low, next_high) =
                    (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
                let columns = [
                    _mm512_unpacklo_epi64(low, next_low),
                    _mm512_unpackhi_epi64(low, next_low),
                    _mm512_unpacklo_epi64(high, next_high),
                    _mm512_unpackhi_epi64(high, next_high),
                ];
                for (nth, column) in columns.into_iter().enumerate() {
                    _mm512_storeu_si512(
                        to.as_mut_ptr().add((lane + nth) * to_stride).cast(),
                        column,
                    );
                }
            }
        }
    }

    #[inline(always)]
    fn store_bf16(self, value: __m512, to: &mut [u32]) {
        assert!(to.len() >= Self::LANES / 2);
        if !BF16 {
            return bf16::store(self, value, to);
        }
        unsafe {
            let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn zip_bf16(self, first: __m512, second: __m512, to: &mut [u32]) {
        assert!(to.len() >= Self::LANES);
        if !BF16 {
            return bf16::zip(self, first, second, to);
        }
        unsafe {
            let halves = |numbers| {
                let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(numbers));
                _mm512_cvtepu16_epi32(halves)
            };
            let lanes = _mm512_or_si512(halves(first), _mm512_slli_epi32::<16>(halves(second)));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), lanes);
        }
    }

    #[inline(always)]
    fn dot_bf16(self, sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        if !BF16 {
            return bf16::dot(self, sum, a, b);
        }
        unsafe {
            let [a, b] = [a, b].map(|lanes| std::mem::transmute::<__m512i, __m512bh>(lanes));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}
