//! The family of dialects that descend from Cohere's rerank API: Cohere itself
//! (versions 1 and 2), Jina, vLLM and infinity. Their requests differ in what
//! they leave out, so all are read alike; what a server means by what it leaves
//! out, and which parts its answer has, is a table (`flavour`).

mod flavour;

use std::ops::RangeBounds;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json as json_of};

use self::flavour::Manners;
pub use self::flavour::{Flavour, Version};
use super::document::{Document, Sent, documents};
use super::object::{Bound, Kind, Object, invalid, kind, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, json, truncation};
use crate::http::errors::shown;
use crate::rerank::{Lengths, Priority};
use crate::route::{self, Ask, Queries, Scores};

/// How [`Request`] and [`Answer`] look in a flavour.
impl Flavour {
    /// The name of its requests' type, where that is not [`Request`] itself.
    pub fn own_request(self) -> Option<&'static str> {
        match self {
            Flavour::Cohere(_) => Some("CohereRequest"),
            Flavour::Vllm => Some("VllmRequest"),
            Flavour::Shared(_) | Flavour::Jina | Flavour::Infinity => None,
        }
    }

    /// Gives the schema of [`Request`] the bounds that its flavour has.
    pub fn adapt_request(self, schema: &mut Json) {
        let manners = self.manners();
        let members = &mut schema["properties"];
        if let Some((least, most)) = manners.priority {
            members["priority"]["minimum"] = json_of!(least);
            members["priority"]["maximum"] = json_of!(most);
        }
        if manners.zero_is_all {
            members["top_n"]["minimum"] = json_of!(i64::MIN);
            for name in
                ["max_tokens_per_doc", "max_doc_length", "max_tokens_per_query", "max_query_length"]
            {
                members[name]["minimum"] = json_of!(0);
            }
        }
    }

    /// The members that its answers have.
    pub fn answer_members(self) -> Vec<&'static str> {
        let parts = self.manners().parts;
        let members = [
            (parts.id, "id"),
            (parts.object.is_some(), "object"),
            (parts.created, "created"),
            (parts.model, "model"),
            (true, "results"),
            (parts.model, "usage"),
            (parts.meta.is_some(), "meta"),
        ];
        members.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect()
    }
}

/// What clients of Cohere, Jina, vLLM and infinity send.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RerankRequest")]
pub struct Request {
    #[schemars(regex(pattern = r"\S"))]
    pub query: String,
    #[schemars(length(min = 1), extend("maxItems" = "documents_max"))]
    pub documents: Vec<Document>,
    /// The name of a route or of a model; the default route if it is absent.
    pub model: Option<String>,
    /// How many results come back; all if it is absent.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub top_n: Option<u32>,
    /// Whether each result repeats its document. If it is absent, Jina's and
    /// vLLM's own paths return documents and all others do not.
    pub return_documents: Option<bool>,
    /// The fields of a document that make its text, a line each; `text` if it is
    /// absent. A document that is an object must have one of them.
    #[schemars(extend("maxItems" = "fields_max", "uniqueItems" = true))]
    pub rank_fields: Option<Vec<String>>,
    /// Tokens of a document that are read, without special ones. If it is
    /// absent, 4096 on the paths of version 2, else as many as the model reads.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_tokens_per_doc: Option<u32>,
    /// Jina's name for `max_tokens_per_doc`; the lesser one counts.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_doc_length: Option<u32>,
    /// Tokens of the query that are read, without special ones.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_tokens_per_query: Option<u32>,
    /// Jina's name for `max_tokens_per_query`; the lesser one counts.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_query_length: Option<u32>,
    /// Tokens of query and document together, special ones included; -1 is as
    /// many as the model reads.
    #[schemars(range(min = -1, max = 4_294_967_295_i64), extend("not" = {"const": 0}))]
    pub truncate_prompt_tokens: Option<i64>,
    /// From which side long texts lose tokens; the left one is not supported.
    pub truncation_side: Option<Side>,
    /// Has no effect, and the answer says so: a policy (`passages`) cuts
    /// documents into passages.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_chunks_per_doc: Option<u32>,
    /// Scores between 0 and 1 (the default), or logits if it is false.
    pub use_activation: Option<bool>,
    /// Logits if it is true; infinity's name for the opposite of
    /// `use_activation`.
    pub raw_scores: Option<bool>,
    /// 0 is normal, more is less urgent, less is more urgent.
    pub priority: Option<i64>,
    /// The answer's `id`; the request's id in headers and logs if it is absent.
    pub request_id: Option<String>,
}

/// From which side long texts lose tokens.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum Side {
    #[serde(rename = "right")]
    Right,
}

/// What the answer needs of the request.
#[derive(Debug)]
pub struct Reply {
    flavour: Flavour,
    id: Option<String>,
    /// By the documents' index, if the client wants them back.
    echoes: Option<Vec<Echo>>,
    documents: usize,
    lengths: Lengths,
    /// Options that have no effect here, each with the reason.
    ignored: Vec<String>,
}

/// A document as it goes back: objects stay what they were, and strings become
/// objects or stay what they were.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ReturnedDocument")]
enum Echo {
    Bare(Arc<str>),
    Text {
        text: Arc<str>,
    },
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    Object(Box<RawValue>),
}

/// Documents whose ranking Cohere bills as one search.
const DOCUMENTS_PER_SEARCH: usize = 100;

pub fn decode(
    flavour: Flavour,
    body: &Object<'_>,
    envelope: &Envelope,
    bounds: &Bounds,
) -> Result<Call, Problem> {
    let manners = flavour.manners();
    let query = text("query", body.required("query")?)?;
    let rank_fields = rank_fields(body, bounds)?;
    let sent = documents(body, "documents", &rank_fields, bounds)?;
    let return_documents = body.boolean("return_documents")?.unwrap_or(manners.returns_documents);
    let mut ignored = Vec::new();
    if let Some(chunks) = body.integer("max_chunks_per_doc", 1..=u32::MAX)? {
        ignored.push(format!(
            "`max_chunks_per_doc` ({chunks}) has no effect: passages are cut by a policy of the route, if it has one"
        ));
    }
    let mut truncate = None;
    let lengths = lengths(body, &manners, &mut truncate)?;
    let echo = |sent: &Sent<'_>| echo(sent, manners.parts.bare_documents);
    let reply = Reply {
        flavour,
        id: body.text("request_id")?,
        echoes: return_documents.then(|| sent.iter().map(echo).collect()),
        documents: sent.len(),
        lengths,
        ignored,
    };
    let priority = match manners.priority {
        Some((least, most)) => priority(body, least..=most)?,
        None => priority(body, ..)?,
    };
    Ok(Call {
        ask: Ask {
            top_n: top_n(body, &manners)?,
            scores: scores(body)?,
            truncate,
            lengths,
            priority: envelope.priority.unwrap_or(priority),
            ..envelope.ask(
                Queries::One(Arc::from(query)),
                sent.into_iter().map(|sent| sent.asked).collect(),
            )
        },
        model: body.text("model")?,
        reply: super::Reply::Family(reply),
    })
}

fn rank_fields(body: &Object<'_>, bounds: &Bounds) -> Result<Vec<String>, Problem> {
    let bound = Bound { what: "the number of `rank_fields`", max: bounds.fields_max };
    let given = body.list("rank_fields", bound)?.unwrap_or_default();
    let mut names: Vec<String> = Vec::with_capacity(given.len());
    for (index, raw) in given.into_iter().enumerate() {
        let at = format!("rank_fields[{index}]");
        let name = text(&at, raw)?;
        // Each copies its member: a short body could ask for a very long text.
        if names.contains(&name) {
            let name = shown(&name);
            return Err(invalid(format!("`{at}` names `{name}` a second time")));
        }
        names.push(name);
    }
    Ok(names)
}

fn top_n(body: &Object<'_>, manners: &Manners) -> Result<Option<u32>, Problem> {
    const NAME: &str = "top_n";
    if !manners.zero_is_all {
        return body.integer(NAME, 1..=u32::MAX);
    }
    let wanted = body.integer(NAME, ..=i64::from(u32::MAX))?.filter(|&wanted| wanted > 0);
    Ok(wanted.and_then(|wanted| u32::try_from(wanted).ok()))
}

fn lengths(
    body: &Object<'_>,
    manners: &Manners,
    truncate: &mut Option<bool>,
) -> Result<Lengths, Problem> {
    let zero = manners.zero_is_all;
    let default = manners.document_tokens_max.and_then(std::num::NonZeroU32::new);
    let document_max = truncation::tokens(body, &["max_tokens_per_doc", "max_doc_length"], zero)?;
    let mut lengths = Lengths {
        query_max: truncation::tokens(body, &["max_tokens_per_query", "max_query_length"], zero)?,
        document_max: document_max.or(default),
        pair_max: None,
    };
    truncation::pair(body, truncate, &mut lengths)?;
    truncation::side(body, "truncation_side")?;
    Ok(lengths)
}

fn scores(body: &Object<'_>) -> Result<Scores, Problem> {
    let activated = body.boolean("use_activation")?.unwrap_or(true);
    let raw = body.boolean("raw_scores")?.unwrap_or(false);
    Ok(match raw || !activated {
        true => Scores::Logit,
        false => Scores::Probability,
    })
}

/// In all these scales 0 is the default and more is less urgent; only vLLM's
/// goes below. To say 0 and to say nothing must mean the same, so 0 is our
/// normal.
pub fn priority(body: &Object<'_>, allowed: impl RangeBounds<i64>) -> Result<Priority, Problem> {
    Ok(match body.integer("priority", allowed)? {
        None | Some(0) => Priority::Normal,
        Some(1..) => Priority::Low,
        Some(_) => Priority::High,
    })
}

fn echo(sent: &Sent<'_>, bare: bool) -> Echo {
    match kind(sent.raw) {
        _ if bare => Echo::Bare(sent.asked.text.clone()),
        Kind::Object => Echo::Object(sent.raw.to_owned()),
        _ => Echo::Text { text: sent.asked.text.clone() },
    }
}

/// Each path has the parts that its own server's answers have; `/rerank`,
/// `/v1/rerank` and `/v2/rerank` have those of Cohere, Jina and vLLM together.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RerankAnswer")]
pub struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'static str>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    /// The model that scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    /// Best first.
    results: Vec<Scored<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RerankResult")]
struct Scored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a Echo>,
    /// Position in `documents`.
    index: u32,
    /// Between 0 and 1, or a logit if the request asks for it.
    relevance_score: f32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// Tokens of all pairs that the model read.
    prompt_tokens: u64,
    /// The same: a ranking has no other tokens.
    total_tokens: u64,
}

impl Usage {
    pub fn of(answer: &route::Answer) -> Self {
        let tokens = answer.report.tokens();
        Usage { prompt_tokens: tokens, total_tokens: tokens }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Meta {
    api_version: ApiVersion,
    billed_units: BilledUnits,
    tokens: Tokens,
    /// What a client may want to know although it got its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ApiVersion {
    version: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BilledUnits {
    /// Searches as Cohere counts them, of a hundred documents each.
    search_units: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Tokens {
    input_tokens: u64,
}

impl Reply {
    pub fn encode(&self, served: &Served<'_>) -> Encoded {
        let parts = self.flavour.manners().parts;
        let echo = |index: u32| Some(&self.echoes.as_ref()?[index as usize]);
        let results = served.answer.results.iter().map(|result| Scored {
            document: echo(result.index),
            index: result.index,
            relevance_score: result.score,
        });
        let body = Answer {
            id: parts.id.then_some(self.id.as_deref().unwrap_or(served.request_id)),
            object: parts.object,
            created: parts.created.then_some(served.created_s),
            model: parts.model.then_some(&*served.answer.model),
            results: results.collect(),
            usage: parts.model.then(|| Usage::of(served.answer)),
            meta: parts.meta.map(|version| Meta {
                api_version: ApiVersion { version: version.number() },
                billed_units: BilledUnits {
                    search_units: self.documents.div_ceil(DOCUMENTS_PER_SEARCH),
                },
                tokens: Tokens { input_tokens: served.answer.report.tokens() },
                warnings: self.warnings(served.answer, served.length_max),
            }),
        };
        Encoded { body: json(&body), headers: Vec::new() }
    }

    fn warnings(&self, answer: &route::Answer, length_max: usize) -> Vec<String> {
        let mut warnings = self.ignored.clone();
        let truncated = answer.report.pairs_truncated();
        if truncated > 0 {
            let pairs = answer.report.pairs();
            warnings.push(format!(
                "{truncated} of {pairs} pairs were truncated, to {}",
                self.limits(length_max)
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

    /// What a pair may hold, the request's limits where they can matter.
    fn limits(&self, length_max: usize) -> String {
        let wish = |limit: Option<std::num::NonZeroU32>| {
            limit.map(|tokens| tokens.get() as usize).filter(|&tokens| tokens < length_max)
        };
        let pair = wish(self.lengths.pair_max).unwrap_or(length_max);
        let mut limits = format!("{pair} tokens");
        for (limit, of) in
            [(self.lengths.query_max, "query"), (self.lengths.document_max, "document")]
        {
            if let Some(tokens) = wish(limit) {
                limits.push_str(&format!(", {tokens} of a {of}"));
            }
        }
        limits
    }
}
