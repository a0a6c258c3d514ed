//! Makes a checkpoint from an ONNX file: the form in which quantised
//! cross-encoders are published (onnxruntime's dynamic quantisation of a BERT
//! sequence classifier).
//!
//! Weights are taken from the graph by what they do, not by how an exporter
//! numbered them: from each integer product along to the bias that is added,
//! whose name is the layer's. They stay quantised, one scale a tensor, in
//! PyTorch's names and orientation. Whatever the graph does that a BERT does not
//! is refused by name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::config::Activation;
use super::folder::Target;
use super::onnx::{self, FLOAT, Graph, INT8, INT64, Node, UINT8};
use super::{
    CONFIG, CheckpointError, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, read_bounded, read_json,
    required,
};

/// Bytes of an ONNX file; protobuf itself ends there.
const ONNX_BYTES_MAX: u64 = 2 << 30;

const SUPPORTED: &str = "dynamically quantised BERT sequence classifiers with one label";

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

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub dir: PathBuf,
    pub layers_found: usize,
    pub layers_kept: usize,
    pub parameters: u64,
    /// The folder was there, with this very content.
    pub already_there: bool,
}

/// Writes the folder `out` for the model in `onnx`. The tokenizer is looked for
/// beside the model unless given. With `layers` only the first so many are kept,
/// before the same head: a model of another size to measure with, whose scores
/// mean nothing, and which says so.
pub fn import(
    onnx: &Path,
    tokenizer: Option<&Path>,
    layers: Option<usize>,
    out: &Path,
) -> Result<Imported, CheckpointError> {
    let beside = onnx.parent().unwrap_or(Path::new(""));
    let tokenizer = match tokenizer {
        Some(path) if path.is_file() => path.to_owned(),
        Some(path) => required(
            path.parent().unwrap_or(beside),
            &path.file_name().unwrap_or_default().to_string_lossy(),
        )?,
        None => required(beside, TOKENIZER)?,
    };
    let file = Bytes::from(read_bounded(onnx, ONNX_BYTES_MAX)?);
    let source = Source {
        name: onnx.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: Sha256::digest(&file)
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
    };
    let graph = onnx::decode(file).map_err(|reason| CheckpointError::broken(onnx, reason))?;
    let model = Reader::new(&graph)
        .and_then(|reader| reader.model(layers))
        .map_err(|refusal| refusal.at(onnx))?;

    let config = config(&model, &source, &read_json(&tokenizer)?);
    let target = Target::new(out)?;
    target.write(CONFIG, format!("{config:#}\n").as_bytes())?;
    target.copy(&tokenizer, TOKENIZER)?;
    let tokenizer_config = tokenizer.with_file_name(TOKENIZER_CONFIG);
    if tokenizer_config.is_file() {
        target.copy(&tokenizer_config, TOKENIZER_CONFIG)?;
    }
    target.write(WEIGHTS, &model.safetensors())?;
    let already_there = target.finish()?;
    Ok(Imported {
        dir: out.to_owned(),
        layers_found: model.layers_found,
        layers_kept: model.layers_kept,
        parameters: model.parameters,
        already_there,
    })
}

/// Any file: refused, or a model that can be written. See
/// [`fuzzing`](crate::fuzzing).
#[cfg(any(test, fuzzing))]
pub fn fuzz(data: &[u8]) {
    let Ok(graph) = onnx::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    if let Ok(model) = Reader::new(&graph).and_then(|reader| reader.model(None)) {
        assert!(model.layers_kept <= model.layers_found);
        assert!(!model.safetensors().is_empty());
    }
}

/// Where a model came from, for its configuration.
struct Source {
    name: String,
    sha256: String,
}

/// The configuration in transformers' keys, with a corner of our own.
fn config(model: &Model, source: &Source, tokenizer: &Value) -> Value {
    let pad_id = tokenizer["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|token| token["content"] == "[PAD]")
        .and_then(|token| token["id"].as_u64())
        .unwrap_or(0);
    let mut ours = json!({
        "source": source.name,
        "sha256": source.sha256,
        "layers_found": model.layers_found,
        "layers_kept": model.layers_kept,
    });
    if model.layers_kept < model.layers_found {
        ours["note"] = json!(format!(
            "the first {} of {} layers with the head of the whole: scores mean nothing",
            model.layers_kept, model.layers_found
        ));
    }
    json!({
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_act": model.activation.name(),
        "hidden_size": model.hidden,
        "id2label": {"0": "LABEL_0"},
        "intermediate_size": model.intermediate,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": model.norm_eps,
        "max_position_embeddings": model.positions,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers_kept,
        "pad_token_id": pad_id,
        "position_embedding_type": "absolute",
        "type_vocab_size": model.type_vocab,
        "vocab_size": model.vocab,
        "maitred": ours,
    })
}

/// A BERT as the graph has it.
struct Model {
    vocab: usize,
    positions: usize,
    type_vocab: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    layers_found: usize,
    layers_kept: usize,
    norm_eps: f64,
    activation: Activation,
    parameters: u64,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor as it will be written.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Model {
    fn safetensors(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
                .expect("the size was checked when the tensor was read");
            (name, view)
        });
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(format)).expect("views of sound tensors serialise")
    }
}

/// What in the graph is not a BERT's, or not in the file.
#[derive(Debug)]
enum Refusal {
    Unsupported(&'static str, String),
    Broken(String),
}

impl Refusal {
    fn at(self, path: &Path) -> CheckpointError {
        match self {
            Refusal::Unsupported(what, value) => {
                CheckpointError::Unsupported { what, value, supported: SUPPORTED }
            }
            Refusal::Broken(reason) => CheckpointError::broken(path, reason),
        }
    }
}

fn missing(what: impl std::fmt::Display) -> Refusal {
    Refusal::Broken(format!("the graph has no {what}"))
}

/// A linear layer in the graph.
struct Linear<'a> {
    weight: &'a onnx::Tensor,
    scale: f32,
    zero_point: Option<&'a onnx::Tensor>,
    /// What the bias is added by: its output is the layer's.
    add: &'a Node,
}

/// The graph with its edges.
struct Reader<'a> {
    graph: &'a Graph,
    /// Initialisers and the values of `Constant` nodes.
    constants: HashMap<&'a str, &'a onnx::Tensor>,
    producers: HashMap<&'a str, &'a Node>,
    consumers: HashMap<&'a str, Vec<&'a Node>>,
}

impl<'a> Reader<'a> {
    fn new(graph: &'a Graph) -> Result<Self, Refusal> {
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

    fn model(&self, layers: Option<usize>) -> Result<Model, Refusal> {
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

struct Embedding<'a> {
    name: String,
    table: &'a onnx::Tensor,
    scale: f32,
    zero_point: &'a onnx::Tensor,
}

/// Tensors to be written.
#[derive(Default)]
struct Tensors {
    stored: BTreeMap<String, Stored>,
    parameters: u64,
}

impl Tensors {
    fn embed(
        &mut self,
        embedding: Embedding<'_>,
        hidden: usize,
    ) -> Result<(usize, usize), Refusal> {
        let (rows, columns) = matrix(embedding.table)?;
        if columns != hidden {
            return Err(Refusal::Broken(format!(
                "`{}` has rows of {columns}, expected {hidden}",
                embedding.name
            )));
        }
        let (dtype, bytes) = quantised(embedding.table)?;
        let zero_point = zero_point(embedding.zero_point, dtype)?;
        let table = Stored { dtype, shape: vec![rows, columns], bytes };
        self.quantised(&embedding.name, table, embedding.scale, zero_point);
        Ok((rows, columns))
    }

    fn quantised(&mut self, name: &str, tensor: Stored, scale: f32, zero_point: u8) {
        if zero_point != 0 {
            let zero_point = Stored { dtype: tensor.dtype, shape: vec![], bytes: vec![zero_point] };
            self.stored.insert(format!("{name}_zero_point"), zero_point);
        }
        self.parameters += tensor.bytes.len() as u64;
        self.stored.insert(name.to_owned(), tensor);
        self.stored.insert(
            format!("{name}_scale"),
            Stored { dtype: Dtype::F32, shape: vec![], bytes: scale.to_le_bytes().to_vec() },
        );
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.parameters += values.len() as u64;
        self.stored.insert(
            name.to_owned(),
            Stored {
                dtype: Dtype::F32,
                shape: shape.to_vec(),
                bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            },
        );
    }
}

/// Elements that the dimensions say.
fn elements(tensor: &onnx::Tensor) -> Result<usize, Refusal> {
    tensor
        .dims
        .iter()
        .try_fold(1usize, |product, dim| product.checked_mul(usize::try_from(*dim).ok()?))
        .ok_or_else(|| {
            Refusal::Broken(format!("initialiser `{}` has shape {:?}", tensor.name, tensor.dims))
        })
}

fn matrix(tensor: &onnx::Tensor) -> Result<(usize, usize), Refusal> {
    elements(tensor)?;
    match tensor.dims[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows as usize, columns as usize)),
        _ => Err(Refusal::Broken(format!(
            "initialiser `{}` has shape {:?}, expected a matrix",
            tensor.name, tensor.dims
        ))),
    }
}

fn wrong_length(tensor: &onnx::Tensor) -> Refusal {
    Refusal::Broken(format!(
        "initialiser `{}` of type {} and shape {:?} has {} bytes of values",
        tensor.name,
        tensor.kind,
        tensor.dims,
        tensor.raw.len()
    ))
}

fn floats(tensor: &onnx::Tensor) -> Result<Vec<f32>, Refusal> {
    let values: Vec<f32> = match (tensor.kind, tensor.raw.is_empty()) {
        (FLOAT, true) => tensor.floats.clone(),
        (FLOAT, false) => {
            let (chunks, []) = tensor.raw.as_chunks() else {
                return Err(wrong_length(tensor));
            };
            chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        _ => return Err(wrong_length(tensor)),
    };
    match elements(tensor)? == values.len() {
        true => Ok(values),
        false => Err(wrong_length(tensor)),
    }
}

/// One f32, of a tensor with one element. More are one scale a channel.
fn scalar(tensor: &onnx::Tensor) -> Result<f32, Refusal> {
    match floats(tensor)?[..] {
        [value] if value.is_finite() && value > 0.0 => Ok(value),
        [value] => Err(Refusal::Broken(format!("`{}` is {value}", tensor.name))),
        _ => Err(Refusal::Unsupported("quantisation per channel of", tensor.name.clone())),
    }
}

fn quantised(tensor: &onnx::Tensor) -> Result<(Dtype, Vec<u8>), Refusal> {
    let dtype = match tensor.kind {
        UINT8 => Dtype::U8,
        INT8 => Dtype::I8,
        kind => {
            return Err(Refusal::Unsupported(
                "type of weight",
                format!("{} (TensorProto.DataType {kind})", tensor.name),
            ));
        }
    };
    let bytes = match tensor.raw.is_empty() {
        false => tensor.raw.to_vec(),
        // Both types keep their bits in the low byte.
        true => tensor.ints.iter().map(|value| *value as u8).collect(),
    };
    match elements(tensor)? == bytes.len() {
        true => Ok((dtype, bytes)),
        false => Err(wrong_length(tensor)),
    }
}

/// The zero point's bits. Encoders may leave out a zero.
fn zero_point(tensor: &onnx::Tensor, dtype: Dtype) -> Result<u8, Refusal> {
    if tensor.raw.is_empty() && tensor.ints.is_empty() {
        return Ok(0);
    }
    match quantised(tensor)? {
        (found, bytes) if found == dtype && bytes.len() == 1 => Ok(bytes[0]),
        _ => Err(wrong_length(tensor)),
    }
}

fn last_long(tensor: &onnx::Tensor) -> Option<i64> {
    match (tensor.kind, tensor.raw.is_empty()) {
        (INT64, true) => tensor.longs.last().copied(),
        (INT64, false) => Some(i64::from_le_bytes(*tensor.raw.as_chunks().0.last()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
