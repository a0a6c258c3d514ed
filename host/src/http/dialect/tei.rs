//! The dialect of Hugging Face's text-embeddings-inference (1.9): a bare list
//! of ranks, and what they cost in headers.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::object::{Object, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, json, truncation};
use crate::rerank::Stage;
use crate::route::{Ask, Queries, Scores};

/// What clients of text-embeddings-inference send.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TeiRequest")]
pub struct Request {
    #[schemars(regex(pattern = r"\S"))]
    pub query: String,
    #[schemars(length(min = 1), extend("maxItems" = "documents_max"))]
    pub texts: Vec<Document>,
    /// Whether pairs longer than the model reads are truncated or refused; if it
    /// is absent, the model's settings decide.
    pub truncate: Option<bool>,
    /// From which side long texts lose tokens; the left one is not supported.
    pub truncation_direction: Option<Direction>,
    /// Logits instead of scores between 0 and 1.
    pub raw_scores: Option<bool>,
    /// Whether each rank repeats its text.
    pub return_text: Option<bool>,
    /// The name of a route or of a model; the default route if it is absent, as it is
    /// to text-embeddings-inference, which serves one model.
    pub model: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Direction {
    Right,
    #[serde(rename = "right")]
    Lower,
}

/// What the answer needs of the request.
#[derive(Debug)]
pub struct Reply {
    /// By the documents' index, if the client wants them back.
    texts: Option<Vec<Arc<str>>>,
    /// Characters the model is asked to read; the query counts once a text.
    characters: u64,
}

pub fn decode(body: &Object<'_>, envelope: &Envelope, bounds: &Bounds) -> Result<Call, Problem> {
    let query = text("query", body.required("query")?)?;
    if query.trim().is_empty() {
        return Err(Problem::Empty("`query` is empty".into()));
    }
    let sent = documents(body, "texts", &[], bounds)?;
    if sent.is_empty() {
        return Err(Problem::Empty("`texts` is empty".into()));
    }
    truncation::side(body, "truncation_direction")?;
    let scores = match body.boolean("raw_scores")? {
        Some(true) => Scores::Logit,
        _ => Scores::Probability,
    };
    let documents: Vec<_> = sent.into_iter().map(|sent| sent.asked).collect();
    let return_text = body.boolean("return_text")?.unwrap_or(false);
    let characters = |text: &str| text.chars().count() as u64;
    let reply = Reply {
        texts: return_text.then(|| documents.iter().map(|d| d.text.clone()).collect()),
        characters: documents.iter().map(|d| characters(&d.text)).sum::<u64>()
            + characters(&query) * documents.len() as u64,
    };
    let query = Queries::One(Arc::from(query));
    Ok(Call {
        ask: Ask { scores, truncate: body.boolean("truncate")?, ..envelope.ask(query, documents) },
        model: body.text("model")?,
        reply: super::Reply::Tei(reply),
    })
}

/// Best first.
pub type Answer = Vec<Rank<'static>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TeiRank")]
pub struct Rank<'a> {
    /// Position in `texts`.
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Between 0 and 1, or a logit if `raw_scores` asks for it.
    score: f32,
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        let text = |index: u32| Some(&*self.texts.as_ref()?[index as usize]);
        let answer = served.answer;
        let ranks: Vec<_> = answer
            .results
            .iter()
            .map(|result| Rank {
                index: result.index,
                text: text(result.index),
                score: result.score,
            })
            .collect();
        let ms = |stage| answer.report.time(stage).as_millis() as u64;
        let total_ms = answer.took.as_millis() as u64;
        Encoded {
            body: json(&ranks),
            headers: vec![
                ("x-compute-time", total_ms),
                ("x-compute-characters", self.characters),
                ("x-compute-tokens", answer.report.tokens()),
                ("x-total-time", total_ms),
                ("x-tokenization-time", ms(Stage::Tokenize)),
                ("x-queue-time", ms(Stage::Queue)),
                ("x-inference-time", ms(Stage::Inference)),
            ],
        }
    }
}
