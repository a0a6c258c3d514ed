//! candle-transformers' BERT as it comes, with the classifier's head on it: what
//! our own graph is compared with, in scores and in speed.

use std::collections::HashMap;

use candle_core::{DType, Device, IndexOp, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};
use candle_transformers::models::bert::{BertModel, Config};
use serde_json::json;

use super::Forward;
use super::input::Padded;
use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::{Activation, Family};
use crate::engine::EngineError;
use crate::engine::weights::Weights;

pub struct Stock {
    bert: BertModel,
    pooler: Linear,
    classifier: Linear,
    device: Device,
}

impl Stock {
    pub fn load(
        weights: &Weights,
        config: &ModelConfig,
        dtype: DType,
        device: Device,
    ) -> std::result::Result<Self, EngineError> {
        let unsupported = |what: String| {
            EngineError::Unsupported(format!(
                "{what} with candle's stock models; engine `candle` runs it"
            ))
        };
        if config.family != Family::Bert {
            return Err(unsupported(format!("family {:?}", config.family)));
        }
        let activation = match config.activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "geluapproximate",
            Activation::Relu => "relu",
            Activation::Silu => return Err(unsupported("activation silu".to_owned())),
        };
        let stock: Config = serde_json::from_value(json!({
            "vocab_size": config.vocab,
            "hidden_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.intermediate,
            "hidden_act": activation,
            "hidden_dropout_prob": 0.0,
            "max_position_embeddings": config.positions,
            "type_vocab_size": config.type_vocab,
            "initializer_range": 0.02,
            "layer_norm_eps": config.norm_eps,
            "pad_token_id": config.pad_id,
            "model_type": "bert",
        }))
        .expect("every field is given and of its type");
        let tensors = tensors(weights, config)?;
        let vars = VarBuilder::from_tensors(tensors, dtype, &device);
        let hidden = config.hidden;
        let load = || -> Result<Self> {
            Ok(Stock {
                bert: BertModel::load(vars.clone(), &stock)?,
                pooler: linear(hidden, hidden, vars.pp("bert.pooler.dense"))?,
                classifier: linear(hidden, 1, vars.pp("classifier"))?,
                device,
            })
        };
        load().map_err(|error| EngineError::Device(error.to_string()))
    }
}

impl Forward for Stock {
    fn forward(&self, batch: &Padded) -> Result<Vec<f32>> {
        let shape = (batch.pairs, batch.length);
        let ids = Tensor::from_slice(&batch.ids, shape, &self.device)?;
        let types = Tensor::from_slice(&batch.types, shape, &self.device)?;
        let mask = Tensor::from_vec(batch.mask(1u32, 0), shape, &self.device)?;
        let states = self.bert.forward(&ids, &types, Some(&mask))?;
        let cls = states.i((.., 0))?.contiguous()?;
        let pooled = self.pooler.forward(&cls)?.tanh()?;
        let logits = self.classifier.forward(&pooled)?;
        logits.squeeze(1)?.to_dtype(DType::F32)?.to_vec1()
    }
}

/// Every tensor that the stock model asks for, under the name it asks by.
fn tensors(
    weights: &Weights,
    config: &ModelConfig,
) -> std::result::Result<HashMap<String, Tensor>, EngineError> {
    let (hidden, wide) = (config.hidden, config.intermediate);
    let mut wanted: Vec<(String, Vec<usize>)> = Vec::new();
    let mut embedding = |name: &str, rows: usize| {
        wanted.push((format!("bert.embeddings.{name}.weight"), vec![rows, hidden]));
    };
    embedding("word_embeddings", config.vocab);
    embedding("position_embeddings", config.positions);
    embedding("token_type_embeddings", config.type_vocab);
    let mut linear = |name: String, shape: [usize; 2]| {
        wanted.push((format!("{name}.weight"), shape.to_vec()));
        wanted.push((format!("{name}.bias"), vec![shape[0]]));
    };
    let mut norms = vec!["bert.embeddings.LayerNorm".to_owned()];
    for layer in 0..config.layers {
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            linear(name(&format!("attention.self.{part}")), [hidden, hidden]);
        }
        linear(name("attention.output.dense"), [hidden, hidden]);
        linear(name("intermediate.dense"), [wide, hidden]);
        linear(name("output.dense"), [hidden, wide]);
        norms.push(name("attention.output.LayerNorm"));
        norms.push(name("output.LayerNorm"));
    }
    linear("bert.pooler.dense".to_owned(), [hidden, hidden]);
    linear("classifier".to_owned(), [1, hidden]);
    for norm in norms {
        wanted.push((format!("{norm}.weight"), vec![hidden]));
        wanted.push((format!("{norm}.bias"), vec![hidden]));
    }
    wanted
        .into_iter()
        .map(|(name, shape)| {
            let values = weights.get(std::slice::from_ref(&name), &shape)?;
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)
                .map_err(|error| EngineError::Device(error.to_string()))?;
            Ok((name, tensor))
        })
        .collect()
}
