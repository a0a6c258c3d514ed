//! Filtering: of documents that say nearly the same, only the first goes on to
//! the model. Crawled pages, product variants and chunked manuals repeat
//! themselves; each repetition costs a pair and a place among the results.
//!
//! Two documents are alike if the sets of their three-word shingles have a
//! Jaccard similarity of at least `similarity`. The comparison is exact. What
//! keeps it from being quadratic is a prefix filter (Bayardo et al. 2007,
//! "Scaling up all pairs similarity search"): with the shingles of every set in
//! one global order, two sets of similarity t can only miss each other in the
//! first |A| - ⌈t|A|⌉ + 1 shingles of A if they are not similar, so only
//! documents that share one of those are compared.

use maitred_sdk::words::{jaccard, unsorted_shingles, word_hashes};
use maitred_sdk::{Document, Params, Policy, Request, Result};

/// Words of a shingle.
const SHINGLE: usize = 3;

#[derive(Debug, PartialEq)]
struct Dedupe {
    similarity: f64,
}

impl Policy for Dedupe {
    fn new(params: &Params) -> Result<Self> {
        Ok(Dedupe { similarity: params.or_within("similarity", 0.9, 0.1..=1.0)? })
    }

    fn shape(&self, mut request: Request) -> Result<Request> {
        let mut seen = Seen::new(self.similarity, &request.documents);
        request.documents.retain(|document| seen.is_new(document));
        Ok(request)
    }
}

/// The documents kept so far, and which of them to compare with.
struct Seen {
    similarity: f64,
    kept: Vec<Kept>,
    prefixes: Prefixes,
    /// Reused from document to document.
    words: Vec<u64>,
    compared: Vec<u32>,
}

struct Kept {
    index: u32,
    shingles: Shingles,
}

impl Seen {
    fn new(similarity: f64, documents: &[Document]) -> Self {
        // A word is six bytes or so; where it is not, the table is only slower.
        let words: usize = documents.iter().map(|document| document.text.len() / 6).sum();
        let shingles = (1.0 - similarity) * words as f64;
        Seen {
            similarity,
            kept: Vec::with_capacity(documents.len()),
            prefixes: Prefixes::new(shingles as usize + documents.len()),
            words: Vec::new(),
            compared: Vec::new(),
        }
    }

    /// Whether a document differs from all that were kept; if so, it is kept.
    fn is_new(&mut self, document: &Document) -> bool {
        self.words.clear();
        word_hashes(&document.text, &mut self.words);
        // A text without a word is like no other.
        if self.words.is_empty() {
            return true;
        }
        let mut shingles = Shingles::of(&self.words);
        let prefix = shingles.least(self.prefix(shingles.hashes.len()));
        self.compared.clear();
        for &shingle in &prefix {
            for at in self.prefixes.documents(shingle) {
                let other = &mut self.kept[at as usize];
                // Windows of one document overlap; that is no repetition.
                if other.index == document.index || self.compared.contains(&at) {
                    continue;
                }
                self.compared.push(at);
                if jaccard(shingles.set(), other.shingles.set()) >= self.similarity {
                    return false;
                }
            }
        }
        for shingle in prefix {
            self.prefixes.insert(shingle, self.kept.len() as u32);
        }
        self.kept.push(Kept { index: document.index, shingles });
        true
    }

    /// How many of a set's shingles are compared first. For a list with
    /// repetitions it is no less than for its set, which only makes more work.
    fn prefix(&self, shingles: usize) -> usize {
        // Rounding must not shorten the prefix.
        let shared_min = (self.similarity * shingles as f64 - 1e-9).ceil() as usize;
        shingles - shared_min.max(1) + 1
    }
}

/// The shingles of a text. Sorting all of them costs as much as reading the
/// text, and is needed only where two documents are compared.
struct Shingles {
    hashes: Vec<u64>,
    /// Whether the hashes are ascending, each once: the global order.
    is_set: bool,
}

impl Shingles {
    fn of(words: &[u64]) -> Self {
        let mut hashes = Vec::with_capacity(words.len());
        unsorted_shingles(words, SHINGLE, &mut hashes);
        Shingles { hashes, is_set: false }
    }

    fn set(&mut self) -> &[u64] {
        if !self.is_set {
            self.hashes.sort_unstable();
            self.hashes.dedup();
            self.is_set = true;
        }
        &self.hashes
    }

    /// The first `count` of the set, or all if it has fewer.
    fn least(&mut self, count: usize) -> Vec<u64> {
        if !self.is_set && count < self.hashes.len() {
            self.hashes.select_nth_unstable(count - 1);
            let mut least = self.hashes[..count].to_vec();
            least.sort_unstable();
            least.dedup();
            if least.len() == count {
                return least;
            }
        }
        let set = self.set();
        set[..count.min(set.len())].to_vec()
    }
}

/// Which kept documents have a shingle in their prefix: chains of entries, in as
/// many buckets as entries are expected. Shingles are hashes already, so their
/// last bits choose the bucket.
struct Prefixes {
    /// The newest entry of each bucket, counted from 1; 0 for none.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
}

struct Entry {
    shingle: u64,
    document: u32,
    /// The next older entry of the bucket, as in `buckets`.
    older: u32,
}

impl Prefixes {
    fn new(expected: usize) -> Self {
        let buckets = vec![0; expected.next_power_of_two()];
        Prefixes { buckets, entries: Vec::with_capacity(expected) }
    }

    fn bucket(&self, shingle: u64) -> usize {
        shingle as usize & (self.buckets.len() - 1)
    }

    fn insert(&mut self, shingle: u64, document: u32) {
        let bucket = self.bucket(shingle);
        self.entries.push(Entry { shingle, document, older: self.buckets[bucket] });
        self.buckets[bucket] = self.entries.len() as u32;
    }

    fn documents(&self, shingle: u64) -> impl Iterator<Item = u32> {
        let entry = move |at: u32| Some(&self.entries[at.checked_sub(1)? as usize]);
        std::iter::successors(entry(self.buckets[self.bucket(shingle)]), move |e| entry(e.older))
            .filter(move |entry| entry.shingle == shingle)
            .map(|entry| entry.document)
    }
}

maitred_sdk::export!(Dedupe);

#[cfg(test)]
mod tests {
    use maitred_sdk::Error;
    use maitred_sdk::test::{Kit, assert_manifest_fits, request};
    use maitred_sdk::words::shingles;

    use super::*;

    const MANIFEST: &str = include_str!("../dedupe.toml");

    /// Indexes of the documents that go on.
    fn kept(similarity: f64, texts: &[&str]) -> Vec<u32> {
        let request = request("q", texts.iter().copied());
        let request = Dedupe { similarity }.shape(request).unwrap();
        request.documents.iter().map(|d| d.index).collect()
    }

    const FOX: &str = "the quick brown fox jumps over the lazy dog and runs";

    #[test]
    fn the_first_of_its_like_is_kept() {
        let check = |similarity, texts: &[&str], expected: &[u32]| {
            assert_eq!(kept(similarity, texts), expected, "{texts:?}");
        };
        check(0.9, &[FOX, FOX], &[0]);
        check(0.9, &[FOX, &FOX.to_uppercase(), &FOX.replace(' ', ", ")], &[0]);
        check(0.9, &[FOX, "something else"], &[0, 1]);
        // Nine shingles each, eight in common: 8 / 10.
        let walks = FOX.replace("runs", "walks");
        check(0.8, &[FOX, &walks], &[0]);
        check(0.81, &[FOX, &walks], &[0, 1]);
        check(0.9, &["", "", "!"], &[0, 1, 2]);
        check(0.9, &["red shoe", "Red shoe!", "blue shoe"], &[0, 2]);
        // Scripts without spaces are compared by their characters.
        check(0.6, &["他们说你好我们走", "他们说你好我们走吧", "他们说"], &[0, 2]);
        // More repetitions than distinct shingles.
        check(0.5, &["a a a a a a a a b", "a a a a a a a a a a a a b", "b a a a"], &[0, 2]);
    }

    #[test]
    fn the_model_does_not_see_repetitions() {
        let run = Kit::new().manifest(MANIFEST).watch::<Dedupe>(request("fox", [FOX, FOX, "fox"]));
        assert_eq!(run.calls[0].documents.len(), 2);
        assert_eq!(run.answer.unwrap().results.len(), 2);
    }

    #[test]
    fn the_manifest_says_what_the_policy_reads() {
        assert_manifest_fits::<Dedupe>(&Kit::new(), MANIFEST);
        let wrong = Kit::new().param("similarity", 0.05).make::<Dedupe>();
        let expected = "parameter `similarity` is `0.05`, not at least 0.1 and at most 1";
        assert_eq!(wrong, Err(Error::internal(expected)));
    }

    #[test]
    fn windows_of_one_document_are_no_repetition() {
        let mut twice = [Document::new(0, FOX), Document::new(0, FOX)];
        twice[1].part = 1;
        let mut seen = Seen::new(0.9, &twice);
        assert!(twice.iter().all(|document| seen.is_new(document)));
    }

    #[test]
    fn the_prefix_filter_agrees_with_comparing_all() {
        let seed = 11;
        let mut state: u64 = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..50 {
            // Few different words, so that many documents are alike.
            let texts: Vec<String> = (0..30)
                .map(|_| (0..2 + next(8)).map(|_| format!("w{} ", next(2))).collect())
                .collect();
            let similarity = [0.3, 0.5, 0.8, 1.0][round % 4];
            let mut expected: Vec<usize> = Vec::new();
            for (at, text) in texts.iter().enumerate() {
                let alike = |&other: &usize| {
                    let other = shingles(&texts[other], SHINGLE);
                    jaccard(&shingles(text, SHINGLE), &other) >= similarity
                };
                if !expected.iter().any(alike) {
                    expected.push(at);
                }
            }
            let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
            let kept: Vec<usize> = (kept(similarity, &texts).iter()).map(|&i| i as usize).collect();
            assert_eq!(kept, expected, "seed {seed}, round {round}");
        }
    }
}
