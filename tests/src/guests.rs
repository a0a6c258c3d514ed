//! Built guests: the tests of the sandbox run real components.
//!
//! They are built on first use, so that no test runs against yesterday's guest.

use std::path::PathBuf;

pub use guest_builder::policies;

use crate::fixtures::repository;
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
    let read = |file: String| std::fs::read_to_string(hostile().join(file)).ok();
    read(format!("components/{name}.wat"))
        .or_else(|| read(format!("cores/{name}.wat")).map(|core| around(&core)))
}

/// The text of a policy, given that of its core.
fn around(core: &str) -> String {
    let part = |file| std::fs::read_to_string(hostile().join(file)).expect("cores have a policy");
    let lift = if core.contains("(func $rerank)") { String::new() } else { part("lift.wat") };
    part("policy.wat").replace("  CORE\n", core).replace("  LIFT\n", &lift)
}

fn hostile() -> PathBuf {
    repository("guests/hostile")
}

/// A policy of so many small functions, all different: what takes a compiler long.
/// Nobody should call it.
pub fn large_component(functions: usize) -> Vec<u8> {
    let mut core = String::from(
        "(core module $main
           (memory (export \"memory\") 1)
           (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export \"rerank\") (param i32 i32 i32 i32) (result i32) unreachable)\n",
    );
    for number in 0..functions {
        core += &format!(
            "(func (param i32) (result i32)
               (i32.xor (i32.const {number}) (i32.load (i32.mul (local.get 0) (i32.const 3)))))\n"
        );
    }
    core += ")\n(core instance $core (instantiate $main))\n";
    wat::parse_str(around(&core)).expect("the text is ours")
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
