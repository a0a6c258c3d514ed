//! The browser that tests look at the operators' page with.

use std::process::Command;

use anyhow::bail;

use crate::process::{run, works};

const PROGRAM: &str = "chromium";

/// Gets it where there is Debian's package manager, if it is not there.
pub fn install() -> anyhow::Result<()> {
    let there = || works(Command::new(PROGRAM).arg("--version"));
    if there() {
        return Ok(());
    }
    if !works(Command::new("apt-get").arg("--version")) {
        bail!("{PROGRAM} is not there; Debian has it in the package of that name");
    }
    // Without a font there is nothing to read in its pictures.
    run(Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args([PROGRAM, "fonts-dejavu-core"]))?;
    match there() {
        true => Ok(()),
        false => bail!("{PROGRAM} was installed and does not run"),
    }
}
