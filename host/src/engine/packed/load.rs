//! From a checkpoint's tensors to the packed encoder.

use maitred_kernels::{Embedding, Format, Isa, Linear, Norm, Weights as Packed, Words};

use super::absorbed::Absorbed;
use super::encoder::{Encoder, LastLayer, Layer, Rest, products};
use crate::checkpoint::{ModelConfig, rounding};
use crate::engine::EngineError;
use crate::engine::tensors::{HeadNames, Tensors};
use crate::engine::weights::{Quantised, Weights};

/// Whether the layers' weights are stored as int8.
pub fn is_int8(weights: &Weights, config: &ModelConfig) -> bool {
    let shape = [config.intermediate, config.hidden];
    let tensors = Tensors { weights, config };
    matches!(tensors.int8("encoder.layer.0.intermediate.dense.weight", &shape), Ok(Some(_)))
}

/// Packs the model's weights for one instruction set.
pub fn encoder(
    weights: &Weights,
    config: &ModelConfig,
    isa: Isa,
    format: Format,
) -> Result<Encoder, EngineError> {
    let load = Loader { tensors: Tensors { weights, config }, isa, format };
    let HeadNames { dense, logit } = load.tensors.head();
    let hidden = config.hidden;
    let head = Loader { format: Format::F32, ..load };
    let last = config.layers - 1;
    Ok(Encoder {
        isa,
        format,
        heads: config.heads,
        embedding: load.embedding()?,
        layers: (0..last).map(|layer| load.layer(layer)).collect::<Result<_, _>>()?,
        last: load.last_layer(last)?,
        head: [head.linear(dense, hidden, hidden)?, head.linear(logit, hidden, 1)?],
    })
}

#[derive(Clone, Copy)]
struct Loader<'a> {
    tensors: Tensors<'a>,
    isa: Isa,
    format: Format,
}

/// A linear layer's numbers.
struct Dense {
    weights: Numbers,
    bias: Vec<f32>,
}

enum Numbers {
    Floats(Vec<f32>),
    Int8(Quantised),
}

/// The name of a layer's part.
fn part(layer: usize, name: &str) -> String {
    format!("encoder.layer.{layer}.{name}")
}

impl Loader<'_> {
    fn embedding(&self) -> Result<Embedding, EngineError> {
        let shape = [self.tensors.config.vocab, self.tensors.config.hidden];
        let name = "embeddings.word_embeddings.weight";
        let words = match self.int8(name, &shape)? {
            Some(Quantised { values, scales }) => Words::Int8 { values, scales },
            None => Words::Floats(self.values(name, &shape)?),
        };
        let norm = self.norm("embeddings.LayerNorm")?;
        Ok(Embedding::new(words, finite("embeddings", self.tensors.places()?)?, norm))
    }

    fn layer(&self, layer: usize) -> Result<Layer, EngineError> {
        let hidden = self.tensors.config.hidden;
        let dense = |name: &str| self.dense(&part(layer, name), hidden, hidden);
        let (key, value) = (dense("attention.self.key")?, dense("attention.self.value")?);
        let all = self.query(layer)?.above(key).above(value);
        Ok(Layer { query_key_value: self.pack(hidden, all), rest: self.rest(layer)? })
    }

    fn last_layer(&self, layer: usize) -> Result<LastLayer, EngineError> {
        let products = Loader { format: products(self.isa, self.format), ..*self };
        Ok(LastLayer {
            query: self.pack(self.tensors.config.hidden, self.query(layer)?),
            attention: products.absorbed(layer)?,
            rest: self.rest(layer)?,
        })
    }

    fn absorbed(&self, layer: usize) -> Result<Absorbed, EngineError> {
        let ModelConfig { hidden, heads, .. } = *self.tensors.config;
        let head = hidden / heads;
        let values = |name: &str, shape: &[usize]| {
            self.values(&part(layer, &format!("attention.self.{name}")), shape)
        };
        let key = values("key.weight", &[hidden, hidden])?;
        // It does not count, but what is wrong with it is to be told all the same.
        values("key.bias", &[hidden])?;
        let keys = key.chunks_exact(head * hidden).map(|matrix| {
            let rows = (0..hidden).flat_map(|at| matrix.iter().skip(at).step_by(hidden));
            let weights = Numbers::Floats(rows.copied().collect());
            self.pack(head, Dense { weights, bias: vec![0.0; hidden] })
        });
        let value = values("value.weight", &[hidden, hidden])?;
        let bias = values("value.bias", &[hidden])?;
        let rows = value.chunks_exact(head * hidden).zip(bias.chunks_exact(head));
        let values = rows.map(|(matrix, bias)| {
            let weights = Numbers::Floats(matrix.to_vec());
            self.pack(hidden, Dense { weights, bias: bias.to_vec() })
        });
        Ok(Absorbed { keys: keys.collect(), values: values.collect() })
    }

    fn query(&self, layer: usize) -> Result<Dense, EngineError> {
        let ModelConfig { hidden, heads, .. } = *self.tensors.config;
        let mut query = self.dense(&part(layer, "attention.self.query"), hidden, hidden)?;
        // Attention takes powers of 2.
        query.scale(std::f32::consts::LOG2_E / ((hidden / heads) as f32).sqrt());
        Ok(query)
    }

    fn rest(&self, layer: usize) -> Result<Rest, EngineError> {
        let ModelConfig { hidden, intermediate: wide, activation, .. } = *self.tensors.config;
        Ok(Rest {
            attended: self.linear(&part(layer, "attention.output.dense"), hidden, hidden)?,
            attended_norm: self.norm(&part(layer, "attention.output.LayerNorm"))?,
            wide: self.linear(&part(layer, "intermediate.dense"), hidden, wide)?,
            activation: activation.into(),
            narrow: self.linear(&part(layer, "output.dense"), wide, hidden)?,
            norm: self.norm(&part(layer, "output.LayerNorm"))?,
        })
    }

    fn norm(&self, name: &str) -> Result<Norm, EngineError> {
        let shape = [self.tensors.config.hidden];
        let weight = self.values(&format!("{name}.weight"), &shape)?;
        let bias = self.values(&format!("{name}.bias"), &shape)?;
        Ok(Norm::new(self.isa, &weight, &bias, self.tensors.config.norm_eps as f32))
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, EngineError> {
        Ok(self.pack(inputs, self.dense(name, inputs, outputs)?))
    }

    fn pack(&self, inputs: usize, dense: Dense) -> Linear {
        let weights = match &dense.weights {
            Numbers::Floats(values) if self.format == Format::Bf16 => Packed::Bf16(values),
            Numbers::Floats(values) => Packed::F32(values),
            Numbers::Int8(Quantised { values, scales }) => Packed::Int8 { values, scales },
        };
        Linear::new(self.isa, inputs, weights, &dense.bias)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        finite(name, self.tensors.values(name, shape)?)
    }

    fn int8(&self, name: &str, shape: &[usize]) -> Result<Option<Quantised>, EngineError> {
        let Some(Quantised { values, scales }) = self.tensors.int8(name, shape)? else {
            return Ok(None);
        };
        Ok(Some(Quantised { values, scales: finite(name, scales)? }))
    }

    /// In this loader's format. Weights that are stored as int8 stay what they are;
    /// others are quantised now.
    fn dense(&self, name: &str, inputs: usize, outputs: usize) -> Result<Dense, EngineError> {
        let (weight, shape) = (format!("{name}.weight"), [outputs, inputs]);
        let weights = match self.format {
            Format::F32 | Format::Bf16 => Numbers::Floats(self.values(&weight, &shape)?),
            Format::Int8 => Numbers::Int8(match self.int8(&weight, &shape)? {
                Some(quantised) => quantised,
                None => {
                    let values = self.values(&weight, &shape)?;
                    let (values, scales) = rounding::nearest(&values, inputs);
                    Quantised { values, scales }
                }
            }),
        };
        Ok(Dense { weights, bias: self.values(&format!("{name}.bias"), &[outputs])? })
    }
}

/// A number that is none would be clamped on its way, and the score look like one.
fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, EngineError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(EngineError::Files(format!("`{name}` holds {value}"))),
        None => Ok(values),
    }
}

impl Dense {
    /// Multiplies all outputs.
    fn scale(&mut self, by: f32) {
        let numbers = match &mut self.weights {
            Numbers::Floats(values) => values,
            Numbers::Int8(quantised) => &mut quantised.scales,
        };
        numbers.iter_mut().chain(&mut self.bias).for_each(|number| *number *= by);
    }

    /// The outputs of both.
    fn above(mut self, other: Dense) -> Dense {
        match (&mut self.weights, other.weights) {
            (Numbers::Floats(values), Numbers::Floats(more)) => values.extend(more),
            (Numbers::Int8(quantised), Numbers::Int8(more)) => {
                quantised.values.extend(more.values);
                quantised.scales.extend(more.scales);
            }
            _ => unreachable!("a loader has one format"),
        }
        self.bias.extend(other.bias);
        self
    }
}
