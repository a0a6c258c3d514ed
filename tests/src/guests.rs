//! Built guests: the tests of the sandbox run real components.
//!
//! They are built on first use, so that no test runs against yesterday's guest.

use std::path::PathBuf;

pub use guest_builder::{hostile, policies};

/// The component of a policy in `guests/`, or of an example of `guests/hostile`,
/// with its manifest beside it if it has one.
///
/// # Panics
///
/// If the guests cannot be built, or none has that name.
pub fn component(name: &str) -> PathBuf {
    guest_builder::component(name).unwrap_or_else(|error| panic!("{error:#}"))
}
