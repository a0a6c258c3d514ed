//! Real clients: scripts under `tests/clients/`, each in a Python environment of
//! its own, since their packages do not agree on each other's versions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::fixtures::repository;

/// Where `cargo xtask test` makes the environments.
const FOLDER: &str = "MAITRED_TEST_CLIENTS";

/// The Python of an environment.
fn python(environment: &str) -> PathBuf {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| {
        panic!("{FOLDER} names the folder of the clients' Python environments; `cargo xtask test` makes it")
    });
    PathBuf::from(folder).join(environment).join("bin").join("python")
}

/// Runs a script against a server; what it prints, as JSON. A script that finds
/// something wrong ends with an exception.
pub async fn drive(environment: &str, script: &str, server: SocketAddr, model: &str) -> Value {
    let output = Command::new(python(environment))
        .arg(repository("tests/clients").join(script))
        .args([&format!("http://{server}"), model])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the environment's Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    serde_json::from_slice(&output.stdout).expect("a script prints JSON")
}
