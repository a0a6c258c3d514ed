//! The kernels on 64-bit ARM, from any Linux: cross-compiled, and their tests run by qemu,
//! which knows every extension. It says nothing about speed.

use crate::process::run;
use crate::{debian, guests, zig};

const TARGET: &str = "aarch64-unknown-linux-musl";
const QEMU: &str = "qemu-aarch64-static";

pub fn test() -> anyhow::Result<()> {
    debian::require(QEMU, &["qemu-user-static"])?;
    guests::add_target(TARGET)?;
    run(zig::cargo()?
        .args(["test", "--package", "maitred-kernels", "--target", TARGET])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", format!("{QEMU} -cpu max")))
}
