//! Text that a model will score, or is like it: requests of a file, or English passages.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::bench::corpus::Corpus;
use crate::bench::workload::{CorpusSettings, TextSource};
use crate::calibration::Text;

/// Passages of the project's own text, and of them those that a query is about.
const PASSAGES: usize = 1024;
const PASSAGES_OF_A_QUERY: usize = 12;

/// A line of the file. What else a request has does not matter here.
#[derive(Debug, Deserialize)]
struct Asked {
    query: String,
    documents: Vec<Document>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Document {
    Plain(String),
    Object { text: String },
}

/// The pairs of a file of JSON lines.
pub fn read(path: &Path) -> anyhow::Result<Vec<Text>> {
    let file = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let lines = file.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut texts = Vec::new();
    for (number, line) in lines {
        let Asked { query, documents } = serde_json::from_str(line).with_context(|| {
            format!(
                "line {} of {} is no request: an object with a string `query` and a list `documents` of strings or objects with `text`",
                number + 1,
                path.display()
            )
        })?;
        texts.extend(documents.into_iter().map(|document| Text {
            query: query.clone(),
            document: match document {
                Document::Plain(text) | Document::Object { text } => text,
            },
        }));
    }
    ensure!(!texts.is_empty(), "{} has no documents", path.display());
    Ok(texts)
}

/// Pairs of the project's own text.
pub fn english() -> anyhow::Result<Vec<Text>> {
    let settings = CorpusSettings { source: TextSource::Generated, passages: PASSAGES };
    let corpus = Corpus::load(&settings)?;
    let of_query = |asked: &crate::bench::corpus::Query| -> Vec<Text> {
        let about = asked.relevant.iter().take(PASSAGES_OF_A_QUERY);
        about
            .map(|place| Text {
                query: asked.text.to_string(),
                document: corpus.passages[*place].to_string(),
            })
            .collect()
    };
    Ok(corpus.queries.iter().flat_map(of_query).collect())
}
