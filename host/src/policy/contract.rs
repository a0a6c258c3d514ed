//! What a policy promises: pure checks of what crosses its border. No sandbox
//! can prevent a lie; this file catches it before anyone believes it.
//!
//! A stage knows the documents that it received. What it sends on and what it
//! answers may name any *part* of those (it may cut a document into windows, or
//! hear of windows that a stage behind it cut), but no other document, and
//! nothing twice. The outermost stage received what the client sent; so no
//! chain can answer with a document that the client does not have.

use super::convert::legible;
use crate::rerank::{DocumentId, Ranking, Request, Scale, Value};

/// How far rounding may take a probability beyond 0 or 1: a weighted mean of
/// probabilities in f32 is off by less.
const PROBABILITY_ROUNDING: f32 = 1e-5;

/// How a policy broke its contract. Completes "policy `x` …".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Breach {
    #[error("named document {} (part {}), which it did not receive", .0.index, .0.part)]
    Unknown(DocumentId),
    #[error("named document {} (part {}) twice", .0.index, .0.part)]
    Repeated(DocumentId),
    #[error("gave document {} (part {}) the score {score}", .id.index, .id.part)]
    Score { id: DocumentId, score: f32 },
    #[error(
        "gave document {} (part {}) the probability {score}, which is not between 0 and 1",
        .id.index, .id.part
    )]
    Probability { id: DocumentId, score: f32 },
    #[error("sent field `{field}` of document {} with the number {number}", .id.index)]
    Number { id: DocumentId, field: String, number: f64 },
    #[error("answered with {results} results, over the limit of {max} documents that it saw")]
    Results { results: usize, max: usize },
    #[error("called the next stage more than {max} times")]
    Calls { max: u32 },
    #[error("sent more than {max} bytes to the host")]
    Bytes { max: usize },
}

/// One call's side of the contract: what it received, and what it has used.
#[derive(Debug)]
pub(super) struct Contract {
    /// Indexes of the documents that the stage received, ascending.
    indexes: Vec<u32>,
    /// Documents and results that the stage received or sent: it cannot
    /// honestly answer with more.
    seen: usize,
    calls: u32,
    bytes: usize,
    limits: ContractLimits,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ContractLimits {
    /// Calls of the next stage.
    pub calls_max: u32,
    /// Bytes of all requests that the guest sends on; the host holds them while
    /// the next stage works.
    pub bytes_max: usize,
}

impl Contract {
    pub fn new(received: &Request, limits: ContractLimits) -> Self {
        let mut indexes: Vec<u32> = received.documents.iter().map(|d| d.id.index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        Contract { indexes, seen: received.documents.len(), calls: 0, bytes: 0, limits }
    }

    /// Checks and counts a request to the next stage.
    pub fn sends(&mut self, request: &Request) -> Result<(), Breach> {
        if self.calls == self.limits.calls_max {
            let max = self.limits.calls_max;
            return Err(Breach::Calls { max });
        }
        self.calls += 1;
        self.bytes += bytes(request);
        if self.bytes > self.limits.bytes_max {
            let max = self.limits.bytes_max;
            return Err(Breach::Bytes { max });
        }
        self.check_ids(request.documents.iter().map(|d| d.id))?;
        for document in &request.documents {
            for field in document.fields.iter() {
                // JSON has no such numbers, so no client can have sent one, and
                // a policy behind this one need not expect it.
                if let Value::Number(number) = field.value
                    && !number.is_finite()
                {
                    let (id, field) = (document.id, legible(&field.name));
                    return Err(Breach::Number { id, field, number });
                }
            }
        }
        self.seen += request.documents.len();
        Ok(())
    }

    /// Counts what the next stage answered.
    pub fn receives(&mut self, ranking: &Ranking) {
        self.seen += ranking.results.len();
    }

    /// Checks the stage's own answer, and puts right what rounding did to it.
    pub fn answers(&self, mut ranking: Ranking) -> Result<Ranking, Breach> {
        let results = ranking.results.len();
        if results > self.seen {
            let max = self.seen;
            return Err(Breach::Results { results, max });
        }
        if let Some(bad) = ranking.results.iter().find(|r| !r.score.is_finite()) {
            let (id, score) = (bad.id, bad.score);
            return Err(Breach::Score { id, score });
        }
        if ranking.scale == Scale::Probability {
            for ranked in &mut ranking.results {
                let score = ranked.score.clamp(0.0, 1.0);
                if (ranked.score - score).abs() > PROBABILITY_ROUNDING {
                    let (id, score) = (ranked.id, ranked.score);
                    return Err(Breach::Probability { id, score });
                }
                ranked.score = score;
            }
        }
        self.check_ids(ranking.results.iter().map(|r| r.id))?;
        Ok(ranking)
    }

    /// Every id is of a known document, and none comes twice. Stages mostly
    /// keep the order, which makes the sort one pass; a hash table costs more.
    fn check_ids(&self, ids: impl Iterator<Item = DocumentId>) -> Result<(), Breach> {
        let mut ids: Vec<DocumentId> = ids.collect();
        ids.sort_unstable();
        if let Some(twice) = ids.array_windows().find(|[a, b]| a == b) {
            return Err(Breach::Repeated(twice[0]));
        }
        let mut known = self.indexes.iter().copied().peekable();
        for id in ids {
            while known.next_if(|&index| index < id.index).is_some() {}
            if known.peek() != Some(&id.index) {
                return Err(Breach::Unknown(id));
            }
        }
        Ok(())
    }
}

/// What the host holds for a request, roughly.
fn bytes(request: &Request) -> usize {
    let document = |d: &crate::rerank::Document| {
        let fields = d.fields.iter().map(|f| f.name.len() + value_bytes(&f.value));
        size_of_val(d) + size_of_val(&*d.fields) + d.text.len() + fields.sum::<usize>()
    };
    request.query.len() + request.documents.iter().map(document).sum::<usize>()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Texts(texts) => texts.iter().map(|t| t.len() + size_of_val(t)).sum(),
        Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rerank::{Document, Field, Ranked, Scale};

    fn request(ids: &[(u32, u32)]) -> Request {
        let document = |&(index, part): &(u32, u32)| Document {
            id: DocumentId { index, part },
            text: "four".into(),
            fields: Arc::default(),
        };
        Request { query: "q".into(), documents: ids.iter().map(document).collect() }
    }

    fn ranking(results: &[(u32, u32, f32)]) -> Ranking {
        let ranked = |&(index, part, score): &(u32, u32, f32)| Ranked {
            id: DocumentId { index, part },
            score,
        };
        Ranking { results: results.iter().map(ranked).collect(), scale: Scale::Logit }
    }

    fn id(index: u32, part: u32) -> DocumentId {
        DocumentId { index, part }
    }

    const LIMITS: ContractLimits = ContractLimits { calls_max: 2, bytes_max: 10_000 };

    fn received_3_and_5() -> Contract {
        Contract::new(&request(&[(5, 0), (3, 1)]), LIMITS)
    }

    #[test]
    fn an_answer_names_what_was_received_and_nothing_twice() {
        let check = |results: &[(u32, u32, f32)], expected: Result<(), Breach>| {
            let answer = received_3_and_5().answers(ranking(results));
            assert_eq!(answer.map(|_| ()), expected);
        };
        check(&[], Ok(()));
        check(&[(5, 0, 1.0), (3, 1, -2.0)], Ok(()));
        check(&[(5, 9, 1.0), (5, 8, 1.0)], Ok(()));
        check(&[(4, 0, 1.0)], Err(Breach::Unknown(id(4, 0))));
        check(&[(6, 0, 1.0)], Err(Breach::Unknown(id(6, 0))));
        check(&[(0, 1, 1.0)], Err(Breach::Unknown(id(0, 1))));
        check(&[(5, 0, 1.0), (5, 0, 2.0)], Err(Breach::Repeated(id(5, 0))));
        check(
            &[(3, 0, 1.0), (3, 1, 1.0), (3, 2, 1.0)],
            Err(Breach::Results { results: 3, max: 2 }),
        );
        for score in [f32::INFINITY, f32::NEG_INFINITY] {
            let id = id(3, 1);
            check(&[(3, 1, score)], Err(Breach::Score { id, score }));
        }
        assert!(matches!(
            received_3_and_5().answers(ranking(&[(3, 1, f32::NAN)])),
            Err(Breach::Score { score, .. }) if score.is_nan()
        ));
    }

    #[test]
    fn a_probability_is_between_0_and_1_to_rounding() {
        let check = |score: f32, expected: Result<f32, Breach>| {
            let results = ranking(&[(3, 1, 0.5), (5, 0, score)]).results;
            let answer = Ranking { results, scale: Scale::Probability };
            let answer = received_3_and_5().answers(answer);
            assert_eq!(answer.map(|ranking| ranking.results[1].score), expected);
        };
        let lie = |score| Err(Breach::Probability { id: id(5, 0), score });
        check(0.0, Ok(0.0));
        check(1.0, Ok(1.0));
        check(0.25, Ok(0.25));
        check(1.000_001, Ok(1.0));
        check(-0.000_001, Ok(0.0));
        check(1.001, lie(1.001));
        check(-0.001, lie(-0.001));
        check(f32::MAX, lie(f32::MAX));
        check(f32::INFINITY, Err(Breach::Score { id: id(5, 0), score: f32::INFINITY }));
        let far = received_3_and_5().answers(ranking(&[(5, 0, 40.0)]));
        assert!(far.is_ok(), "a logit may be anything");
    }

    #[test]
    fn what_was_sent_and_heard_may_be_answered() {
        let mut contract = received_3_and_5();
        let windows: Vec<_> = (0..7).map(|part| (3, part)).collect();
        contract.sends(&request(&windows)).unwrap();
        let results: Vec<_> = (0..9).map(|part| (3, part, 0.5)).collect();
        contract.answers(ranking(&results)).unwrap();
        contract.receives(&ranking(&results));
        let more: Vec<_> = (0..18).map(|part| (3, part, 0.5)).collect();
        contract.answers(ranking(&more)).unwrap();
    }

    #[test]
    fn a_request_to_the_next_stage_is_checked_too() {
        let check = |sent: &Request, expected: Breach| {
            assert_eq!(received_3_and_5().sends(sent), Err(expected));
        };
        check(&request(&[(3, 0), (4, 0)]), Breach::Unknown(id(4, 0)));
        check(&request(&[(3, 2), (5, 0), (3, 2)]), Breach::Repeated(id(3, 2)));
        let mut endless = request(&[(3, 0)]);
        endless.documents[0].fields =
            Arc::new([Field { name: "price".into(), value: Value::Number(f64::INFINITY) }]);
        check(
            &endless,
            Breach::Number { id: id(3, 0), field: "price".into(), number: f64::INFINITY },
        );
        let mut huge = request(&[(3, 0)]);
        huge.documents[0].text = "x".repeat(10_001).into();
        check(&huge, Breach::Bytes { max: 10_000 });
    }

    #[test]
    fn calls_and_bytes_are_counted_over_the_whole_call() {
        let mut contract = received_3_and_5();
        contract.sends(&request(&[(3, 0)])).unwrap();
        contract.sends(&request(&[])).unwrap();
        assert_eq!(contract.sends(&request(&[])), Err(Breach::Calls { max: 2 }));

        let mut contract = received_3_and_5();
        let mut half = request(&[(3, 0)]);
        half.documents[0].text = "x".repeat(6_000).into();
        contract.sends(&half).unwrap();
        assert_eq!(contract.sends(&half), Err(Breach::Bytes { max: 10_000 }));
    }
}
