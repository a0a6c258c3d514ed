//! Attention: softmax(q kᵀ) v, for each head of each sequence by itself, without
//! padding. The softmax is that of base 2.
//!
//! Queries, keys and values of one head are packed once, and then a few queries at a
//! time meet all keys: their scores never leave the nearest cache. Who wants
//! base e and 1/√d has log₂ e / √d in the query's weights.

use std::marker::PhantomData;

use crate::activation::exp2;
use crate::isa::{Isa, Vectors, Work};
use crate::lines::{Lines, floats_mut};
use crate::rows::{Format, pack_bf16};
use crate::tile::{Bf16, Factor, Floats, Multiply, Tiles, each_tile, tile};

/// Vectors of a strip. Heads have 32 or 64 numbers as a rule: no third vector would be
/// full.
const STRIP: usize = 2;

/// Attention for one shape of heads, with the memory that it works in.
pub struct Attention {
    isa: Isa,
    format: Format,
    heads: usize,
    head: usize,
    memory: Memory,
}

/// Of one head, in lanes of the products.
struct Memory {
    queries: Lines,
    /// In strips of keys; in a strip, lane by lane of the head.
    keys: Lines,
    /// In strips of the head's numbers; in a strip, lane by lane of the keys.
    values: Lines,
    /// A row on its way into the keys.
    row: Lines,
    /// Of a tile's queries: what each has of each key, in f32 and as a factor.
    scores: Lines,
    shares: Lines,
}

/// Sequences of tokens, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Sequences<'a> {
    /// Tokens of each; none is empty.
    pub lengths: &'a [usize],
    pub asking: Asking,
    /// A row for each token that asks, as wide as all heads.
    pub queries: &'a [f32],
    /// A row for each token: its keys, and then its values, each as wide.
    pub keys_values: &'a [f32],
}

/// The tokens whose context is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    All,
    /// The first of each sequence.
    First,
}

impl Attention {
    /// `heads` of `head` numbers each. Its products are of f32, or of bf16 if that is
    /// the format.
    pub fn new(isa: Isa, format: Format, heads: usize, head: usize) -> Self {
        let [queries, keys, values, row, scores, shares] = [0; 6].map(Lines::zeroed);
        let memory = Memory { queries, keys, values, row, scores, shares };
        Attention { isa, format, heads, head, memory }
    }

    /// What each token that asks gets from its sequence, in rows as wide as all heads.
    pub fn apply(&mut self, sequences: Sequences<'_>, context: &mut [f32]) {
        let Sequences { lengths, asking, queries, keys_values } = sequences;
        let width = self.heads * self.head;
        let tokens: usize = lengths.iter().sum();
        let rows = match asking {
            Asking::All => tokens,
            Asking::First => lengths.len(),
        };
        assert!(lengths.iter().all(|length| *length > 0), "a sequence has tokens");
        assert_eq!(queries.len(), rows * width, "queries of {rows} tokens");
        assert_eq!(keys_values.len(), tokens * 2 * width, "keys and values of {tokens} tokens");
        assert_eq!(context.len(), rows * width, "context of {rows} tokens");
        let isa = self.isa;
        isa.run(Apply { attention: self, sequences, context });
    }
}

struct Apply<'a> {
    attention: &'a mut Attention,
    sequences: Sequences<'a>,
    context: &'a mut [f32],
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        match self.attention.format {
            Format::Bf16 => self.sequences::<V, Bf16>(v),
            Format::F32 | Format::Int8 => self.sequences::<V, Floats>(v),
        }
    }
}

impl Apply<'_> {
    #[inline(always)]
    fn sequences<V: Vectors, P: Pack>(self, v: V) {
        let Attention { heads, head, memory, .. } = self.attention;
        let (heads, head) = (*heads, *head);
        let Sequences { lengths, asking, queries, keys_values } = self.sequences;
        let width = heads * head;
        let (mut token, mut row) = (0, 0);
        for &length in lengths {
            let rows = match asking {
                Asking::All => length,
                Asking::First => 1,
            };
            let queries = &queries[row * width..][..rows * width];
            let keys_values = &keys_values[token * 2 * width..][..length * 2 * width];
            let context = &mut self.context[row * width..][..rows * width];
            let shape = Shape::new::<V, P>(head, length);
            memory.resize::<V, P>(shape, rows);
            for at in (0..width).step_by(head) {
                let queries = queries.chunks_exact(width).map(|row| &row[at..at + head]);
                let each = keys_values.chunks_exact(2 * width);
                let keys = each.clone().map(|row| &row[at..at + head]);
                let values = each.map(|row| &row[width + at..][..head]);
                pack_rows::<V, P>(v, queries, memory.queries.lanes_mut(), shape.query_stride);
                pack_keys::<V, P>(v, keys, memory, shape);
                pack_values::<V, P>(v, values, memory.values.lanes_mut(), shape);
                let context = &mut context[at..];
                let pack = PhantomData::<P>;
                each_tile(v, rows, &mut Head { memory, shape, context, width, pack });
            }
            token += length;
            row += rows;
        }
    }
}

/// What the numbers of attention become before they are multiplied.
trait Pack: Multiply {
    /// The numbers as lanes, up to whole vectors of numbers, with zeros where there are
    /// none.
    fn pack<V: Vectors>(v: V, numbers: &[f32], lanes: &mut [u32]);

    /// A lane for each number of the first row: it, and that of the second row where
    /// lanes hold two.
    fn zip<V: Vectors>(v: V, first: V::F32, second: V::F32, lanes: &mut [u32]);
}

impl Pack for Floats {
    #[inline(always)]
    fn pack<V: Vectors>(v: V, numbers: &[f32], lanes: &mut [u32]) {
        let to = floats_mut(lanes).chunks_exact_mut(V::LANES);
        for (part, to) in numbers.chunks(V::LANES).zip(to) {
            v.store(v.load_part(part, 0.0), to);
        }
    }

    #[inline(always)]
    fn zip<V: Vectors>(v: V, first: V::F32, _: V::F32, lanes: &mut [u32]) {
        v.store(first, floats_mut(lanes));
    }
}

impl Pack for Bf16 {
    #[inline(always)]
    fn pack<V: Vectors>(v: V, numbers: &[f32], lanes: &mut [u32]) {
        pack_bf16(v, numbers, lanes);
    }

    #[inline(always)]
    fn zip<V: Vectors>(v: V, first: V::F32, second: V::F32, lanes: &mut [u32]) {
        v.zip_bf16(first, second, lanes);
    }
}

/// The sizes of one head of one sequence, packed.
#[derive(Clone, Copy)]
struct Shape {
    head: usize,
    length: usize,
    /// Lanes of a query or key.
    query_steps: usize,
    /// From one query to the next.
    query_stride: usize,
    /// Lanes of a column of the values.
    value_steps: usize,
    /// Scores from one query to the next, as many as strips of keys have.
    score_stride: usize,
}

impl Shape {
    #[inline(always)]
    fn new<V: Vectors, P: Pack>(head: usize, length: usize) -> Self {
        Shape {
            head,
            length,
            query_steps: head.div_ceil(P::GROUP),
            query_stride: head.next_multiple_of(V::LANES) / P::GROUP,
            value_steps: length.div_ceil(P::GROUP),
            score_stride: length.next_multiple_of(STRIP * V::LANES),
        }
    }
}

impl Memory {
    #[inline(always)]
    fn resize<V: Vectors, P: Pack>(&mut self, shape: Shape, rows: usize) {
        self.queries.resize(rows * shape.query_stride);
        self.keys.resize(shape.score_stride * shape.query_steps);
        self.values.resize(shape.value_steps * shape.head.next_multiple_of(STRIP * V::LANES));
        self.row.resize(shape.query_stride);
        self.scores.resize(V::TILE_ROWS * shape.score_stride);
        self.shares.resize(V::TILE_ROWS * shape.score_stride / P::GROUP);
    }
}

#[inline(always)]
fn pack_rows<'a, V: Vectors, P: Pack>(
    v: V,
    rows: impl Iterator<Item = &'a [f32]>,
    packed: &mut [u32],
    stride: usize,
) {
    for (row, packed) in rows.zip(packed.chunks_exact_mut(stride)) {
        P::pack(v, row, packed);
    }
}

/// Keys as columns.
#[inline(always)]
fn pack_keys<'a, V: Vectors, P: Pack>(
    v: V,
    keys: impl Iterator<Item = &'a [f32]>,
    memory: &mut Memory,
    shape: Shape,
) {
    let strip = STRIP * V::LANES;
    let (row, packed) = (memory.row.lanes_mut(), memory.keys.lanes_mut());
    for (at, key) in keys.enumerate() {
        P::pack(v, key, row);
        let column = &mut packed[at / strip * strip * shape.query_steps + at % strip..];
        for (to, lane) in column.iter_mut().step_by(strip).zip(&row[..shape.query_steps]) {
            *to = *lane;
        }
    }
}

/// Values as rows, or as many side by side as a lane holds, in strips whose missing
/// columns are 0.
#[inline(always)]
fn pack_values<'a, V: Vectors, P: Pack>(
    v: V,
    mut values: impl Iterator<Item = &'a [f32]>,
    packed: &mut [u32],
    shape: Shape,
) {
    let strip = STRIP * V::LANES;
    for step in 0..shape.value_steps {
        let first = values.next().unwrap_or_default();
        let second = if P::GROUP == 2 { values.next().unwrap_or_default() } else { &[] };
        for column in (0..shape.head.next_multiple_of(strip)).step_by(V::LANES) {
            let at = (column / strip * shape.value_steps + step) * strip + column % strip;
            let part = |row: &[f32]| v.load_part(row.get(column..).unwrap_or_default(), 0.0);
            P::zip(v, part(first), part(second), &mut packed[at..at + V::LANES]);
        }
    }
}

/// One head of one sequence, for queries that come in tiles.
struct Head<'a, P> {
    memory: &'a mut Memory,
    shape: Shape,
    /// From the head's first column on.
    context: &'a mut [f32],
    /// Of the context.
    width: usize,
    pack: PhantomData<P>,
}

impl<P: Pack> Tiles for Head<'_, P> {
    #[inline(always)]
    fn tile<V: Vectors, const R: usize>(&mut self, v: V, row: usize) {
        let Shape { head, length, query_steps, query_stride, value_steps, score_stride } =
            self.shape;
        let Memory { queries, keys, values, scores, shares, .. } = &mut *self.memory;
        let strip = STRIP * V::LANES;
        let factor =
            Factor { lanes: queries.lanes(), stride: query_stride, steps: query_steps }.from(row);
        let (scores, shares) = (scores.floats_mut(), shares.lanes_mut());
        for (nth, keys) in keys.lanes().chunks_exact(query_steps * strip).enumerate() {
            let sums = tile::<V, P, R, STRIP>(v, factor, keys);
            for (r, sums) in sums.into_iter().enumerate() {
                let to = &mut scores[r * score_stride + nth * strip..][..strip];
                for (sum, to) in sums.into_iter().zip(to.chunks_exact_mut(V::LANES)) {
                    v.store(P::float(v, sum), to);
                }
            }
        }
        let mut scales = [0.0; R];
        let rows = scores.chunks_exact_mut(score_stride);
        let rows = rows.zip(shares.chunks_exact_mut(score_stride / P::GROUP));
        for (scale, (scores, shares)) in scales.iter_mut().zip(rows) {
            *scale = 1.0 / exponentials(v, &mut scores[..length]);
            P::pack(v, &scores[..length], shares);
        }
        let factor =
            Factor { lanes: shares, stride: score_stride / P::GROUP, steps: value_steps };
        for (nth, values) in values.lanes().chunks_exact(value_steps * strip).enumerate() {
            let sums = tile::<V, P, R, STRIP>(v, factor, values);
            let columns = (head - nth * strip).min(strip);
            for (r, sums) in sums.into_iter().enumerate() {
                let to = &mut self.context[(row + r) * self.width + nth * strip..][..columns];
                for (sum, to) in sums.into_iter().zip(to.chunks_mut(V::LANES)) {
                    v.store_part(v.mul(P::float(v, sum), v.splat(scales[r])), to);
                }
            }
        }
    }
}

/// Each score's 2^(score - largest), in place; their sum, which is 1 or more.
#[inline(always)]
fn exponentials<V: Vectors>(v: V, scores: &mut [f32]) -> f32 {
    let mut largest = v.splat(f32::MIN);
    for part in scores.chunks(V::LANES) {
        largest = v.max(largest, v.load_part(part, f32::MIN));
    }
    let largest = v.splat(v.largest(largest));
    let mut sum = v.splat(0.0);
    for part in scores.chunks_mut(V::LANES) {
        let power = exp2(v, v.sub(v.load_part(part, f32::MIN), largest));
        // What stands in for missing scores is 2^-126, which no sum of 1 or more notices.
        sum = v.add(sum, power);
        v.store_part(power, part);
    }
    v.sum(sum)
}
