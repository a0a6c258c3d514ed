//! What the tests of this crate share: where fixtures and guests are, and a
//! server in this process.

pub mod fixtures;
pub mod guests;
pub mod process;
pub mod server;
pub mod slow;
