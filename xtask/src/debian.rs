//! Programs of Debian's packages, which some tests need.

use std::process::Command;

use anyhow::bail;

use crate::process::{run, works};

/// Makes sure that `program` is there: it is installed where there is apt and leave to
/// use it.
pub fn require(program: &str, packages: &[&str]) -> anyhow::Result<()> {
    if !obtain(program, packages) {
        bail!("{program} is not there; Debian has it in the package {}", packages[0]);
    }
    Ok(())
}

/// Whether `program` is there, if need be after an attempt to install it.
pub fn obtain(program: &str, packages: &[&str]) -> bool {
    let is_there = || works(Command::new(program).arg("--version"));
    if is_there() {
        return true;
    }
    if !works(Command::new("apt-get").arg("--version")) {
        return false;
    }
    let quiet = ["-qq", "install", "--yes", "--no-install-recommends"];
    let mut install = Command::new("apt-get");
    install.args(quiet).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    let installed = run(Command::new("apt-get").args(["-qq", "update"])).and(run(&mut install));
    installed.is_ok() && is_there()
}
