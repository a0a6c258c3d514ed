//! Makes a checkpoint from an ONNX file: the form in which quantised
//! cross-encoders are published (onnxruntime's dynamic quantisation of a BERT
//! sequence classifier).
//!
//! Weights are taken from the graph by what they do, not by how an exporter
//! numbered them: from each integer product along to the bias that is added,
//! whose name is the layer's. They stay quantised, one scale a tensor, in
//! PyTorch's names and orientation. Whatever the graph does that a BERT does not
//! is refused by name.

mod graph;
mod tensors;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::graph::Reader;
use self::tensors::Stored;
use super::config::Activation;
use super::folder::Target;
use super::onnx;
use super::{
    CONFIG, CheckpointError, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, read_bounded, read_json,
    required,
};

/// Bytes of an ONNX file; protobuf itself ends there.
const ONNX_BYTES_MAX: u64 = 2 << 30;

const SUPPORTED: &str = "dynamically quantised BERT sequence classifiers with one label";

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

#[cfg(test)]
mod tests;
