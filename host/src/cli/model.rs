//! `maitred model …`: gets models onto this machine and says what they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::{Subcommand, value_parser};
use indicatif::{ProgressBar, ProgressStyle};

use super::requests;
use crate::calibration::{Progress, Text, quantise};
use crate::checkpoint::catalog::{self, ListedKind};
use crate::checkpoint::import::import;
use crate::checkpoint::quantise::{Quantised, Quantiser};
use crate::checkpoint::{self, Checkpoint, Hub};

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Get a model from the hub into its cache; nothing if it is there.
    Pull {
        /// `owner/name`, or `owner/name@revision`.
        id: String,
        /// Time in which the hub must answer.
        #[arg(long, value_name = "MS", allow_negative_numbers = true, value_parser = value_parser!(u64).range(1..))]
        timeout_ms: Option<u64>,
    },
    /// Make a model folder of a dynamically quantised ONNX file.
    Import {
        /// As onnxruntime's dynamic quantisation writes it.
        #[arg(value_name = "FILE.onnx")]
        onnx: PathBuf,
        /// The tokenizer; `tokenizer.json` beside the file if absent.
        #[arg(long, value_name = "FILE")]
        tokenizer: Option<PathBuf>,
        /// Keep the first layers only: a stand-in of another size, whose scores
        /// mean nothing.
        #[arg(long, value_name = "N")]
        layers: Option<usize>,
        /// Keep it in the user's cache, where `--model owner/name` finds it.
        #[arg(long, value_name = "OWNER/NAME", conflicts_with = "out")]
        name: Option<String>,
        /// Write it to a folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Make an int8 model of one in floats: a quarter of the size, and several times as
    /// fast on the CPU. Weights are rounded so that scores of text change least, which takes
    /// minutes.
    Quantize {
        /// A folder, or an id on the hub.
        source: String,
        /// Text whose scores should change least: requests like those which the model will
        /// get, one a line, as objects with `query` and `documents`; other keys do not matter.
        /// English of many kinds if absent.
        #[arg(long, value_name = "FILE.jsonl")]
        text: Option<PathBuf>,
        /// Round each weight to the nearest instead, whatever the text: seconds.
        #[arg(long, conflicts_with = "text")]
        nearest: bool,
        /// Keep it in the user's cache, where `--model owner/name` finds it.
        #[arg(long, value_name = "OWNER/NAME", conflicts_with = "out")]
        name: Option<String>,
        /// Write it to a folder.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Say what a model is: family, sizes, limits, precision.
    Info {
        /// A folder, or an id on the hub.
        source: String,
    },
    /// List the models on this machine.
    List,
}

pub async fn run(command: ModelCommand) -> anyhow::Result<()> {
    let mut hub = Hub::from_env();
    match command {
        ModelCommand::Pull { id, timeout_ms } => {
            hub.connect_ms_max = timeout_ms.map_or(hub.connect_ms_max, Duration::from_millis);
            let checkpoint = checkpoint::locate(&id, &hub).await?;
            println!("{id} is in {}", checkpoint.dir.display());
        }
        ModelCommand::Import { onnx, tokenizer, layers, name, out } => {
            let folder = place(name, out, &hub)?;
            let onnx = there(onnx)?;
            let imported = import(&onnx, tokenizer.as_deref(), layers, &folder)?;
            let state = if imported.already_there { "was there already" } else { "is imported" };
            println!(
                "{} {state}: {} of {} layers, {:.1} million parameters",
                imported.dir.display(),
                imported.layers_kept,
                imported.layers_found,
                imported.parameters as f64 / 1e6,
            );
        }
        ModelCommand::Quantize { source, text, nearest, name, out } => {
            let folder = place(name, out, &hub)?;
            let texts = match text {
                _ if nearest => None,
                Some(file) => Some(requests::read(&file)?),
                None => Some(requests::english()?),
            };
            let checkpoint = checkpoint::locate(&source, &hub).await?;
            let (made, how) = match texts {
                None => (Quantiser::read(&checkpoint)?.write(&folder)?, "nearest".to_owned()),
                Some(texts) => rounded_for(&checkpoint, texts, &folder)?,
            };
            let state = if made.already_there { "was there already" } else { "is made" };
            println!(
                "{} {state}: {} matrices in int8, rounded {how}, {:.1} MB of {:.1} MB",
                made.dir.display(),
                made.matrices,
                made.bytes_after as f64 / 1e6,
                made.bytes_before as f64 / 1e6,
            );
        }
        ModelCommand::Info { source } => {
            let checkpoint = checkpoint::locate(&source, &hub).await?;
            print_info(&checkpoint)?;
        }
        ModelCommand::List => {
            let models = catalog::list(&hub);
            if models.is_empty() {
                println!("no model is on this machine; `maitred model pull ID` gets one");
            }
            for model in models {
                let state = match (&model.kind, model.refused) {
                    (_, Some(reason)) => format!("not usable: {reason}"),
                    (ListedKind::Imported, None) => "imported".to_owned(),
                    (ListedKind::Cached, None) => "from the hub".to_owned(),
                };
                println!("{:<48}  {state}", model.id);
            }
        }
    }
    Ok(())
}

/// Pairs that weights are rounded for: more take longer, and 420 of many kinds do.
const PAIRS_MAX: usize = 1024;

/// The model of a checkpoint, rounded for texts, and in what words.
fn rounded_for(
    checkpoint: &Checkpoint,
    texts: Vec<Text>,
    folder: &Path,
) -> anyhow::Result<(Quantised, String)> {
    let found = texts.len();
    let texts: Vec<_> = texts.into_iter().step_by(found.div_ceil(PAIRS_MAX).max(1)).collect();
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} {msg}")?;
    let bar = ProgressBar::new(texts.len() as u64).with_style(style);
    let made = quantise(checkpoint, &texts, folder, |Progress { what, done, of }| {
        bar.set_message(what);
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let how = match texts.len() {
        all if all == found => format!("for {all} pairs of text"),
        some => format!("for {some} of {found} pairs of text"),
    };
    Ok((made, how))
}

/// A file that is there, with the folder that it is in.
fn there(file: PathBuf) -> anyhow::Result<PathBuf> {
    if !file.is_file() {
        bail!("{}: there is no such file", file.display());
    }
    Ok(match file.parent() {
        Some(folder) if folder == Path::new("") => Path::new(".").join(file),
        _ => file,
    })
}

/// Where a model that is made goes.
fn place(name: Option<String>, out: Option<PathBuf>, hub: &Hub) -> anyhow::Result<PathBuf> {
    match (name, out) {
        (Some(name), None) => Ok(checkpoint::imported_folder(&name, hub)?),
        (None, Some(folder)) => Ok(folder),
        _ => bail!("the model needs a place: --name OWNER/NAME or --out DIR"),
    }
}

fn print_info(checkpoint: &Checkpoint) -> anyhow::Result<()> {
    let info = catalog::info(checkpoint)?;
    let types: Vec<_> =
        info.types.iter().map(|(name, parameters)| format!("{parameters} {name}")).collect();
    let mut lines = vec![
        ("folder", checkpoint.dir.display().to_string()),
        ("family", format!("{:?}", info.family)),
        ("layers", info.layers.to_string()),
        ("hidden size", format!("{} in {} heads", info.hidden, info.heads)),
        ("parameters", info.parameters.to_string()),
        ("weights", format!("{} bytes: {}", info.bytes, types.join(", "))),
        ("tokens of a pair", format!("up to {}", info.length_max)),
        ("activation", info.activation.name().to_owned()),
        ("authors' scores", info.score.name().to_owned()),
    ];
    lines.extend(info.note.map(|note| ("note", note)));
    for (what, value) in lines {
        println!("{what:<18}{value}");
    }
    Ok(())
}
