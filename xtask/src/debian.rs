//! Programs of Debian's packages, which tests of the slow tier need.

use std::process::Command;

use anyhow::bail;

use crate::process::{run, works};

/// Makes sure that `program` is there: it is installed where there is apt and leave to
/// use it.
pub fn require(program: &str, packages: &[&str]) -> anyhow::Result<()> {
    let is_there = || works(Command::new(program).arg("--version"));
    if is_there() {
        return Ok(());
    }
    if works(Command::new("apt-get").arg("--version")) {
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        let quiet = ["-qq", "install", "--yes", "--no-install-recommends"];
        let mut install = Command::new("apt-get");
        run(install.args(quiet).args(packages).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    if !is_there() {
        bail!("{program} is not there; Debian has it in the package {}", packages[0]);
    }
    Ok(())
}
