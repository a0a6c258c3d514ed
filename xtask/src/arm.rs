//! The kernels on 64-bit ARM, from any Linux: cross-compiled, and their tests run by qemu,
//! which knows every extension. It says nothing about speed.

use std::process::Command;

use anyhow::bail;

use crate::process::{run, works};
use crate::{guests, zig};

const TARGET: &str = "aarch64-unknown-linux-musl";
const QEMU: &str = "qemu-aarch64-static";

pub fn test() -> anyhow::Result<()> {
    if !works(Command::new(QEMU).arg("--version")) {
        bail!("{QEMU} is not there; Debian has it in the package qemu-user-static");
    }
    guests::add_target(TARGET)?;
    run(zig::cargo()?
        .args(["test", "--package", "maitred-kernels", "--target", TARGET])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", format!("{QEMU} -cpu max")))
}
