//! The encoder and its head: which kernel follows which, over one matrix of all real
//! tokens of a batch.
//!
//! Of the last layer only what the [CLS] rows need is computed, since the head reads
//! nothing else; that are no keys and values either.

use maitred_kernels::{
    Activation, Asking, Attention, Buffer, Columns, Embedding, Format, Isa, Linear, Norm, Operand,
    Sequences, all_finite,
};

use super::absorbed::{self, Absorbed};
use crate::checkpoint::ModelConfig;
use crate::engine::{Pair, sequence};

/// A model's weights, packed. Shared by its replicas.
pub struct Encoder {
    pub isa: Isa,
    pub format: Format,
    pub heads: usize,
    /// Its places are position embeddings plus token type embeddings, by
    /// `type * positions + position`.
    pub embedding: Embedding,
    /// All but the last.
    pub layers: Vec<Layer>,
    pub last: LastLayer,
    /// Dense with tanh, then one logit; in f32 whatever the rest is in.
    pub head: [Linear; 2],
}

pub struct Layer {
    /// One above the other.
    pub query_key_value: Linear,
    pub rest: Rest,
}

/// From it only the [CLS] rows go on.
pub struct LastLayer {
    pub query: Linear,
    pub attention: Absorbed,
    pub rest: Rest,
}

/// What follows attention in a layer, row by row.
pub struct Rest {
    pub attended: Linear,
    pub attended_norm: Norm,
    pub wide: Linear,
    pub activation: Activation,
    pub narrow: Linear,
    pub norm: Norm,
}

/// What attention multiplies in a model of this format.
pub fn products(isa: Isa, format: Format) -> Format {
    match format {
        // Next to bytes, what bf16 rounds off does not show.
        Format::Int8 if isa.has_bf16() => Format::Bf16,
        Format::Int8 => Format::F32,
        format => format,
    }
}

/// What a replica works with: the batch, and memory for what is computed of it. It grows
/// to the largest batch and is used again.
pub struct Workspace {
    /// Tokens of each pair.
    lengths: Vec<usize>,
    /// Rows of the word embedding.
    words: Vec<u32>,
    /// Rows of the places.
    places: Vec<u32>,
    attention: Attention,
    last_attention: absorbed::Memory,
    floats: Operand,
    rows: RowMemory,
    states: Buffer,
    cls: Buffer,
    context: Buffer,
}

struct RowMemory {
    operand: Operand,
    /// Queries, keys and values side by side, and later the feed-forward's: one memory for
    /// both stays near.
    wide: Buffer,
    narrow: Buffer,
}

impl Workspace {
    /// Forgets the former batch.
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.words.clear();
        self.places.clear();
    }

    /// Adds a pair that [`sequence::check`] has passed.
    pub fn push(&mut self, pair: &Pair, config: &ModelConfig) {
        self.lengths.push(pair.tokens());
        self.words.extend(&pair.ids);
        let kinds = sequence::types(pair, config);
        let places = kinds.zip(sequence::positions(pair, config));
        self.places.extend(places.map(|(kind, at)| kind * config.positions as u32 + at));
    }
}

impl Encoder {
    pub fn workspace(&self) -> Workspace {
        let hidden = self.embedding.width();
        let products = products(self.isa, self.format);
        Workspace {
            lengths: Vec::new(),
            words: Vec::new(),
            places: Vec::new(),
            attention: Attention::new(self.isa, products, self.heads, hidden / self.heads),
            last_attention: absorbed::Memory::new(self.isa, products, hidden),
            floats: Operand::new(self.isa, Format::F32),
            rows: RowMemory {
                operand: Operand::new(self.isa, self.format),
                wide: Buffer::new(),
                narrow: Buffer::new(),
            },
            states: Buffer::new(),
            cls: Buffer::new(),
            context: Buffer::new(),
        }
    }

    /// Writes the logit of each pair of the workspace; `None` if some state on the way is no
    /// finite number, which logits need not show.
    pub fn run(&self, work: &mut Workspace, logits: &mut [f32]) -> Option<()> {
        let hidden = self.embedding.width();
        let Workspace { lengths, words, places, attention, floats, rows, .. } = work;
        let states = work.states.room(words.len() * hidden);
        self.embedding.apply(words, places, states);
        for layer in &self.layers {
            let projected = rows.wide.room(3 * states.len());
            layer.query_key_value.apply(rows.operand.rows(states, hidden), None, projected);
            let [queries, keys, values] = Columns::parts(projected, hidden);
            let asking = Asking::Tokens;
            let context = work.context.room(states.len());
            attention.apply(Sequences { lengths, asking, queries, keys, values }, context);
            layer.rest.apply(rows, states, context);
        }
        // What a layer adds to keeps what is not finite, so that the end shows it.
        let finite = |states: &[f32]| all_finite(self.isa, states).then_some(());
        finite(states)?;
        let cls = work.cls.room(lengths.len() * hidden);
        first_rows(lengths, hidden, states, cls);
        let queries = rows.wide.room(cls.len());
        let context = work.context.room(cls.len());
        self.last.query.apply(rows.operand.rows(cls, hidden), None, queries);
        let input = absorbed::Input { lengths, states, queries };
        self.last.attention.apply(&mut work.last_attention, input, context);
        self.last.rest.apply(rows, cls, context);
        finite(cls)?;

        let [dense, logit] = &self.head;
        let pooled = context;
        dense.apply(floats.rows(cls, hidden), Some(Activation::Tanh), pooled);
        logit.apply(floats.rows(pooled, hidden), None, logits);
        Some(())
    }
}

impl Rest {
    /// From states and what they got from attention to the next states.
    fn apply(&self, memory: &mut RowMemory, states: &mut [f32], context: &[f32]) {
        let RowMemory { operand, wide, narrow } = memory;
        let hidden = self.norm.width();
        let width = self.wide.outputs();
        let narrow = narrow.room(states.len());
        self.attended.apply(operand.rows(context, hidden), None, narrow);
        self.attended_norm.apply_sum(states, narrow);
        let wide = wide.room(states.len() / hidden * width);
        self.wide.apply(operand.rows(states, hidden), Some(self.activation), wide);
        self.narrow.apply(operand.rows(wide, width), None, narrow);
        self.norm.apply_sum(states, narrow);
    }
}

/// The [CLS] rows.
fn first_rows(lengths: &[usize], hidden: usize, states: &[f32], cls: &mut [f32]) {
    let mut token = 0;
    for (length, cls) in lengths.iter().zip(cls.chunks_exact_mut(hidden)) {
        cls.copy_from_slice(&states[token * hidden..][..hidden]);
        token += length;
    }
}
