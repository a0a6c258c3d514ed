//! What the tests of this crate share: where fixtures and guests are, a sandbox
//! with a model that needs no files, a server in this process or in its own, a
//! browser, and what devices are tested with.

pub mod browser;
pub mod clients;
pub mod collector;
pub mod deploy;
pub mod fake;
pub mod fixtures;
pub mod guests;
pub mod lab;
pub mod process;
pub mod selftest;
pub mod server;
mod tier;
pub mod tls;

pub use tier::slow;
