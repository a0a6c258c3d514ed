//! Filtering: a cheap lexical score reads all documents, and the model only the
//! best of them. A thousand candidates then cost what fifty cost.
//!
//! The lexical score is BM25 (Robertson and Zaragoza 2009, "The Probabilistic
//! Relevance Framework: BM25 and Beyond") over the documents of the request: how
//! rare a word is, and how long a document usually is, is learned from them alone.
//! So a word of the query that they all have says nothing, and one that few have
//! says much. Words are compared whole; there is no stemming.
//!
//! What the model does not read is left out, or follows: then it gets scores
//! below the model's lowest, on the model's scale, falling by lexical score. Such a
//! score says "below the others" and nothing more: for logits it is up to 1 below
//! the lowest, for probabilities a part of the lowest.
//!
//! Documents that follow were never seen by the stages behind this one. A filter
//! that must see all stands in front of it.

use maitred_sdk::words::word_hashes;
use maitred_sdk::{
    Document, Next, Params, Policy, Ranked, Ranking, Request, Result, Scale, context,
};

/// How soon a word that occurs again counts less, and how much a document's length
/// counts: the values that Robertson and Zaragoza report to do well.
const K1: f64 = 1.2;
const B: f64 = 0.75;

#[derive(Debug, PartialEq)]
struct Cascade {
    best: usize,
    rest: Rest,
}

#[derive(Debug, Clone, PartialEq)]
enum Rest {
    Drop,
    Follow,
}

impl Policy for Cascade {
    fn new(params: &Params) -> Result<Self> {
        let rests = [("drop", Rest::Drop), ("follow", Rest::Follow)];
        Ok(Cascade {
            best: params.or_within("best", 50, 1..)?,
            rest: params.one_of("rest", &rests, Rest::Drop)?,
        })
    }

    async fn rerank(&self, mut request: Request, next: Next) -> Result<Ranking> {
        // A client that wants a hundred results gets no fewer for this policy.
        let best = context::wanted().map_or(self.best, |wanted| self.best.max(wanted as usize));
        if request.documents.len() <= best {
            return next.rerank(request).await;
        }
        let lexical = bm25(&request.query, &request.documents);
        let mut by_score: Vec<(f64, Document)> =
            lexical.into_iter().zip(request.documents).collect();
        // Stable: equal ones stay in their order.
        by_score.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let rest = by_score.split_off(best);
        request.documents = by_score.into_iter().map(|(_, document)| document).collect();
        let mut ranking = next.rerank(request).await?;
        if self.rest == Rest::Follow {
            follow(&mut ranking, rest.iter().map(|(_, document)| document));
        }
        Ok(ranking)
    }
}

/// Puts documents below all results, the first of them highest.
fn follow<'a>(ranking: &mut Ranking, rest: impl ExactSizeIterator<Item = &'a Document>) {
    let lowest = ranking.results.iter().map(|result| result.score).min_by(f32::total_cmp);
    if lowest.is_none() {
        // Below nothing, all that is known of them is their order.
        ranking.scale = Scale::Order;
    }
    let (scale, lowest) = (ranking.scale, f64::from(lowest.unwrap_or_default()));
    let step = 1.0 / (rest.len() as f64 + 1.0);
    let below = |(place, document): (u32, &Document)| {
        // Above 0, at most 1.
        let share = f64::from(place) * step;
        let score = match scale {
            Scale::Logit => lowest - share,
            Scale::Probability => lowest * (1.0 - share),
            Scale::Order => lowest - f64::from(place),
        };
        Ranked::new(document, score as f32)
    };
    ranking.results.extend((1..).zip(rest).map(below));
}

/// The BM25 score of each document, 0 where it has no word of the query.
fn bm25(query: &str, documents: &[Document]) -> Vec<f64> {
    let mut terms = Vec::new();
    word_hashes(query, &mut terms);
    terms.sort_unstable();
    terms.dedup();

    // How often each document has each term, row by row.
    let mut counts = vec![0u32; documents.len() * terms.len()];
    let mut lengths = Vec::with_capacity(documents.len());
    let mut words = Vec::new();
    for (at, document) in documents.iter().enumerate() {
        words.clear();
        word_hashes(&document.text, &mut words);
        lengths.push(words.len() as f64);
        let row = &mut counts[at * terms.len()..][..terms.len()];
        for word in &words {
            // A query has few words: looking at each is faster than a table.
            if let Some(term) = terms.iter().position(|term| term == word) {
                row[term] += 1;
            }
        }
    }
    let average = (lengths.iter().sum::<f64>() / documents.len().max(1) as f64).max(1.0);
    let total = documents.len() as f64;
    let rarity = |term| {
        let rows = counts.chunks_exact(terms.len());
        let having = rows.filter(|row: &&[u32]| row[term] > 0).count() as f64;
        // Above 0 also for a word that most documents have.
        (1.0 + (total - having + 0.5) / (having + 0.5)).ln()
    };
    let rarities: Vec<f64> = (0..terms.len()).map(rarity).collect();
    let score = |(at, length): (usize, &f64)| {
        let row = &counts[at * terms.len()..][..terms.len()];
        let norm = K1 * (1.0 - B + B * length / average);
        let term = |(count, rarity): (&u32, &f64)| {
            let count = f64::from(*count);
            rarity * count * (K1 + 1.0) / (count + norm)
        };
        row.iter().zip(&rarities).map(term).sum()
    };
    lengths.iter().enumerate().map(score).collect()
}

maitred_sdk::export!(Cascade);

#[cfg(test)]
mod tests {
    use maitred_sdk::test::{Kit, assert_manifest_fits, order, request, scores};

    use super::*;

    const MANIFEST: &str = include_str!("../cascade.toml");

    const TEXTS: [&str; 5] = [
        "a red hat",
        "the weather of tomorrow is red",
        "a red shoe, and another red shoe",
        "shoes and socks",
        "one shoe",
    ];

    fn kit(best: usize, rest: &str) -> Kit {
        Kit::new().manifest(MANIFEST).param("best", best).param("rest", rest)
    }

    fn sent(kit: Kit) -> Vec<u32> {
        let run = kit.watch::<Cascade>(request("red shoe", TEXTS));
        run.calls[0].documents.iter().map(|document| document.index).collect()
    }

    #[test]
    fn the_model_reads_the_best() {
        assert_eq!(sent(kit(1, "drop")), [2]);
        assert_eq!(sent(kit(2, "drop")), [2, 4]);
        assert_eq!(sent(kit(4, "drop")), [2, 4, 0, 1]);
        assert_eq!(sent(kit(5, "drop")), [0, 1, 2, 3, 4]);
        // The client wants more than that.
        assert_eq!(sent(kit(1, "drop").wanted(3)), [2, 4, 0]);
        assert_eq!(sent(kit(1, "drop").wanted(9)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_rest_is_dropped_or_follows_on_the_same_scale() {
        let ask = || request("red shoe", TEXTS);
        let ranking = kit(2, "drop").run::<Cascade>(ask()).unwrap();
        assert_eq!(scores(&ranking), [(2, 0, 2.0), (4, 0, 1.0)]);

        let check = |scale, model: fn(u32) -> f32, expected: &[(u32, u32, f32)]| {
            let kit = kit(2, "follow").next_scores(scale, move |_, d| model(d.index));
            let ranking = kit.run::<Cascade>(ask()).unwrap();
            assert_eq!(ranking.scale, scale);
            assert_eq!(scores(&ranking), expected);
            assert_eq!(order(&ranking)[2..], [0, 1, 3]);
        };
        let logits = |index| -(index as f32);
        let rest = [(0, 0, -4.25), (1, 0, -4.5), (3, 0, -4.75)];
        check(Scale::Logit, logits, &[&[(2, 0, -2.0), (4, 0, -4.0)][..], &rest].concat());
        let probabilities = |index| 1.0 / index as f32;
        let rest = [(0, 0, 0.1875), (1, 0, 0.125), (3, 0, 0.0625)];
        check(
            Scale::Probability,
            probabilities,
            &[&[(2, 0, 0.5), (4, 0, 0.25)][..], &rest].concat(),
        );
        let rest = [(0, 0, -5.0), (1, 0, -6.0), (3, 0, -7.0)];
        check(Scale::Order, logits, &[&[(2, 0, -2.0), (4, 0, -4.0)][..], &rest].concat());
    }

    #[test]
    fn where_the_model_says_nothing_the_rest_is_an_order() {
        let nothing = |_: &Request| Ok(Ranking { results: Vec::new(), scale: Scale::Logit });
        let ranking = kit(2, "follow").next(nothing).run::<Cascade>(request("red shoe", TEXTS));
        let ranking = ranking.unwrap();
        assert_eq!(ranking.scale, Scale::Order);
        assert_eq!(order(&ranking), [0, 1, 3]);
    }

    #[test]
    fn the_score_is_bm25() {
        // Robertson and Zaragoza's formula by hand: two documents of 2 and 4
        // words, 3 on average; "a" is in one of them, once.
        let documents = [Document::new(0, "a b"), Document::new(1, "b c d e")];
        let rarity = (1.0 + 1.5 / 1.5f64).ln();
        let norm = 1.2 * (0.25 + 0.75 * 2.0 / 3.0);
        let expected = rarity * 2.2 / (1.0 + norm);
        let scores = bm25("a A x", &documents);
        assert!((scores[0] - expected).abs() < 1e-12 && scores[1] == 0.0, "{scores:?}");
        assert_eq!(bm25("", &documents), [0.0, 0.0]);
        assert_eq!(bm25("q", &[]), [0.0; 0]);
        assert!(bm25("好", &[Document::new(0, "你好吗")])[0] > 0.0);
    }

    #[test]
    fn the_manifest_says_what_the_policy_reads() {
        assert_manifest_fits::<Cascade>(&Kit::new(), MANIFEST);
    }
}
