//! Builds the guests and lays them, each with its manifest, where tasks, tests,
//! the demo and a reader find them: `guests/built/`, the hostile ones in
//! `guests/built/hostile/`, and with them those of `guests/versions`.
//!
//! There is no list of guests: a policy of use is a folder of `guests/` that
//! holds a manifest of its own name, a hostile guest is an example of
//! `guests/hostile`.
//!
//! Tests run in many processes, which all want the guests at once. A lock file
//! makes them take turns; the first builds, and the others see that no source
//! changed since. A file in `built/` is replaced whole, so that nobody reads half
//! of one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde_json::Value;

/// What guests are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// What guests are made of, relative to the repository.
const SOURCES: [&str; 6] =
    ["guests", "wit", "Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml"];

/// Builds whatever changed, and returns the folder with the policies of use.
///
/// # Errors
///
/// If cargo cannot build them, with what it says, or the folder cannot be
/// written.
pub fn build() -> anyhow::Result<PathBuf> {
    let built = root().join("guests/built");
    fs::create_dir_all(built.join("hostile"))?;
    let lock = File::create(built.join(".lock")).context("failed to make the lock file")?;
    lock.lock().context("failed to lock the folder of built guests")?;
    // What changes while cargo runs is newer than this.
    let began = SystemTime::now();
    let stamp = built.join(".built");
    let latest = SOURCES.iter().map(|source| changed(&root().join(source))).max();
    let is_old = fs::metadata(&stamp).and_then(|stamp| stamp.modified()).ok() < latest.flatten();
    let lacks = |name: &String| !built.join(format!("{name}.wasm")).exists();
    if is_old || policies().iter().any(lacks) {
        lay_out(&built)?;
        File::create(&stamp)?.set_modified(began)?;
    }
    Ok(built)
}

/// The names of the policies of use.
pub fn policies() -> Vec<String> {
    let guests = root().join("guests");
    let has_manifest = |name: &String| guests.join(name).join(format!("{name}.toml")).exists();
    names(&guests).into_iter().filter(has_manifest).collect()
}

/// The component of a guest of either kind, built if need be.
///
/// # Errors
///
/// As of [`build`], and if no guest has that name.
pub fn component(name: &str) -> anyhow::Result<PathBuf> {
    let built = build()?;
    let file = format!("{name}.wasm");
    let places = [built.join(&file), built.join("hostile").join(&file)];
    places.into_iter().find(|place| place.exists()).with_context(|| {
        format!("no guest is called `{name}`; there are {}", policies().join(", "))
    })
}

/// Runs cargo and puts what it made into its place.
fn lay_out(built: &Path) -> anyhow::Result<()> {
    let policies = policies();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--profile", "guest", "--target", TARGET]);
    for package in policies.iter().map(String::as_str).chain(["hostile", "versions"]) {
        cargo.args(["--package", package]);
    }
    cargo.args(["--lib", "--examples", "--message-format", "json-render-diagnostics"]);
    let output = cargo.output().context("failed to start cargo")?;
    if !output.status.success() {
        bail!("failed to build the guests:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let messages = String::from_utf8(output.stdout).context("cargo speaks UTF-8")?;
    for component in messages.lines().flat_map(components) {
        let name = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !policies.contains(&name) {
            replace(&component, &built.join(format!("hostile/{name}.wasm")))?;
            continue;
        }
        let manifest = root().join(format!("guests/{name}/{name}.toml"));
        replace(&component, &built.join(format!("{name}.wasm")))?;
        replace(&manifest, &built.join(format!("{name}.toml")))?;
    }
    Ok(())
}

/// The wasm files that a line of cargo's report names.
fn components(message: &str) -> Vec<PathBuf> {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let files = message["filenames"].as_array().into_iter().flatten();
    (files.filter_map(Value::as_str).map(PathBuf::from))
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}

/// Copies a file if it is new; who reads the old one keeps it.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to copy {} to {}", from.display(), to.display());
    let new = fs::read(from).with_context(failed)?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let half = to.with_extension("half");
    fs::write(&half, new).with_context(failed)?;
    fs::rename(&half, to).with_context(failed)
}

/// When a file, or the newest below a folder, was last changed.
fn changed(path: &Path) -> Option<SystemTime> {
    // What is built is no source.
    if path.ends_with("guests/built") {
        return None;
    }
    let own = fs::metadata(path).ok()?.modified().ok();
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inside = entries.map(|entry| changed(&entry.path())).max().flatten();
    own.max(inside)
}

/// The names of what is in a folder, without what follows a point.
fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_string());
    let mut names: Vec<_> = files.filter_map(|file| stem(file.path())).collect();
    names.sort();
    names
}

fn root() -> PathBuf {
    let builder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = builder.ancestors().nth(2).expect("the builder is in `guests/` of a repository");
    root.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_manifest_of_its_name_is_a_policy() {
        let policies = policies();
        assert!(policies.iter().any(|name| name == "passages"), "{policies:?}");
        for other in ["sdk", "hostile", "builder", "built"] {
            assert!(policies.iter().all(|name| name != other), "{policies:?}");
        }
    }

    #[test]
    fn the_newest_file_of_a_folder_counts() {
        let here = changed(&root().join("guests/builder")).unwrap();
        assert!(here >= changed(&root().join("guests/builder/src/lib.rs")).unwrap());
        assert_eq!(changed(&root().join("no such file")), None);
    }
}
