//! A Python environment of the project's own, under the target folder: real
//! clients and cross-compilers come from there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{run, target, works};

/// Where the environments are, by their names.
pub fn folder() -> anyhow::Result<PathBuf> {
    Ok(target()?.join("python"))
}

/// An environment named `name` with `packages` (as pip names them) installed.
/// Returns its folder of programs.
pub fn environment(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = folder()?.join(name);
    let programs = folder.join("bin");
    if !works(Command::new(programs.join("pip")).arg("--version")) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let quiet = ["install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(programs.join("pip")).args(quiet).args(packages))?;
    Ok(programs)
}

/// Downloads one package's file, without what it depends on, into `folder`.
pub fn download(package: &str, folder: &Path) -> anyhow::Result<()> {
    let words = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run(Command::new("python3").args(words).arg(package).arg("--dest").arg(folder))
}
