//! Facts about the request that a policy serves. They are the host's to know:
//! outside a component, asking for one panics.

pub use crate::bindings::maitred::rerank::context::{
    ModelInfo, caller, model, remaining_ms, request_id, wanted,
};
