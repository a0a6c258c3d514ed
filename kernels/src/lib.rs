//! The arithmetic of the CPU engine: what an encoder does to rows of numbers, on
//! the vector instructions of the machine.
//!
//! The instruction set is chosen once ([`Isa`]), and matrices are packed for it.
//! Every kernel is written once, over a small vocabulary of vectors
//! (`isa/mod.rs`), and compiled for each instruction set; one of them is plain
//! Rust. The interface is safe; `unsafe` of the project lives here, and each use
//! says who checked what.
//!
//! This crate knows no model, no file and no thread, and depends on nothing.

mod activation;
mod attention;
mod embedding;
mod finite;
mod fold;
mod isa;
mod linear;
mod lines;
mod norm;
mod peak;
mod quantise;
mod rows;
mod tile;

pub use activation::Activation;
pub use attention::{Asking, Attention, Columns, Sequences};
pub use embedding::{Embedding, Words};
pub use finite::all_finite;
pub use isa::Isa;
pub use linear::{Linear, Weights};
pub use lines::Buffer;
pub use norm::Norm;
pub use peak::peak;
pub use rows::{Format, Operand, Rows};

#[cfg(target_endian = "big")]
compile_error!("the lanes of packed matrices are little-endian");
