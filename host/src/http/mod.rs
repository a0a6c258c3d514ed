//! Clients: connections, requests, dialects. It knows routes and nothing behind
//! them.

pub mod dialect;
pub mod errors;
