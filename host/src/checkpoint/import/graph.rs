//! A BERT, read off the graph of an ONNX file: which node computes which layer,
//! and from which weights.

use std::collections::{HashMap, HashSet};

use super::tensors::{
    Embedding, Stored, Tensors, floats, last_long, matrix, quantised, scalar, zero_point,
};
use super::{Model, Refusal, missing};
use crate::checkpoint::config::Activation;
use crate::checkpoint::onnx::{self, Graph, Node};

/// Operations of a BERT, its mask, and dynamic quantisation.
const OPERATIONS: [&str; 27] = [
    "Add",
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "DequantizeLinear",
    "Div",
    "DynamicQuantizeLinear",
    "Equal",
    "Erf",
    "Expand",
    "Gather",
    "MatMul",
    "MatMulInteger",
    "Mul",
    "Pow",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Sqrt",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// `Where` chooses mask and shape; it has no place among a layer's operations.
const MASK_OPERATION: &str = "Where";

/// A linear layer in the graph.
struct Linear<'a> {
    weight: &'a onnx::Tensor,
    scale: f32,
    zero_point: Option<&'a onnx::Tensor>,
    /// What the bias is added by: its output is the layer's.
    add: &'a Node,
}

/// The graph with its edges.
pub struct Reader<'a> {
    graph: &'a Graph,
    /// Initialisers and the values of `Constant` nodes.
    constants: HashMap<&'a str, &'a onnx::Tensor>,
    producers: HashMap<&'a str, &'a Node>,
    consumers: HashMap<&'a str, Vec<&'a Node>>,
}

impl<'a> Reader<'a> {
    pub fn new(graph: &'a Graph) -> Result<Self, Refusal> {
        let mut reader = Reader {
            graph,
            constants: HashMap::new(),
            producers: HashMap::new(),
            consumers: HashMap::new(),
        };
        for tensor in &graph.initializers {
            if tensor.location != 0 {
                return Err(Refusal::Unsupported(
                    "external data of initialiser",
                    tensor.name.clone(),
                ));
            }
            reader.constants.insert(&tensor.name, tensor);
        }
        for node in &graph.nodes {
            if !["", "ai.onnx"].contains(&node.domain.as_str()) {
                return Err(Refusal::Unsupported(
                    "operator domain",
                    format!("{} ({})", node.domain, node.op),
                ));
            }
            let known = OPERATIONS.contains(&node.op.as_str()) || node.op == MASK_OPERATION;
            if !known {
                return Err(Refusal::Unsupported(
                    "operator",
                    format!("{} ({})", node.op, node.name),
                ));
            }
            if node.op == "Constant"
                && let (Some(output), Some(value)) = (
                    node.outputs.first(),
                    node.attributes.iter().find_map(|attribute| attribute.tensor.as_ref()),
                )
            {
                reader.constants.insert(output, value);
            }
            for output in &node.outputs {
                reader.producers.insert(output, node);
            }
            for input in &node.inputs {
                reader.consumers.entry(input).or_default().push(node);
            }
        }
        // A float product with a weight in it; attention's have none.
        if let Some(node) = graph.nodes.iter().find(|node| {
            node.op == "MatMul" && node.inputs.iter().any(|name| reader.is_matrix(name))
        }) {
            return Err(Refusal::Unsupported("float weight of", node.name.clone()));
        }
        Ok(reader)
    }

    fn is_matrix(&self, name: &str) -> bool {
        self.constants.get(name).is_some_and(|tensor| tensor.dims.len() == 2)
    }

    pub fn model(&self, layers: Option<usize>) -> Result<Model, Refusal> {
        let linears = self.linears()?;
        let layers_found = (0..)
            .find(|layer| {
                !linears.contains_key(&format!("bert.encoder.layer.{layer}.attention.self.query"))
            })
            .unwrap_or_default();
        let layers_kept = match layers {
            Some(layers) if layers == 0 || layers > layers_found => {
                return Err(Refusal::Broken(format!(
                    "the graph has {layers_found} layers, of which {layers} cannot be kept"
                )));
            }
            Some(layers) => layers,
            None => layers_found,
        };
        let first = "bert.encoder.layer.0";
        let linear = |name: String| linears.get(&name).ok_or_else(|| missing(name));
        let query = linear(format!("{first}.attention.self.query"))?;
        let wide = linear(format!("{first}.intermediate.dense"))?;
        self.check_head(linear("bert.pooler.dense".to_owned())?, linear("classifier".to_owned())?)?;
        let (_, hidden) = matrix(query.weight)?;
        let (_, intermediate) = matrix(wide.weight)?;
        let heads = self.heads(query, hidden)?;

        let mut tensors = Tensors::default();
        let embedding = |name: &str| self.embedding(name);
        let (vocab, _) = tensors.embed(embedding("word_embeddings")?, hidden)?;
        let (positions, _) = tensors.embed(embedding("position_embeddings")?, hidden)?;
        let (type_vocab, _) = tensors.embed(embedding("token_type_embeddings")?, hidden)?;
        self.norm(&mut tensors, "bert.embeddings.LayerNorm", hidden)?;
        for layer in 0..layers_kept {
            let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
            for (part, outputs, inputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", intermediate, hidden),
                ("output.dense", hidden, intermediate),
            ] {
                let name = name(part);
                self.linear(&mut tensors, &name, linear(name.clone())?, [outputs, inputs])?;
            }
            self.norm(&mut tensors, &name("attention.output.LayerNorm"), hidden)?;
            self.norm(&mut tensors, &name("output.LayerNorm"), hidden)?;
        }
        for (name, outputs) in [("bert.pooler.dense", hidden), ("classifier", 1)] {
            self.linear(&mut tensors, name, linear(name.to_owned())?, [outputs, hidden])?;
        }
        Ok(Model {
            vocab,
            positions,
            type_vocab,
            hidden,
            intermediate,
            heads,
            layers_found,
            layers_kept,
            norm_eps: self.norm_eps()?,
            activation: self.activation(wide)?,
            parameters: tensors.parameters,
            tensors: tensors.stored,
        })
    }

    /// All linear layers by name: MatMulInteger, Cast, Mul with the scales, Add
    /// of the bias.
    fn linears(&self) -> Result<HashMap<String, Linear<'a>>, Refusal> {
        let mut linears = HashMap::new();
        for node in self.graph.nodes.iter().filter(|n| n.op == "MatMulInteger") {
            let weight = self.constant(node, 1)?;
            let zero_point = match node.inputs.get(3) {
                Some(_) => Some(self.constant(node, 3)?),
                None => None,
            };
            let cast = self.follow(node, "Cast")?;
            let mul = self.follow(cast, "Mul")?;
            let scales = mul
                .inputs
                .iter()
                .filter_map(|input| self.producers.get(input.as_str()))
                .find(|producer| producer.op == "Mul")
                .ok_or_else(|| missing(format!("scale of `{}`", node.name)))?;
            let scale = scales
                .inputs
                .iter()
                .find_map(|input| self.constants.get(input.as_str()))
                .ok_or_else(|| missing(format!("scale of `{}`", node.name)))?;
            let scale = scalar(scale)?;
            let add = self.follow(mul, "Add")?;
            let bias = add
                .inputs
                .iter()
                .find(|input| self.constants.contains_key(input.as_str()))
                .ok_or_else(|| missing(format!("bias of `{}`", node.name)))?;
            let name = bias
                .strip_suffix(".bias")
                .ok_or_else(|| Refusal::Unsupported("bias name", bias.clone()))?;
            let linear = Linear { weight, scale, zero_point, add };
            if linears.insert(name.to_owned(), linear).is_some() {
                return Err(Refusal::Broken(format!("two products add `{bias}`")));
            }
        }
        if linears.is_empty() {
            return Err(missing("MatMulInteger: its weights are not quantised"));
        }
        Ok(linears)
    }

    /// The consumers of a node's first output.
    fn after(&self, node: &Node) -> impl Iterator<Item = &'a Node> {
        let consumers = node.outputs.first().and_then(|output| self.consumers.get(output.as_str()));
        consumers.into_iter().flatten().copied()
    }

    /// The one consumer of a node's output, which must be this operation.
    fn follow(&self, node: &Node, op: &str) -> Result<&'a Node, Refusal> {
        let mut consumers = self.after(node);
        match (consumers.next(), consumers.next()) {
            (Some(next), None) if next.op == op => Ok(next),
            _ => Err(missing(format!("{op} alone after `{}` ({})", node.name, node.op))),
        }
    }

    fn constant(&self, node: &Node, input: usize) -> Result<&'a onnx::Tensor, Refusal> {
        let name = node.inputs.get(input).map_or("", String::as_str);
        self.constants
            .get(name)
            .copied()
            .ok_or_else(|| missing(format!("initialiser `{name}` for `{}`", node.name)))
    }

    /// Table, scale and zero point of an embedding.
    fn embedding(&self, name: &str) -> Result<Embedding<'a>, Refusal> {
        let weight = format!("bert.embeddings.{name}.weight");
        let quantised = format!("{weight}_quantized");
        let gather = self
            .graph
            .nodes
            .iter()
            .find(|node| node.op == "Gather" && node.inputs.first() == Some(&quantised))
            .ok_or_else(|| missing(format!("Gather of `{quantised}`")))?;
        let dequantise = self.follow(gather, "DequantizeLinear")?;
        Ok(Embedding {
            name: weight,
            table: self.constant(gather, 0)?,
            scale: scalar(self.constant(dequantise, 1)?)?,
            zero_point: self.constant(dequantise, 2)?,
        })
    }

    fn norm(&self, tensors: &mut Tensors, name: &str, hidden: usize) -> Result<(), Refusal> {
        for part in ["weight", "bias"] {
            self.floats(tensors, &format!("{name}.{part}"), hidden)?;
        }
        Ok(())
    }

    fn floats(&self, tensors: &mut Tensors, name: &str, length: usize) -> Result<(), Refusal> {
        let tensor =
            self.constants.get(name).ok_or_else(|| missing(format!("initialiser `{name}`")))?;
        let values = floats(tensor)?;
        if tensor.dims.len() != 1 || values.len() != length {
            return Err(Refusal::Broken(format!(
                "initialiser `{name}` has shape {:?}, expected [{length}]",
                tensor.dims
            )));
        }
        tensors.floats(name, &[length], &values);
        Ok(())
    }

    /// Weight and bias of a linear; the weight's [in, out] becomes [out, in].
    fn linear(
        &self,
        tensors: &mut Tensors,
        name: &str,
        linear: &Linear<'_>,
        [outputs, inputs]: [usize; 2],
    ) -> Result<(), Refusal> {
        if matrix(linear.weight)? != (inputs, outputs) {
            return Err(Refusal::Broken(format!(
                "the weight of `{name}` has shape {:?}, expected [{inputs}, {outputs}]",
                linear.weight.dims
            )));
        }
        let (dtype, bytes) = quantised(linear.weight)?;
        let mut transposed = vec![0; bytes.len()];
        for (input, row) in bytes.chunks(outputs).enumerate() {
            for (output, value) in row.iter().enumerate() {
                transposed[output * inputs + input] = *value;
            }
        }
        let zero_point = match linear.zero_point {
            Some(tensor) => zero_point(tensor, dtype)?,
            None => 0,
        };
        let weight = Stored { dtype, shape: vec![outputs, inputs], bytes: transposed };
        tensors.quantised(&format!("{name}.weight"), weight, linear.scale, zero_point);
        self.floats(tensors, &format!("{name}.bias"), outputs)
    }

    /// The pooler ends in tanh, and the classifier in the graph's output.
    fn check_head(&self, pooler: &Linear<'_>, classifier: &Linear<'_>) -> Result<(), Refusal> {
        self.follow(pooler.add, "Tanh")?;
        let (_, labels) = matrix(classifier.weight)?;
        if labels != 1 {
            return Err(Refusal::Unsupported("number of labels", labels.to_string()));
        }
        let output = classifier.add.outputs.first();
        match &self.graph.outputs[..] {
            [logits] if Some(&logits.name) == output => Ok(()),
            _ => Err(missing("single output that is the classifier's")),
        }
    }

    /// Attention reshapes the query to [.., heads, head size] or, in older
    /// exports, writes the head count before it; the last number is the head
    /// size in both.
    fn heads(&self, query: &Linear<'_>, hidden: usize) -> Result<usize, Refusal> {
        let reshape = self
            .after(query.add)
            .find(|node| node.op == "Reshape")
            .ok_or_else(|| missing("Reshape of the query"))?;
        let shape = reshape.inputs.get(1).map_or("", String::as_str);
        let size = match self.producers.get(shape) {
            Some(concat) if concat.op == "Concat" => {
                concat.inputs.last().and_then(|last| self.constants.get(last.as_str()))
            }
            _ => self.constants.get(shape),
        };
        let size = size
            .and_then(|tensor| last_long(tensor))
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size > 0 && hidden.is_multiple_of(*size))
            .ok_or_else(|| missing(format!("head size that divides the {hidden} of a row")))?;
        Ok(hidden / size)
    }

    /// What is added to the variance: the constant beside a ReduceMean.
    fn norm_eps(&self) -> Result<f64, Refusal> {
        let mut found: Option<f32> = None;
        for node in self.graph.nodes.iter().filter(|node| node.op == "Add") {
            let variance = node.inputs.iter().any(|input| {
                let producer = self.producers.get(input.as_str());
                producer.is_some_and(|producer| producer.op == "ReduceMean")
            });
            let constant = node.inputs.iter().find_map(|input| self.constants.get(input.as_str()));
            if let (true, Some(constant)) = (variance, constant) {
                let eps = scalar(constant)?;
                if found.is_some_and(|other| other != eps) {
                    return Err(Refusal::Unsupported("second layer norm eps", eps.to_string()));
                }
                found = Some(eps);
            }
        }
        let eps = found.ok_or_else(|| missing("layer norm"))?;
        // By way of text, so that f32's 1e-12 is written as such.
        Ok(eps.to_string().parse().unwrap_or(f64::from(eps)))
    }

    /// By the operations between the wide linear and the next quantisation.
    fn activation(&self, wide: &Linear<'_>) -> Result<Activation, Refusal> {
        let (mut operations, mut seen) = (HashSet::new(), HashSet::new());
        let mut reached = vec![wide.add];
        while let Some(node) = reached.pop() {
            for next in self.after(node) {
                if next.op != "DynamicQuantizeLinear" && seen.insert(std::ptr::from_ref(next)) {
                    operations.insert(next.op.as_str());
                    reached.push(next);
                }
            }
        }
        let has = |op| operations.contains(op);
        match (has("Erf"), has("Tanh"), has("Relu")) {
            (true, false, false) => Ok(Activation::Gelu),
            (false, true, false) => Ok(Activation::GeluTanh),
            (false, false, true) if operations.len() == 1 => Ok(Activation::Relu),
            _ => {
                let mut operations: Vec<_> = operations.into_iter().collect();
                operations.sort_unstable();
                Err(Refusal::Unsupported("activation of", operations.join(", ")))
            }
        }
    }
}
