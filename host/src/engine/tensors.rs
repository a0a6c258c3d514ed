//! A model's tensors: by the names that its family gives them, in the forms that our
//! graphs want.

use super::EngineError;
use super::weights::{Quantised, Weights};
use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::Family;

#[derive(Clone, Copy)]
pub struct Tensors<'a> {
    pub weights: &'a Weights,
    pub config: &'a ModelConfig,
}

/// The layers of the head, both of `[outputs, hidden]`.
pub struct HeadNames {
    /// Followed by tanh.
    pub dense: &'static str,
    pub logit: &'static str,
}

impl Tensors<'_> {
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        self.weights.get(&self.names(name), shape)
    }

    /// Where it is stored as int8.
    pub fn int8(&self, name: &str, shape: &[usize]) -> Result<Option<Quantised>, EngineError> {
        self.weights.get_int8(&self.names(name), shape)
    }

    /// Position embeddings plus token type embeddings, [type * positions, hidden].
    pub fn places(&self) -> Result<Vec<f32>, EngineError> {
        let ModelConfig { positions, type_vocab, hidden, .. } = *self.config;
        let position =
            self.values("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let kind = self.values("embeddings.token_type_embeddings.weight", &[type_vocab, hidden])?;
        Ok(kind
            .chunks(hidden)
            .flat_map(|kind| {
                position.iter().enumerate().map(|(at, value)| value + kind[at % hidden])
            })
            .collect())
    }

    pub fn head(&self) -> HeadNames {
        match self.config.family {
            Family::Bert => HeadNames { dense: "pooler.dense", logit: "classifier" },
            Family::Roberta => {
                HeadNames { dense: "classifier.dense", logit: "classifier.out_proj" }
            }
        }
    }

    /// Names carry the encoder's prefix or do not; older BERTs call a norm's
    /// weight and bias gamma and beta.
    fn names(&self, name: &str) -> Vec<String> {
        let prefixed = format!("{}.{name}", self.config.family.prefix());
        let mut names = vec![prefixed, name.to_owned()];
        for (new, old) in
            [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]
        {
            if name.ends_with(new) {
                let older: Vec<_> = names.iter().map(|name| name.replace(new, old)).collect();
                names.extend(older);
            }
        }
        names
    }
}
