//! Whatever a guest sends and answers: what its contract lets through is what
//! the contract promises. See [`fuzzing`](crate::fuzzing).

use std::collections::HashSet;
use std::sync::Arc;

use super::bindings::types as wit;
use super::contract::{Contract, ContractLimits};
use super::convert;
use crate::fuzzing::Data;
use crate::rerank::{Document, DocumentId, Ranking, Request};

const LIMITS: ContractLimits = ContractLimits { calls_max: 4, bytes_max: 4096 };
/// Bytes of a guest's words that may travel on.
const WORDS_BYTES_MAX: usize = 1000;

pub fn fuzz(data: &[u8]) {
    let mut data = Data(data);
    let received = Request { query: "q".into(), documents: documents(&mut data) };
    let known: HashSet<u32> = received.documents.iter().map(|d| d.id.index).collect();
    let mut contract = Contract::new(&received, LIMITS);
    while !data.0.is_empty() {
        match data.byte() % 4 {
            0 => {
                let sent = Request { query: "q".into(), documents: documents(&mut data) };
                if contract.sends(&sent).is_ok() {
                    check_ids(&known, sent.documents.iter().map(|d| d.id));
                }
            }
            1 => contract.receives(&ranking(&mut data)),
            2 => {
                if let Ok(answer) = contract.answers(ranking(&mut data)) {
                    check_ids(&known, answer.results.iter().map(|r| r.id));
                    assert!(answer.results.iter().all(|r| r.score.is_finite()));
                    let probable = |score: f32| (0.0..=1.0).contains(&score);
                    let probability = answer.scale == crate::rerank::Scale::Probability;
                    assert!(!probability || answer.results.iter().all(|r| probable(r.score)));
                }
            }
            _ => {
                let length = usize::from(data.byte()).min(data.0.len());
                let (words, rest) = data.0.split_at(length);
                data.0 = rest;
                let words = String::from_utf8_lossy(words).repeat(16);
                let legible = convert::legible(&words);
                assert!(legible.len() <= WORDS_BYTES_MAX);
                assert!(!legible.chars().any(char::is_control));
                // A policy in front may pass them on.
                assert_eq!(convert::legible(&legible), legible);
            }
        }
    }
}

fn check_ids(known: &HashSet<u32>, ids: impl Iterator<Item = DocumentId>) {
    let mut seen = HashSet::new();
    for id in ids {
        assert!(known.contains(&id.index), "{id:?} is nobody's");
        assert!(seen.insert(id), "{id:?} is there twice");
    }
}

fn documents(data: &mut Data<'_>) -> Vec<Document> {
    let document = |data: &mut Data<'_>| Document {
        id: DocumentId { index: (data.byte() % 8).into(), part: (data.byte() % 8).into() },
        text: "x".repeat(data.byte().into()).into(),
        fields: Arc::default(),
    };
    (0..data.byte() % 8).map(|_| document(data)).collect()
}

fn ranking(data: &mut Data<'_>) -> Ranking {
    let ranked = |data: &mut Data<'_>| wit::Ranked {
        index: (data.byte() % 8).into(),
        part: (data.byte() % 8).into(),
        score: f32::from_bits(data.word()),
    };
    let scale = [wit::Scale::Logit, wit::Scale::Probability, wit::Scale::Order];
    let scale = scale[usize::from(data.byte() % 3)];
    let results = (0..data.byte() % 8).map(|_| ranked(data)).collect();
    wit::Ranking { results, scale }.into()
}
