//! Functions of one number, over vectors.

use crate::isa::{Isa, Vectors, Work};

/// What follows a matrix product, on each of its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), by the error function.
    Gelu,
    /// Its approximation by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415).
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl Activation {
    /// Of each number, in place.
    pub fn apply_all(self, isa: Isa, numbers: &mut [f32]) {
        isa.run(ApplyAll { activation: self, numbers });
    }

    /// Within 1e-6 of it, or 1e-4 if that will do; of large numbers, from 8 on for GELU and from
    /// 1 on for others, in proportion.
    #[inline(always)]
    pub(crate) fn apply<V: Vectors>(self, v: V, x: V::F32, coarse: bool) -> V::F32 {
        match self {
            Activation::Gelu if coarse => gelu_coarse(v, x),
            Activation::Gelu => gelu(v, x),
            Activation::GeluTanh => gelu_tanh(v, x),
            Activation::Relu => v.max(x, v.splat(0.0)),
            Activation::Silu => silu(v, x),
            Activation::Tanh => tanh(v, x),
        }
    }
}

struct ApplyAll<'a> {
    activation: Activation,
    numbers: &'a mut [f32],
}

impl Work for ApplyAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        for part in self.numbers.chunks_mut(V::LANES) {
            let x = v.load_part(part, 0.0);
            v.store_part(self.activation.apply(v, x, false), part);
        }
    }
}

/// Within 1e-6 of x Φ(x).
#[inline(always)]
fn gelu<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    let half = v.mul(x, v.splat(0.5));
    v.mul_add(half, erf_of_root(v, x), half)
}

/// Within 1e-4 of x Φ(x): Φ is 1/2 + x p(x²) up to the bound, where it reaches 1, fitted
/// for the least error of the whole, and what it is there beyond.
#[inline(always)]
fn gelu_coarse<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    const BOUND: f32 = 4.1;
    const P: [f32; 8] = [
        -9.946_232e-10,
        8.537_823e-8,
        -3.191_671_6e-6,
        6.892_129e-5,
        -9.651_898e-4,
        9.352_834e-3,
        -6.562_302e-2,
        0.398_519_4,
    ];
    let t = v.clamp(x, -BOUND, BOUND);
    let p = v.polynomial(v.mul(t, t), P);
    v.mul(x, v.mul_add(t, p, v.splat(0.5)))
}

/// erf(x / √2) within 2e-7, and what f32 rounds off: the rational approximation of Eigen and
/// XLA (`generic_fast_erf_float`) with the root in its coefficients, and no branches.
#[inline(always)]
fn erf_of_root<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    const BOUND: f32 = 4.0 * std::f32::consts::SQRT_2;
    const P: [f32; 7] = [
        2.111_493_4e-10,
        -4.291_981e-8,
        6.509_268_7e-6,
        3.527_237_6e-4,
        9.108_419e-3,
        7.323_014e-2,
        7.978_845e-1,
    ];
    const Q: [f32; 5] = [6.382_027e-5, 1.869_768_4e-3, 2.949_277_6e-2, 2.584_46e-1, 1.0];
    let x = v.clamp(x, -BOUND, BOUND);
    let square = v.mul(x, x);
    let above = v.mul(x, v.polynomial(square, P));
    v.mul(above, v.recip(v.polynomial(square, Q)))
}

/// tanh(y) = 2 / (1 + e^(-2y)) - 1 makes x (1 + tanh(y)) / 2 of a SiLU's form.
#[inline(always)]
fn gelu_tanh<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    let double = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
    let cubic = v.mul_add(v.mul(x, x), v.splat(0.044_715 * double), v.splat(double));
    v.mul(x, sigmoid(v, v.mul(x, cubic)))
}

#[inline(always)]
fn silu<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    v.mul(x, sigmoid(v, x))
}

#[inline(always)]
fn tanh<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    let two = v.splat(2.0);
    v.sub(v.mul(two, sigmoid(v, v.mul(two, x))), v.splat(1.0))
}

/// 1 / (1 + e^-x). Beyond 60 it is 0 or 1 in f32, and `recip` wants no more.
#[inline(always)]
fn sigmoid<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    let x = v.clamp(x, -60.0, 60.0);
    v.recip(v.add(v.splat(1.0), exp(v, v.sub(v.splat(0.0), x))))
}

/// e^x, to 2e-7 of itself; below 2^-126 it stays there.
///
/// x = n ln 2 + r, and e^r = 1 + r + r² q(r) with q fitted to |r| ≤ ln 2 / 2 for the
/// least relative error (1.1e-7).
#[inline(always)]
fn exp<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    const Q: [f32; 4] = [8.312_051e-3, 4.189_450_2e-2, 1.666_713_3e-1, 4.999_92e-1];
    // ln 2 in two parts, the first with zeros at its end: n times it is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = v.clamp(x, -87.3, 88.0);
    let n = v.whole(v.mul(x, v.splat(std::f32::consts::LOG2_E)));
    let r = v.mul_add(n, v.splat(-LN_2_HIGH), x);
    let r = v.mul_add(n, v.splat(-LN_2_LOW), r);
    let q = v.polynomial(r, Q);
    let power = v.mul_add(v.mul(r, r), q, v.add(r, v.splat(1.0)));
    v.scale(power, n)
}

/// 2^x for x ≤ 0, to 3e-6 of itself; below 2^-126 it stays there.
///
/// x = n + r, and 2^r by a polynomial fitted to |r| ≤ 1/2 for the least relative error.
#[inline(always)]
pub(crate) fn exp2<V: Vectors>(v: V, x: V::F32) -> V::F32 {
    const P: [f32; 5] = [9.570_102e-3, 5.591_786e-2, 0.240_247_45, 0.693_121_8, 0.999_999_3];
    let x = v.max(x, v.splat(-126.0));
    let n = v.whole(x);
    v.scale(v.polynomial(v.sub(x, n), P), n)
}
