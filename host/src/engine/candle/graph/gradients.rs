//! What a score's gradients are with respect to the model's matrices, which is what rounding
//! those well has to know.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Attention, Graph, Layer, Linear, Placement};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::quantise::{LayerGradients, ModelGradients};
use crate::checkpoint::rounding::Gradients;
use crate::engine::candle::input::Padded;
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
    graph.vary().map_err(failed)?;
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

impl Graph {
    /// Makes variables of what gradients are wanted of.
    fn vary(&mut self) -> Result<()> {
        for layer in &mut self.layers {
            for linear in [&mut layer.qkv, &mut layer.attended, &mut layer.wide, &mut layer.narrow]
            {
                linear.weight = Var::from_tensor(&linear.weight)?.into_inner();
                linear.bias = Var::from_tensor(&linear.bias)?.into_inner();
            }
        }
        Ok(())
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
        // A row for each token, though a token may come twice: rows of the matrix are rounded
        // one by one, and for all alike.
        self.words.add(of(&gradients, &words)?, None)?;
        for (sums, layer) in self.layers.iter_mut().zip(&graph.layers) {
            sums.add(layer, &gradients)?;
        }
        Ok(())
    }

    fn read(self) -> Result<ModelGradients> {
        let layers = self.layers.into_iter().map(LayerSums::read).collect::<Result<_>>()?;
        Ok(ModelGradients { words: self.words.read()?, layers })
    }
}

impl LayerSums {
    fn add(&mut self, layer: &Layer, gradients: &GradStore) -> Result<()> {
        let Linear { weight, bias } = &layer.qkv;
        let (weight, bias) = (of(gradients, weight)?, of(gradients, bias)?);
        let outputs = weight.dim(0)? / self.qkv.len();
        for (part, sum) in self.qkv.iter_mut().enumerate() {
            let from = part * outputs;
            sum.add(&weight.narrow(0, from, outputs)?, Some(&bias.narrow(0, from, outputs)?))?;
        }
        let others = [
            (&mut self.attended, &layer.attended),
            (&mut self.wide, &layer.wide),
            (&mut self.narrow, &layer.narrow),
        ];
        for (sum, Linear { weight, bias }) in others {
            sum.add(of(gradients, weight)?, Some(of(gradients, bias)?))?;
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

fn of<'a>(gradients: &'a GradStore, variable: &Tensor) -> Result<&'a Tensor> {
    gradients
        .get(variable)
        .ok_or_else(|| candle_core::Error::Msg("a weight has no part in the score".to_owned()))
}

/// [`Gradients`] in the making.
#[derive(Default)]
struct Sum {
    by_inputs: Option<Tensor>,
    by_outputs: Option<Tensor>,
    bias_by_inputs: Option<Tensor>,
    bias: f32,
}

impl Sum {
    /// Without a bias, outputs are not to make up for each other either.
    fn add(&mut self, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        let across = weight.t()?.contiguous()?;
        more(&mut self.by_inputs, across.matmul(weight)?)?;
        if let Some(bias) = bias {
            more(&mut self.by_outputs, weight.matmul(&across)?)?;
            more(&mut self.bias_by_inputs, across.matmul(&bias.unsqueeze(1)?)?)?;
            self.bias += bias.sqr()?.sum_all()?.to_scalar::<f32>()?;
        }
        Ok(())
    }

    fn read(self) -> Result<Gradients> {
        let numbers = |sum: Option<Tensor>| -> Result<Option<Vec<f32>>> {
            let numbers = sum.map(|sum| sum.flatten_all()?.to_vec1()).transpose()?;
            // Integers made of these would be zeros.
            if numbers.iter().flatten().any(|number| !f32::is_finite(*number)) {
                candle_core::bail!("gradients of a score leave the range of f32");
            }
            Ok(numbers)
        };
        Ok(Gradients {
            by_inputs: numbers(self.by_inputs)?.unwrap_or_default(),
            by_outputs: numbers(self.by_outputs)?.unwrap_or_default(),
            bias_by_inputs: numbers(self.bias_by_inputs)?.unwrap_or_default(),
            bias: self.bias,
        })
    }
}

fn more(sum: &mut Option<Tensor>, by: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + by)?,
        None => by,
    });
    Ok(())
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
