//! AVX2 with FMA: x86-64 processors since 2013. Those of notebooks and desktops have had
//! byte products of their own (AVX-VNNI) since 2021.

use std::arch::x86_64::*;

use super::{Vectors, Work};

/// Proof that the machine has the instructions, byte products among them or not: only
/// `detect` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        found.then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn compiled<W: Work>(work: W, v: Avx2<false>) -> W::Output {
    work.run(v)
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn compiled_vnni<W: Work>(work: W, v: Avx2<true>) -> W::Output {
    work.run(v)
}

// SAFETY of every block below: the method takes `self`, an `Avx2`, which exists only
// where `detect` found the instructions. What reads or writes memory checks the
// slice's length first.
#[allow(clippy::undocumented_unsafe_blocks, reason = "argued once, above")]
impl<const VNNI: bool> Vectors for Avx2<VNNI> {
    type F32 = __m256;
    type I32 = __m256i;

    const LANES: usize = 8;
    /// 3 × 3 sums, 3 weights and a factor are 13 of 16 registers. With a fourth row all
    /// are taken, and the compiler keeps some in memory: 60 % of the peak.
    const TILE_ROWS: usize = 3;
    const BYTE_OFFSET: u8 = 0;

    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        unsafe {
            match VNNI {
                true => compiled_vnni(work, Avx2(())),
                false => compiled(work, Avx2(())),
            }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        assert!(from.len() >= Self::LANES);
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: __m256, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    /// By division: the estimate of AVX has 12 bits, and one step of Newton's would
    /// leave the last of f32's 24 to chance.
    #[inline(always)]
    fn recip(self, a: __m256) -> __m256 {
        unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), a) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256i {
        unsafe { _mm256_cvtps_epi32(a) }
    }

    #[inline(always)]
    fn float(self, a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m256i) -> __m256 {
        unsafe {
            let exponent = _mm256_add_epi32(n, _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn store_bytes(self, values: __m256i, to: &mut [u8]) {
        assert!(to.len() >= Self::LANES);
        unsafe {
            let (low, high) =
                (_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
            let words = _mm_packs_epi32(low, high);
            _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(words, words));
        }
    }

    #[inline(always)]
    fn splat_lane(self, lane: u32) -> __m256i {
        unsafe { _mm256_set1_epi32(lane as i32) }
    }

    #[inline(always)]
    fn load_lanes(self, from: &[u32]) -> __m256i {
        assert!(from.len() >= Self::LANES);
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn as_f32(self, lanes: __m256i) -> __m256 {
        unsafe { _mm256_castsi256_ps(lanes) }
    }

    /// Without VNNI in 16 bits: the old instruction for bytes adds two products in 16
    /// bits, which they may exceed.
    #[inline(always)]
    fn dot_bytes(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        if VNNI {
            return unsafe { _mm256_dpbusd_avx_epi32(sum, a, b) };
        }
        unsafe {
            let a_even = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
            let a_odd = _mm256_srli_epi16::<8>(a);
            let b_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
            let b_odd = _mm256_srai_epi16::<8>(b);
            let even = _mm256_madd_epi16(a_even, b_even);
            let odd = _mm256_madd_epi16(a_odd, b_odd);
            _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
        }
    }
}
