//! Whether numbers are numbers: maxima and clamps make one of what is none.

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
        // Nothing times what is not finite is no number, nor is any sum with one.
        let nothing = v.splat(0.0);
        let mut sum = nothing;
        for part in self.0.chunks(V::LANES) {
            sum = v.mul_add(v.load_part(part, 0.0), nothing, sum);
        }
        v.sum(sum) == 0.0
    }
}
