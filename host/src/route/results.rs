//! From what a chain ranked to what the client reads: one result a document, on the
//! client's scale, best first.

use std::collections::HashMap;

use crate::rerank::{Ranking, Scale};

/// The scale on which a client reads scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    Logit,
    Probability,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub index: u32,
    pub score: f32,
}

/// The results of all queries, best first. Scores of different queries are
/// compared only to have one order; who asks by several queries reads them by
/// index.
pub(super) fn merged(mut rankings: Vec<Ranking>, scores: Scores) -> Vec<Scored> {
    match rankings.pop() {
        Some(only) if rankings.is_empty() => documents(only, scores),
        last => {
            let rankings = rankings.into_iter().chain(last);
            let mut results: Vec<_> =
                rankings.flat_map(|ranking| documents(ranking, scores)).collect();
            results.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
            results
        }
    }
}

/// The best part of each document, on the client's scale, best first; equal
/// scores stay in the client's order.
fn documents(ranking: Ranking, scores: Scores) -> Vec<Scored> {
    let mut best: HashMap<u32, f32> = HashMap::with_capacity(ranking.results.len());
    for ranked in &ranking.results {
        let score = best.entry(ranked.id.index).or_insert(ranked.score);
        *score = score.max(ranked.score);
    }
    let mut results: Vec<Scored> =
        best.into_iter().map(|(index, score)| Scored { index, score }).collect();
    results.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    // Sorted by the raw score first: a sigmoid in f32 makes ties of what the
    // model told apart.
    let of = results.len() as f32;
    for (rank, result) in results.iter_mut().enumerate() {
        result.score = match (ranking.scale, scores) {
            (Scale::Logit, Scores::Logit) | (Scale::Probability, Scores::Probability) => {
                result.score
            }
            (Scale::Logit, Scores::Probability) => sigmoid(result.score),
            (Scale::Probability, Scores::Logit) => logit(result.score),
            (Scale::Order, Scores::Probability) => (of - rank as f32) / of,
            (Scale::Order, Scores::Logit) => logit((of - rank as f32) / of),
        };
    }
    results
}

/// Clients that expect every document back get the filtered ones last, with
/// the lowest score of the scale.
pub(super) fn put_filtered_last(results: &mut Vec<Scored>, sent: usize, scores: Scores) {
    let mut there = vec![false; sent];
    for result in results.iter() {
        there[result.index as usize] = true;
    }
    let score = match scores {
        Scores::Probability => 0.0,
        Scores::Logit => results.iter().map(|r| r.score).fold(logit(0.0), f32::min),
    };
    let filtered = (0..sent as u32).filter(|&index| !there[index as usize]);
    results.extend(filtered.map(|index| Scored { index, score }));
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The inverse of the sigmoid, kept finite: JSON has no infinity.
fn logit(probability: f32) -> f32 {
    let p = probability.clamp(1e-7, 1.0 - 1e-7);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rerank::{DocumentId, Ranked};

    fn ranking(scale: Scale, results: &[(u32, u32, f32)]) -> Ranking {
        let results = results
            .iter()
            .map(|&(index, part, score)| Ranked { id: DocumentId { index, part }, score })
            .collect();
        Ranking { results, scale }
    }

    #[test]
    fn the_best_part_speaks_for_its_document() {
        let given = ranking(Scale::Logit, &[(1, 0, -3.0), (0, 0, 0.5), (1, 1, 2.0), (1, 2, 1.0)]);
        let results = documents(given, Scores::Logit);
        assert_eq!(results, [Scored { index: 1, score: 2.0 }, Scored { index: 0, score: 0.5 }]);
    }

    #[test]
    fn scores_are_on_the_scale_the_client_reads() {
        let check = |scale, scores, given: f32, expected: f32| {
            let results = documents(ranking(scale, &[(0, 0, given)]), scores);
            assert!((results[0].score - expected).abs() < 1e-5, "{scale:?} {scores:?} {results:?}");
        };
        check(Scale::Logit, Scores::Logit, -4.25, -4.25);
        check(Scale::Logit, Scores::Probability, 0.0, 0.5);
        check(Scale::Logit, Scores::Probability, -200.0, 0.0);
        check(Scale::Probability, Scores::Probability, 0.25, 0.25);
        check(Scale::Probability, Scores::Logit, 0.5, 0.0);
        check(Scale::Order, Scores::Probability, -7.0, 1.0);
    }

    #[test]
    fn an_order_becomes_even_steps() {
        let given = ranking(Scale::Order, &[(4, 0, 10.0), (2, 0, -1.0), (9, 0, 3.0)]);
        let results = documents(given, Scores::Probability);
        let indexes: Vec<_> = results.iter().map(|r| r.index).collect();
        assert_eq!(indexes, [4, 9, 2]);
        assert!((results[2].score - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn results_of_all_queries_are_one_ranking() {
        let rankings = vec![
            ranking(Scale::Logit, &[(2, 0, 1.5), (0, 0, -1.0)]),
            ranking(Scale::Logit, &[(3, 0, 0.5)]),
        ];
        let indexes =
            |scores: Vec<Scored>| -> Vec<u32> { scores.iter().map(|s| s.index).collect() };
        assert_eq!(indexes(merged(rankings, Scores::Logit)), [2, 3, 0]);
        assert_eq!(merged(Vec::new(), Scores::Logit), []);
    }

    #[test]
    fn what_a_sigmoid_would_tie_keeps_its_order() {
        let given = ranking(Scale::Logit, &[(0, 0, 30.0), (1, 0, 31.0)]);
        let results = documents(given, Scores::Probability);
        assert_eq!(results[0].index, 1);
        assert_eq!(results[0].score, results[1].score);
    }

    #[test]
    fn filtered_documents_come_last() {
        let mut results = vec![Scored { index: 2, score: 0.9 }];
        put_filtered_last(&mut results, 3, Scores::Probability);
        let expected = [(2, 0.9), (0, 0.0), (1, 0.0)];
        assert_eq!(results, expected.map(|(index, score)| Scored { index, score }));
    }
}
