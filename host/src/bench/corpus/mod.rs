//! The texts that a benchmark sends: queries, passages, and which passages are
//! asked about with which query.
//!
//! Everything here is a function of the corpus and a number, so that every
//! variant of a workload is asked the same, in the same order, and a stored
//! sample of scores finds its pairs again.

mod folder;
mod generated;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use sha2::{Digest, Sha256};

use super::random::Random;
use super::workload::{CorpusSettings, TextSource};

/// Passages that are asked about with a query every time it is asked; the others
/// change from round to round. A stored sample has the scores of these.
pub const FIXED_CANDIDATES: usize = 4;

/// Digits of the sha256 that name a corpus.
const DIGEST_DIGITS: usize = 12;

pub struct Corpus {
    /// What it is, for people.
    pub name: String,
    /// Every passage has as many words as every other, and no meaning.
    pub equal_length: bool,
    pub queries: Vec<Query>,
    pub passages: Vec<Arc<str>>,
    /// Names its content.
    pub digest: String,
}

pub struct Query {
    pub text: Arc<str>,
    /// Passages that are about it, as far as is known; they come first.
    pub relevant: Vec<usize>,
}

/// One request's texts.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Position of the query in the corpus.
    pub query: usize,
    /// Positions of the passages, all different.
    pub passages: Vec<usize>,
    pub query_text: Arc<str>,
    pub documents: Vec<Arc<str>>,
}

impl Corpus {
    /// Makes or reads what the workload names.
    pub fn load(settings: &CorpusSettings) -> anyhow::Result<Corpus> {
        let passages_max = settings.passages;
        match &settings.source {
            TextSource::Generated => Ok(generated::passages(passages_max)),
            TextSource::EqualLength { words } => Ok(generated::equal_length(passages_max, *words)),
            TextSource::Lines { passages, queries } => {
                folder::lines(passages, queries, passages_max)
            }
            TextSource::Beir(path) => folder::beir(path, passages_max),
            TextSource::Trec(path) => folder::trec(path, passages_max),
        }
    }

    fn new(name: String, queries: Vec<Query>, passages: Vec<Arc<str>>) -> Corpus {
        let mut digest = Sha256::new();
        for text in queries.iter().map(|query| &query.text).chain(&passages) {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        }
        let mut hex = String::new();
        for byte in digest.finalize() {
            let _ = write!(hex, "{byte:02x}");
        }
        hex.truncate(DIGEST_DIGITS);
        Corpus { name, equal_length: false, queries, passages, digest: hex }
    }

    /// Whether requests of so many documents can be made of it.
    pub fn check(&self, documents: usize) -> anyhow::Result<()> {
        ensure!(!self.queries.is_empty(), "{} has no queries", self.name);
        ensure!(
            self.passages.len() >= documents,
            "`request.documents` is {documents}, but {} has {} passages",
            self.name,
            self.passages.len()
        );
        Ok(())
    }

    /// The texts of the request of that number. `seed` says with which query the
    /// queries' round begins.
    pub fn request(&self, seed: u64, number: u64, documents: usize) -> Asked {
        let queries = self.queries.len() as u64;
        let turn = number.wrapping_add(seed);
        let query = (turn % queries) as usize;
        let passages = self.candidates(query, turn / queries, documents);
        Asked {
            query,
            query_text: self.queries[query].text.clone(),
            documents: passages.iter().map(|place| self.passages[*place].clone()).collect(),
            passages,
        }
    }

    /// Passages to rank for a query: what is relevant, then others that are the
    /// same in every round up to `FIXED_CANDIDATES`, then others.
    fn candidates(&self, query: usize, round: u64, documents: usize) -> Vec<usize> {
        let count = documents.min(self.passages.len());
        let fixed = count.min(FIXED_CANDIDATES);
        let mut chosen: Vec<usize> = Vec::with_capacity(count);
        let known = self.queries[query].relevant.iter().copied();
        chosen.extend(known.take(fixed.min(FIXED_CANDIDATES / 2)));
        self.walk(query as u64, fixed, &mut chosen);
        self.walk(Random::new(query as u64 ^ (round << 32) ^ 1).next(), count, &mut chosen);
        chosen
    }

    /// Adds passages in an order that `seed` decides, until there are `count`.
    fn walk(&self, seed: u64, count: usize, chosen: &mut Vec<usize>) {
        let mut random = Random::new(seed);
        let all = self.passages.len();
        let mut place = random.below(all);
        // A step that has no divisor in common with `all` comes by every passage.
        let mut step = 1 + random.below(all);
        while gcd(step, all) != 1 {
            step += 1;
        }
        while chosen.len() < count {
            if !chosen.contains(&place) {
                chosen.push(place);
            }
            place = (place + step) % all;
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How a file or folder is called in reports: its own name, without the path to
/// it on somebody's machine.
fn called(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn small() -> Corpus {
        generated::passages(60)
    }

    #[test]
    fn requests_are_a_function_of_their_number() {
        let (one, other) = (small(), small());
        assert_eq!(one.digest, other.digest);
        for number in [0, 1, 77, 12_345] {
            let (a, b) = (one.request(3, number, 9), other.request(3, number, 9));
            assert_eq!((a.query, &a.passages), (b.query, &b.passages));
            let different: BTreeSet<_> = a.passages.iter().collect();
            assert_eq!(different.len(), 9, "{:?}", a.passages);
        }
    }

    #[test]
    fn what_a_sample_scores_is_asked_in_every_round() {
        let corpus = small();
        let queries = corpus.queries.len() as u64;
        let (first, later) = (corpus.request(0, 5, 20), corpus.request(0, 5 + 3 * queries, 20));
        assert_eq!(first.query, later.query);
        assert_eq!(first.passages[..FIXED_CANDIDATES], later.passages[..FIXED_CANDIDATES]);
        assert_ne!(first.passages, later.passages);
        let few = corpus.request(0, 5, 2);
        assert_eq!(few.passages, first.passages[..2]);
    }

    #[test]
    fn every_passage_can_be_asked_about() {
        let corpus = small();
        let mut all = corpus.request(0, 0, 60).passages;
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
        assert!(corpus.check(60).is_ok() && corpus.check(61).is_err());
    }
}
