//! bf16 where the machine has no instructions for it: number by number.

use super::{LANES_MAX, Vectors};
use crate::lines::{bf16_lane, bf16_numbers};

#[inline(always)]
pub fn store<V: Vectors>(v: V, value: V::F32, to: &mut [u32]) {
    let numbers = numbers(v, value);
    for (lane, pair) in to[..V::LANES / 2].iter_mut().zip(numbers[..V::LANES].chunks_exact(2)) {
        *lane = bf16_lane(pair[0], pair[1]);
    }
}

#[inline(always)]
pub fn zip<V: Vectors>(v: V, first: V::F32, second: V::F32, to: &mut [u32]) {
    let numbers = numbers(v, first).into_iter().zip(numbers(v, second));
    for (lane, (first, second)) in to[..V::LANES].iter_mut().zip(numbers) {
        *lane = bf16_lane(first, second);
    }
}

#[inline(always)]
pub fn dot<V: Vectors>(v: V, sum: V::F32, a: V::I32, b: V::I32) -> V::F32 {
    let [a, b] = [a, b].map(|lanes| numbers(v, v.as_f32(lanes)));
    let mut sums = numbers(v, sum);
    for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
        let [a, b] = [a, b].map(|lane| bf16_numbers(lane.to_bits()));
        *sum += a[0] * b[0] + a[1] * b[1];
    }
    v.load(&sums)
}

#[inline(always)]
fn numbers<V: Vectors>(v: V, value: V::F32) -> [f32; LANES_MAX] {
    let mut numbers = [0.0; LANES_MAX];
    v.store(value, &mut numbers);
    numbers
}
