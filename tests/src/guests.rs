//! Built guests: the tests of the sandbox run real components.
//!
//! They are built on first use, in their own profile, so that no test runs
//! against yesterday's guest. This file knows no policy by name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The component of a policy in `guests/`, or of an example of `guests/hostile`
/// or `guests/versions`,
/// with its manifest beside it if it has one.
///
/// # Panics
///
/// If the guests cannot be built, or none has that name.
pub fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let built = match BUILT.get_or_init(build) {
        Ok(built) => built,
        Err(errors) => panic!("the guests do not build:\n{errors}"),
    };
    let found = built.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
    found.unwrap_or_else(|| panic!("no guest is called `{name}`")).clone()
}

/// The names of the hostile guests: what is in their folder.
pub fn hostile() -> Vec<String> {
    let folder = workspace().join("guests/hostile/examples");
    let files = std::fs::read_dir(folder).expect("the hostile guests have a folder");
    let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_string());
    let mut names: Vec<_> = files.flatten().filter_map(|file| stem(file.path())).collect();
    names.sort();
    names
}

fn build() -> Result<Vec<PathBuf>, String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--profile", "guest", "--target", "wasm32-wasip2"])
        .args(["-p", "passages", "-p", "dedupe", "-p", "fresh", "-p", "hostile", "-p", "versions"])
        .args(["--lib", "--examples", "--message-format", "json-render-diagnostics"])
        .output()
        .expect("cargo can be started");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let components: Vec<_> = messages.lines().flat_map(components).collect();
    for component in &components {
        copy_manifest(component);
    }
    Ok(components)
}

/// The wasm files that a line of cargo's report names.
fn components(message: &str) -> Vec<PathBuf> {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let files = message["filenames"].as_array().into_iter().flatten();
    (files.filter_map(Value::as_str).map(PathBuf::from))
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}

/// Cargo leaves the manifest with the sources; a policy is looked for with the
/// two side by side.
fn copy_manifest(component: &Path) {
    let Some(name) = component.file_stem().and_then(|stem| stem.to_str()) else {
        return;
    };
    let manifest = workspace().join(format!("guests/{name}/{name}.toml"));
    if manifest.exists() {
        std::fs::copy(manifest, component.with_extension("toml")).expect("the folder is ours");
    }
}

fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are a folder of the workspace").into()
}
