//! Scoring: one question asked in several ways. The documents are ranked for each
//! query, all at once, and the rankings are fused.
//!
//! A client that has several queries for one need (synonyms, translations, what a
//! language model rewrote) writes them into one, `heat pump | air source heating`;
//! an operator may add a `template`, so that a few words are also asked as a
//! question. The queries are what is written: nothing is made up here.
//!
//! Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): a document's score
//! is the sum of 1 / (k + rank) over the rankings, rank 1 being the best. It needs
//! no scores that can be compared, and a document that is good for all queries
//! beats one that is best for a single one. A document that a ranking lacks gets
//! nothing from it. The answer is an *order*: the sums are no relevance.
//!
//! A single query is passed on as it is, and keeps its scores. Each query more
//! costs a ranking of all documents more, so their number is bounded; a request
//! with more queries is refused, for half of an answer would look like one.

use maitred_sdk::{Error, Next, Params, Policy, Ranked, Ranking, Request, Result, Scale, Sent};

/// What stands for the query in a template.
const QUERY: &str = "{query}";

#[derive(Debug, PartialEq)]
struct Fuse {
    separator: String,
    template: String,
    k: f64,
    queries_max: usize,
}

impl Policy for Fuse {
    fn new(params: &Params) -> Result<Self> {
        let fuse = Fuse {
            separator: params.or("separator", "|".to_string())?,
            template: params.or("template", String::new())?,
            k: params.or_within("k", 60.0, 0.0..)?,
            queries_max: params.or_within("queries_max", 4, 1..=8)?,
        };
        match fuse.template.is_empty() || fuse.template.contains(QUERY) {
            true => Ok(fuse),
            false => Err(Error::internal(format_args!(
                "parameter `template` is `{}`, which has no `{QUERY}`",
                fuse.template
            ))),
        }
    }

    async fn rerank(&self, mut request: Request, next: Next) -> Result<Ranking> {
        let mut queries = self.queries(&request.query)?;
        if queries.len() < 2 {
            request.query = queries.pop().unwrap_or(request.query);
            return next.rerank(request).await;
        }
        let places = Sent::new(&request.documents, |document| (document.index, document.part));
        let asked = queries.into_iter().map(|query| Request { query, ..request.clone() });
        let rankings = next.try_rerank_all(asked).await?;
        Ok(Ranking { results: self.fused(rankings, &places), scale: Scale::Order })
    }
}

impl Fuse {
    /// The different queries in one, and what the template makes of each.
    fn queries(&self, query: &str) -> Result<Vec<String>> {
        let written: Vec<&str> = match self.separator.is_empty() {
            true => vec![query],
            false => query.split(&self.separator).collect(),
        };
        let mut queries: Vec<String> = Vec::new();
        for query in written.iter().map(|query| query.trim()).filter(|query| !query.is_empty()) {
            let filled = (!self.template.is_empty()).then(|| self.template.replace(QUERY, query));
            for query in std::iter::once(query.to_string()).chain(filled) {
                if !queries.contains(&query) {
                    queries.push(query);
                }
            }
        }
        match queries.len() <= self.queries_max {
            true => Ok(queries),
            false => Err(Error::invalid(format_args!(
                "the query makes {} queries, over the limit of {} (`queries_max`)",
                queries.len(),
                self.queries_max
            ))),
        }
    }

    /// A result for each document that any ranking has. A stage behind may have
    /// cut documents into parts, each ranking with its own best: a document's
    /// place is that of its best part, which also names it.
    fn fused(&self, rankings: Vec<Ranking>, places: &Sent<(u32, u32)>) -> Vec<Ranked> {
        let mut sums: Vec<Option<f64>> = vec![None; places.len()];
        let mut ids = vec![(0, 0); places.len()];
        for mut ranking in rankings {
            ranking.sort();
            let mut ranked = vec![false; places.len()];
            let mut rank = 0;
            for result in &ranking.results {
                let (Some(place), Some(id)) = (places.place_of(result), places.of(result)) else {
                    continue;
                };
                if std::mem::replace(&mut ranked[place], true) {
                    continue;
                }
                rank += 1;
                ids[place] = *id;
                *sums[place].get_or_insert(0.0) += 1.0 / (self.k + f64::from(rank));
            }
        }
        let ids = ids.into_iter().zip(sums);
        ids.filter_map(|((index, part), sum)| Some(Ranked { index, part, score: sum? as f32 }))
            .collect()
    }
}

maitred_sdk::export!(Fuse);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use maitred_sdk::Document;
    use maitred_sdk::test::{Kit, assert_manifest_fits, order, request, scores};

    use super::*;

    const MANIFEST: &str = include_str!("../fuse.toml");

    fn kit() -> Kit {
        Kit::new().manifest(MANIFEST)
    }

    fn asked(kit: Kit, query: &str) -> Vec<String> {
        let run = kit.watch::<Fuse>(request(query, ["d"]));
        run.answer.unwrap();
        run.calls.into_iter().map(|call| call.query).collect()
    }

    #[test]
    fn the_queries_are_what_is_written() {
        assert_eq!(asked(kit(), "red shoe"), ["red shoe"]);
        assert_eq!(asked(kit(), " red shoe | sneaker||red shoe"), ["red shoe", "sneaker"]);
        assert_eq!(asked(kit(), "|"), ["|"]);
        assert_eq!(asked(kit().param("separator", ""), "a | b"), ["a | b"]);
        assert_eq!(asked(kit().param("separator", " or "), "a or b"), ["a", "b"]);
        let kit = kit().param("template", "what is {query}?");
        assert_eq!(asked(kit.clone(), "tea"), ["tea", "what is tea?"]);
        assert_eq!(asked(kit, "a|b"), ["a", "what is a?", "b", "what is b?"]);
    }

    #[test]
    fn too_many_queries_are_the_clients_fault() {
        let error = kit().run::<Fuse>(request("a|b|c|d|e", ["d"])).unwrap_err();
        assert_eq!(
            error,
            Error::invalid("the query makes 5 queries, over the limit of 4 (`queries_max`)")
        );
        assert_eq!(asked(kit().param("queries_max", 5), "a|b|c|d|e").len(), 5);
    }

    #[test]
    fn rankings_are_asked_for_at_once_and_fused_by_rank() {
        // Query a ranks 0 1 2 3, query b 2 1 0 and knows no 3.
        let takes = Duration::from_millis(50);
        let kit = kit().next_takes(takes).next(|request| {
            let logit = |d: &Document| match &*request.query {
                "a" => Some(100.0 - d.index as f32),
                _ => (d.index != 3).then_some(d.index as f32),
            };
            let ranked = |d| Some(Ranked::new(d, logit(d)?));
            let results = request.documents.iter().filter_map(ranked).collect();
            Ok(Ranking { results, scale: Scale::Logit })
        });
        let run = kit.watch::<Fuse>(request("a|b", ["w", "x", "y", "z"]));
        assert_eq!(run.took, takes);
        let ranking = run.answer.unwrap();
        let score = |first: f32, second: f32| {
            (1.0 / (60.0 + f64::from(first)) + 1.0 / (60.0 + f64::from(second))) as f32
        };
        let last = (1.0 / 64.0f64) as f32;
        let expected = [
            (0, 0, score(1.0, 3.0)),
            (1, 0, score(2.0, 2.0)),
            (2, 0, score(3.0, 1.0)),
            (3, 0, last),
        ];
        assert_eq!((scores(&ranking), ranking.scale), (expected.into(), Scale::Order));
    }

    #[test]
    fn one_query_keeps_its_scores() {
        let ranking = kit().run::<Fuse>(request("red shoe |", ["red shoe", "hat"])).unwrap();
        assert_eq!(ranking.scale, Scale::Logit);
        assert_eq!(scores(&ranking), [(0, 0, 2.0), (1, 0, 0.0)]);
    }

    #[test]
    fn the_best_part_ranks_its_document() {
        let kit = kit().next(|request| {
            // Each query has another best part of document 0.
            let best = u32::from(request.query == "b");
            let ranked = |(index, part, score)| Ranked { index, part, score };
            let results = [(0, best, 3.0), (0, 1 - best, 1.0), (1, 0, 2.0)].map(ranked);
            Ok(Ranking { results: results.into(), scale: Scale::Logit })
        });
        let ranking = kit.run::<Fuse>(request("a|b", ["x", "y"])).unwrap();
        assert_eq!(order(&ranking), [0, 1]);
        assert_eq!(ranking.results[0].score, (2.0 / 61.0f64) as f32);
    }

    #[test]
    fn an_error_of_one_query_is_the_answer() {
        let kit = kit().next(|request| match &*request.query {
            "b" => Err(Error::overloaded(Duration::from_secs(1))),
            _ => Ok(Ranking { results: Vec::new(), scale: Scale::Logit }),
        });
        let answer = kit.run::<Fuse>(request("a|b", ["d"]));
        assert_eq!(answer, Err(Error::Overloaded(1000)));
    }

    #[test]
    fn parameters_are_checked() {
        assert_manifest_fits::<Fuse>(&Kit::new(), MANIFEST);
        let error = kit().param("template", "what is it?").make::<Fuse>();
        let expected = "parameter `template` is `what is it?`, which has no `{query}`";
        assert_eq!(error, Err(Error::internal(expected)));
    }
}
