//! Where committed fixtures and goldens are.

use std::path::PathBuf;

use serde::Deserialize;

/// A path in this repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// A tiny checkpoint, by its folder's name.
pub fn checkpoint(name: &str) -> PathBuf {
    repository("tests/fixtures").join(name)
}

/// A pair with the logit that the reference gives it.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    pub query: String,
    pub document: String,
    pub tokens: usize,
    pub logit: f32,
}

#[derive(Debug, Deserialize)]
struct Goldens {
    pairs: Vec<Golden>,
}

/// The pairs of a goldens file.
pub fn goldens(path: &str) -> Vec<Golden> {
    let path = repository(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()));
    let goldens: Goldens = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("failed to parse {}: {error}", path.display()));
    goldens.pairs
}
