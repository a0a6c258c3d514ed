//! From rows of floats to bytes.

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
            let (mut most, mut least) = (v.splat(0.0), v.splat(0.0));
            for part in values.chunks(V::LANES) {
                let x = v.load_part(part, 0.0);
                most = v.max(most, x);
                least = v.min(least, x);
            }
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
    fn without_outlier<V: Vectors>(mut self, _: V, worth: f32) -> Self {
        let next = next(self.lanes);
        // Its own lane may have another one that is as far out.
        if self.most - next > worth
            && let Some(lane) = self.lanes.iter().position(|most| *most == self.most)
        {
            let (mut place, mut most, mut next) = (lane, 0.0, next);
            for at in (lane..self.values.len()).step_by(V::LANES) {
                let x = self.sign * self.values[at];
                if x > most {
                    next = larger(most, next);
                    (place, most) = (at, x);
                } else {
                    next = larger(x, next);
                }
            }
            if self.most - next > worth {
                self.outlier = Some(place);
                self.most = next;
            }
        }
        self
    }
}

/// The second largest of all.
#[inline(always)]
fn next(mut most: [f32; LANES_MAX]) -> f32 {
    let mut next = [0.0; LANES_MAX];
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
