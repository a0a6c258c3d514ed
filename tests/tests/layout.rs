//! The map in ARCHITECTURE.md, kept: each room knows only what it may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use maitred_tests::fixtures::repository;

/// A library, and the only rooms that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["policy/"]),
    ("candle_core", &["engine/"]),
    ("candle_nn", &["engine/"]),
    ("candle_transformers", &["engine/"]),
    ("maitred_kernels", &["engine/"]),
    ("tokenizers::", &["tokenize/"]),
    ("hyper::", &["http/", "bench/"]),
    ("hyper_util", &["http/", "bench/"]),
    ("hdrhistogram::", &["bench/"]),
    ("indicatif::", &["cli/"]),
    ("opentelemetry", &["telemetry/"]),
    ("rustls", &["http/", "bench/"]),
    ("tokio_rustls", &["http/"]),
    ("x509_cert", &["http/"]),
    ("subtle::", &["callers/"]),
    ("getrandom::", &["callers/"]),
    ("hf_hub", &["checkpoint/"]),
    ("prost::", &["checkpoint/"]),
    ("clap::", &["cli/"]),
    ("schemars::", &["http/"]),
    // Two files read what a library writes of itself: the pattern of a normalizer, and
    // the configuration of candle's own models.
    (
        "serde_json::",
        &[
            "bench/",
            "config/",
            "dashboard/",
            "http/",
            "checkpoint/",
            "cli/",
            "engine/candle/stock.rs",
            "tokenize/prefix.rs",
        ],
    ),
    (
        "serde::",
        &["bench/", "config/", "dashboard/", "http/", "checkpoint/", "cli/", "policy/manifest.rs"],
    ),
];

/// A room, and the rooms that it imports. Another one here is a decision.
const IMPORTS: &[(&str, &[&str])] = &[
    ("admission", &["rerank"]),
    ("batch", &["config", "engine", "metrics", "replica", "rerank", "telemetry"]),
    // A server's client that shares nothing with it; stages alone are parts.
    (
        "bench",
        &[
            "admission",
            "batch",
            "checkpoint",
            "config",
            "metrics",
            "model",
            "policy",
            "rerank",
            "telemetry",
            "tokenize",
        ],
    ),
    ("calibration", &["checkpoint", "config", "engine", "tokenize"]),
    ("callers", &["config", "rerank"]),
    ("checkpoint", &[]),
    (
        "cli",
        &[
            "bench",
            "calibration",
            "callers",
            "checkpoint",
            "config",
            "metrics",
            "policy",
            "rerank",
            "route",
            "server",
            "telemetry",
        ],
    ),
    ("config", &[]),
    // It is told what is served, and looks into nothing.
    ("dashboard", &["metrics", "route"]),
    ("engine", &["checkpoint", "config"]),
    ("fuzzing", &["batch", "checkpoint", "config", "http", "policy", "rerank"]),
    (
        "http",
        &["callers", "config", "dashboard", "metrics", "model", "rerank", "route", "telemetry"],
    ),
    ("main", &[]),
    ("metrics", &[]),
    (
        "model",
        &[
            "admission",
            "batch",
            "checkpoint",
            "config",
            "engine",
            "metrics",
            "replica",
            "rerank",
            "tokenize",
        ],
    ),
    // What guests give back can be drawn, for fuzzing.
    ("policy", &["config", "fuzzing", "metrics", "rerank", "telemetry"]),
    ("replica", &["engine"]),
    ("rerank", &["admission", "telemetry"]),
    ("route", &["admission", "config", "metrics", "model", "rerank", "telemetry"]),
    (
        "server",
        &[
            "callers",
            "checkpoint",
            "config",
            "engine",
            "http",
            "metrics",
            "model",
            "policy",
            "route",
            "telemetry",
        ],
    ),
    ("telemetry", &["config", "metrics"]),
    ("tokenize", &["config", "engine", "rerank"]),
];

#[test]
fn libraries_stay_in_their_rooms() {
    let mut strays = Vec::new();
    for (path, text) in sources() {
        for (library, homes) in HOMES {
            let at_home = homes.iter().any(|home| path.starts_with(home));
            if !at_home && code(&text).any(|line| names(line, library)) {
                strays.push(format!("{path} names {library}, whose rooms are {homes:?}"));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn each_room_imports_what_it_may() {
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let rooms: Vec<&str> = IMPORTS.iter().map(|(room, _)| *room).collect();
    for (path, text) in sources() {
        let room = path.split('/').next().and_then(|part| part.split('.').next());
        let room = room.expect("a path has a first part").to_owned();
        let imports = |other: &str| {
            let paths = [format!("crate::{other}::"), format!("crate::{other};")];
            code(&text).any(|line| paths.iter().any(|path| names(line, path)))
        };
        let imported = rooms.iter().filter(|other| **other != room && imports(other));
        found.entry(room.clone()).or_default().extend(imported);
    }
    found.remove("lib");
    let expected = IMPORTS.iter().map(|(room, imports)| {
        (room.to_string(), imports.iter().copied().collect::<BTreeSet<_>>())
    });
    assert_eq!(found, expected.collect());
}

#[test]
fn every_home_is_there() {
    for room in HOMES.iter().flat_map(|(_, homes)| homes.iter()) {
        assert!(repository("host/src").join(room).exists(), "there is no {room}");
    }
}

/// Lines outside comments and outside a file's unit tests, which may build what
/// they like.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| *line != "mod tests {")
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether a line names `path`, and not a longer word that ends in it.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Every source file of the host but test modules, by its path in `host/src`.
fn sources() -> Vec<(String, String)> {
    let root = repository("host/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .iter()
        .filter(|file| !file.ends_with("tests.rs"))
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (path, std::fs::read_to_string(file).unwrap())
        })
        .filter(|(path, _)| !path.contains("tests/"))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
