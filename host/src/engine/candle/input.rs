//! A batch as the rectangle of numbers that a padded engine computes.

use crate::checkpoint::ModelConfig;
use crate::engine::{Batch, EngineError, Pair, sequence};

/// `pairs` rows of `length` tokens, in row-major order.
#[derive(Debug, PartialEq)]
pub struct Padded {
    pub pairs: usize,
    pub length: usize,
    pub ids: Vec<u32>,
    pub types: Vec<u32>,
    /// Rows of the position embedding.
    pub positions: Vec<u32>,
    /// Real tokens of each pair.
    pub lengths: Vec<usize>,
}

impl Padded {
    /// Pads to the longest pair, and on to a multiple of `step` tokens.
    pub fn new(batch: &Batch, config: &ModelConfig, step: usize) -> Result<Self, EngineError> {
        let length = batch.longest().next_multiple_of(step);
        let size = batch.pairs.len() * length;
        let mut padded = Padded {
            pairs: batch.pairs.len(),
            length,
            ids: Vec::with_capacity(size),
            types: Vec::with_capacity(size),
            positions: Vec::with_capacity(size),
            lengths: Vec::with_capacity(batch.pairs.len()),
        };
        for pair in &batch.pairs {
            padded.push(pair, config)?;
        }
        Ok(padded)
    }

    fn push(&mut self, pair: &Pair, config: &ModelConfig) -> Result<(), EngineError> {
        sequence::check(pair, config)?;
        let pad = self.length - pair.tokens();
        self.ids.extend(&pair.ids);
        self.ids.extend(std::iter::repeat_n(config.pad_id, pad));
        self.types.extend(sequence::types(pair, config));
        self.types.extend(std::iter::repeat_n(0, pad));
        // Padding is masked, so any row of the table will do.
        self.positions.extend(sequence::positions(pair, config));
        self.positions.extend(std::iter::repeat_n(0, pad));
        self.lengths.push(pair.tokens());
        Ok(())
    }

    /// Whether there is padding to be masked.
    pub fn ragged(&self) -> bool {
        self.lengths.iter().any(|length| *length != self.length)
    }

    /// `seen` for each real token, `hidden` for padding.
    pub fn mask<T: Copy>(&self, seen: T, hidden: T) -> Vec<T> {
        self.lengths
            .iter()
            .flat_map(|length| {
                std::iter::repeat_n(seen, *length)
                    .chain(std::iter::repeat_n(hidden, self.length - length))
            })
            .collect()
    }
}
