//! The kernels on 64-bit ARM, from any Linux: cross-compiled, and their tests run by qemu,
//! which knows every extension. It says nothing about speed.

use crate::process::run;
use crate::{debian, guests, zig};

const TARGET: &str = "aarch64-unknown-linux-musl";
const QEMU: &str = "qemu-aarch64-static";

const PACKAGES: [&str; 1] = ["qemu-user-static"];

/// What `-cpu max` has. The tests fail if they find anything else.
const INSTRUCTION_SETS: &str = "neon-bf16-i8mm neon-dotprod neon scalar";

/// The tests, where there is qemu or leave to install it; elsewhere it is said that they
/// did not run.
pub fn test_if_possible() -> anyhow::Result<()> {
    match debian::obtain(QEMU, &PACKAGES) {
        true => test(),
        false => {
            println!("\nThe kernels' tests on 64-bit ARM are left out: {QEMU} is not there.");
            Ok(())
        }
    }
}

pub fn test() -> anyhow::Result<()> {
    debian::require(QEMU, &PACKAGES)?;
    guests::add_target(TARGET)?;
    run(zig::cargo()?
        .args(["test", "--package", "maitred-kernels", "--target", TARGET])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", format!("{QEMU} -cpu max"))
        .env("MAITRED_ISAS", INSTRUCTION_SETS))
}
