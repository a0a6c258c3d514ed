//! The encoder and its head: which kernel follows which, over one matrix of all real
//! tokens of a batch.
//!
//! Of the last layer only what the [CLS] rows need is computed, since the head reads
//! nothing else.

use maitred_kernels::{
    Activation, Asking, Attention, Buffer, Embedding, Format, Isa, Linear, Norm, Operand, Sequences,
};

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
    pub layers: Vec<Layer>,
    pub activation: Activation,
    /// Dense with tanh, then one logit; in f32 whatever the rest is in.
    pub head: [Linear; 2],
}

pub struct Layer {
    pub query: Linear,
    /// One above the other.
    pub key_value: Linear,
    pub attended: Linear,
    pub attended_norm: Norm,
    pub wide: Linear,
    pub narrow: Linear,
    pub norm: Norm,
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
    operand: Operand,
    floats: Operand,
    states: Buffer,
    cls: Buffer,
    queries: Buffer,
    keys_values: Buffer,
    context: Buffer,
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
        let products = match self.format {
            // Next to bytes, what bf16 rounds off does not show.
            Format::Int8 if self.isa.has_bf16() => Format::Bf16,
            format => format,
        };
        Workspace {
            lengths: Vec::new(),
            words: Vec::new(),
            places: Vec::new(),
            attention: Attention::new(self.isa, products, self.heads, hidden / self.heads),
            operand: Operand::new(self.isa, self.format),
            floats: Operand::new(self.isa, Format::F32),
            states: Buffer::new(),
            cls: Buffer::new(),
            queries: Buffer::new(),
            keys_values: Buffer::new(),
            context: Buffer::new(),
            wide: Buffer::new(),
            narrow: Buffer::new(),
        }
    }

    /// Writes the logit of each pair of the workspace.
    pub fn run(&self, work: &mut Workspace, logits: &mut [f32]) {
        let hidden = self.embedding.width();
        let Workspace { lengths, words, places, attention, operand, floats, .. } = work;
        let mut states = work.states.room(words.len() * hidden);
        let mut cls = work.cls.room(lengths.len() * hidden);
        self.embedding.apply(words, places, states);
        for (nth, layer) in self.layers.iter().enumerate() {
            let keys_values = work.keys_values.room(2 * states.len());
            let rows = operand.rows(states, hidden);
            layer.key_value.apply(rows, None, keys_values);

            // From here on rows do not meet: the last layer goes on with those that
            // the head reads.
            let last = nth + 1 == self.layers.len();
            let queries = work.queries.room(if last { cls.len() } else { states.len() });
            if last {
                first_rows(lengths, hidden, states, cls);
                std::mem::swap(&mut states, &mut cls);
                layer.query.apply(operand.rows(states, hidden), None, queries);
            } else {
                layer.query.apply(rows, None, queries);
            }
            let asking = if last { Asking::First } else { Asking::All };
            let context = work.context.room(states.len());
            attention.apply(Sequences { lengths, asking, queries, keys_values }, context);

            let narrow = work.narrow.room(states.len());
            layer.attended.apply(operand.rows(context, hidden), None, narrow);
            layer.attended_norm.apply_sum(states, narrow);
            let width = layer.wide.outputs();
            let wide = work.wide.room(states.len() / hidden * width);
            layer.wide.apply(operand.rows(states, hidden), Some(self.activation), wide);
            layer.narrow.apply(operand.rows(wide, width), None, narrow);
            layer.norm.apply_sum(states, narrow);
        }
        let [dense, logit] = &self.head;
        let pooled = work.context.room(states.len());
        dense.apply(floats.rows(states, hidden), Some(Activation::Tanh), pooled);
        logit.apply(floats.rows(pooled, hidden), None, logits);
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
