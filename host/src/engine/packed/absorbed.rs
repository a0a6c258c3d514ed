//! Attention of one query a sequence, without keys and values. For matrices K and V and
//! states x, a score q · (K x) is (Kᵀ q) · x, and a context Σ p (V x) is V (Σ p x): one row
//! of each sequence is multiplied with each matrix then, instead of all.
//!
//! A bias of the keys adds the same to all scores of a query, so it is left out; that of the
//! values is added once, since the shares add up to 1.

use maitred_kernels::{
    Asking, Attention, Buffer, Columns, Format, Isa, Linear, Operand, Sequences,
};

/// Key and value matrices of a layer, head by head.
pub struct Absorbed {
    /// Kᵀ: from a head's query to a row that states are multiplied with.
    pub keys: Vec<Linear>,
    /// V: from a mean of states to the head's context.
    pub values: Vec<Linear>,
}

/// Memory that is used again.
pub struct Memory {
    attention: Attention,
    operand: Operand,
    /// A head's queries or contexts.
    narrow: Buffer,
    /// What they are as rows of states.
    wide: Buffer,
    /// Such rows of all heads, sequence by sequence.
    asked: Buffer,
    found: Buffer,
}

pub struct Input<'a> {
    /// Tokens of each sequence.
    pub lengths: &'a [usize],
    /// A row for each token.
    pub states: &'a [f32],
    /// A row for each sequence.
    pub queries: &'a [f32],
}

impl Memory {
    /// `format` is that of the matrices and of attention, `hidden` the width of the states.
    pub fn new(isa: Isa, format: Format, hidden: usize) -> Self {
        let [narrow, wide, asked, found] = [(); 4].map(|()| Buffer::new());
        let attention = Attention::new(isa, format, 1, hidden);
        Memory { attention, operand: Operand::new(isa, format), narrow, wide, asked, found }
    }
}

impl Absorbed {
    /// Writes the context of each sequence's query.
    pub fn apply(&self, memory: &mut Memory, input: Input<'_>, context: &mut [f32]) {
        let Input { lengths, states, queries } = input;
        let Memory { attention, operand, .. } = memory;
        let heads = self.keys.len();
        let (hidden, head) = (self.keys[0].outputs(), self.values[0].outputs());
        let (count, all) = (lengths.len(), heads * hidden);
        let narrow = memory.narrow.room(count * head);
        let wide = memory.wide.room(count * hidden);
        let asked = memory.asked.room(count * all);
        let found = memory.found.room(count * all);
        for (nth, keys) in self.keys.iter().enumerate() {
            copy(queries, (hidden, nth * head), narrow, (head, 0), head);
            keys.apply(operand.rows(narrow, head), None, wide);
            copy(wide, (hidden, 0), asked, (all, nth * hidden), hidden);
        }
        let ([queries], [every]) = (Columns::parts(asked, hidden), Columns::parts(states, hidden));
        let asking = Asking::Rows(heads);
        attention.apply(Sequences { lengths, asking, queries, keys: every, values: every }, found);
        for (nth, values) in self.values.iter().enumerate() {
            copy(found, (all, nth * hidden), wide, (hidden, 0), hidden);
            values.apply(operand.rows(wide, hidden), None, narrow);
            copy(narrow, (head, 0), context, (hidden, nth * head), head);
        }
    }
}

/// Copies `width` columns; both sides are rows of a length, and begin at a column.
fn copy(
    from: &[f32],
    (from_row, from_column): (usize, usize),
    to: &mut [f32],
    (to_row, to_column): (usize, usize),
    width: usize,
) {
    for (from, to) in from.chunks_exact(from_row).zip(to.chunks_exact_mut(to_row)) {
        to[to_column..][..width].copy_from_slice(&from[from_column..][..width]);
    }
}
