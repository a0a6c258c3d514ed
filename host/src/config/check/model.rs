//! `[models.NAME]`: where its files are, what runs it, how its queue behaves.

use super::faults::{Check, HOUR_MS};
use crate::config::raw::RawModel;
use crate::config::{BatchSettings, DeviceKind, EngineKind, ModelSettings, Precision, Truncation};

impl Check {
    pub(super) fn model(&mut self, name: &str, raw: &mut RawModel) -> ModelSettings {
        let key = |field: &str| format!("models.{name}.{field}");
        self.name("models", name);
        if raw.source.is_empty() {
            let source = key("source");
            self.fault(&source, format!("`{source}` is empty; it must be a folder or a hub id"));
        }
        let device = self.one_of(
            &key("device"),
            &raw.device,
            &[
                ("auto", DeviceKind::Auto),
                ("cpu", DeviceKind::Cpu),
                ("metal", DeviceKind::Metal),
                ("cuda", DeviceKind::Cuda),
            ],
        );
        // One replica a GPU, since replicas of one device take turns; on the CPU
        // one single-threaded replica a core.
        let gpu = match device {
            DeviceKind::Metal | DeviceKind::Cuda => true,
            DeviceKind::Auto => cfg!(any(feature = "metal", feature = "cuda")),
            DeviceKind::Cpu => false,
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let replicas = *raw.replicas.get_or_insert(if gpu { 1 } else { cores });
        let threads = *raw.replica_threads.get_or_insert(1);
        let tokenizers = *raw.tokenizers.get_or_insert(cores.min(8));
        let batch = &raw.batch;
        ModelSettings {
            source: raw.source.clone(),
            engine: self.one_of(
                &key("engine"),
                &raw.engine,
                &[
                    ("auto", EngineKind::Auto),
                    ("packed", EngineKind::Packed),
                    ("candle", EngineKind::Candle),
                    ("candle-stock", EngineKind::CandleStock),
                ],
            ),
            device,
            precision: self.one_of(
                &key("precision"),
                &raw.precision,
                &[
                    ("auto", Precision::Auto),
                    ("f32", Precision::F32),
                    ("f16", Precision::F16),
                    ("bf16", Precision::Bf16),
                    ("int8", Precision::Int8),
                ],
            ),
            replicas: self.within(&key("replicas"), replicas, 1..=1024, "replicas"),
            replica_threads: self.within(&key("replica_threads"), threads, 1..=1024, "threads"),
            length_max: raw
                .length_max
                .map(|length| self.within(&key("length_max"), length, 8..=131_072, "tokens")),
            truncation: self.one_of(
                &key("truncation"),
                &raw.truncation,
                &[
                    ("longest-first", Truncation::LongestFirst),
                    ("document-only", Truncation::DocumentOnly),
                    ("error", Truncation::Error),
                ],
            ),
            tokenizers: self.within(&key("tokenizers"), tokenizers, 1..=256, "threads"),
            batch: BatchSettings {
                queue_pairs_max: self.within(
                    &key("batch.queue_pairs_max"),
                    batch.queue_pairs_max,
                    1..=100_000_000,
                    "pairs",
                ),
                queue_tokens_max: self.within(
                    &key("batch.queue_tokens_max"),
                    batch.queue_tokens_max,
                    512..=100_000_000_000,
                    "tokens",
                ),
                batch_tokens_max: batch.batch_tokens_max.map(|tokens| {
                    self.within(&key("batch.batch_tokens_max"), tokens, 1..=10_000_000, "tokens")
                }),
                batch_pairs_max: self.within(
                    &key("batch.batch_pairs_max"),
                    batch.batch_pairs_max,
                    1..=65_536,
                    "pairs",
                ),
                batch_wait_ms: self.ms(
                    &key("batch.batch_wait_ms"),
                    batch.batch_wait_ms,
                    0..=10_000,
                ),
                queue_cuts_max: self.within(
                    &key("batch.queue_cuts_max"),
                    batch.queue_cuts_max,
                    1..=1_000_000,
                    "batches",
                ),
            },
            batch_ms_max: self.ms(&key("batch_ms_max"), raw.batch_ms_max, 100..=HOUR_MS),
            restart_ms: self.ms(&key("restart_ms"), raw.restart_ms, 1..=60_000),
        }
    }
}
