//! Makes an int8 model of one in floats, with weights that are rounded for text like that
//! which it will score.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::quantise::{Quantised, Quantiser};
use crate::config::Truncation;
use crate::engine;
use crate::tokenize::PairEncoder;

/// A query and a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub query: String,
    pub document: String,
}

/// Writes the folder `out`. Long pairs are truncated as a server would. `done` is told how many
/// pairs were seen.
pub fn quantise(
    checkpoint: &Checkpoint,
    texts: &[Text],
    out: &Path,
    done: impl Fn(usize),
) -> anyhow::Result<Quantised> {
    let mut quantiser = Quantiser::read(checkpoint)?;
    let config = &checkpoint.config;
    let truncation = Truncation::LongestFirst;
    let (tokenizer, token_types) = (&checkpoint.tokenizer, config.token_types());
    let encoder = PairEncoder::load(tokenizer, token_types, config.length_max, truncation)?;
    let pairs = texts.iter().enumerate().map(|(position, Text { query, document })| {
        let query = encoder.query(query)?;
        Ok(encoder.pair(&query, document, position, truncation)?.pair)
    });
    let pairs = pairs.collect::<anyhow::Result<Vec<_>>>()?;
    quantiser.round(&engine::gradients(checkpoint, &pairs, done)?);
    Ok(quantiser.write(out)?)
}
