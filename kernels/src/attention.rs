//! Attention: softmax(q kᵀ) v, for each head of each sequence by itself, without
//! padding. The softmax is that of base 2.
//!
//! Queries, keys and values of a sequence are packed in one pass over its rows. Then, head by
//! head, a few queries at a time meet all keys: their scores never leave the nearest cache.
//! Who wants
//! base e and 1/√d has log₂ e / √d in the query's weights.

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::exp2;
use crate::fold::{Largest, fold};
use crate::isa::{Isa, Vectors, Work};
use crate::lines::{Lines, floats_mut};
use crate::rows::Format;
use crate::tile::{Bf16, Factor, Floats, Multiply, Tiles, each_tile};

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

/// Of one sequence, in lanes of the products.
struct Memory {
    /// Row by row, head by head.
    queries: Lines,
    /// Head by head in strips of keys; in a strip, lane by lane of the head.
    keys: Lines,
    /// Head by head in strips of its numbers; in a strip, lane by lane of the keys.
    values: Lines,
    /// A vector's worth of keys on their way into the columns.
    rows: Lines,
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
    /// Of each that asks, as wide as all heads.
    pub queries: Columns<'a>,
    /// Of each token, as wide.
    pub keys: Columns<'a>,
    /// Of each token, as wide.
    pub values: Columns<'a>,
}

/// Who wants a context of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Each of its tokens.
    Tokens,
    /// As many rows.
    Rows(usize),
}

impl Asking {
    #[inline(always)]
    fn rows(self, tokens: usize) -> usize {
        match self {
            Asking::Tokens => tokens,
            Asking::Rows(rows) => rows,
        }
    }
}

/// Some columns of a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    pub numbers: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    pub from: usize,
}

impl<'a> Columns<'a> {
    /// All columns, so many next to each other, of rows that are `N` times as wide.
    pub fn parts<const N: usize>(numbers: &'a [f32], width: usize) -> [Self; N] {
        std::array::from_fn(|nth| Columns { numbers, stride: N * width, from: nth * width })
    }

    #[inline(always)]
    fn row(self, nth: usize, width: usize) -> &'a [f32] {
        &self.numbers[nth * self.stride + self.from..][..width]
    }

    /// From this row on.
    #[inline(always)]
    fn below(self, row: usize) -> Self {
        Columns { numbers: &self.numbers[row * self.stride..], ..self }
    }
}

impl Attention {
    /// `heads` of `head` numbers each. Its products are of f32, or of bf16 if that is
    /// the format.
    pub fn new(isa: Isa, format: Format, heads: usize, head: usize) -> Self {
        let [queries, keys, values, rows, scores, shares] = [0; 6].map(Lines::zeroed);
        let memory = Memory { queries, keys, values, rows, scores, shares };
        Attention { isa, format, heads, head, memory }
    }

    /// What each that asks gets from its sequence, in rows as wide as all heads.
    pub fn apply(&mut self, sequences: Sequences<'_>, context: &mut [f32]) {
        let Sequences { lengths, asking, queries, keys, values } = sequences;
        let width = self.heads * self.head;
        let tokens: usize = lengths.iter().sum();
        let rows: usize = lengths.iter().map(|length| asking.rows(*length)).sum();
        assert!(lengths.iter().all(|length| *length > 0), "a sequence has tokens");
        for (Columns { numbers, stride, from }, rows) in
            [(queries, rows), (keys, tokens), (values, tokens)]
        {
            assert_eq!(numbers.len(), rows * stride, "queries, keys or values of {rows} rows");
            assert!(from + width <= stride, "{width} columns from {from} on, of {stride}");
        }
        assert_eq!(context.len(), rows * width, "context of {rows} rows");
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
        let Sequences { lengths, asking, queries, keys, values } = self.sequences;
        let width = heads * head;
        let (mut token, mut row) = (0, 0);
        for &length in lengths {
            let rows = asking.rows(length);
            let shape = Shape::new::<V, P>(heads, head, length);
            memory.resize::<V, P>(shape, rows);
            pack_rows::<V, P>(v, queries.below(row), 0..rows, memory.queries.lanes_mut(), shape);
            pack_keys::<V, P>(v, keys.below(token), memory, shape);
            pack_values::<V, P>(v, values.below(token), memory.values.lanes_mut(), shape);
            let context = &mut self.context[row * width..][..rows * width];
            for nth in 0..heads {
                let context = &mut context[nth * head..];
                let pack = PhantomData::<P>;
                each_tile(v, rows, &mut Head { memory, shape, nth, context, width, pack });
            }
            token += length;
            row += rows;
        }
    }
}

/// What the numbers of attention become before they are multiplied.
trait Pack: Multiply {
    /// A vector of numbers as lanes.
    fn store<V: Vectors>(v: V, numbers: V::F32, lanes: &mut [u32]);

    /// The numbers as lanes, up to whole vectors of numbers, with zeros where there are
    /// none.
    #[inline(always)]
    fn pack<V: Vectors>(v: V, numbers: &[f32], lanes: &mut [u32]) {
        let lanes = lanes.chunks_exact_mut(V::LANES / Self::GROUP);
        for (part, lanes) in numbers.chunks(V::LANES).zip(lanes) {
            Self::store(v, v.load_part(part, 0.0), lanes);
        }
    }

    /// A lane for each number of the first row: it, and that of the second row where
    /// lanes hold two.
    fn zip<V: Vectors>(v: V, first: V::F32, second: V::F32, lanes: &mut [u32]);
}

impl Pack for Floats {
    #[inline(always)]
    fn store<V: Vectors>(v: V, numbers: V::F32, lanes: &mut [u32]) {
        v.store(numbers, floats_mut(lanes));
    }

    #[inline(always)]
    fn zip<V: Vectors>(v: V, first: V::F32, _: V::F32, lanes: &mut [u32]) {
        v.store(first, floats_mut(lanes));
    }
}

impl Pack for Bf16 {
    #[inline(always)]
    fn store<V: Vectors>(v: V, numbers: V::F32, lanes: &mut [u32]) {
        v.store_bf16(numbers, lanes);
    }

    #[inline(always)]
    fn zip<V: Vectors>(v: V, first: V::F32, second: V::F32, lanes: &mut [u32]) {
        v.zip_bf16(first, second, lanes);
    }
}

/// The sizes of one sequence, packed.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    head: usize,
    length: usize,
    /// Lanes of a query or key.
    query_steps: usize,
    /// From one head of a query or key to the next, in whole vectors of lanes.
    query_stride: usize,
    /// Lanes of a column of the values.
    value_steps: usize,
    /// Scores from one query to the next, as many as strips of keys have.
    score_stride: usize,
}

impl Shape {
    #[inline(always)]
    fn new<V: Vectors, P: Pack>(heads: usize, head: usize, length: usize) -> Self {
        Shape {
            heads,
            head,
            length,
            query_steps: head.div_ceil(P::GROUP),
            query_stride: head.div_ceil(P::GROUP).next_multiple_of(V::LANES),
            value_steps: length.div_ceil(P::GROUP),
            score_stride: length.next_multiple_of(STRIP * V::LANES),
        }
    }

    /// Numbers of a row.
    #[inline(always)]
    fn width(self) -> usize {
        self.heads * self.head
    }

    /// Lanes of a query or key.
    #[inline(always)]
    fn row(self) -> usize {
        self.heads * self.query_stride
    }

    /// Lanes of all keys of a head.
    #[inline(always)]
    fn keys(self) -> usize {
        self.score_stride * self.query_stride
    }

    /// Numbers of a head, in whole strips.
    #[inline(always)]
    fn columns<V: Vectors>(self) -> usize {
        self.head.next_multiple_of(STRIP * V::LANES)
    }

    /// Lanes of all values of a head.
    #[inline(always)]
    fn values<V: Vectors>(self) -> usize {
        self.value_steps * self.columns::<V>()
    }
}

impl Memory {
    #[inline(always)]
    fn resize<V: Vectors, P: Pack>(&mut self, shape: Shape, rows: usize) {
        self.queries.resize(rows * shape.row());
        self.keys.resize(shape.heads * shape.keys());
        self.values.resize(shape.heads * shape.values::<V>());
        self.rows.resize(V::LANES * shape.row());
        self.scores.resize(V::TILE_ROWS * shape.score_stride);
        self.shares.resize(V::TILE_ROWS * shape.score_stride / P::GROUP);
    }
}

#[inline(always)]
fn pack_rows<V: Vectors, P: Pack>(
    v: V,
    from: Columns<'_>,
    rows: Range<usize>,
    packed: &mut [u32],
    shape: Shape,
) {
    for (row, packed) in rows.zip(packed.chunks_exact_mut(shape.row())) {
        let heads = packed.chunks_exact_mut(shape.query_stride);
        for (head, packed) in from.row(row, shape.width()).chunks_exact(shape.head).zip(heads) {
            P::pack(v, head, packed);
        }
    }
}

/// Keys as columns: a vector's worth of them at a time, transposed in squares.
#[inline(always)]
fn pack_keys<V: Vectors, P: Pack>(v: V, keys: Columns<'_>, memory: &mut Memory, shape: Shape) {
    let (strip, stride) = (STRIP * V::LANES, shape.query_stride);
    let (rows, packed) = (memory.rows.lanes_mut(), memory.keys.lanes_mut());
    for at in (0..shape.length).step_by(V::LANES) {
        // Rows that no key fills any more become columns that nobody reads.
        let to = (at + V::LANES).min(shape.length);
        pack_rows::<V, P>(v, keys, at..to, rows, shape);
        for (nth, packed) in packed.chunks_exact_mut(shape.keys()).enumerate() {
            let columns = &mut packed[at / strip * strip * stride + at % strip..];
            for lane in (0..stride).step_by(V::LANES) {
                let square = &rows[nth * stride + lane..];
                v.transpose(square, shape.row(), &mut columns[lane * strip..], strip);
            }
        }
    }
}

/// Values as rows, or as many side by side as a lane holds, in strips whose missing
/// columns are 0.
#[inline(always)]
fn pack_values<V: Vectors, P: Pack>(v: V, values: Columns<'_>, packed: &mut [u32], shape: Shape) {
    let (strip, head) = (STRIP * V::LANES, shape.head);
    for step in 0..shape.value_steps {
        let row = step * P::GROUP;
        let first = values.row(row, shape.width());
        let two = P::GROUP == 2 && row + 1 < shape.length;
        let second = if two { values.row(row + 1, shape.width()) } else { &[] };
        for (nth, packed) in packed.chunks_exact_mut(shape.values::<V>()).enumerate() {
            let first = &first[nth * head..][..head];
            let second = if two { &second[nth * head..][..head] } else { &[] };
            for column in (0..shape.columns::<V>()).step_by(V::LANES) {
                let at = (column / strip * shape.value_steps + step) * strip + column % strip;
                let part = |row: &[f32]| v.load_part(row.get(column..).unwrap_or_default(), 0.0);
                P::zip(v, part(first), part(second), &mut packed[at..at + V::LANES]);
            }
        }
    }
}

/// One head of one sequence, for queries that come in tiles.
struct Head<'a, P> {
    memory: &'a mut Memory,
    shape: Shape,
    nth: usize,
    /// From the head's first column on.
    context: &'a mut [f32],
    /// Of the context.
    width: usize,
    pack: PhantomData<P>,
}

impl<P: Pack> Tiles for Head<'_, P> {
    #[inline(always)]
    fn tile<V: Vectors, const R: usize>(&mut self, v: V, row: usize) {
        let Head { shape, nth, .. } = *self;
        let Shape { head, length, query_stride, value_steps, score_stride, .. } = shape;
        let Memory { queries, keys, values, scores, shares, .. } = &mut *self.memory;
        let strip = STRIP * V::LANES;
        let queries = &queries.lanes()[nth * query_stride..];
        let keys = &keys.lanes()[nth * shape.keys()..][..shape.keys()];
        let values = &values.lanes()[nth * shape.values::<V>()..][..shape.values::<V>()];
        let factor = Factor { lanes: queries, stride: shape.row(), steps: shape.query_steps };
        let factor = factor.from(row);
        let (scores, shares) = (scores.floats_mut(), shares.lanes_mut());
        for (nth, keys) in keys.chunks_exact(query_stride * strip).enumerate() {
            let sums = P::tile::<V, R, STRIP>(v, factor, keys);
            for (r, sums) in sums.into_iter().enumerate() {
                let to = &mut scores[r * score_stride + nth * strip..][..strip];
                for (sum, to) in sums.into_iter().zip(to.chunks_exact_mut(V::LANES)) {
                    v.store(P::float(v, sum), to);
                }
            }
        }
        let rows = scores.chunks_exact(score_stride).map(|scores| &scores[..length]);
        let mut largest = [0.0; R];
        for (largest, scores) in largest.iter_mut().zip(rows.clone()) {
            let least = Largest(v.splat(f32::MIN));
            *largest = v.largest(fold(v, scores, f32::MIN, least).0);
        }
        // Not together with the largest: a row would wait for its own.
        let mut scales = [0.0; R];
        let rows = rows.zip(shares.chunks_exact_mut(score_stride / P::GROUP));
        for ((scale, largest), (scores, shares)) in scales.iter_mut().zip(largest).zip(rows) {
            *scale = 1.0 / exponentials::<V, P>(v, scores, largest, shares);
        }
        let factor = Factor { lanes: shares, stride: score_stride / P::GROUP, steps: value_steps };
        for (nth, values) in values.chunks_exact(value_steps * strip).enumerate() {
            let sums = P::tile::<V, R, STRIP>(v, factor, values);
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

/// Each score's 2^(score - largest) as lanes; returns their sum, which is 1 or more.
#[inline(always)]
fn exponentials<V: Vectors, P: Pack>(
    v: V,
    scores: &[f32],
    largest: f32,
    shares: &mut [u32],
) -> f32 {
    let largest = v.splat(largest);
    let mut sum = v.splat(0.0);
    let shares = shares.chunks_exact_mut(V::LANES / P::GROUP);
    for (part, shares) in scores.chunks(V::LANES).zip(shares) {
        // What stands in for missing scores is 2^-126, which no sum of 1 or more notices.
        let power = exp2(v, v.sub(v.load_part(part, f32::MIN), largest));
        sum = v.add(sum, power);
        P::store(v, power, shares);
    }
    v.sum(sum)
}
