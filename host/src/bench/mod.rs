//! `maitred bench`: measures a rerank server from outside, as its clients see it,
//! and the server's stages alone.
//!
//! In reading order: [`workload`] (what is asked, and how), [`sweep`] (its
//! variants), `corpus` (texts), `load` (when), `subject` (who), `client`,
//! `connections` and `dialect` (a server over HTTP), `target` (where it is, or how it is started),
//! `stage` (parts of it without HTTP), `run` (one window), [`measure`] (figures,
//! pure), [`verify`] (whether answers are right), `figures`, `process` and
//! `watching` (what the server says of itself meanwhile), [`record`] (a line a
//! window), [`session`] (all windows), [`report`] and [`diff`] (made of records
//! only).
//!
//! It knows HTTP as a client and shares no state with a server: one that it
//! starts is a process of its own.

mod client;
mod connections;
pub mod corpus;
mod dialect;
pub mod diff;
mod fields;
mod figures;
mod latencies;
mod load;
mod machine;
pub mod measure;
pub mod models;
mod opened;
mod process;
mod random;
pub mod record;
pub mod report;
pub mod run;
pub mod sample;
pub mod session;
pub mod stage;
pub mod statistics;
mod subject;
pub mod sweep;
mod target;
pub mod verify;
mod watching;
pub mod workload;
