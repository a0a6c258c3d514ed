//! What the machine can do at most: products of numbers that are in registers. A
//! benchmark's shares are shares of this, measured in the same run.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::isa::{Isa, Vectors, Work};
use crate::rows::Format;
use crate::tile::{Bf16, Bytes, Floats, Multiply};

/// Additions and multiplications a second of one core, the best of several tries
/// within `time`. Of bytes they are those of products of four at a time: where squares
/// of bytes are multiplied, a kernel can do more.
pub fn peak(isa: Isa, format: Format, time: Duration) -> f64 {
    let began = Instant::now();
    let mut best: f64 = 0.0;
    while began.elapsed() < time {
        best = best.max(match format {
            Format::F32 => isa.run(Peak::<Floats>(PhantomData)),
            Format::Bf16 => isa.run(Peak::<Bf16>(PhantomData)),
            Format::Int8 => isa.run(Peak::<Bytes>(PhantomData)),
        });
    }
    best
}

/// Sums that are independent of each other: as many as hide an instruction's latency
/// and stay in registers.
const SUMS: usize = 12;
const STEPS: usize = 20_000;
/// Products of each sum in a step.
const PRODUCTS: usize = 8;

struct Peak<M>(PhantomData<M>);

impl<M: Multiply> Work for Peak<M> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) -> f64 {
        let mut sums = [M::zero(v); SUMS];
        let began = Instant::now();
        for _ in 0..STEPS {
            // Unknown at each step, or part of the work would be done once for all.
            let factor = std::hint::black_box(v.splat_lane(0));
            for _ in 0..PRODUCTS {
                for sum in &mut sums {
                    *sum = M::add_product(v, *sum, factor, factor);
                }
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let total = sums.iter().fold(v.splat(0.0), |total, sum| v.add(total, M::float(v, *sum)));
        std::hint::black_box(v.sum(total));
        (2 * SUMS * STEPS * PRODUCTS * V::LANES * M::GROUP) as f64 / seconds
    }
}
