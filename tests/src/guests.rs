//! Built guests: the tests of the sandbox run real components.
//!
//! They are built on first use, so that no test runs against yesterday's guest.

use std::path::{Path, PathBuf};

pub use guest_builder::policies;

use crate::process::built_folder;

include!(concat!(env!("OUT_DIR"), "/hostile_names.rs"));

/// The component of a policy in `guests/`, with its manifest beside it if it has
/// one, or of a guest in `guests/hostile` or `guests/versions`.
///
/// # Panics
///
/// If the guests cannot be built, or none has that name.
pub fn component(name: &str) -> PathBuf {
    match written_by_hand(name) {
        Some(text) => assembled(name, &text),
        None => guest_builder::component(name).unwrap_or_else(|error| panic!("{error:#}")),
    }
}

/// The text of a guest that no compiler would make: a whole component, or a core
/// with the usual policy around it.
fn written_by_hand(name: &str) -> Option<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = tests.parent().expect("the tests are a folder of the workspace");
    let hostile = workspace.join("guests/hostile");
    let read = |file: PathBuf| std::fs::read_to_string(hostile.join(file)).ok();
    if let Some(whole) = read(format!("components/{name}.wat").into()) {
        return Some(whole);
    }
    let core = read(format!("cores/{name}.wat").into())?;
    let policy = read("policy.wat".into()).expect("cores have a policy around them");
    Some(policy.replace("  CORE\n", &core))
}

/// Tests run in processes of their own, so the file appears whole or not at all.
fn assembled(name: &str, text: &str) -> PathBuf {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let folder = built_folder().join("assembled-guests");
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    let file = tempfile::NamedTempFile::new_in(&folder).expect("the folder is ours");
    std::fs::write(file.path(), bytes).expect("the file is ours");
    let path = folder.join(format!("{name}.wasm"));
    file.persist(&path).expect("the folder is ours");
    path
}
