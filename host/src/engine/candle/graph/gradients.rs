//! What a score's gradients are with respect to the model's matrices, which is what rounding
//! those well has to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, Var};

use super::{Attention, Graph, Layer, Linear, Placement};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::quantise::{LayerGradients, ModelGradients};
use crate::checkpoint::rounding::Gradients;
use crate::engine::candle::input::Padded;
use crate::engine::candle::ops;
use crate::engine::weights::Weights;
use crate::engine::{Batch, EngineError, Pair};

/// Of the logits of these pairs, each by itself, in f32 on the CPU. `done` is told how many
/// pairs were seen.
pub fn gradients(
    checkpoint: &Checkpoint,
    pairs: &[Pair],
    done: impl Fn(usize),
) -> std::result::Result<ModelGradients, EngineError> {
    let config = &checkpoint.config;
    let mut graph = plain(checkpoint)?;
    for linear in graph.layers.iter_mut().flat_map(Layer::linears) {
        linear.tap = Some(Tap::default());
    }
    let mut sums = Sums { words: Sum::default(), layers: Vec::new() };
    sums.layers.resize_with(config.layers, LayerSums::default);
    for (number, pair) in pairs.iter().enumerate() {
        let alone = Batch { pairs: vec![pair.clone().into()] };
        let alone = Padded::new(&alone, config, 1)?;
        sums.add(&graph, &alone).map_err(failed)?;
        done(number + 1);
    }
    sums.read().map_err(failed)
}

fn plain(checkpoint: &Checkpoint) -> std::result::Result<Graph, EngineError> {
    let weights = Weights::read(&checkpoint.weights)?;
    let attention = Attention::Plain;
    let placement = Placement { device: Device::Cpu, dtype: DType::F32, attention };
    Graph::load(&weights, &checkpoint.config, placement)
}

fn failed(error: candle_core::Error) -> EngineError {
    EngineError::Device(error.to_string())
}

impl Layer {
    fn linears(&mut self) -> [&mut Linear; 4] {
        [&mut self.qkv, &mut self.attended, &mut self.wide, &mut self.narrow]
    }
}

/// Sees what a linear layer multiplies. A weight's gradient is the product of the inputs X and
/// of the outputs' gradients D, Dᵀ X, both with one row for each token: where tokens are fewer
/// than inputs, sums of its squares are cheaper of those two.
#[derive(Clone, Default)]
pub(super) struct Tap {
    /// The first output that is looked at, of the layer's.
    from: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What a layer multiplied, and what the score's gradients are with respect to the products.
struct Seen {
    from: usize,
    inputs: Tensor,
    outputs: Tensor,
}

impl Tap {
    /// The same tap where only outputs from there on are computed.
    pub(super) fn of(&self, from: usize) -> Self {
        Tap { from: self.from + from, seen: self.seen.clone() }
    }

    /// x Wᵀ.
    pub(super) fn product(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let product = ops::matmul(&x.detach(), &weight.t()?)?;
        x.apply_op2(&product, Tapped { tap: self.clone(), weight: weight.clone() })
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inputs and their product with a weight become that product. Candle's own way back would make
/// the weight's gradient, which is larger than all else.
struct Tapped {
    tap: Tap,
    weight: Tensor,
}

impl CustomOp2 for Tapped {
    fn name(&self) -> &'static str {
        "tapped-product"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        product: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((product.clone(), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (inputs, outputs) = (x.detach(), gradient.detach());
        self.tap.seen().push(Seen { from: self.tap.from, inputs, outputs });
        Ok((Some(gradient.matmul(&self.weight)?), None))
    }
}

impl Linear {
    /// What was multiplied since the last time.
    fn take_seen(&self) -> Vec<Seen> {
        self.tap.as_ref().map(|tap| std::mem::take(&mut *tap.seen())).unwrap_or_default()
    }
}

/// Over the pairs so far.
struct Sums {
    words: Sum,
    layers: Vec<LayerSums>,
}

#[derive(Default)]
struct LayerSums {
    /// Query, key and value.
    qkv: [Sum; 3],
    attended: Sum,
    wide: Sum,
    narrow: Sum,
}

impl Sums {
    fn add(&mut self, graph: &Graph, pair: &Padded) -> Result<()> {
        let words = Var::from_tensor(&graph.words(pair)?)?;
        let gradients = graph.logits(pair, &words)?.backward()?;
        let Some(rows) = gradients.get(&words) else {
            candle_core::bail!("the score does not depend on its words");
        };
        self.words.add_rows(rows)?;
        for (sums, layer) in self.layers.iter_mut().zip(&graph.layers) {
            sums.add(layer)?;
        }
        Ok(())
    }

    fn read(self) -> Result<ModelGradients> {
        let layers = self.layers.into_iter().map(LayerSums::read).collect::<Result<_>>()?;
        Ok(ModelGradients { words: self.words.read()?, layers })
    }
}

impl LayerSums {
    fn add(&mut self, layer: &Layer) -> Result<()> {
        let hidden = layer.attended.weight.dim(0)?;
        for Seen { from, inputs, outputs } in layer.qkv.take_seen() {
            let parts = self.qkv[from / hidden..].iter_mut();
            for (at, sum) in parts.take(outputs.dim(1)? / hidden).enumerate() {
                sum.add(&inputs, &outputs.narrow(1, at * hidden, hidden)?.contiguous()?)?;
            }
        }
        let others = [
            (&mut self.attended, &layer.attended),
            (&mut self.wide, &layer.wide),
            (&mut self.narrow, &layer.narrow),
        ];
        for (sum, linear) in others {
            for Seen { inputs, outputs, .. } in linear.take_seen() {
                sum.add(&inputs, &outputs)?;
            }
        }
        Ok(())
    }

    fn read(self) -> Result<LayerGradients> {
        let [query, key, value] = self.qkv;
        Ok(LayerGradients {
            query: query.read()?,
            key: key.read()?,
            value: value.read()?,
            attended: self.attended.read()?,
            wide: self.wide.read()?,
            narrow: self.narrow.read()?,
        })
    }
}

/// [`Gradients`] in the making.
#[derive(Default)]
struct Sum {
    by_inputs: Products,
    by_outputs: Products,
    bias_by_inputs: Products,
    bias: f32,
}

impl Sum {
    /// Of the gradient G = Dᵀ X of a weight, and the sum of D's rows, which is the bias's.
    fn add(&mut self, x: &Tensor, d: &Tensor) -> Result<()> {
        let among_outputs = d.matmul(&d.t()?)?;
        let among_inputs = x.matmul(&x.t()?)?;
        let bias = among_outputs.sum_keepdim(1)?;
        self.bias += bias.sum_all()?.to_scalar::<f32>()?;
        self.by_inputs.add(x, among_outputs.matmul(x)?)?;
        self.by_outputs.add(d, among_inputs.matmul(d)?)?;
        self.bias_by_inputs.add(x, bias)
    }

    /// Of embeddings: a row for each token, though a token may come twice, since rows of the
    /// matrix are rounded one by one, and for all alike. They do not make up for each other.
    fn add_rows(&mut self, rows: &Tensor) -> Result<()> {
        self.by_inputs.add(rows, rows.clone())
    }

    fn read(self) -> Result<Gradients> {
        Ok(Gradients {
            by_inputs: self.by_inputs.read()?,
            by_outputs: self.by_outputs.read()?,
            bias_by_inputs: self.bias_by_inputs.read()?,
            bias: self.bias,
        })
    }
}

/// The sum of products Aᵀ B. Some pairs of text are multiplied at once, since the sum is often
/// larger than what it is made of.
#[derive(Default)]
struct Products {
    sum: Option<Tensor>,
    due: Vec<(Tensor, Tensor)>,
}

impl Products {
    /// With more rows than that, what is due is multiplied.
    const ROWS_MAX: usize = 256;

    fn add(&mut self, a: &Tensor, b: Tensor) -> Result<()> {
        self.due.push((a.clone(), b));
        let rows = self.due.iter().map(|(a, _)| a.dims()[0]).sum::<usize>();
        if rows > Self::ROWS_MAX { self.multiply() } else { Ok(()) }
    }

    fn multiply(&mut self) -> Result<()> {
        let (a, b): (Vec<_>, Vec<_>) = self.due.drain(..).unzip();
        if a.is_empty() {
            return Ok(());
        }
        let product = Tensor::cat(&a, 0)?.t()?.matmul(&Tensor::cat(&b, 0)?)?;
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + product)?,
            None => product,
        });
        Ok(())
    }

    /// Its numbers, row by row; none of no products.
    fn read(mut self) -> Result<Vec<f32>> {
        self.multiply()?;
        let Some(sum) = self.sum else { return Ok(Vec::new()) };
        let numbers = sum.flatten_all()?.to_vec1()?;
        // Integers made of others would be zeros.
        if numbers.iter().any(|number| !f32::is_finite(*number)) {
            candle_core::bail!("gradients of a score leave the range of f32");
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const STEP: f32 = 1e-2;

    fn opened(model: &str) -> Checkpoint {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        Checkpoint::open(model, &fixtures.join(model)).unwrap()
    }

    /// By how much the logit moves with one number of a tensor, from both sides.
    fn slope(
        graph: &mut Graph,
        pair: &Padded,
        of: fn(&mut Layer) -> &mut Tensor,
        at: usize,
    ) -> f64 {
        let before = of(&mut graph.layers[0]).clone();
        let mut moved = |by: f32| {
            let mut values: Vec<f32> = before.flatten_all().unwrap().to_vec1().unwrap();
            values[at] += by;
            *of(&mut graph.layers[0]) =
                Tensor::from_vec(values, before.shape(), &Device::Cpu).unwrap();
            let words = graph.words(pair).unwrap();
            let logit = graph.logits(pair, &words).unwrap().flatten_all().unwrap();
            f64::from(logit.to_vec1::<f32>().unwrap()[0])
        };
        let slope = (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP));
        *of(&mut graph.layers[0]) = before;
        slope
    }

    #[test]
    fn sums_are_those_of_slopes() {
        for model in ["tiny-bert", "tiny-xlm-roberta"] {
            let checkpoint = opened(model);
            let pair = Pair { ids: (2..20).collect(), second_from: 9 };
            let found = gradients(&checkpoint, std::slice::from_ref(&pair), |_| {}).unwrap();
            let narrow = &found.layers[0].narrow;
            let mut graph = plain(&checkpoint).unwrap();
            let alone = Batch { pairs: vec![pair.into()] };
            let alone = Padded::new(&alone, &checkpoint.config, 1).unwrap();
            let (outputs, inputs) = graph.layers[0].narrow.weight.dims2().unwrap();
            let mut slopes = |of, every: usize| -> f64 {
                let each = (0..outputs).map(|at| slope(&mut graph, &alone, of, at * every));
                each.map(|slope| slope * slope).sum()
            };
            let biases = slopes(|layer| &mut layer.narrow.bias, 1);
            let weights = slopes(|layer| &mut layer.narrow.weight, inputs);
            for (found, expected) in [(narrow.bias, biases), (narrow.by_inputs[0], weights)] {
                let share = (f64::from(found) - expected).abs() / expected;
                assert!(share < 0.01, "{model}: {found} found, {expected} expected");
            }
            assert_eq!(found.words.by_inputs.len(), outputs * outputs);
        }
    }
}
