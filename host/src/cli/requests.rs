//! Text like that which a model will score: requests of a file, or English of many kinds.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::calibration::Text;

/// Written for this project: documentation, shops, law, medicine, letters and more.
const ENGLISH: &str = include_str!("requests/english.jsonl");

/// A line of the file. What else a request has does not matter here.
#[derive(Debug, Deserialize)]
struct Asked {
    query: String,
    documents: Vec<Document>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a document is a string, or an object with a `text` that is one")]
enum Document {
    Plain(String),
    Object { text: String },
}

/// The pairs of a file of JSON lines.
pub fn read(path: &Path) -> anyhow::Result<Vec<Text>> {
    let lines = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let texts = parse(&lines).with_context(|| format!("in {}", path.display()))?;
    ensure!(!texts.is_empty(), "{} has no documents", path.display());
    Ok(texts)
}

pub fn english() -> anyhow::Result<Vec<Text>> {
    parse(ENGLISH)
}

fn parse(lines: &str) -> anyhow::Result<Vec<Text>> {
    let mut texts = Vec::new();
    for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Asked { query, documents } = serde_json::from_str(line).with_context(|| {
            format!(
                "line {} is no request: an object with a string `query` and a list `documents` of strings or objects with `text`",
                number + 1
            )
        })?;
        texts.extend(documents.into_iter().map(|document| Text {
            query: query.clone(),
            document: match document {
                Document::Plain(text) | Document::Object { text } => text,
            },
        }));
    }
    Ok(texts)
}
