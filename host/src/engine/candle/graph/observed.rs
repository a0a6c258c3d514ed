//! The graph seen at work: what the linear layers are given when pairs are scored, which is
//! what rounding their weights well has to know.

use candle_core::{DType, Device, Result, Tensor};

use super::{Attention, Graph, Placement, Shape};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::quantise::LayerInputs;
use crate::checkpoint::rounding::Inputs;
use crate::engine::candle::input::Padded;
use crate::engine::weights::Weights;
use crate::engine::{Batch, EngineError, Pair};

/// Rows whose products are made at once: a pair's own would be small matrices.
const ROWS: usize = 1024;

/// Rows of a document that one of the query's counts for: a third of what rounding activations
/// costs comes from a tenth of the rows, the query's.
const QUERY_WEIGHT: usize = 4;

/// Runs all pairs through one layer after the other, so that only one layer's products are
/// kept at a time.
pub struct Observed {
    graph: Graph,
    pairs: Vec<Passing>,
    next: usize,
}

/// A pair between two layers.
struct Passing {
    shape: Shape,
    /// Tokens of the query, and those around it; all in models that do not tell it apart.
    query: usize,
    states: Tensor,
}

impl Observed {
    /// In f32 on the CPU.
    pub fn new(checkpoint: &Checkpoint, pairs: &[Pair]) -> std::result::Result<Self, EngineError> {
        let config = &checkpoint.config;
        let weights = Weights::read(&checkpoint.weights)?;
        let attention = Attention::Plain;
        let placement = Placement { device: Device::Cpu, dtype: DType::F32, attention };
        let graph = Graph::load(&weights, config, placement)?;
        let pairs = pairs.iter().map(|pair| {
            let alone = Batch { pairs: vec![pair.clone().into()] };
            let alone = Padded::new(&alone, config, 1)?;
            let states = graph.embed(&alone).map_err(failed)?;
            Ok(Passing { shape: graph.shape(&alone), query: pair.second_from as usize, states })
        });
        let pairs = pairs.collect::<std::result::Result<_, EngineError>>()?;
        Ok(Observed { graph, pairs, next: 0 })
    }

    fn layer(&mut self) -> Result<LayerInputs> {
        let Graph { layers, config, .. } = &self.graph;
        let layer = &layers[self.next];
        let [mut states, mut context, mut attended] = [(); 3].map(|()| Rows::new(config.hidden));
        let mut wide = Rows::new(config.intermediate);
        for Passing { shape, query, states: x } in &mut self.pairs {
            let attends = layer.attend(x, shape, None, Attention::Plain)?;
            let followed = layer.follow(&attends, x, config.activation)?;
            states.push(std::mem::replace(x, followed.states), *query)?;
            context.push(attends, *query)?;
            attended.push(followed.attended, *query)?;
            wide.push(followed.wide, *query)?;
        }
        Ok(LayerInputs {
            states: states.inputs()?,
            context: context.inputs()?,
            attended: attended.inputs()?,
            wide: wide.inputs()?,
        })
    }
}

/// By layer, in order.
impl Iterator for Observed {
    type Item = std::result::Result<LayerInputs, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.graph.layers.len() {
            return None;
        }
        let inputs = self.layer().map_err(failed);
        self.next += 1;
        Some(inputs)
    }
}

fn failed(error: candle_core::Error) -> EngineError {
    EngineError::Device(error.to_string())
}

/// Rows that go into [`Inputs`] many at a time.
struct Rows {
    inputs: Inputs,
    waiting: Vec<Tensor>,
    count: usize,
}

impl Rows {
    fn new(width: usize) -> Self {
        Rows { inputs: Inputs::new(width), waiting: Vec::new(), count: 0 }
    }

    /// The first ones are those of the query, which count as [`QUERY_WEIGHT`] each.
    fn push(&mut self, rows: Tensor, query: usize) -> Result<()> {
        let of_query = rows.narrow(0, 0, query)?;
        self.count += rows.dim(0)? + (QUERY_WEIGHT - 1) * query;
        self.waiting.extend(vec![of_query; QUERY_WEIGHT - 1]);
        self.waiting.push(rows);
        if self.count >= ROWS { self.add() } else { Ok(()) }
    }

    fn add(&mut self) -> Result<()> {
        let rows = Tensor::cat(&self.waiting, 0)?;
        let products = rows.t()?.matmul(&rows)?.flatten_all()?.to_vec1()?;
        self.inputs.add(self.count, &rows.sum(0)?.to_vec1()?, &products);
        self.waiting.clear();
        self.count = 0;
        Ok(())
    }

    fn inputs(mut self) -> Result<Inputs> {
        if self.count > 0 {
            self.add()?;
        }
        Ok(self.inputs)
    }
}
