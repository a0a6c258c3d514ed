//! Dialects: the request and response bodies that rerank clients already speak.
//!
//! A dialect is a pure pair. `decode` makes of a body what the edge is asked
//! and a `Reply`, the part that only the answer needs; the reply's `encode`
//! makes of the edge's answer a body. A new dialect is a file with such a pair,
//! a variant of [`Dialect`] and of [`Reply`], and its fixtures in `tests.rs`.
//!
//! Dialects know no sockets, routes or statuses. Foreign bodies may carry
//! members that nobody here knows: their own servers accept them.

pub mod cohere;
mod document;
pub mod object;
pub mod tei;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use self::object::Object;
use crate::http::errors::Problem;
use crate::rerank::Priority;
use crate::route::{Answer, Ask};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Tei,
    Cohere(cohere::Version),
}

/// What a client asks, and what its dialect must remember for the answer.
#[derive(Debug)]
pub struct Call {
    pub ask: Ask,
    /// The model that the body names.
    pub model: Option<String>,
    pub reply: Reply,
}

#[derive(Debug)]
pub enum Reply {
    Tei(tei::Reply),
    Cohere(cohere::Reply),
}

/// What the request's head says about it, in any dialect.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub request_id: Arc<str>,
    /// Wins over what a body says.
    pub priority: Option<Priority>,
    pub timeout: Option<Duration>,
}

/// How much a body may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub documents_max: usize,
    /// Metadata of one document.
    pub fields_max: usize,
}

/// What an answer is encoded from.
#[derive(Debug)]
pub struct Served<'a> {
    pub answer: &'a Answer,
    pub request_id: &'a str,
    /// Tokens of a pair that the model reads.
    pub length_max: usize,
}

/// The success in the dialect's words.
#[derive(Debug)]
pub struct Encoded {
    pub body: Vec<u8>,
    /// Headers of the dialect; their values are numbers.
    pub headers: Vec<(&'static str, u64)>,
}

impl Dialect {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Tei => "tei",
            Dialect::Cohere(cohere::Version::V1) => "cohere-v1",
            Dialect::Cohere(cohere::Version::V2) => "cohere-v2",
        }
    }

    /// The dialect of a body on a path that several share: TEI calls its
    /// documents `texts`, everyone else `documents`.
    pub fn recognise(body: &Object<'_>) -> Result<Self, Problem> {
        match (body.get("texts"), body.get("documents")) {
            (Some(_), None) => Ok(Dialect::Tei),
            (None, Some(_)) => Ok(Dialect::Cohere(cohere::Version::V1)),
            (Some(_), Some(_)) => Err(object::invalid(
                "the body has both `texts` and `documents`; TEI clients send the one, Cohere clients the other".into(),
            )),
            (None, None) => Err(object::invalid(
                "the body has neither `texts` (as TEI clients send) nor `documents` (as Cohere clients send)".into(),
            )),
        }
    }

    pub fn decode(
        self,
        body: &Object<'_>,
        envelope: &Envelope,
        bounds: &Bounds,
    ) -> Result<Call, Problem> {
        match self {
            Dialect::Tei => tei::decode(body, envelope, bounds),
            Dialect::Cohere(version) => cohere::decode(version, body, envelope, bounds),
        }
    }
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        match self {
            Reply::Tei(reply) => reply.encode(served),
            Reply::Cohere(reply) => reply.encode(served),
        }
    }
}

/// Our own response types hold strings, integers and finite numbers.
fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("nothing in a response body can fail to serialise")
}
