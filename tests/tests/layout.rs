//! The map in ARCHITECTURE.md, kept: each room knows only what it may.

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

/// A room, and the rooms that it must not import.
const BELOW: &[(&str, &[&str])] = &[
    (
        "rerank.rs",
        &[
            "batch",
            "callers",
            "checkpoint",
            "cli",
            "config",
            "engine",
            "http",
            "metrics",
            "model",
            "policy",
            "replica",
            "route",
            "server",
            "tokenize",
        ],
    ),
    (
        "engine/",
        &[
            "batch", "cli", "http", "metrics", "model", "policy", "replica", "rerank", "route",
            "server", "tokenize",
        ],
    ),
    (
        "checkpoint/",
        &[
            "batch", "cli", "engine", "http", "metrics", "model", "policy", "replica", "rerank",
            "route", "server", "tokenize",
        ],
    ),
    (
        "callers/",
        &[
            "admission",
            "batch",
            "checkpoint",
            "cli",
            "engine",
            "http",
            "metrics",
            "model",
            "policy",
            "replica",
            "route",
            "server",
            "tokenize",
        ],
    ),
    ("replica/", &["cli", "http", "model", "policy", "route", "server", "tokenize", "checkpoint"]),
    ("batch/", &["cli", "http", "model", "policy", "route", "server", "tokenize", "checkpoint"]),
    ("tokenize/", &["batch", "cli", "http", "model", "policy", "replica", "route", "server"]),
    (
        "policy/",
        &[
            "batch",
            "callers",
            "checkpoint",
            "cli",
            "engine",
            "http",
            "model",
            "replica",
            "route",
            "server",
            "tokenize",
        ],
    ),
    ("server/", &["bench", "cli"]),
    (
        "telemetry/",
        &[
            "admission",
            "batch",
            "callers",
            "checkpoint",
            "cli",
            "engine",
            "http",
            "model",
            "policy",
            "replica",
            "rerank",
            "route",
            "server",
            "tokenize",
        ],
    ),
    (
        "metrics/",
        &[
            "batch",
            "callers",
            "cli",
            "config",
            "engine",
            "http",
            "model",
            "policy",
            "replica",
            "rerank",
            "route",
            "server",
            "telemetry",
            "tokenize",
        ],
    ),
    // A server's client that shares nothing with it; stages alone are parts.
    ("bench/", &["callers", "cli", "dashboard", "http", "route", "server"]),
    ("model.rs", &["bench", "callers", "cli", "dashboard", "http", "policy", "route", "server"]),
    (
        "route.rs",
        &[
            "batch",
            "callers",
            "checkpoint",
            "cli",
            "dashboard",
            "http",
            "policy",
            "replica",
            "server",
            "tokenize",
        ],
    ),
    // It is told what is served, and looks into nothing.
    (
        "dashboard/",
        &[
            "batch",
            "bench",
            "callers",
            "checkpoint",
            "cli",
            "config",
            "engine",
            "http",
            "model",
            "policy",
            "replica",
            "rerank",
            "server",
            "tokenize",
        ],
    ),
    ("http/", &["batch", "bench", "checkpoint", "cli", "policy", "replica", "server", "tokenize"]),
    (
        "config/",
        &[
            "batch",
            "callers",
            "checkpoint",
            "cli",
            "engine",
            "http",
            "metrics",
            "model",
            "policy",
            "replica",
            "rerank",
            "route",
            "server",
            "tokenize",
        ],
    ),
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
fn imports_run_downwards() {
    let mut strays = Vec::new();
    for (path, text) in sources() {
        for (_, forbidden) in BELOW.iter().filter(|(room, _)| path.starts_with(room)) {
            for room in *forbidden {
                if code(&text).any(|line| names(line, &format!("crate::{room}::"))) {
                    strays.push(format!("{path} imports {room}"));
                }
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn every_rule_speaks_of_a_room_that_is_there() {
    let rooms = HOMES.iter().flat_map(|(_, homes)| homes.iter());
    for room in rooms.chain(BELOW.iter().map(|(room, _)| room)) {
        assert!(repository("host/src").join(room).exists(), "there is no {room}");
    }
}

/// Lines outside comments and outside a file's unit tests, which may build what
/// they like.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
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
