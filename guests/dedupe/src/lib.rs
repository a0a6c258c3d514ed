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

use std::collections::HashMap;
use std::hash::Hasher;

use maitred_sdk::{Document, Error, Params, Policy, Request, Result};

/// Words of a shingle.
const SHINGLE: usize = 3;

struct Dedupe {
    similarity: f64,
}

impl Policy for Dedupe {
    fn new(params: &Params) -> Result<Self> {
        let similarity = params.or("similarity", 0.9)?;
        if !(0.1..=1.0).contains(&similarity) {
            return Err(Error::Internal(format!(
                "`similarity` is {similarity}, outside of 0.1 to 1"
            )));
        }
        Ok(Dedupe { similarity })
    }

    fn shape(&self, mut request: Request) -> Result<Request> {
        let mut seen = Seen::new(self.similarity);
        request.documents.retain(|document| seen.is_new(document));
        Ok(request)
    }
}

/// The documents kept so far, and which of them to compare with.
struct Seen {
    similarity: f64,
    kept: Vec<Kept>,
    /// Which kept documents have a shingle in their prefix.
    by_shingle: HashMap<u64, Vec<usize>, Unhashed>,
}

struct Kept {
    index: u32,
    /// Hashes of the shingles, ascending: the global order.
    shingles: Vec<u64>,
}

impl Seen {
    fn new(similarity: f64) -> Self {
        Seen { similarity, kept: Vec::new(), by_shingle: HashMap::default() }
    }

    /// Whether a document differs from all that were kept; if so, it is kept.
    fn is_new(&mut self, document: &Document) -> bool {
        let shingles = shingles(&document.text);
        // A text without a word is like no other.
        if shingles.is_empty() {
            return true;
        }
        let prefix = self.prefix(&shingles).to_vec();
        let mut compared = Vec::new();
        for shingle in &prefix {
            for &at in self.by_shingle.get(shingle).into_iter().flatten() {
                let other = &self.kept[at];
                // Windows of one document overlap; that is no repetition.
                if other.index == document.index || compared.contains(&at) {
                    continue;
                }
                compared.push(at);
                if jaccard(&shingles, &other.shingles) >= self.similarity {
                    return false;
                }
            }
        }
        for shingle in prefix {
            let documents = self.by_shingle.entry(shingle).or_default();
            documents.push(self.kept.len());
        }
        let index = document.index;
        self.kept.push(Kept { index, shingles });
        true
    }

    fn prefix<'a>(&self, shingles: &'a [u64]) -> &'a [u64] {
        // Rounding must not shorten the prefix.
        let shared_min = (self.similarity * shingles.len() as f64 - 1e-9).ceil() as usize;
        &shingles[..=shingles.len() - shared_min.max(1)]
    }
}

/// Hashes of a text's shingles, ascending, each once. Case and what separates
/// words do not matter. A text of fewer words is one shingle.
fn shingles(text: &str) -> Vec<u64> {
    let words: Vec<u64> = (text.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .map(|word| match word.is_ascii() {
            true => hash(word.bytes().map(|byte| byte.to_ascii_lowercase().into())),
            false => hash(word.chars().flat_map(char::to_lowercase).map(u64::from)),
        })
        .collect();
    let size = SHINGLE.min(words.len()).max(1);
    let mut shingles: Vec<u64> =
        (words.windows(size)).map(|shingle| hash(shingle.iter().copied())).collect();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// FNV-1a over whole numbers, with the last step of MurmurHash3 to spread what
/// it gathered. Whoever could make it collide could as well copy a text.
fn hash(numbers: impl Iterator<Item = u64>) -> u64 {
    let gathered = numbers.fold(0xcbf2_9ce4_8422_2325, |hash: u64, number| {
        (hash ^ number).wrapping_mul(0x100_0000_01b3)
    });
    let spread = (gathered ^ (gathered >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let spread = (spread ^ (spread >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    spread ^ (spread >> 33)
}

/// |A ∩ B| / |A ∪ B| of two ascending lists without repetitions.
fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        both += usize::from(a[i] == b[j]);
        let (step_a, step_b) = (a[i] <= b[j], b[j] <= a[i]);
        i += usize::from(step_a);
        j += usize::from(step_b);
    }
    both as f64 / (a.len() + b.len() - both) as f64
}

/// Shingles are hashes already.
#[derive(Default, Clone)]
struct Unhashed;

impl std::hash::BuildHasher for Unhashed {
    type Hasher = Identity;
    fn build_hasher(&self) -> Identity {
        Identity(0)
    }
}

struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are keys");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

maitred_sdk::export!(Dedupe);

#[cfg(test)]
mod tests {
    use super::*;

    /// Indexes of the documents that go on.
    fn kept(similarity: f64, texts: &[&str]) -> Vec<u32> {
        let documents = (0..).zip(texts).map(|(i, text)| Document::new(i, *text));
        let request = Request { query: "q".into(), documents: documents.collect() };
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
    }

    #[test]
    fn windows_of_one_document_are_no_repetition() {
        let mut twice = [Document::new(0, FOX), Document::new(0, FOX)];
        twice[1].part = 1;
        let mut seen = Seen::new(0.9);
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
                    jaccard(&shingles(text), &shingles(&texts[other])) >= similarity
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
