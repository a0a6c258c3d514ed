//! Checkpoints: a model's files, where they come from, and what they say.
//!
//! [`locate()`] finds a checkpoint by folder or hub id, [`config`] reads what it
//! is, [`import`] makes one from an ONNX file and [`quantise`] one in int8 from one in
//! floats, whose weights [`rounding`] makes integers. [`catalog`] lists those on this machine.
//! Nothing here knows how a model computes, or requests.

pub mod catalog;
pub mod config;
pub mod floats;
pub mod folder;
pub mod header;
mod hub;
pub mod import;
mod locate;
mod onnx;
pub mod quantise;
pub mod rounding;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use config::ModelConfig;
pub use hub::Hub;
pub use locate::{imported_folder, locate};

/// Bytes of any of a checkpoint's JSON files. A tokenizer of 250,000 pieces is
/// 17 MB.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a checkpoint's weights; the largest encoders that people rerank
/// with have 2.3 GB (568 M parameters in f32).
pub(crate) const WEIGHT_BYTES_MAX: u64 = 16 << 30;

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// A model that this server can run, complete on this machine. Whether the
/// weights fit the configuration is the engine's to find out.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The name it was asked for by.
    pub name: String,
    pub dir: PathBuf,
    pub config: ModelConfig,
    pub tokenizer: PathBuf,
    /// One safetensors file, or the shards.
    pub weights: Vec<PathBuf>,
    /// What whoever uses the scores has to know, for example that layers were
    /// cut off.
    pub warning: Option<String>,
}

impl Checkpoint {
    /// Reads the checkpoint in a folder.
    pub fn open(name: &str, dir: &Path) -> Result<Self, CheckpointError> {
        let config = ModelConfig::read(dir)?;
        let tokenizer = required(dir, TOKENIZER)?;
        Ok(Checkpoint {
            name: name.to_owned(),
            dir: dir.to_owned(),
            warning: config.note.clone(),
            config,
            tokenizer,
            weights: weights(dir)?,
        })
    }
}

/// Why a model cannot be used. Retrying helps for [`Hub`](Self::Hub) alone.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The name is at fault.
    #[error("no model `{name}`: {reason}")]
    NotFound { name: String, reason: String },
    /// The checkpoint is at fault: a file is not there.
    #[error("{} has no {file}{hint}", dir.display())]
    Missing {
        dir: PathBuf,
        file: String,
        /// What would do instead, or empty.
        hint: &'static str,
    },
    /// The checkpoint is at fault: a file is broken.
    #[error("{}: {reason}", path.display())]
    Broken { path: PathBuf, reason: String },
    #[error("{}: {what} is {value}, over the limit of {limit}", path.display())]
    TooLarge { path: PathBuf, what: &'static str, value: u64, limit: u64 },
    /// The checkpoint is sound, but not a model this server runs.
    #[error("{what} `{value}` is not supported; supported: {supported}")]
    Unsupported { what: &'static str, value: String, supported: &'static str },
    /// The network is switched off and a file is not in the cache.
    #[error(
        "model `{name}` is not complete on this machine (missing: {missing}) and the hub is off limits ({setting})"
    )]
    Offline { name: String, missing: String, setting: &'static str },
    /// The hub is at fault, or the way to it.
    #[error("failed to fetch {what} of model `{name}` from the hub: {reason}")]
    Hub { name: String, what: String, reason: String },
    /// The target of an import holds something else.
    #[error("{} exists and differs from what would be written; remove it or choose another folder", path.display())]
    Exists { path: PathBuf },
    /// This machine is at fault.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

impl CheckpointError {
    fn io(path: &Path, error: std::io::Error) -> Self {
        CheckpointError::Io { path: path.to_owned(), error }
    }

    fn broken(path: &Path, reason: impl ToString) -> Self {
        CheckpointError::Broken { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A file that must be there.
fn required(dir: &Path, file: &str) -> Result<PathBuf, CheckpointError> {
    let path = dir.join(file);
    if path.is_file() {
        return Ok(path);
    }
    let hint = match file {
        TOKENIZER => " (the fast tokenizer's file; a vocabulary alone does not do)",
        WEIGHTS if dir.join("pytorch_model.bin").is_file() => {
            " (it has pytorch_model.bin, a format that can run code; convert it to safetensors)"
        }
        WEIGHTS if has_onnx(dir) => " (it has an ONNX file: `maitred model import` makes one)",
        _ => "",
    };
    Err(CheckpointError::Missing { dir: dir.to_owned(), file: file.to_owned(), hint })
}

fn has_onnx(dir: &Path) -> bool {
    ["model.onnx", "onnx/model.onnx"].iter().any(|file| dir.join(file).is_file())
}

/// A JSON file of bounded size.
fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = read_bounded(path, JSON_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| CheckpointError::broken(path, error))
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let length = std::fs::metadata(path).map_err(|error| CheckpointError::io(path, error))?.len();
    if length > limit {
        return Err(CheckpointError::TooLarge {
            path: path.to_owned(),
            what: "the file's size in bytes",
            value: length,
            limit,
        });
    }
    std::fs::read(path).map_err(|error| CheckpointError::io(path, error))
}

/// The one weights file, or the shards that the index names.
fn weights(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    if dir.join(WEIGHTS_INDEX).is_file() && !dir.join(WEIGHTS).is_file() {
        shards(dir)?.iter().map(|shard| required(dir, shard)).collect()
    } else {
        Ok(vec![required(dir, WEIGHTS)?])
    }
}

/// File names of the shards, in order.
fn shards(dir: &Path) -> Result<BTreeSet<String>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let path = dir.join(WEIGHTS_INDEX);
    let index: Index = read_json(&path)?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    // The names come from a download: they must stay inside the folder.
    match shards.iter().find(|name| name.contains(['/', '\\']) || !name.ends_with(".safetensors")) {
        Some(name) => Err(CheckpointError::broken(
            &path,
            format!("shard `{name}` is not a safetensors file of this folder"),
        )),
        None if shards.is_empty() => Err(CheckpointError::broken(&path, "it names no shards")),
        None => Ok(shards),
    }
}

#[cfg(test)]
mod tests;
