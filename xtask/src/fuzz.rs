//! Fuzzing with coverage: every target of `fuzz/` in turn, from its seeds and from
//! what former runs found. A target that finds something fails, and says in which
//! file it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::process::{cargo, root, run, target, works};

/// What builds and drives the targets; it is not one of our dependencies, as it is
/// a program.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

#[derive(Args)]
pub struct FuzzArguments {
    /// Time for each target, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Only these, instead of all.
    targets: Vec<String>,
}

impl FuzzArguments {
    /// All targets, for as long as a test may take.
    pub fn short() -> Self {
        FuzzArguments { seconds: 15, targets: Vec::new() }
    }
}

pub fn fuzz(arguments: &FuzzArguments) -> anyhow::Result<()> {
    let program = program()?;
    let targets = match arguments.targets.is_empty() {
        true => all()?,
        false => arguments.targets.clone(),
    };
    for target in targets {
        // Seeds are small; what no seed folder should hold twice is named here.
        let (whole, length): (&[&str], _) = match &*target {
            "onnx_import" => (&["tests/fixtures/tiny-quantised.onnx"], 300_000),
            _ => (&[], 65_536),
        };
        let corpus = format!("fuzz/corpus/{target}");
        fs::create_dir_all(root().join(&corpus))?;
        run(Command::new(&program)
            .args(["fuzz", "run", "--sanitizer", "none", &target, &corpus])
            .arg(format!("fuzz/seeds/{target}"))
            .args(["--", &format!("-max_total_time={}", arguments.seconds)])
            .arg(format!("-max_len={length}"))
            .args(whole.iter().map(|path| format!("-seed_inputs={path}")))
            // Longer than any input may take, and shorter than a hang.
            .args(["-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"])
            .current_dir(root())
            // Coverage is a flag of nightly compilers; no sanitizer is needed
            // where nothing is unsafe.
            .env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}

/// The names of the targets, which are those of their files.
fn all() -> anyhow::Result<Vec<String>> {
    let files = fs::read_dir(root().join("fuzz/fuzz_targets"))?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        let name = path.file_stem().context("a target has a name")?;
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The installed one, or one of ours under the target folder.
fn program() -> anyhow::Result<PathBuf> {
    let (name, version) = CARGO_FUZZ;
    let installed = PathBuf::from(name);
    if works(Command::new(&installed).arg("--version")) {
        return Ok(installed);
    }
    let folder = target()?.join("tools");
    let program = folder.join("bin").join(name);
    if !works(Command::new(&program).arg("--version")) {
        run(cargo()
            .args(["install", "--locked", "--version", version, "--root"])
            .arg(&folder)
            .arg(name))?;
    }
    Ok(program)
}
