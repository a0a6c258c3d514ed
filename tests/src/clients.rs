//! Real clients: scripts under `tests/clients/`, each in a Python environment of
//! its own, since their packages do not agree on each other's versions.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::fixtures::repository;

/// Where `cargo xtask test` makes the environments.
const FOLDER: &str = "MAITRED_TEST_CLIENTS";

/// A program of an environment.
pub fn program(environment: &str, name: &str) -> PathBuf {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| {
        panic!("{FOLDER} names the folder of the clients' Python environments; `cargo xtask test` makes it")
    });
    PathBuf::from(folder).join(environment).join("bin").join(name)
}

/// A script, and the environment that has what it imports.
pub struct Script {
    pub environment: &'static str,
    pub name: &'static str,
}

impl Script {
    /// Runs it to its end; what it prints, as JSON. A script that finds something
    /// wrong ends with an exception.
    pub async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Value {
        let output = Command::new(program(self.environment, "python"))
            .arg(repository("tests/clients").join(self.name))
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the environment's Python starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", self.name);
        serde_json::from_slice(&output.stdout).expect("a script prints JSON")
    }
}
