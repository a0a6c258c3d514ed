//! Whether numbers are numbers: maxima and clamps make one of what is none.

use crate::fold::{Fold, fold};
use crate::isa::{Isa, Vectors, Work};

/// Whether no number is infinite or none at all.
pub fn all_finite(isa: Isa, numbers: &[f32]) -> bool {
    isa.run(AllFinite(numbers))
}

struct AllFinite<'a>(&'a [f32]);

impl Work for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) -> bool {
        let nothing = Nothing(v.splat(0.0));
        v.sum(fold(v, self.0, 0.0, nothing).0) == 0.0
    }
}

/// Nothing times what is not finite is no number, nor is any sum with one.
#[derive(Clone, Copy)]
struct Nothing<F>(F);

impl<V: Vectors> Fold<V> for Nothing<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        self.0 = v.mul_add(x, v.splat(0.0), self.0);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        self.0 = v.add(self.0, other.0);
    }
}
