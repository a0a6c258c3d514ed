//! Builds the guests, with the compilation target that they need.

use std::process::Command;

use crate::process::{root, run, works};

pub fn build() -> anyhow::Result<()> {
    add_target(guest_builder::TARGET)?;
    println!("\n==> building the guests");
    guest_builder::build()?;
    println!("{} are in guests/built/", guest_builder::policies().join(", "));
    Ok(())
}

/// Adds a compilation target where rustup manages the toolchain.
pub fn add_target(target: &str) -> anyhow::Result<()> {
    if works(Command::new("rustup").arg("--version")) {
        run(Command::new("rustup").args(["target", "add", target]).current_dir(root()))?;
    }
    Ok(())
}
