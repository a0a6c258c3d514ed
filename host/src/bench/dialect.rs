//! Requests and answers as the clients of rerank servers write and read them.
//! Written from those servers' documentation and not with the server's own
//! types: a mistake there must not be able to hide here.

use serde_json::{Value, json};

use super::corpus::Asked;
use super::subject::Failure;
use super::workload::Dialect;

/// Beyond this logit an f32 near 1 has no digits left to tell scores apart.
pub const LOGIT_MAX: f64 = 9.0;

impl Dialect {
    /// Where requests go, behind the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Tei | Dialect::Vllm | Dialect::Infinity => "/rerank",
            Dialect::Cohere => "/v2/rerank",
            Dialect::Jina | Dialect::Voyage => "/v1/rerank",
        }
    }

    pub fn body(self, asked: &Asked, model: Option<&str>) -> Vec<u8> {
        let documents: Vec<&str> = asked.documents.iter().map(|text| &**text).collect();
        let query = &*asked.query_text;
        let mut body = match self {
            Dialect::Tei => json!({ "query": query, "texts": documents }),
            Dialect::Voyage => {
                json!({ "query": query, "documents": documents, "top_k": documents.len() })
            }
            Dialect::Jina | Dialect::Infinity => {
                json!({ "query": query, "documents": documents, "return_documents": false })
            }
            Dialect::Cohere | Dialect::Vllm => json!({ "query": query, "documents": documents }),
        };
        if let Some(model) = model {
            body["model"] = model.into();
        }
        body.to_string().into_bytes()
    }

    /// The logit of each of the documents.
    pub fn scores(self, body: &[u8], documents: usize) -> Result<Vec<Option<f64>>, Failure> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Failure::Invalid(format!("the answer is no JSON: {error}")))?;
        let (results, score) = match self {
            Dialect::Tei => (&body, "score"),
            Dialect::Voyage => (&body["data"], "relevance_score"),
            _ => (&body["results"], "relevance_score"),
        };
        let results = results
            .as_array()
            .ok_or_else(|| Failure::Invalid("the answer has no list of results".into()))?;
        let mut scores = vec![None; documents];
        for result in results {
            let (Some(index), Some(score)) = (result["index"].as_u64(), result[score].as_f64())
            else {
                return Err(Failure::Invalid(format!("{result} is no result")));
            };
            match scores.get_mut(index as usize) {
                Some(place @ None) => *place = Some(logit(score)?),
                Some(Some(_)) => {
                    return Err(Failure::Invalid(format!("document {index} is there twice")));
                }
                None => {
                    let text = format!("there is no document {index} of {documents}");
                    return Err(Failure::Invalid(text));
                }
            }
        }
        Ok(scores)
    }
}

/// What a sigmoid made the score of, as far as an f32 lets one see it.
fn logit(score: f64) -> Result<f64, Failure> {
    if !(0.0..=1.0).contains(&score) {
        return Err(Failure::Invalid(format!("the score {score} is not between 0 and 1")));
    }
    Ok((score.ln() - (-score).ln_1p()).min(LOGIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            query: 0,
            passages: vec![4, 2],
            query_text: "q".into(),
            documents: vec!["one".into(), "two".into()],
        }
    }

    #[test]
    fn bodies_are_what_each_server_reads() {
        let check = |dialect: Dialect, expected: Value| {
            let body: Value = serde_json::from_slice(&dialect.body(&asked(), None)).unwrap();
            assert_eq!(body, expected);
        };
        let documents = json!(["one", "two"]);
        check(Dialect::Tei, json!({"query": "q", "texts": documents}));
        check(Dialect::Cohere, json!({"query": "q", "documents": documents}));
        check(Dialect::Voyage, json!({"query": "q", "documents": documents, "top_k": 2}));
        let named: Value =
            serde_json::from_slice(&Dialect::Vllm.body(&asked(), Some("mini"))).unwrap();
        assert_eq!(named["model"], "mini");
    }

    #[test]
    fn answers_are_read_by_index() {
        let check = |dialect: Dialect, body: Value| {
            let scores = dialect.scores(body.to_string().as_bytes(), 3).unwrap();
            assert_eq!(scores[1], None);
            let (first, last) = (scores[0].unwrap(), scores[2].unwrap());
            assert!((first - -2.0).abs() < 1e-6 && last == LOGIT_MAX, "{scores:?}");
        };
        let low = 1.0 / (1.0 + 2.0_f64.exp());
        let results = |score: &str| json!([{"index": 2, score: 1.0}, {"index": 0, score: low}]);
        check(Dialect::Tei, results("score"));
        check(Dialect::Cohere, json!({"results": results("relevance_score")}));
        check(Dialect::Voyage, json!({"data": results("relevance_score")}));
    }

    #[test]
    fn what_is_no_ranking_is_said() {
        let check = |body: &str, expected: &str| {
            let failure = Dialect::Tei.scores(body.as_bytes(), 2).unwrap_err();
            let Failure::Invalid(text) = failure else { panic!("{failure:?}") };
            assert!(text.contains(expected), "{text}");
        };
        check("nothing", "no JSON");
        check("{}", "no list of results");
        check(r#"[{"index": 2, "score": 0.5}]"#, "no document 2 of 2");
        check(r#"[{"index": 1, "score": 0.5}, {"index": 1, "score": 0.5}]"#, "twice");
        check(r#"[{"index": 1, "score": 1.5}]"#, "not between 0 and 1");
        check(r#"[{"index": 1}]"#, "is no result");
    }
}
