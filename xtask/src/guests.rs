//! Builds the policies of use to wasm and lays them, with their manifests, where
//! the demo and a reader find them: `guests/built/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::process::{cargo, root, run, target, works};

const TARGET: &str = "wasm32-wasip2";
/// Policies of use; each has its manifest beside its sources.
pub const POLICIES: [&str; 3] = ["passages", "dedupe", "fresh"];

pub fn build() -> anyhow::Result<()> {
    add_target(TARGET)?;
    let mut build = cargo();
    build.args(["build", "--profile", "guest", "--target", TARGET]);
    for policy in POLICIES {
        build.args(["--package", policy]);
    }
    run(&mut build)?;
    let built = root().join("guests/built");
    fs::create_dir_all(&built)?;
    for policy in POLICIES {
        let component = target()?.join(TARGET).join("guest").join(format!("{policy}.wasm"));
        copy(&component, &built.join(format!("{policy}.wasm")))?;
        let manifest = root().join(format!("guests/{policy}/{policy}.toml"));
        copy(&manifest, &built.join(format!("{policy}.toml")))?;
    }
    println!("guests are in guests/built/");
    Ok(())
}

/// Adds a compilation target where rustup manages the toolchain.
pub fn add_target(target: &str) -> anyhow::Result<()> {
    if works(Command::new("rustup").arg("--version")) {
        run(Command::new("rustup").args(["target", "add", target]).current_dir(root()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
