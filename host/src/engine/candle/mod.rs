//! The engines on candle: our graph, and candle's own BERT beside it.
//!
//! Both take padded batches. On the CPU the weights are loaded once and shared;
//! elsewhere each replica has a device handle and weights of its own, since
//! replicas on one Metal device would take turns at its command buffer.

mod cpu;
mod graph;
mod input;
#[cfg(test)]
mod operations;
mod ops;
mod stock;

use std::sync::Arc;
#[cfg(feature = "metal")]
use std::sync::OnceLock;

use candle_core::{DType, Device};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use self::graph::gradients;
use self::graph::{Attention, Graph, Placement};
use self::input::Padded;
use self::stock::Stock;
use super::weights::Weights;
use super::{Batch, CrossEncoder, EngineError, EngineFactory, EngineTraits};
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::config::{DeviceKind, EngineKind, ModelSettings, Precision};

/// On a GPU, lengths are padded to a multiple of this: few shapes, so that
/// buffers are found again, and whole tiles of the attention kernel (32 × 32).
const GPU_LENGTH_STEP: usize = 32;

/// On one core, pairs of 90 tokens through 12 layers of MiniLM took 147 ms of CPU
/// each alone, 131 by two, 123 by four, 117 by eight and 122 by sixteen.
const CPU_BATCH_TOKENS_MAX: usize = 1024;
const CPU_BATCH_TOKENS_MIN: usize = 128;
/// Not measured: enough rows to fill a GPU, few enough for a batch to stay short.
const GPU_BATCH_TOKENS_MAX: usize = 16_384;
const GPU_BATCH_TOKENS_MIN: usize = 2_048;

/// From a padded batch to its logits.
pub trait Forward: Send + Sync {
    fn forward(&self, batch: &Padded) -> candle_core::Result<Vec<f32>>;
}

/// Makes replicas of the checkpoint's model; reads the weights now where they
/// can be shared, else with each replica.
pub fn factory(
    checkpoint: &Checkpoint,
    settings: &ModelSettings,
) -> Result<EngineFactory, EngineError> {
    let plan = Plan::new(checkpoint, settings)?;
    if matches!(device(settings.device)?, Device::Cpu) {
        let model = plan.load(Device::Cpu)?;
        return Ok(Arc::new(move || Ok(Box::new(plan.engine(model.clone(), &Device::Cpu)?))));
    }
    let kind = settings.device;
    Ok(Arc::new(move || {
        let device = device(kind)?;
        let model = plan.load(device.clone())?;
        Ok(Box::new(plan.engine(model, &device)?))
    }))
}

/// Everything about an engine but its device.
#[derive(Clone)]
struct Plan {
    checkpoint: Checkpoint,
    kind: EngineKind,
    dtype: DType,
    length_max: usize,
    threads: usize,
}

impl Plan {
    fn new(checkpoint: &Checkpoint, settings: &ModelSettings) -> Result<Self, EngineError> {
        Ok(Plan {
            checkpoint: checkpoint.clone(),
            kind: settings.engine,
            dtype: dtype(settings, &device(settings.device)?)?,
            length_max: settings.length_within(checkpoint.config.length_max),
            threads: settings.replica_threads,
        })
    }

    fn load(&self, device: Device) -> Result<Arc<dyn Forward>, EngineError> {
        let weights = Weights::read(&self.checkpoint.weights)?;
        let config = &self.checkpoint.config;
        Ok(match self.kind {
            EngineKind::Auto | EngineKind::Packed | EngineKind::Candle => {
                let attention = Attention::on(&device, config);
                let placement = Placement { device, dtype: self.dtype, attention };
                Arc::new(Graph::load(&weights, config, placement)?)
            }
            EngineKind::CandleStock => Arc::new(Stock::load(&weights, config, self.dtype, device)?),
        })
    }

    fn engine(&self, model: Arc<dyn Forward>, device: &Device) -> Result<Engine, EngineError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|thread| format!("engine-{thread}"))
            .build()
            .map_err(|error| EngineError::Device(error.to_string()))?;
        let cpu = device.is_cpu();
        Ok(Engine {
            model,
            config: self.checkpoint.config.clone(),
            pool,
            length_step: if cpu { 1 } else { GPU_LENGTH_STEP },
            traits: EngineTraits {
                ragged: false,
                length_max: self.length_max,
                batch_tokens_max: if cpu { CPU_BATCH_TOKENS_MAX } else { GPU_BATCH_TOKENS_MAX },
                batch_tokens_min: if cpu { CPU_BATCH_TOKENS_MIN } else { GPU_BATCH_TOKENS_MIN },
                precision: self.dtype.as_str(),
            },
        })
    }
}

/// One replica's engine.
struct Engine {
    model: Arc<dyn Forward>,
    config: ModelConfig,
    /// Where candle's matrix products run: they go to the pool of the thread
    /// that calls them, and without one to a pool of all cores.
    pool: ThreadPool,
    length_step: usize,
    traits: EngineTraits,
}

impl CrossEncoder for Engine {
    fn traits(&self) -> EngineTraits {
        self.traits.clone()
    }

    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError> {
        if batch.pairs.is_empty() {
            return Ok(());
        }
        let padded = Padded::new(batch, &self.config, self.length_step)?;
        let scored = self
            .pool
            .install(|| pooled(|| self.model.forward(&padded)))
            .map_err(|error| EngineError::Device(error.to_string()))?;
        if scored.len() != logits.len() || scored.iter().any(|logit| !logit.is_finite()) {
            return Err(EngineError::Device(format!(
                "{} logits for {} pairs, of which {} are not finite",
                scored.len(),
                logits.len(),
                scored.iter().filter(|logit| !logit.is_finite()).count()
            )));
        }
        logits.copy_from_slice(&scored);
        Ok(())
    }
}

/// Runs one forward with a pool for what Metal autoreleases: a thread without a
/// run loop never drains its own, and leaks.
#[cfg(all(feature = "metal", target_os = "macos"))]
fn pooled<T>(work: impl FnOnce() -> T) -> T {
    objc2::rc::autoreleasepool(|_| work())
}

#[cfg(not(all(feature = "metal", target_os = "macos")))]
fn pooled<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn device(kind: DeviceKind) -> Result<Device, EngineError> {
    let failed = |error: candle_core::Error| EngineError::Device(error.to_string());
    // Without a GPU, candle takes the first of an empty list.
    let metal = || match std::panic::catch_unwind(|| Device::new_metal(0)) {
        Ok(device) => device.map_err(failed).inspect(note_gpu),
        Err(_) => Err(EngineError::Device("there is no Metal device".to_owned())),
    };
    let cuda = || Device::new_cuda(0).map_err(failed);
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Metal if !cfg!(feature = "metal") => Err(not_compiled_in("metal")),
        DeviceKind::Metal => metal(),
        DeviceKind::Cuda if !cfg!(feature = "cuda") => Err(not_compiled_in("cuda")),
        DeviceKind::Cuda => cuda(),
        DeviceKind::Auto if cfg!(feature = "metal") => Ok(metal().unwrap_or_else(cpu_instead)),
        DeviceKind::Auto if cfg!(feature = "cuda") => Ok(cuda().unwrap_or_else(cpu_instead)),
        DeviceKind::Auto => Ok(Device::Cpu),
    }
}

/// Reads what the GPU holds for this process, once it is used.
#[cfg(feature = "metal")]
static GPU_MEMORY: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>> = OnceLock::new();

/// Bytes that the GPU holds for this process; `None` while it is not used.
#[cfg(feature = "metal")]
pub fn gpu_memory_bytes() -> Option<u64> {
    GPU_MEMORY.get().map(|read| read())
}

/// Every handle is one of the same GPU, so the first tells of all.
#[cfg(feature = "metal")]
fn note_gpu(device: &Device) {
    if let Device::Metal(gpu) = device {
        let gpu = gpu.metal_device().clone();
        GPU_MEMORY.get_or_init(|| Box::new(move || gpu.current_allocated_size() as u64));
    }
}

#[cfg(not(feature = "metal"))]
fn note_gpu(_: &Device) {}

fn cpu_instead(error: EngineError) -> Device {
    tracing::warn!("{error}; the CPU computes instead");
    Device::Cpu
}

/// Whether this kind of device is the CPU on this machine.
/// Whether the device is there, and computes in the precision that the settings name.
pub fn check(settings: &ModelSettings) -> Result<(), EngineError> {
    dtype(settings, &device(settings.device)?).map(drop)
}

pub fn is_cpu(kind: DeviceKind) -> Result<bool, EngineError> {
    Ok(device(kind)?.is_cpu())
}

fn not_compiled_in(device: &str) -> EngineError {
    EngineError::Unsupported(format!(
        "device `{device}` is not compiled in; build with `--features {device}`"
    ))
}

fn dtype(settings: &ModelSettings, device: &Device) -> Result<DType, EngineError> {
    // The mask of candle's own models is the least f32, which is infinite in f16,
    // and 0 times that is no number.
    if settings.engine == EngineKind::CandleStock {
        match settings.precision {
            Precision::Auto => return Ok(DType::F32),
            Precision::F16 => {
                return Err(EngineError::Unsupported(
                    "precision f16 with candle's stock models, whose mask overflows in it; supported: f32, and bf16 on GPUs".to_owned(),
                ));
            }
            Precision::F32 | Precision::Bf16 | Precision::Int8 => {}
        }
    }
    match (settings.precision, device.is_cpu()) {
        (Precision::Auto, true) | (Precision::F32, _) => Ok(DType::F32),
        (Precision::Auto, false) | (Precision::F16, _) => Ok(DType::F16),
        (Precision::Bf16, false) => Ok(DType::BF16),
        (Precision::Int8, _) => Err(EngineError::Unsupported(
            "precision int8 with engine candle; engine packed has it".to_owned(),
        )),
        (Precision::Bf16, true) => Err(EngineError::Unsupported(
            "precision bf16 on the CPU, where candle has no such matrix product; supported: f32, f16".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
