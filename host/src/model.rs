//! The innermost stage: tokenizers, batcher and replicas of one model.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Admission;
use crate::engine::EngineTraits;

/// A running model. (This file is a contract yet; its body is in work.)
pub struct Model {
    name: Arc<str>,
    source: Arc<str>,
    admission: Arc<Admission>,
    traits: EngineTraits,
}

impl Model {
    /// The name that the configuration gives it.
    pub fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Whether `name` is the model's name or the id or folder it came from.
    pub fn is_named(&self, name: &str) -> bool {
        *self.name == *name || *self.source == *name
    }

    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Tokens of a pair; the rest is truncated.
    pub fn length_max(&self) -> usize {
        self.traits.length_max
    }

    /// When a refused request may find room, from the queue and recent speed.
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// What `/info` tells of it.
    pub fn info(&self) -> ModelInfo {
        ModelInfo {
            name: self.name.clone(),
            source: self.source.clone(),
            traits: self.traits.clone(),
            replicas: Vec::new(),
        }
    }

    /// Whether at least one replica can score.
    pub fn ready(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone)]
pub struct ModelInfo {
    pub name: Arc<str>,
    /// The folder or hub id.
    pub source: Arc<str>,
    pub traits: EngineTraits,
    pub replicas: Vec<&'static str>,
}

/// Tokens that a pair may have, before anyone tokenized it: a token covers at
/// least a byte, and three special ones frame the pair.
pub fn tokens_bound(query: &str, document: &str, length_max: u64) -> u64 {
    (query.len() as u64 + document.len() as u64 + 4).min(length_max)
}
