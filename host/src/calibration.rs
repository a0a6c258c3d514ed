//! Makes an int8 model of one in floats, with weights that are rounded for text like that
//! which it will score.

use std::path::Path;

use crate::checkpoint::quantise::{Quantised, Quantiser};
use crate::checkpoint::{Checkpoint, folder};
use crate::config::Truncation;
use crate::engine;
use crate::tokenize::PairEncoder;

/// A query and a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub query: String,
    pub document: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is counted: pairs of text that were seen, then matrices that were rounded.
    pub what: &'static str,
    pub done: usize,
    pub of: usize,
}

/// Writes the folder `out`. Long pairs are truncated as a server would.
pub fn quantise(
    checkpoint: &Checkpoint,
    texts: &[Text],
    out: &Path,
    progress: impl Fn(Progress),
) -> anyhow::Result<Quantised> {
    // Now rather than after minutes.
    folder::check(out)?;
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
    let seen = |done| progress(Progress { what: "pairs", done, of: pairs.len() });
    let gradients = engine::gradients(checkpoint, &pairs, seen)?;
    quantiser.round(&gradients, |done, of| progress(Progress { what: "matrices", done, of }));
    Ok(quantiser.write(out)?)
}
