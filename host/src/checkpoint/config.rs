//! What a model is, parsed from its `config.json` and `tokenizer_config.json`.
//!
//! Whatever would change the scores and is not implemented is refused by name,
//! before any weight is read or downloaded. Keys that cannot change the scores
//! of inference (dropout, caches) are not looked at.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{CONFIG, CheckpointError, TOKENIZER_CONFIG, read_json, required};

/// An encoder with one logit, of a kind that engines run. All sizes are
/// positive and `heads` divides `hidden`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub family: Family,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
    /// Rows of the position embedding.
    pub positions: usize,
    pub type_vocab: usize,
    pub pad_id: u32,
    pub norm_eps: f64,
    pub activation: Activation,
    /// Tokens that a pair may have: the tokenizer's limit or that of the
    /// positions, whichever is smaller.
    pub length_max: usize,
    /// What the model's authors apply to the logit.
    pub score: ScoreActivation,
    /// A remark of `maitred model import` on what the scores are worth.
    pub note: Option<String>,
}

/// Encoders that differ in tensor names, positions and head only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Positions from 0; the head is a pooler (dense, tanh) and one linear.
    Bert,
    /// RoBERTa and XLM-RoBERTa. Positions from `pad_id + 1`; the head is dense,
    /// tanh and one linear, without pooler.
    Roberta,
}

impl Family {
    /// What the names of the encoder's tensors begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::Roberta => "roberta",
        }
    }
}

/// The activation inside the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x) by the error function, `gelu` in configurations.
    Gelu,
    /// Its approximation by tanh, `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`.
    GeluTanh,
    Relu,
    Silu,
}

impl Activation {
    pub const ALL: [Activation; 4] =
        [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu];

    const SUPPORTED: &str = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish";

    fn parse(name: &str) -> Result<Self, CheckpointError> {
        match name {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(unsupported("hidden_act", other, Self::SUPPORTED)),
        }
    }

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        }
    }
}

/// From the logit to the score that the model's authors publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreActivation {
    Identity,
    /// Also where a checkpoint says nothing: it is the default of the library
    /// that trains these models (sentence-transformers, `CrossEncoder`, for one
    /// label).
    Sigmoid,
}

impl ScoreActivation {
    fn parse(path: &str) -> Result<Self, CheckpointError> {
        match path.rsplit('.').next() {
            Some("Identity") => Ok(ScoreActivation::Identity),
            Some("Sigmoid") => Ok(ScoreActivation::Sigmoid),
            _ => Err(unsupported("activation_fn", path, "Identity, Sigmoid")),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ScoreActivation::Identity => "identity",
            ScoreActivation::Sigmoid => "sigmoid",
        }
    }
}

/// `config.json`, as far as it can change a score. Defaults are those of
/// transformers' `BertConfig` and `XLMRobertaConfig`, where they agree.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    pad_token_id: Option<u32>,
    #[serde(default = "norm_eps")]
    layer_norm_eps: f64,
    #[serde(default = "hidden_act")]
    hidden_act: String,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
    num_labels: Option<usize>,
    id2label: Option<BTreeMap<String, Value>>,
    sentence_transformers: Option<SentenceTransformers>,
    sbert_ce_default_activation_function: Option<String>,
    maitred: Option<Note>,
}

#[derive(Deserialize)]
struct SentenceTransformers {
    activation_fn: Option<String>,
}

#[derive(Deserialize)]
struct Note {
    note: Option<String>,
}

fn norm_eps() -> f64 {
    1e-12
}

fn hidden_act() -> String {
    "gelu".to_owned()
}

fn unsupported(
    what: &'static str,
    value: impl ToString,
    supported: &'static str,
) -> CheckpointError {
    CheckpointError::Unsupported { what, value: value.to_string(), supported }
}

impl ModelConfig {
    /// Whether the model tells query and document apart by token types.
    pub fn token_types(&self) -> bool {
        self.type_vocab > 1
    }

    /// Reads the configuration of the model in a folder.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let path = required(dir, CONFIG)?;
        let config: Value = read_json(&path)?;
        let family = family(&config)?;
        let raw: Raw = serde_json::from_value(config)
            .map_err(|error| CheckpointError::broken(&path, error))?;
        refuse_unsupported(&raw)?;

        let pad_id = raw.pad_token_id.unwrap_or(match family {
            Family::Bert => 0,
            Family::Roberta => 1,
        });
        let positions_usable = match family {
            Family::Bert => raw.max_position_embeddings,
            Family::Roberta => raw.max_position_embeddings.saturating_sub(pad_id as usize + 1),
        };
        let note = raw.maitred.and_then(|maitred| maitred.note);
        let score = raw
            .sentence_transformers
            .and_then(|hint| hint.activation_fn)
            .or(raw.sbert_ce_default_activation_function);
        let config = ModelConfig {
            family,
            layers: raw.num_hidden_layers,
            hidden: raw.hidden_size,
            heads: raw.num_attention_heads,
            intermediate: raw.intermediate_size,
            vocab: raw.vocab_size,
            positions: raw.max_position_embeddings,
            type_vocab: raw.type_vocab_size,
            pad_id,
            norm_eps: raw.layer_norm_eps,
            activation: Activation::parse(&raw.hidden_act)?,
            length_max: tokenizer_limit(dir)?.min(positions_usable),
            score: score
                .map_or(Ok(ScoreActivation::Sigmoid), |name| ScoreActivation::parse(&name))?,
            note,
        };
        config.check().map_err(|reason| CheckpointError::broken(&path, reason))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("num_hidden_layers", self.layers),
            ("hidden_size", self.hidden),
            ("num_attention_heads", self.heads),
            ("intermediate_size", self.intermediate),
            ("vocab_size", self.vocab),
            ("type_vocab_size", self.type_vocab),
            ("the number of usable positions", self.length_max),
        ] {
            if value == 0 {
                return Err(format!("{name} is 0"));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden, self.heads
            ));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(format!("layer_norm_eps is {}", self.norm_eps));
        }
        Ok(())
    }
}

fn family(config: &Value) -> Result<Family, CheckpointError> {
    const SUPPORTED: &str = "bert, roberta, xlm-roberta";
    match config.get("model_type").and_then(Value::as_str) {
        Some("bert") => Ok(Family::Bert),
        Some("roberta" | "xlm-roberta") => Ok(Family::Roberta),
        other => Err(unsupported("model_type", other.unwrap_or("(none)"), SUPPORTED)),
    }
}

fn refuse_unsupported(raw: &Raw) -> Result<(), CheckpointError> {
    debug_assert!(raw.model_type.is_some(), "family() looked at it");
    if let Some(kind) = &raw.position_embedding_type
        && kind != "absolute"
    {
        return Err(unsupported("position_embedding_type", kind, "absolute"));
    }
    if raw.is_decoder || raw.add_cross_attention {
        let key = if raw.is_decoder { "is_decoder" } else { "add_cross_attention" };
        return Err(unsupported(key, true, "false (encoders)"));
    }
    if let Some(kind) = raw.architectures.first()
        && !kind.ends_with("ForSequenceClassification")
    {
        return Err(unsupported(
            "architecture",
            kind,
            "BertForSequenceClassification, RobertaForSequenceClassification, \
             XLMRobertaForSequenceClassification",
        ));
    }
    // Without either key transformers makes two labels.
    let labels = raw.id2label.as_ref().map(BTreeMap::len).or(raw.num_labels).unwrap_or(2);
    if labels != 1 {
        return Err(unsupported("number of labels", labels, "1 (the relevance logit)"));
    }
    Ok(())
}

/// `model_max_length` of the tokenizer, which says 10^30 for "none".
/// (`sentence_bert_config.json` is for embedding models; a cross-encoder's
/// library does not read it.)
fn tokenizer_limit(dir: &Path) -> Result<usize, CheckpointError> {
    #[derive(Deserialize)]
    struct Tokenizer {
        model_max_length: Option<f64>,
    }
    let path = dir.join(TOKENIZER_CONFIG);
    if !path.is_file() {
        return Ok(usize::MAX);
    }
    let tokenizer: Tokenizer = read_json(&path)?;
    // The cast saturates, as it should here.
    Ok(tokenizer.model_max_length.map_or(usize::MAX, |length| length as usize))
}
