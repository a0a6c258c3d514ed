//! Dialects: the request and response bodies that rerank clients already speak.
//!
//! A dialect is a pure pair. `decode` makes of a body what the edge is asked
//! and a `Reply`, the part that only the answer needs; the reply's `encode`
//! makes of the edge's answer a body. A new dialect is a file with such a pair
//! and the types that `/openapi.json` shows, a variant of [`Dialect`] and of
//! [`Reply`], and a folder of `fixtures`.
//!
//! Dialects know no sockets, routes or statuses. Foreign bodies may carry
//! members that nobody here knows: their own servers accept them.

pub mod document;
pub mod family;
pub mod object;
pub mod score;
pub mod tei;
#[cfg(test)]
mod tests;
mod truncation;
pub mod voyage;

use std::sync::Arc;
use std::time::Duration;

use self::family::{Flavour, Version};
use self::object::{Bound, Keep, Object};
use crate::http::errors::{Problem, Shape};
use crate::rerank::{Lengths, Priority};
use crate::route::{Answer, Ask, AskedDocument, Queries, Scores};
use crate::telemetry::Trace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Tei,
    /// Those that descend from Cohere's.
    Family(Flavour),
    Voyage,
    /// vLLM's scores of pairs.
    Score,
}

/// The members that some dialect asks for. Which dialect it is the body has to tell,
/// so these are kept of any body. Foreign ones are not even counted.
pub const KNOWN: Keep = Keep {
    known: &[
        "query",
        "documents",
        "texts",
        "model",
        "top_n",
        "top_k",
        "return_documents",
        "return_text",
        "rank_fields",
        "raw_scores",
        "use_activation",
        "truncate",
        "truncation",
        "truncation_direction",
        "truncation_side",
        "truncate_prompt_tokens",
        "max_tokens_per_doc",
        "max_doc_length",
        "max_tokens_per_query",
        "max_query_length",
        "max_chunks_per_doc",
        "priority",
        "request_id",
        "queries",
        "items",
        "text_1",
        "text_2",
        "data_1",
        "data_2",
    ],
    others_max: 0,
};

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
    Family(family::Reply),
    Voyage(voyage::Reply),
    Score(score::Reply),
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
    /// Seconds since 1970, which some dialects state.
    pub created_s: u64,
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
            Dialect::Family(flavour) => flavour.name(),
            Dialect::Voyage => "voyage",
            Dialect::Score => "vllm-score",
        }
    }

    /// The shape of its errors.
    pub fn errors(self) -> Shape {
        match self {
            Dialect::Tei => Shape::Tei,
            Dialect::Family(flavour) => flavour.errors(),
            Dialect::Voyage => Shape::Detail,
            Dialect::Score => Shape::Fault,
        }
    }

    /// The dialect of a body, given what its path says. As little as possible is
    /// guessed: TEI alone calls its documents `texts`, Voyage alone has `top_k`,
    /// and what is left share one body (see [`Flavour::Shared`]). Under a prefix
    /// (`/jina/…`) nothing is guessed.
    pub fn recognise(path: Option<Self>, body: &Object<'_>) -> Result<Self, Problem> {
        const V1: Dialect = Dialect::Family(Flavour::Shared(Version::V1));
        let family = || match body.has("top_k") && !body.has("top_n") {
            true => Dialect::Voyage,
            false => V1,
        };
        match path {
            Some(V1) => return Ok(family()),
            Some(only) => return Ok(only),
            None => {}
        }
        match (body.get("texts"), body.get("documents")) {
            (Some(_), None) => Ok(Dialect::Tei),
            (None, Some(_)) => Ok(family()),
            (Some(_), Some(_)) => Err(object::invalid(
                "the body has both `texts` and `documents`; TEI's clients send the one, all others the other".into(),
            )),
            (None, None) => Err(object::invalid(
                "the body has neither `texts` (as TEI's clients send) nor `documents` (as all others send)".into(),
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
            Dialect::Family(flavour) => family::decode(flavour, body, envelope, bounds),
            Dialect::Voyage => voyage::decode(body, envelope, bounds),
            Dialect::Score => score::decode(body, envelope, bounds),
        }
    }
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        match self {
            Reply::Tei(reply) => reply.encode(served),
            Reply::Family(reply) => reply.encode(served),
            Reply::Voyage(reply) => reply.encode(served),
            Reply::Score(reply) => reply.encode(served),
        }
    }
}

impl Envelope {
    /// An ask of which the body says nothing but what is to be ranked.
    pub fn ask(&self, query: Queries, documents: Vec<AskedDocument>) -> Ask {
        Ask {
            query,
            documents,
            top_n: None,
            scores: Scores::Probability,
            timeout: self.timeout,
            priority: self.priority.unwrap_or_default(),
            truncate: None,
            lengths: Lengths::default(),
            filtered: None,
            request_id: self.request_id.clone(),
            caller: None,
            trace: Trace::default(),
            report: Arc::default(),
        }
    }
}

impl Bounds {
    fn documents(&self) -> Bound {
        Bound { what: "the number of documents", max: self.documents_max }
    }
}

/// Our own response types hold strings, integers and finite numbers.
fn json(body: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("nothing in a response body can fail to serialise")
}
