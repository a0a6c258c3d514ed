//! Attention: softmax(q kᵀ) v, for each head of each sequence by itself, without
//! padding.
//!
//! The keys and values of one head are packed once, and then a few queries at a time
//! meet all of them: their scores never leave the nearest cache. The 1/√d is in the
//! query's weights already.

use crate::isa::{Isa, Vectors, Work};
use crate::lines::{self, Lines};
use crate::tile::{Factor, Floats, Tiles, each_tile, tile};

/// Vectors of a strip. Heads have 32 or 64 numbers as a rule: no third vector would be
/// full.
const STRIP: usize = 2;

/// Attention for one shape of heads, with the memory that it works in.
pub struct Attention {
    isa: Isa,
    heads: usize,
    head: usize,
    /// Of one head, in strips of keys; in a strip, number by number of the head.
    keys: Lines,
    /// Of one head, in strips of its numbers; in a strip, key by key.
    values: Lines,
    /// Of a tile's queries.
    scores: Lines,
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
    /// `heads` of `head` numbers each.
    pub fn new(isa: Isa, heads: usize, head: usize) -> Self {
        let [keys, values, scores] = [0; 3].map(Lines::zeroed);
        Attention { isa, heads, head, keys, values, scores }
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
        let Attention { heads, head, keys, values, scores, .. } = self.attention;
        let (heads, head) = (*heads, *head);
        let Sequences { lengths, asking, queries, keys_values } = self.sequences;
        let width = heads * head;
        let strip = STRIP * V::LANES;
        let longest = lengths.iter().max().map_or(0, |most| most.next_multiple_of(strip));
        keys.resize(longest * head);
        values.resize(longest * head.next_multiple_of(strip));
        scores.resize(V::TILE_ROWS * longest);
        let (mut token, mut row) = (0, 0);
        for &length in lengths {
            let rows = match asking {
                Asking::All => length,
                Asking::First => 1,
            };
            let keys_values = &keys_values[token * 2 * width..][..length * 2 * width];
            let queries = &queries[row * width..][..rows * width];
            let context = &mut self.context[row * width..][..rows * width];
            for at in (0..width).step_by(head) {
                let each = keys_values.chunks_exact(2 * width);
                pack_keys(each.clone().map(|row| &row[at..at + head]), keys.lanes_mut(), strip);
                pack_values(v, each.map(|row| &row[width + at..][..head]), values.floats_mut());
                let queries =
                    Factor { lanes: lines::lanes(&queries[at..]), stride: width, steps: head };
                each_tile(
                    v,
                    rows,
                    &mut Head {
                        queries,
                        keys: keys.lanes(),
                        values: values.lanes(),
                        length,
                        scores,
                        context: &mut context[at..],
                    },
                );
            }
            token += length;
            row += rows;
        }
    }
}

/// Keys as columns.
#[inline(always)]
fn pack_keys<'a>(keys: impl Iterator<Item = &'a [f32]>, packed: &mut [u32], strip: usize) {
    for (at, key) in keys.enumerate() {
        let column = &mut packed[at / strip * strip * key.len() + at % strip..];
        for (to, number) in column.iter_mut().step_by(strip).zip(key) {
            *to = number.to_bits();
        }
    }
}

/// Values as rows, in strips whose missing columns are 0.
#[inline(always)]
fn pack_values<'a, V: Vectors>(
    v: V,
    values: impl ExactSizeIterator<Item = &'a [f32]>,
    packed: &mut [f32],
) {
    let (length, strip) = (values.len(), STRIP * V::LANES);
    for (at, value) in values.enumerate() {
        for (nth, part) in value.chunks(strip).enumerate() {
            let row = &mut packed[(nth * length + at) * strip..][..strip];
            for (c, to) in row.chunks_exact_mut(V::LANES).enumerate() {
                let from = part.get(c * V::LANES..).unwrap_or_default();
                v.store(v.load_part(from, 0.0), to);
            }
        }
    }
}

/// One head of one sequence, for queries that come in tiles.
struct Head<'a> {
    queries: Factor<'a>,
    keys: &'a [u32],
    values: &'a [u32],
    length: usize,
    scores: &'a mut Lines,
    /// From the head's first column on.
    context: &'a mut [f32],
}

impl Tiles for Head<'_> {
    #[inline(always)]
    fn tile<V: Vectors, const R: usize>(&mut self, v: V, row: usize) {
        let Factor { stride: width, steps: head, .. } = self.queries;
        let strip = STRIP * V::LANES;
        let stride = self.length.next_multiple_of(strip);
        let scores = self.scores.floats_mut();
        for (nth, keys) in self.keys.chunks_exact(head * strip).take(stride / strip).enumerate() {
            let sums = tile::<V, Floats, R, STRIP>(v, self.queries.from(row), keys);
            for (r, sums) in sums.into_iter().enumerate() {
                let to = &mut scores[r * stride + nth * strip..][..strip];
                for (sum, to) in sums.into_iter().zip(to.chunks_exact_mut(V::LANES)) {
                    v.store(sum, to);
                }
            }
        }
        let mut shares = [0.0; R];
        for (share, scores) in shares.iter_mut().zip(scores.chunks_exact_mut(stride)) {
            *share = 1.0 / exponentials(v, &mut scores[..self.length]);
        }
        let factor = Factor { lanes: self.scores.lanes(), stride, steps: self.length };
        let strips = self.values.chunks_exact(self.length * strip);
        for (nth, values) in strips.take(head.div_ceil(strip)).enumerate() {
            let sums = tile::<V, Floats, R, STRIP>(v, factor, values);
            let columns = (head - nth * strip).min(strip);
            for (r, sums) in sums.into_iter().enumerate() {
                let to = &mut self.context[(row + r) * width + nth * strip..][..columns];
                for (sum, to) in sums.into_iter().zip(to.chunks_mut(V::LANES)) {
                    v.store_part(v.mul(sum, v.splat(shares[r])), to);
                }
            }
        }
    }
}

/// Each score's e^(score - largest), in place; their sum, which is 1 or more.
#[inline(always)]
fn exponentials<V: Vectors>(v: V, scores: &mut [f32]) -> f32 {
    let mut largest = v.splat(f32::MIN);
    for part in scores.chunks(V::LANES) {
        largest = v.max(largest, v.load_part(part, f32::MIN));
    }
    let largest = v.splat(v.largest(largest));
    let mut sum = v.splat(0.0);
    for part in scores.chunks_mut(V::LANES) {
        let power = crate::activation::exp(v, v.sub(v.load_part(part, f32::MIN), largest));
        // What stands in for missing scores is e^-87, which no sum of 1 or more notices.
        sum = v.add(sum, power);
        v.store_part(power, part);
    }
    v.sum(sum)
}
