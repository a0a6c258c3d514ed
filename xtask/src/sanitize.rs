//! What no type says about the kernels' `unsafe`: their tests under the address
//! sanitizer, on every instruction set of this machine, and under Miri, which knows
//! the scalar one and the packing.

use std::process::Command;

use anyhow::Context;

use crate::process::{cargo, root, run, works};

/// Miri is a part of nightly compilers only; this one is of the version that we
/// build with.
const NIGHTLY: &str = "nightly-2026-02-15";

pub fn run_all() -> anyhow::Result<()> {
    let tests = ["test", "--package", "maitred-kernels"];
    run(cargo()
        .args(tests)
        // Without a target the flags would hold for build scripts, too.
        .args(["--target", &host()?])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // The sanitizer is a flag of nightly compilers, but its library comes with all.
        .env("RUSTC_BOOTSTRAP", "1"))?;
    let miri = || {
        let mut miri = Command::new("rustup");
        miri.args(["run", NIGHTLY, "cargo", "miri"]).current_dir(root());
        miri
    };
    if !works(miri().arg("--version")) {
        run(Command::new("rustup").args(["toolchain", "install", NIGHTLY]).args([
            "--profile",
            "minimal",
            "--component",
            "miri,rust-src",
        ]))?;
    }
    run(miri()
        .args(tests)
        // Seeds are drawn, which needs the outside world.
        .env("MIRIFLAGS", "-Zmiri-strict-provenance -Zmiri-disable-isolation"))
}

/// The triple of this machine.
fn host() -> anyhow::Result<String> {
    let said = Command::new("rustc").arg("-vV").output()?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc names no host")?.to_owned())
}
