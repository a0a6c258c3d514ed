//! The batcher: calls of the model go in, batches for replicas come out.

mod lanes;
pub mod schedule;
