//! The dialect of Voyage AI's rerank API, as its Python SDK speaks it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::object::{Object, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, json};
use crate::route::{Ask, Queries};

/// What Voyage's clients send.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "VoyageRequest")]
pub struct Request {
    #[schemars(regex(pattern = r"\S"))]
    pub query: String,
    #[schemars(length(min = 1), extend("maxItems" = "documents_max"))]
    pub documents: Vec<Document>,
    /// The name of a route or of a model.
    pub model: Option<String>,
    /// How many results come back; all if it is absent.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub top_k: Option<u32>,
    /// Whether each result repeats its document's text.
    #[serde(default)]
    pub return_documents: Option<bool>,
    /// Whether pairs longer than the model reads are truncated (the default) or
    /// refused.
    pub truncation: Option<bool>,
}

/// What the answer needs of the request.
#[derive(Debug)]
pub struct Reply {
    /// By the documents' index, if the client wants them back.
    texts: Option<Vec<Arc<str>>>,
}

pub fn decode(body: &Object<'_>, envelope: &Envelope, bounds: &Bounds) -> Result<Call, Problem> {
    let query = text("query", body.required("query")?)?;
    let sent = documents(body, "documents", &[], bounds)?;
    let documents: Vec<_> = sent.into_iter().map(|sent| sent.asked).collect();
    let return_documents = body.boolean("return_documents")?.unwrap_or(false);
    let reply = Reply {
        texts: return_documents.then(|| documents.iter().map(|d| d.text.clone()).collect()),
    };
    let query = Queries::One(Arc::from(query));
    Ok(Call {
        ask: Ask {
            top_n: body.integer("top_k", 1..=u32::MAX)?,
            truncate: Some(body.boolean("truncation")?.unwrap_or(true)),
            ..envelope.ask(query, documents)
        },
        model: body.text("model")?,
        reply: super::Reply::Voyage(reply),
    })
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VoyageAnswer")]
pub struct Answer<'a> {
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    /// Best first.
    data: Vec<Scored<'a>>,
    /// The model that scored.
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VoyageResult")]
struct Scored<'a> {
    /// Between 0 and 1.
    relevance_score: f32,
    /// Position in `documents`.
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VoyageUsage")]
struct Usage {
    /// Tokens of all pairs that the model read.
    total_tokens: u64,
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        let answer = served.answer;
        let data = answer.results.iter().map(|result| Scored {
            relevance_score: result.score,
            index: result.index,
            document: self.texts.as_ref().map(|texts| &*texts[result.index as usize]),
        });
        let body = Answer {
            object: "list",
            data: data.collect(),
            model: &answer.model,
            usage: Usage { total_tokens: answer.report.tokens() },
        };
        Encoded { body: json(&body), headers: Vec::new() }
    }
}
