//! A batch as the rectangle of numbers that a padded engine computes.
//!
//! Here, and nowhere later, a batch that does not fit the model is refused: a
//! GPU does not check an index.

use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::Family;
use crate::engine::{Batch, EngineError};

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
            padded.push(&pair.ids, pair.second_from as usize, config)?;
        }
        Ok(padded)
    }

    fn push(
        &mut self,
        ids: &[u32],
        second_from: usize,
        config: &ModelConfig,
    ) -> Result<(), EngineError> {
        if ids.is_empty() || ids.len() > config.length_max {
            return Err(EngineError::Batch(format!(
                "a pair has {} tokens, the model takes 1 to {}",
                ids.len(),
                config.length_max
            )));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab) {
            return Err(EngineError::Batch(format!(
                "a token has id {id}, the model knows {} tokens; is the tokenizer another model's?",
                config.vocab
            )));
        }
        let second_type = u32::from(config.type_vocab > 1);
        let pad = self.length - ids.len();
        self.ids.extend(ids);
        self.ids.extend(std::iter::repeat_n(config.pad_id, pad));
        self.types.extend((0..ids.len()).map(|at| if at < second_from { 0 } else { second_type }));
        self.types.extend(std::iter::repeat_n(0, pad));
        match config.family {
            Family::Bert => self.positions.extend(0..ids.len() as u32),
            // As transformers' create_position_ids_from_input_ids: real tokens
            // count from pad_id + 1, and a `<pad>` in the text stays at pad_id.
            Family::Roberta => {
                let mut position = config.pad_id;
                self.positions.extend(ids.iter().map(|id| {
                    if *id == config.pad_id {
                        config.pad_id
                    } else {
                        position += 1;
                        position
                    }
                }));
            }
        }
        // Padding is masked, so any row of the table will do.
        self.positions.extend(std::iter::repeat_n(0, pad));
        self.lengths.push(ids.len());
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
