//! vLLM's scores of pairs: a list of texts against another, one to many or each
//! to its own, answered in the order of the request.
//!
//! Clients match scores with pairs by place, so each pair gets one: a document
//! that a policy left out has the lowest score of the scale, whatever its route
//! does with such documents elsewhere, and a header says how many there are.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::document::{Document, sent};
use super::object::{Kind, Object, invalid, kind, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, family, json, truncation};
use crate::config::Filtered;
use crate::rerank::Lengths;
use crate::route::{Ask, Queries, Scores};

/// The names under which vLLM takes its two sides.
const SIDES: [(&str, &str); 4] =
    [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")];

/// The two sides of the pairs, under any of vLLM's names for them.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScoreRequest")]
#[serde(untagged)]
pub enum Request {
    Queries {
        queries: Texts,
        documents: OneOrMany,
        #[serde(flatten)]
        options: Options,
    },
    Items {
        queries: Texts,
        items: OneOrMany,
        #[serde(flatten)]
        options: Options,
    },
    Text {
        text_1: Texts,
        text_2: OneOrMany,
        #[serde(flatten)]
        options: Options,
    },
    Data {
        data_1: Texts,
        data_2: OneOrMany,
        #[serde(flatten)]
        options: Options,
    },
}

/// One query for every document, or as many queries as documents.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScoreQueries")]
#[serde(untagged)]
pub enum Texts {
    One(#[schemars(regex(pattern = r"\S"))] String),
    Many(
        #[schemars(length(min = 1), inner(regex(pattern = r"\S")), extend("maxItems" = "documents_max"))]
         Vec<String>,
    ),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScoreDocuments")]
#[serde(untagged)]
pub enum OneOrMany {
    One(Document),
    Many(#[schemars(length(min = 1), extend("maxItems" = "documents_max"))] Vec<Document>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ScoreOptions")]
pub struct Options {
    /// The name of a route or of a model.
    pub model: Option<String>,
    /// Scores between 0 and 1 (the default), or logits if it is false.
    pub use_activation: Option<bool>,
    /// Tokens of a document that are read, without special ones; 0 is no limit.
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub max_tokens_per_doc: Option<u32>,
    /// Tokens of a query that are read, without special ones; 0 is no limit.
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    pub max_tokens_per_query: Option<u32>,
    /// Tokens of a pair, special ones included; -1 is as many as the model reads.
    #[schemars(range(min = -1, max = 4_294_967_295_i64), extend("not" = {"const": 0}))]
    pub truncate_prompt_tokens: Option<i64>,
    /// From which side long texts lose tokens; the left one is not supported.
    pub truncation_side: Option<family::Side>,
    /// 0 is normal, more is less urgent, less is more urgent.
    pub priority: Option<i64>,
    /// The answer's `id`; the request's id in headers and logs if it is absent.
    pub request_id: Option<String>,
}

/// What the answer needs of the request.
#[derive(Debug)]
pub struct Reply {
    id: Option<String>,
}

pub fn decode(body: &Object<'_>, envelope: &Envelope, bounds: &Bounds) -> Result<Call, Problem> {
    let (queries, documents) = sides(body)?;
    let documents = each(body, documents, bounds, |at, raw| Ok(sent(at, raw, &[], bounds)?.asked))?;
    let mut queries = each(body, queries, bounds, query)?;
    let queries = match (queries.len(), documents.len()) {
        (1, _) => Queries::One(queries.remove(0)),
        (several, pairs) if several == pairs => Queries::Each(queries),
        (several, pairs) => {
            return Err(invalid(format!(
                "there are {several} queries and {pairs} documents; there must be one query, or as many as documents"
            )));
        }
    };
    let mut truncate = None;
    let mut lengths = Lengths {
        query_max: truncation::tokens(body, &["max_tokens_per_query"], true)?,
        document_max: truncation::tokens(body, &["max_tokens_per_doc"], true)?,
        pair_max: None,
    };
    truncation::pair(body, &mut truncate, &mut lengths)?;
    truncation::side(body, "truncation_side")?;
    let priority = family::priority(body, ..)?;
    let scores = match body.boolean("use_activation")? {
        Some(false) => Scores::Logit,
        _ => Scores::Probability,
    };
    let reply = Reply { id: body.text("request_id")? };
    Ok(Call {
        ask: Ask {
            scores,
            truncate,
            lengths,
            filtered: Some(Filtered::Last),
            priority: envelope.priority.unwrap_or(priority),
            ..envelope.ask(queries, documents)
        },
        model: body.text("model")?,
        reply: super::Reply::Score(reply),
    })
}

/// The names of the two sides, of which exactly one pair must be there.
fn sides(body: &Object<'_>) -> Result<(&'static str, &'static str), Problem> {
    let there = |name: &str| body.get(name).is_some();
    let whole = || SIDES.into_iter().filter(|(first, second)| there(first) && there(second));
    match (whole().next(), whole().nth(1)) {
        (Some(sides), None) => Ok(sides),
        (Some((a, b)), Some((c, d))) => Err(invalid(format!(
            "the body has both `{a}` with `{b}` and `{c}` with `{d}`; it must have one of them"
        ))),
        _ => Err(invalid(
            "the body must have `queries` and `documents` (or `items`), `text_1` and `text_2`, or `data_1` and `data_2`".into(),
        )),
    }
}

/// The texts on one side, which is a list or a single text.
fn each<'a, T>(
    body: &Object<'a>,
    name: &'static str,
    bounds: &Bounds,
    read: impl Fn(&str, &'a RawValue) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let raw = body.required(name)?;
    if kind(raw) != Kind::Array {
        return Ok(vec![read(&body.path(name), raw)?]);
    }
    let list = body.list(name, bounds.documents())?.unwrap_or_default();
    if list.is_empty() {
        return Err(invalid(format!("`{name}` is empty")));
    }
    list.into_iter()
        .enumerate()
        .map(|(index, raw)| read(&format!("{name}[{index}]"), raw))
        .collect()
}

fn query(at: &str, raw: &RawValue) -> Result<Arc<str>, Problem> {
    let query = text(at, raw)?;
    match query.trim().is_empty() {
        true => Err(invalid(format!("`{at}` is empty"))),
        false => Ok(Arc::from(query)),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScoreAnswer")]
pub struct Answer<'a> {
    id: &'a str,
    #[schemars(extend("const" = "list"))]
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    /// The model that scored.
    model: &'a str,
    /// One for each pair, in the order of the request.
    data: Vec<Score>,
    usage: family::Usage,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PairScore")]
struct Score {
    /// Position of the pair in the request.
    index: u32,
    #[schemars(extend("const" = "score"))]
    object: &'static str,
    /// Between 0 and 1, or a logit if `use_activation` is false.
    score: f32,
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        let answer = served.answer;
        let score = |result: &crate::route::Scored| Score {
            index: result.index,
            object: "score",
            score: result.score,
        };
        let mut data: Vec<_> = answer.results.iter().map(score).collect();
        data.sort_unstable_by_key(|score| score.index);
        let body = Answer {
            id: self.id.as_deref().unwrap_or(served.request_id),
            object: "list",
            created: served.created_s,
            model: &answer.model,
            data,
            usage: family::Usage::of(answer),
        };
        Encoded { body: json(&body), headers: Vec::new() }
    }
}
