//! The dialect of Hugging Face's text-embeddings-inference (1.9): a bare list
//! of ranks, and what they cost in headers.

use std::sync::Arc;

use serde::Serialize;

use super::document::documents;
use super::object::{Object, invalid, text};
use super::{Bounds, Call, Encoded, Envelope, Problem, Served, json};
use crate::rerank::Stage;
use crate::route::{Ask, Scores};

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
    direction(body)?;
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
    Ok(Call {
        ask: Ask {
            query: Arc::from(query),
            documents,
            top_n: None,
            scores,
            timeout: envelope.timeout,
            priority: envelope.priority.unwrap_or_default(),
            truncate: body.boolean("truncate")?,
            request_id: envelope.request_id.clone(),
            caller: None,
        },
        model: None,
        reply: super::Reply::Tei(reply),
    })
}

/// Cross-encoders here keep the beginning of a text; a client that wants the
/// end would get other scores than it expects, so it gets an error instead.
fn direction(body: &Object<'_>) -> Result<(), Problem> {
    const NAME: &str = "truncation_direction";
    match body.text(NAME)?.as_deref() {
        None | Some("Right" | "right") => Ok(()),
        Some("Left" | "left") => {
            Err(invalid(format!("`{NAME}` is \"Left\"; only \"Right\" is supported")))
        }
        Some(other) => Err(invalid(format!("`{NAME}` is \"{other}\"; it must be \"Right\""))),
    }
}

#[derive(Serialize)]
struct Rank<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
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
