//! Our engine for the CPU: no padding, weights packed for the machine's vector
//! instructions and shared by all replicas, and one thread a replica.
//!
//! `docs/engine.md` says what it costs and why it is built so. The arithmetic is in the
//! crate `maitred-kernels`; this room knows which layer follows which.

mod absorbed;
mod encoder;
mod load;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use maitred_kernels::{Format, Isa};

use self::encoder::{Encoder, Workspace};
use super::weights::Weights;
use super::{Batch, CrossEncoder, EngineError, EngineFactory, EngineTraits, sequence};
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::config::{DeviceKind, ModelSettings, Precision};

/// Larger ones leave the second cache between layers: twice as many cost 5 % in int8.
const BATCH_TOKENS_MAX: usize = 384;
/// Not measured: a few tiles of rows for each reading of the weights.
const BATCH_TOKENS_MIN: usize = 48;

/// Makes replicas of the checkpoint's model. The weights are read and packed now, once.
pub fn factory(
    checkpoint: &Checkpoint,
    settings: &ModelSettings,
) -> Result<EngineFactory, EngineError> {
    check(settings)?;
    let weights = Weights::read(&checkpoint.weights)?;
    let (format, why) = match settings.precision {
        Precision::Int8 => (Format::Int8, "as configured"),
        Precision::Bf16 => (Format::Bf16, "as configured"),
        Precision::Auto if load::is_int8(&weights, &checkpoint.config) => {
            (Format::Int8, "the checkpoint's weights are int8")
        }
        Precision::Auto => (Format::F32, "the checkpoint's weights are floats"),
        _ => (Format::F32, "as configured"),
    };
    let isa = Isa::detect();
    let encoder = Arc::new(load::encoder(&weights, &checkpoint.config, isa, format)?);
    tracing::info!(
        "`{}` runs on engine packed with {} in {} ({why})",
        checkpoint.name,
        isa.name(),
        name(format),
    );
    let config = checkpoint.config.clone();
    let traits = EngineTraits {
        ragged: true,
        length_max: settings.length_within(config.length_max),
        batch_tokens_max: BATCH_TOKENS_MAX,
        batch_tokens_min: BATCH_TOKENS_MIN,
        precision: name(format),
    };
    Ok(Arc::new(move || {
        let workspace = encoder.workspace();
        let (encoder, config, traits) = (encoder.clone(), config.clone(), traits.clone());
        Ok(Box::new(Engine { encoder, config, traits, workspace }))
    }))
}

/// Whether it does what the settings say.
pub fn check(settings: &ModelSettings) -> Result<(), EngineError> {
    refusal(settings).map_or(Ok(()), |refusal| Err(EngineError::Unsupported(refusal)))
}

/// Why it is not the best that the settings allow: it does not do what they say, or knows none
/// of the processor's vectors. Without those it is slow, but the only one for int8.
pub fn unsuited(settings: &ModelSettings) -> Option<String> {
    let slow = !Isa::detect().has_vectors() && settings.precision != Precision::Int8;
    let slow = slow.then(|| "engine packed knows no vectors of this processor".to_owned());
    refusal(settings).or(slow)
}

/// What of the settings this engine does not do.
fn refusal(settings: &ModelSettings) -> Option<String> {
    match (settings.device, settings.precision, settings.replica_threads) {
        (DeviceKind::Metal | DeviceKind::Cuda, ..) => {
            Some("a GPU with engine packed; engine candle runs there".to_owned())
        }
        (_, Precision::F16, _) => {
            Some("precision f16 with engine packed; supported: f32, bf16, int8".to_owned())
        }
        (_, Precision::Bf16, _) if !Isa::detect().has_bf16() => Some(format!(
            "precision bf16 with engine packed on this processor ({}), which does not \
             multiply bf16; supported: f32, int8",
            Isa::detect().name()
        )),
        (_, _, threads @ 2..) => Some(format!(
            "{threads} threads of a replica with engine packed, which has one; `replicas` uses more cores"
        )),
        _ => None,
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::F32 => "f32",
        Format::Bf16 => "bf16",
        Format::Int8 => "int8",
    }
}

/// One replica's engine.
struct Engine {
    encoder: Arc<Encoder>,
    config: ModelConfig,
    traits: EngineTraits,
    workspace: Workspace,
}

impl CrossEncoder for Engine {
    fn traits(&self) -> EngineTraits {
        self.traits.clone()
    }

    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError> {
        self.workspace.clear();
        for pair in &batch.pairs {
            sequence::check(pair, &self.config)?;
            self.workspace.push(pair, &self.config);
        }
        self.encoder.run(&mut self.workspace, logits).ok_or_else(|| {
            EngineError::Device("the states of a pair are not finite numbers".to_owned())
        })
    }
}
