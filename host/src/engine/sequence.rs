//! One pair as the embeddings of a model want it. Here, and nowhere later, a pair that
//! does not fit the model is refused: a GPU does not check an index.

use super::{EngineError, Pair};
use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::Family;

/// Every token of a pair is in the model's tables.
pub fn check(pair: &Pair, config: &ModelConfig) -> Result<(), EngineError> {
    let tokens = pair.tokens();
    if tokens == 0 || tokens > config.length_max {
        return Err(EngineError::Batch(format!(
            "a pair has {tokens} tokens, the model takes 1 to {}",
            config.length_max
        )));
    }
    match pair.ids.iter().find(|id| **id as usize >= config.vocab) {
        Some(id) => Err(EngineError::Batch(format!(
            "a token has id {id}, the model knows {} tokens; is the tokenizer another model's?",
            config.vocab
        ))),
        None => Ok(()),
    }
}

/// The type of each token.
pub fn types(pair: &Pair, config: &ModelConfig) -> impl Iterator<Item = u32> {
    let second_type = u32::from(config.token_types());
    let second_from = pair.second_from as usize;
    (0..pair.tokens()).map(move |at| if at < second_from { 0 } else { second_type })
}

/// The row of the position embedding for each token.
pub fn positions(pair: &Pair, config: &ModelConfig) -> impl Iterator<Item = u32> {
    let (family, pad_id) = (config.family, config.pad_id);
    let mut roberta = pad_id;
    pair.ids.iter().enumerate().map(move |(at, id)| match family {
        Family::Bert => at as u32,
        // As transformers' create_position_ids_from_input_ids: real tokens count
        // from pad_id + 1, and a `<pad>` in the text stays at pad_id.
        Family::Roberta if *id == pad_id => pad_id,
        Family::Roberta => {
            roberta += 1;
            roberta
        }
    })
}
