//! Our graph of BERT and (XLM-)RoBERTa cross-encoders, for any device of
//! candle's.
//!
//! It differs from the textbook in what it leaves out: one matrix product makes
//! query, key and value; the score's 1/√d lies in the query's weights; token
//! types and positions are one table; and of the last layer only what the
//! [CLS] row needs is computed, since the head reads nothing else.

mod gradients;

use candle_core::{DType, Device, Result, Tensor};

use self::gradients::Tap;
pub use self::gradients::gradients;
use super::input::Padded;
use super::{Forward, ops};
use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::Activation;
use crate::engine::EngineError;
use crate::engine::tensors::{HeadNames, Tensors};
use crate::engine::weights::Weights;

/// Added to the scores of padding. Far below any score, so that e to it is 0,
/// and within f16, whose infinities would make NaN of a fully masked block.
const MASKED: f32 = -30_000.0;

pub struct Graph {
    words: Tensor,
    /// Position embeddings plus token type embeddings, [type * positions, hidden].
    places: Tensor,
    embedded: Norm,
    layers: Vec<Layer>,
    head: Head,
    config: ModelConfig,
    attention: Attention,
    dtype: DType,
    device: Device,
}

/// How attention is computed where all rows are queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Two products and a softmax.
    Plain,
    /// One kernel.
    Fused,
}

impl Attention {
    /// Head sizes that Metal's fused kernel has; 256 and above are unusual in
    /// encoders and slow.
    const FUSED_HEADS: [usize; 6] = [32, 64, 72, 80, 96, 128];

    pub fn on(device: &Device, config: &ModelConfig) -> Self {
        let head = config.hidden / config.heads;
        if device.is_metal() && Self::FUSED_HEADS.contains(&head) {
            Attention::Fused
        } else {
            Attention::Plain
        }
    }
}

struct Layer {
    /// Query, key and value, one above the other.
    qkv: Linear,
    attended: Linear,
    attended_norm: Norm,
    wide: Linear,
    narrow: Linear,
    norm: Norm,
}

/// Both families' heads are a dense layer with tanh on the [CLS] row and a
/// linear to one logit; only their names differ.
struct Head {
    dense: Linear,
    logit: Linear,
}

impl Graph {
    pub fn load(
        weights: &Weights,
        config: &ModelConfig,
        placement: Placement,
    ) -> std::result::Result<Self, EngineError> {
        let load = Loader { tensors: Tensors { weights, config }, placement: &placement };
        let hidden = config.hidden;
        let HeadNames { dense, logit } = load.tensors.head();
        Ok(Graph {
            words: load.tensor("embeddings.word_embeddings.weight", &[config.vocab, hidden])?,
            places: load.places()?,
            embedded: load.norm("embeddings.LayerNorm")?,
            layers: (0..config.layers)
                .map(|layer| load.layer(layer))
                .collect::<std::result::Result<_, _>>()?,
            head: Head {
                dense: load.linear(dense, hidden, hidden)?,
                logit: load.linear(logit, 1, hidden)?,
            },
            config: config.clone(),
            attention: placement.attention,
            dtype: placement.dtype,
            device: placement.device,
        })
    }

    /// A logit for each pair. `words` are the tokens' own embeddings.
    fn logits(&self, batch: &Padded, words: &Tensor) -> Result<Tensor> {
        let cls = self.encoder(batch, words)?;
        let pooled = ops::tanh(&self.head.dense.run(&cls)?)?;
        self.head.logit.run(&pooled)
    }

    fn encoder(&self, batch: &Padded, words: &Tensor) -> Result<Tensor> {
        let (pairs, length) = (batch.pairs, batch.length);
        let mask = match batch.ragged() {
            true => {
                let mask = batch.mask(0.0, MASKED);
                let mask = ops::upload(&mask, &[pairs, 1, 1, length], &self.device)?;
                Some(ops::cast(&mask, self.dtype)?)
            }
            false => None,
        };
        let shape = self.shape(batch);
        let mut x = self.embed(batch, words)?;
        let (last, before) = self.layers.split_last().expect("a model has layers");
        for layer in before {
            let context = layer.attend(&x, &shape, mask.as_ref(), self.attention)?;
            x = layer.follow(&context, &x, self.config.activation)?;
        }
        let cls = x.reshape((pairs, length, self.config.hidden))?.narrow(1, 0, 1)?.squeeze(1)?;
        let cls = ops::contiguous(&cls)?;
        let context = last.attend_from(&cls, &x, &shape, mask.as_ref())?;
        last.follow(&context, &cls, self.config.activation)
    }

    /// The embeddings of the batch's tokens, wherever they stand.
    fn words(&self, batch: &Padded) -> Result<Tensor> {
        let ids = ops::upload(&batch.ids, &[batch.pairs * batch.length], &self.device)?;
        ops::gather(&self.words, &ids)
    }

    /// A row for each token, before the first layer.
    fn embed(&self, batch: &Padded, words: &Tensor) -> Result<Tensor> {
        let tokens = batch.pairs * batch.length;
        let places: Vec<u32> = batch
            .types
            .iter()
            .zip(&batch.positions)
            .map(|(kind, position)| kind * self.config.positions as u32 + position)
            .collect();
        let places = ops::upload(&places, &[tokens], &self.device)?;
        let x = ops::add(ops::gather(&self.places, &places)?, words)?;
        self.embedded.run(&x)
    }

    fn shape(&self, batch: &Padded) -> Shape {
        Shape {
            pairs: batch.pairs,
            length: batch.length,
            heads: self.config.heads,
            head: self.config.hidden / self.config.heads,
        }
    }
}

impl Forward for Graph {
    fn forward(&self, batch: &Padded) -> Result<Vec<f32>> {
        let logits = self.logits(batch, &self.words(batch)?)?;
        ops::download(&ops::cast(&logits, DType::F32)?)
    }
}

/// Sizes of a batch in attention.
struct Shape {
    pairs: usize,
    length: usize,
    heads: usize,
    head: usize,
}

impl Shape {
    /// Part `part` of the products [pairs * rows, parts * hidden] as a view
    /// [pairs, heads, rows, head].
    fn split(&self, products: &Tensor, part: usize, parts: usize) -> Result<Tensor> {
        let rows = products.dim(0)? / self.pairs;
        products
            .reshape((self.pairs, rows, parts, self.heads, self.head))?
            .narrow(2, part, 1)?
            .squeeze(2)?
            .transpose(1, 2)
    }

    /// [pairs, heads, rows, head] as [pairs * rows, hidden].
    fn join(&self, context: &Tensor) -> Result<Tensor> {
        let rows = context.dim(2)?;
        ops::contiguous(&context.transpose(1, 2)?)?
            .reshape((self.pairs * rows, self.heads * self.head))
    }
}

impl Layer {
    /// The context of every row.
    fn attend(
        &self,
        x: &Tensor,
        shape: &Shape,
        mask: Option<&Tensor>,
        attention: Attention,
    ) -> Result<Tensor> {
        let products = self.qkv.run(x)?;
        let part = |part| ops::contiguous(&shape.split(&products, part, 3)?);
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let context = match attention {
            Attention::Plain => plain(&q, &k, &v, mask)?,
            Attention::Fused => {
                let full = (shape.pairs, shape.heads, shape.length, shape.length);
                let mask = mask.map(|mask| mask.broadcast_as(full)).transpose()?;
                ops::sdpa(&q, &k, &v, mask.as_ref())?
            }
        };
        shape.join(&context)
    }

    /// The context of the [CLS] rows alone. Never fused: Metal's kernel for one
    /// query ignores the mask (candle-nn 0.11.1 `ops.rs`, `supports_sdpa_vector`
    /// hands none to `call_sdpa_vector`).
    fn attend_from(
        &self,
        cls: &Tensor,
        x: &Tensor,
        shape: &Shape,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let hidden = shape.heads * shape.head;
        let query = self.qkv.rows(0, hidden)?.run(cls)?;
        let products = self.qkv.rows(hidden, 2 * hidden)?.run(x)?;
        let q = ops::contiguous(&shape.split(&query, 0, 1)?)?;
        let k = ops::contiguous(&shape.split(&products, 0, 2)?)?;
        let v = ops::contiguous(&shape.split(&products, 1, 2)?)?;
        shape.join(&plain(&q, &k, &v, mask)?)
    }

    /// What follows attention, for as many rows as there are.
    fn follow(&self, context: &Tensor, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let attended = self.attended_norm.run(&ops::add(self.attended.run(context)?, x)?)?;
        let wide = ops::add_activate(self.wide.product(&attended)?, &self.wide.bias, activation)?;
        self.norm.run(&ops::add(self.narrow.run(&wide)?, &attended)?)
    }
}

fn plain(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scores = ops::matmul(q, &k.t()?)?;
    let scores = match mask {
        Some(mask) => ops::add(scores, mask)?,
        None => scores,
    };
    ops::matmul(&ops::softmax(&scores)?, v)
}

/// x Wᵀ + b, W as torch has it: [out, in].
struct Linear {
    weight: Tensor,
    bias: Tensor,
    /// Where gradients are wanted.
    tap: Option<Tap>,
}

impl Linear {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        ops::add(self.product(x)?, &self.bias)
    }

    /// x Wᵀ.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        match &self.tap {
            Some(tap) => tap.product(x, &self.weight),
            None => ops::matmul(x, &self.weight.t()?),
        }
    }

    /// The linear of some of the outputs; a view.
    fn rows(&self, from: usize, count: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.weight.narrow(0, from, count)?,
            bias: self.bias.narrow(0, from, count)?,
            tap: self.tap.as_ref().map(|tap| tap.of(from)),
        })
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// Where a graph lives and in what numbers it computes.
#[derive(Debug, Clone)]
pub struct Placement {
    pub device: Device,
    pub dtype: DType,
    pub attention: Attention,
}

/// Tensors of the checkpoint, as the graph wants them.
struct Loader<'a> {
    tensors: Tensors<'a>,
    placement: &'a Placement,
}

type Loaded<T> = std::result::Result<T, EngineError>;

impl Loader<'_> {
    fn place(&self, values: Vec<f32>, shape: &[usize]) -> Loaded<Tensor> {
        Tensor::from_vec(values, shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(self.placement.dtype))
            .and_then(|tensor| tensor.to_device(&self.placement.device))
            .map_err(|error| EngineError::Device(error.to_string()))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Loaded<Tensor> {
        self.place(self.tensors.values(name, shape)?, shape)
    }

    fn places(&self) -> Loaded<Tensor> {
        let ModelConfig { positions, type_vocab, hidden, .. } = *self.tensors.config;
        self.place(self.tensors.places()?, &[type_vocab * positions, hidden])
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Loaded<Linear> {
        Ok(Linear {
            weight: self.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.tensor(&format!("{name}.bias"), &[outputs])?,
            tap: None,
        })
    }

    fn norm(&self, name: &str) -> Loaded<Norm> {
        let hidden = self.tensors.config.hidden;
        Ok(Norm {
            weight: self.tensor(&format!("{name}.weight"), &[hidden])?,
            bias: self.tensor(&format!("{name}.bias"), &[hidden])?,
            eps: self.tensors.config.norm_eps as f32,
        })
    }

    fn layer(&self, layer: usize) -> Loaded<Layer> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let (hidden, wide) = (self.tensors.config.hidden, self.tensors.config.intermediate);
        Ok(Layer {
            qkv: self.qkv(&name("attention.self"))?,
            attended: self.linear(&name("attention.output.dense"), hidden, hidden)?,
            attended_norm: self.norm(&name("attention.output.LayerNorm"))?,
            wide: self.linear(&name("intermediate.dense"), wide, hidden)?,
            narrow: self.linear(&name("output.dense"), hidden, wide)?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    fn qkv(&self, name: &str) -> Loaded<Linear> {
        let hidden = self.tensors.config.hidden;
        let scale = ((hidden / self.tensors.config.heads) as f32).sqrt().recip();
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for (part, scale) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
            let part_weight =
                self.tensors.values(&format!("{name}.{part}.weight"), &[hidden, hidden])?;
            let part_bias = self.tensors.values(&format!("{name}.{part}.bias"), &[hidden])?;
            weight.extend(part_weight.into_iter().map(|value| value * scale));
            bias.extend(part_bias.into_iter().map(|value| value * scale));
        }
        Ok(Linear {
            weight: self.place(weight, &[3 * hidden, hidden])?,
            bias: self.place(bias, &[3 * hidden])?,
            tap: None,
        })
    }
}
