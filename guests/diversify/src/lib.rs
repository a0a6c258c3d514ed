//! Scoring: of results that say the same, the best comes first and the others
//! later, so that the first page answers more than one reading of the query.
//!
//! Maximal marginal relevance (Carbonell and Goldstein 1998): results are picked
//! one after the other, each time the one with the highest
//!
//! ```text
//! λ · p − (1 − λ) · s
//! ```
//!
//! where p, 0 to 1, is the probability that the document answers the query, and
//! s, 0 to 1, is its likeness to the most alike of the results picked before: the
//! Jaccard similarity of their shingles. A difference of 0.1 in either weighs the
//! same at λ = 0.5. Where a stage behind gives only an order, p falls evenly from
//! 1 for the best towards 0.
//!
//! The answer is an *order*: a document's place now depends on the others, and no
//! number could say that and still be its probability. Nothing is dropped.
//!
//! It takes as many picks as the client wants results, each compared with the
//! candidates that are left; the results after that follow by relevance.

use maitred_sdk::words::{jaccard, shingles};
use maitred_sdk::{Next, Params, Policy, Ranking, Request, Result, Scale, Sent, context};

#[derive(Debug, PartialEq)]
struct Diversify {
    /// The share of relevance in what is compared, 0 to 1.
    lambda: f64,
    /// Words of a shingle.
    shingle: usize,
    /// How many of the best results may change their places.
    candidates: usize,
}

impl Policy for Diversify {
    fn new(params: &Params) -> Result<Self> {
        Ok(Diversify {
            lambda: params.or_within("lambda", 0.7, 0.0..=1.0)?,
            shingle: params.or_within("shingle", 1, 1..=5)?,
            candidates: params.or_within("candidates", 100, 2..=1000)?,
        })
    }

    async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
        let texts = Sent::new(&request.documents, |document| document.text.clone());
        let mut ranking = next.rerank(request).await?;
        ranking.sort();
        let candidates = self.candidates.min(ranking.results.len());
        let relevances = ranking.results.iter().enumerate().map(|(rank, result)| {
            let evenly = 1.0 - rank as f64 / candidates as f64;
            ranking.scale.probability(result.score).unwrap_or(evenly)
        });
        let candidate = |(place, relevance)| {
            let text = texts.of(&ranking.results[place]).map_or("", String::as_str);
            Candidate { place, relevance, shingles: shingles(text, self.shingle), likeness: 0.0 }
        };
        let candidates: Vec<_> = (0..candidates).zip(relevances).map(candidate).collect();
        let picks = context::wanted().map_or(usize::MAX, |wanted| wanted as usize);
        let order = self.order(candidates, picks);

        let of = ranking.results.len();
        let mut results: Vec<_> = order.iter().map(|&place| ranking.results[place]).collect();
        results.extend_from_slice(&ranking.results[order.len()..]);
        for (rank, result) in results.iter_mut().enumerate() {
            result.score = (of - rank) as f32;
        }
        Ok(Ranking { results, scale: Scale::Order })
    }
}

struct Candidate {
    /// Its place by relevance alone.
    place: usize,
    /// 0 to 1.
    relevance: f64,
    shingles: Vec<u64>,
    /// To the most alike of those picked so far, 0 to 1.
    likeness: f64,
}

impl Diversify {
    /// The places of candidates, in the order in which they are picked; after so
    /// many picks, by relevance. Candidates come by relevance.
    fn order(&self, mut left: Vec<Candidate>, picks: usize) -> Vec<usize> {
        let mut order = Vec::with_capacity(left.len());
        while order.len() < picks && !left.is_empty() {
            let value =
                |c: &Candidate| self.lambda * c.relevance - (1.0 - self.lambda) * c.likeness;
            // Of equal ones the first, which is the more relevant.
            let mut best = 0;
            for at in 1..left.len() {
                if value(&left[at]) > value(&left[best]) {
                    best = at;
                }
            }
            let picked = left.remove(best);
            for other in &mut left {
                other.likeness = other.likeness.max(jaccard(&picked.shingles, &other.shingles));
            }
            order.push(picked.place);
        }
        order.extend(left.iter().map(|candidate| candidate.place));
        order
    }
}

maitred_sdk::export!(Diversify);

#[cfg(test)]
mod tests {
    use maitred_sdk::test::{Kit, assert_manifest_fits, order, request};

    use super::*;

    const MANIFEST: &str = include_str!("../diversify.toml");

    const TEXTS: [&str; 5] = [
        "jaguar is a large cat of the americas",
        "a large cat of the americas is the jaguar",
        "jaguar is a british maker of cars",
        "the jaguar, a large cat of the americas",
        "weather tomorrow",
    ];

    /// Logits by document.
    fn kit(scores: &'static [f32]) -> Kit {
        Kit::new()
            .manifest(MANIFEST)
            .next_scores(Scale::Logit, |_, document| scores[document.index as usize])
    }

    const SCORES: &[f32] = &[3.0, 2.9, 2.0, 2.8, -5.0];

    fn ranked(kit: Kit) -> Vec<u32> {
        let ranking = kit.run::<Diversify>(request("jaguar", TEXTS)).unwrap();
        assert_eq!(ranking.scale, Scale::Order);
        order(&ranking)
    }

    #[test]
    fn what_is_new_moves_up() {
        let check = |lambda, expected| {
            assert_eq!(ranked(kit(SCORES).param("lambda", lambda)), expected, "{lambda}");
        };
        check(1.0, [0, 1, 3, 2, 4]);
        check(0.7, [0, 2, 3, 1, 4]);
        // What is most unlike comes first, however little it answers.
        check(0.0, [0, 4, 2, 3, 1]);
    }

    #[test]
    fn only_what_the_client_wants_is_picked() {
        assert_eq!(ranked(kit(SCORES).wanted(1)), [0, 1, 3, 2, 4]);
        assert_eq!(ranked(kit(SCORES).wanted(2)), [0, 2, 1, 3, 4]);
        assert_eq!(ranked(kit(SCORES).param("candidates", 3)), [0, 3, 1, 2, 4]);
        assert_eq!(ranked(kit(SCORES).param("candidates", 4)), [0, 2, 3, 1, 4]);
    }

    #[test]
    fn an_order_is_relevance_enough() {
        let kit = Kit::new()
            .param("lambda", 0.5)
            .next_scores(Scale::Order, |_, document| SCORES[document.index as usize] * 100.0);
        assert_eq!(ranked(kit), [0, 4, 2, 1, 3]);
    }

    #[test]
    fn texts_without_words_are_unlike_and_nothing_is_lost() {
        let run = |texts: &[&str]| {
            let ranking = Kit::new().run::<Diversify>(request("q", texts.iter().copied())).unwrap();
            order(&ranking)
        };
        assert_eq!(run(&[]), [0u32; 0]);
        assert_eq!(run(&["", "", "a"]), [0, 1, 2]);
    }

    #[test]
    fn a_part_has_the_text_of_its_document() {
        // The stage behind cuts: both parts are of document 0, and alike.
        let kit = Kit::new().param("lambda", 0.5).next(|_| {
            let ranked = |(index, part, score)| maitred_sdk::Ranked { index, part, score };
            let results = [(0, 0, 2.0), (0, 1, 1.9), (1, 0, 1.8)].map(ranked);
            Ok(Ranking { results: results.into(), scale: Scale::Logit })
        });
        assert_eq!(order(&kit.run::<Diversify>(request("q", ["a b", "c d"])).unwrap()), [0, 1, 0]);
    }

    #[test]
    fn the_manifest_says_what_the_policy_reads() {
        assert_manifest_fits::<Diversify>(&Kit::new(), MANIFEST);
    }
}
