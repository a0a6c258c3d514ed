//! Cross-compiling: cargo-zigbuild, whose C compiler and linker are a Python wheel.

use std::process::Command;

use crate::process::root;
use crate::python;

/// A C compiler for every target, and the cargo front end that uses it.
const PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// The front end; it takes cargo's own words.
pub fn cargo() -> anyhow::Result<Command> {
    let programs = python::environment("zig", &PACKAGES)?;
    // The wheel's zig is a Python module; cargo-zigbuild finds it through the
    // environment's own Python, so that one comes first.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
    let mut command = Command::new(programs.join("cargo-zigbuild"));
    command.current_dir(root()).env("PATH", std::env::join_paths(paths)?);
    Ok(command)
}
