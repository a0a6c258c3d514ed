//! Engines: what turns a batch of pairs into logits.
//!
//! An engine knows tensors and weights; it knows no requests, threads or
//! queues. A replica owns one engine on its own thread.

mod candle;
mod packed;
mod sequence;
mod tensors;
#[cfg(test)]
mod tests;
mod weights;

use std::sync::Arc;

#[cfg(feature = "metal")]
pub use self::candle::gpu_memory_bytes;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Activation;
use crate::checkpoint::quantise::ModelGradients;
use crate::config::{EngineKind, ModelSettings};

/// Makes engines of the kind that the settings name. `auto` is `packed` on the CPU where
/// that suits, and `candle` elsewhere.
pub fn factory(
    checkpoint: &Checkpoint,
    settings: &ModelSettings,
) -> Result<EngineFactory, EngineError> {
    match chosen(settings)? {
        Chosen::Packed => packed::factory(checkpoint, settings),
        Chosen::Candle(why) => {
            if let Some(why) = why {
                tracing::info!("`{}` runs on engine candle: {why}", checkpoint.name);
            }
            candle::factory(checkpoint, settings)
        }
    }
}

/// Whether an engine does what the settings say, as far as they alone tell.
pub fn check(settings: &ModelSettings) -> Result<(), EngineError> {
    match chosen(settings)? {
        Chosen::Packed => packed::check(settings),
        Chosen::Candle(_) => candle::check(settings),
    }
}

/// What gradients the scores of these pairs have with respect to the model's matrices. `done`
/// is told how many pairs were seen.
pub fn gradients(
    checkpoint: &Checkpoint,
    pairs: &[Pair],
    done: impl Fn(usize),
) -> Result<ModelGradients, EngineError> {
    candle::gradients(checkpoint, pairs, done)
}

enum Chosen {
    Packed,
    /// Why not the other, if that was left to us.
    Candle(Option<String>),
}

fn chosen(settings: &ModelSettings) -> Result<Chosen, EngineError> {
    Ok(match settings.engine {
        EngineKind::Packed => Chosen::Packed,
        EngineKind::Candle | EngineKind::CandleStock => Chosen::Candle(None),
        EngineKind::Auto if !candle::is_cpu(settings.device)? => Chosen::Candle(None),
        EngineKind::Auto => match packed::unsuited(settings) {
            None => Chosen::Packed,
            why => Chosen::Candle(why),
        },
    })
}

/// A cross-encoder, ready to score. Scores are the same (to rounding) alone or
/// in any batch.
pub trait CrossEncoder: Send {
    fn traits(&self) -> EngineTraits;

    /// Writes the raw logit of each pair, in the batch's order; activation is
    /// the edge's. `logits.len() == batch.pairs.len()`.
    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError>;
}

/// Makes the engine of a new replica; weights are shared between them where
/// the device allows. Called again when a replica is restarted.
pub type EngineFactory = Arc<dyn Fn() -> Result<Box<dyn CrossEncoder>, EngineError> + Send + Sync>;

/// What an engine says of itself, for whoever forms its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineTraits {
    /// Whether a batch costs its real tokens only. Otherwise every pair costs
    /// as much as the longest, and pairs of similar length belong together.
    pub ragged: bool,
    /// Tokens that one pair may have.
    pub length_max: usize,
    /// Tokens (padding included) beyond which a larger batch gains nothing.
    pub batch_tokens_max: usize,
    /// Tokens below which a smaller batch wastes the engine.
    pub batch_tokens_min: usize,
    /// The number format of the weights and activations: `f32`, `f16`, `bf16`, `int8`.
    pub precision: &'static str,
}

/// A query and a document as the token ids of one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    pub ids: Box<[u32]>,
    /// Where the second segment (token type 1) begins; `ids.len()` for models
    /// without token types.
    pub second_from: u32,
}

impl Pair {
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Pairs that are scored together; they may come from different requests.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub pairs: Vec<Arc<Pair>>,
}

impl Batch {
    /// Tokens of the longest pair.
    pub fn longest(&self) -> usize {
        self.pairs.iter().map(|pair| pair.tokens()).max().unwrap_or(0)
    }
}

impl From<Activation> for maitred_kernels::Activation {
    fn from(configured: Activation) -> Self {
        match configured {
            Activation::Gelu => Self::Gelu,
            Activation::GeluTanh => Self::GeluTanh,
            Activation::Relu => Self::Relu,
            Activation::Silu => Self::Silu,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The checkpoint is not one this engine runs.
    #[error("the model is not supported: {0}")]
    Unsupported(String),
    /// The checkpoint is broken or incomplete.
    #[error("the model's files are not usable: {0}")]
    Files(String),
    /// The batch is at fault; no replica can score it.
    #[error("the batch does not fit the model: {0}")]
    Batch(String),
    /// The device failed; another replica may not.
    #[error("the device failed: {0}")]
    Device(String),
}
