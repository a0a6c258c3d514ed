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
//! As many are picked as the client wants results; those after that follow by
//! relevance. What a result is worth only falls with every pick, so one that is
//! worth less than the best even by what was known of it earlier need not be
//! looked at again (lazy evaluation, Minoux 1978). Where results differ anyway,
//! few texts are ever read.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

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
        let candidate = |(place, relevance): (usize, f64)| {
            let text = texts.of(&ranking.results[place]).map_or("", String::as_str);
            Candidate { relevance, text, shingles: OnceCell::new(), likeness: 0.0, compared: 0 }
        };
        let candidates = (0..candidates).zip(relevances).map(candidate).collect();
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

struct Candidate<'a> {
    /// 0 to 1.
    relevance: f64,
    text: &'a str,
    /// Of the text, once they are needed.
    shingles: OnceCell<Vec<u64>>,
    /// To the most alike of the first `compared` picks, 0 to 1.
    likeness: f64,
    compared: usize,
}

/// What a candidate is worth at most, by its place: the highest is the greatest,
/// and of equal ones the most relevant.
struct Promise {
    value: f64,
    place: usize,
}

impl Diversify {
    /// The places of candidates, in the order in which they are picked; after so
    /// many picks, by relevance. Candidates come by relevance.
    fn order(&self, mut candidates: Vec<Candidate<'_>>, picks: usize) -> Vec<usize> {
        let promise = |(place, candidate): (usize, &Candidate<'_>)| Promise {
            value: self.lambda * candidate.relevance - (1.0 - self.lambda) * candidate.likeness,
            place,
        };
        let mut promises: BinaryHeap<Promise> =
            candidates.iter().enumerate().map(promise).collect();
        let mut order: Vec<usize> = Vec::with_capacity(candidates.len());
        while order.len() < picks
            && let Some(Promise { place, .. }) = promises.pop()
        {
            let best = &candidates[place];
            if best.compared == order.len() {
                order.push(place);
                continue;
            }
            let since = order[best.compared..].iter().map(|&picked| &candidates[picked]);
            let likenesses =
                since.map(|picked| jaccard(self.shingles(picked), self.shingles(best)));
            let likeness = likenesses.fold(best.likeness, f64::max);
            let best = &mut candidates[place];
            (best.likeness, best.compared) = (likeness, order.len());
            promises.push(promise((place, best)));
        }
        let mut left: Vec<usize> = promises.into_iter().map(|promise| promise.place).collect();
        left.sort_unstable();
        order.extend(left);
        order
    }

    fn shingles<'a>(&self, candidate: &'a Candidate<'_>) -> &'a [u64] {
        candidate.shingles.get_or_init(|| shingles(candidate.text, self.shingle))
    }
}

impl Ord for Promise {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.total_cmp(&other.value).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Promise {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Promise {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Promise {}

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
    fn it_picks_what_comparing_all_would_pick() {
        let seed = 5;
        let mut state: u64 = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..200 {
            let texts: Vec<String> = (0..12)
                .map(|_| (0..1 + next(6)).map(|_| format!("w{} ", next(8))).collect())
                .collect();
            let mut relevances: Vec<f64> = texts.iter().map(|_| next(20) as f64 / 20.0).collect();
            relevances.sort_by(|a, b| b.total_cmp(a));
            let policy = Diversify { lambda: next(11) as f64 / 10.0, shingle: 1, candidates: 12 };
            let likeness =
                |a: usize, b: usize| jaccard(&shingles(&texts[a], 1), &shingles(&texts[b], 1));
            let (mut expected, mut left) = (Vec::new(), (0..12).collect::<Vec<usize>>());
            while !left.is_empty() {
                let value = |place: usize| {
                    let alike = expected.iter().map(|&picked| likeness(picked, place));
                    let alike = alike.fold(0.0, f64::max);
                    policy.lambda * relevances[place] - (1.0 - policy.lambda) * alike
                };
                let best = (1..left.len()).fold(0, |best, at| {
                    if value(left[at]) > value(left[best]) { at } else { best }
                });
                let picked = left.remove(best);
                expected.push(picked);
            }
            let candidate = |place: usize| Candidate {
                relevance: relevances[place],
                text: &texts[place],
                shingles: OnceCell::new(),
                likeness: 0.0,
                compared: 0,
            };
            let candidates = (0..12).map(candidate).collect();
            assert_eq!(policy.order(candidates, 12), expected, "seed {seed}, round {round}");
        }
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
