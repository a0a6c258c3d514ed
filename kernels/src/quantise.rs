//! From rows of floats to bytes.

use crate::fold::{Fold, fold};
use crate::isa::{LANES_MAX, Vectors, Work};
use crate::rows::{Outlier, ROW_STEP};
use crate::tile::{Bytes, Multiply as _};

/// Each row to bytes, so that its least and its largest number (or 0) are 0 and 255. Of
/// both ends the number that is furthest out is left out, if the range is much smaller
/// without it.
pub struct Quantise<'a> {
    pub values: &'a [f32],
    pub width: usize,
    /// In rows of the width, rounded up to [`ROW_STEP`].
    pub bytes: &'a mut [u8],
    pub scales: &'a mut [f32],
    pub zeros: &'a mut [f32],
    pub outliers: &'a mut Vec<Outlier>,
}

/// Below this a row is as good as 0, and its reciprocal would not be a number.
const RANGE_MIN: f32 = 1e-30;
/// What an outlier must take of the range, or it is not worth its product of floats.
const OUTLIER_SHARE_MIN: f32 = 0.1;

impl Work for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let values = self.values.chunks_exact(self.width);
        let bytes = self.bytes.chunks_exact_mut(self.width.next_multiple_of(ROW_STEP));
        let scales = self.scales.iter_mut().zip(self.zeros);
        let rows = values.zip(bytes).zip(scales).enumerate();
        for (row, ((values, bytes), (scale, zero))) in rows {
            let nothing = Ends { most: v.splat(0.0), least: v.splat(0.0) };
            let Ends { most, least } = fold(v, values, 0.0, nothing);
            let above = End::of(v, values, most, 1.0);
            let below = End::of(v, values, v.sub(v.splat(0.0), least), -1.0);
            let worth = OUTLIER_SHARE_MIN * (above.most + below.most);
            let above = above.without_outlier(v, worth);
            let below = below.without_outlier(v, worth);
            let range = (above.most + below.most).max(RANGE_MIN);
            let steps = 255.0 / range;
            // The zero is a whole number, so that a 0 stays one.
            let middle = (below.most * steps).round_ties_even();
            for (part, bytes) in values.chunks(V::LANES).zip(bytes.chunks_exact_mut(V::LANES)) {
                let x = v.load_part(part, 0.0);
                let x = v.mul_add(x, v.splat(steps), v.splat(middle));
                v.store_bytes(v.round(x), bytes);
            }
            for place in [above.outlier, below.outlier].into_iter().flatten() {
                bytes[place] = (middle as u8).wrapping_sub(V::BYTE_OFFSET);
                let (step, one) = (place / Bytes::GROUP, 1 << (8 * (place % Bytes::GROUP)));
                self.outliers.push(Outlier { row, step, one, value: values[place] });
            }
            *scale = range / 255.0;
            *zero = middle - f32::from(V::BYTE_OFFSET);
        }
    }
}

/// One end of a row: what is above 0, or below it.
struct End<'a> {
    values: &'a [f32],
    /// 1, or -1 of what is below.
    sign: f32,
    /// The furthest number of each lane, and of all.
    lanes: [f32; LANES_MAX],
    most: f32,
    /// Where the number is that is left out.
    outlier: Option<usize>,
}

impl<'a> End<'a> {
    #[inline(always)]
    fn of<V: Vectors>(v: V, values: &'a [f32], most: V::F32, sign: f32) -> Self {
        let mut lanes = [0.0; LANES_MAX];
        v.store(most, &mut lanes);
        End { values, sign, lanes, most: v.largest(most), outlier: None }
    }

    /// Leaves the furthest number out if it takes more than `worth` of the range.
    #[inline(always)]
    fn without_outlier<V: Vectors>(mut self, v: V, worth: f32) -> Self {
        // At first without those that share a lane with the furthest.
        if self.most - next(self.lanes, [0.0; LANES_MAX]) > worth {
            let zero = v.splat(0.0);
            let nothing = Seconds { sign: v.splat(self.sign), most: zero, next: zero };
            let mut nexts = [0.0; LANES_MAX];
            v.store(fold(v, self.values, 0.0, nothing).next, &mut nexts);
            let next = next(self.lanes, nexts);
            if self.most - next > worth
                && let Some(place) = self.place::<V>()
            {
                self.outlier = Some(place);
                self.most = next;
            }
        }
        self
    }

    /// Where the furthest number is.
    #[inline(always)]
    fn place<V: Vectors>(&self) -> Option<usize> {
        let lane = self.lanes.iter().position(|most| *most == self.most)?;
        (lane..self.values.len())
            .step_by(V::LANES)
            .find(|at| self.sign * self.values[*at] == self.most)
    }
}

/// The second largest of all, of the largest and the second largest of each lane.
#[inline(always)]
fn next(mut most: [f32; LANES_MAX], mut next: [f32; LANES_MAX]) -> f32 {
    let mut half = LANES_MAX / 2;
    while half > 0 {
        for lane in 0..half {
            let (a, b) = (most[lane], most[lane + half]);
            let (less, more) = if a > b { (b, a) } else { (a, b) };
            let of_both = larger(next[lane], next[lane + half]);
            (most[lane], next[lane]) = (more, larger(less, of_both));
        }
        half /= 2;
    }
    next[0]
}

/// Of numbers, which is an instruction; `f32::max` is more.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// What is most and least, or 0.
#[derive(Clone, Copy)]
struct Ends<F> {
    most: F,
    least: F,
}

impl<V: Vectors> Fold<V> for Ends<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        self.most = v.max(self.most, x);
        self.least = v.min(self.least, x);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        self.most = v.max(self.most, other.most);
        self.least = v.min(self.least, other.least);
    }
}

/// The furthest number of an end and the one after it, or 0.
#[derive(Clone, Copy)]
struct Seconds<F> {
    /// 1, or -1 of what is below.
    sign: F,
    most: F,
    next: F,
}

impl<V: Vectors> Fold<V> for Seconds<V::F32> {
    #[inline(always)]
    fn take(&mut self, v: V, x: V::F32) {
        let x = v.mul(x, self.sign);
        self.next = v.max(self.next, v.min(self.most, x));
        self.most = v.max(self.most, x);
    }

    #[inline(always)]
    fn join(&mut self, v: V, other: Self) {
        let less = v.min(self.most, other.most);
        self.next = v.max(v.max(self.next, other.next), less);
        self.most = v.max(self.most, other.most);
    }
}
