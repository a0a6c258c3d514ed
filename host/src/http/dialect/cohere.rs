//! The dialect of Cohere's rerank API, versions 1 and 2. What one version
//! knows the other understands too; they differ in the version that the answer
//! states.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::document::{Sent, documents};
use super::object::{Bound, Kind, Object, kind, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, json};
use crate::rerank::Priority;
use crate::route::{Answer, Ask, Scores};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Version::V1 => "1",
            Version::V2 => "2",
        }
    }
}

/// What the answer needs of the request.
#[derive(Debug)]
pub struct Reply {
    version: Version,
    /// By the documents' index, if the client wants them back.
    echoes: Option<Vec<Echo>>,
    documents: usize,
    /// Options that have no effect here, each with the reason.
    ignored: Vec<String>,
    max_tokens_per_doc: Option<u32>,
}

/// A document as it goes back: strings become objects, objects stay what they
/// were.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Echo {
    Text { text: Arc<str> },
    Object(Box<RawValue>),
}

/// Documents whose ranking Cohere bills as one search.
const DOCUMENTS_PER_SEARCH: usize = 100;

/// The least urgent value of `priority`.
const PRIORITY_MAX: u32 = 999;

pub fn decode(
    version: Version,
    body: &Object<'_>,
    envelope: &Envelope,
    bounds: &Bounds,
) -> Result<Call, Problem> {
    let query = text("query", body.required("query")?)?;
    let rank_fields = rank_fields(body, bounds)?;
    let sent = documents(body, "documents", &rank_fields, bounds)?;
    let return_documents = body.boolean("return_documents")?.unwrap_or(false);
    let mut ignored = Vec::new();
    if let Some(chunks) = body.integer("max_chunks_per_doc", 1..=u32::MAX)? {
        ignored.push(format!(
            "`max_chunks_per_doc` ({chunks}) has no effect: documents are not cut into chunks"
        ));
    }
    let reply = Reply {
        version,
        echoes: return_documents.then(|| sent.iter().map(echo).collect()),
        documents: sent.len(),
        ignored,
        max_tokens_per_doc: body.integer("max_tokens_per_doc", 1..=u32::MAX)?,
    };
    let priority = priority(body)?;
    Ok(Call {
        ask: Ask {
            query: Arc::from(query),
            documents: sent.into_iter().map(|sent| sent.asked).collect(),
            top_n: body.integer("top_n", 1..=u32::MAX)?,
            scores: Scores::Probability,
            timeout: envelope.timeout,
            priority: envelope.priority.unwrap_or(priority),
            truncate: None,
            request_id: envelope.request_id.clone(),
            caller: None,
        },
        model: body.text("model")?,
        reply: super::Reply::Cohere(reply),
    })
}

fn rank_fields(body: &Object<'_>, bounds: &Bounds) -> Result<Vec<String>, Problem> {
    let bound = Bound { what: "the number of `rank_fields`", max: bounds.fields_max };
    let names = body.list("rank_fields", bound)?.unwrap_or_default();
    names
        .into_iter()
        .enumerate()
        .map(|(index, raw)| text(&format!("rank_fields[{index}]"), raw))
        .collect()
}

/// Cohere's scale begins at its default 0 and only goes down in urgency. To say
/// 0 and to say nothing must mean the same, so 0 is our normal and the rest is
/// low; high is for those who ask in our own header.
fn priority(body: &Object<'_>) -> Result<Priority, Problem> {
    Ok(match body.integer("priority", 0..=PRIORITY_MAX)? {
        None | Some(0) => Priority::Normal,
        Some(_) => Priority::Low,
    })
}

fn echo(sent: &Sent<'_>) -> Echo {
    match kind(sent.raw) {
        Kind::Object => Echo::Object(sent.raw.to_owned()),
        _ => Echo::Text { text: sent.asked.text.clone() },
    }
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    results: Vec<Scored<'a>>,
    meta: Meta,
}

#[derive(Serialize)]
struct Scored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a Echo>,
    index: u32,
    relevance_score: f32,
}

#[derive(Serialize)]
struct Meta {
    api_version: ApiVersion,
    billed_units: BilledUnits,
    tokens: Tokens,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ApiVersion {
    version: &'static str,
}

#[derive(Serialize)]
struct BilledUnits {
    search_units: usize,
}

#[derive(Serialize)]
struct Tokens {
    input_tokens: u64,
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        let echo = |index: u32| Some(&self.echoes.as_ref()?[index as usize]);
        let results = served.answer.results.iter().map(|result| Scored {
            document: echo(result.index),
            index: result.index,
            relevance_score: result.score,
        });
        let body = Body {
            id: served.request_id,
            results: results.collect(),
            meta: Meta {
                api_version: ApiVersion { version: self.version.number() },
                billed_units: BilledUnits {
                    search_units: self.documents.div_ceil(DOCUMENTS_PER_SEARCH),
                },
                tokens: Tokens { input_tokens: served.answer.report.tokens() },
                warnings: self.warnings(served.answer, served.length_max),
            },
        };
        Encoded { body: json(&body), headers: Vec::new() }
    }

    /// What a client may want to know although it got its answer.
    fn warnings(&self, answer: &Answer, length_max: usize) -> Vec<String> {
        let mut warnings = self.ignored.clone();
        // A pair has no room for more tokens of a document than `length_max`
        // anyway, so a larger wish is granted.
        let wish = self.max_tokens_per_doc.map(|tokens| tokens as usize);
        if let Some(tokens) = wish.filter(|&tokens| tokens < length_max) {
            warnings.push(format!(
                "`max_tokens_per_doc` ({tokens}) was not applied: only pairs longer than the model's {length_max} tokens are truncated"
            ));
        }
        let truncated = answer.report.pairs_truncated();
        if truncated > 0 {
            let pairs = answer.report.pairs();
            warnings.push(format!(
                "{truncated} of {pairs} pairs were longer than the model's {length_max} tokens and were truncated"
            ));
        }
        if answer.report.bypassed() {
            warnings.push("a policy failed; this is the ranking of the model alone".into());
        }
        if answer.order_only {
            warnings
                .push("only the order means something: the scores are evenly spaced ranks".into());
        }
        warnings
    }
}
