//! Shaping: a document that is longer than the model reads is cut into
//! overlapping windows; the best window speaks for its document.
//!
//! A cross-encoder truncates what does not fit, so the answer to a query that
//! stands on page three is never seen. Windows are the parts of a document;
//! each is scored alone, and the best score wins ("MaxP", Dai and Callan 2019,
//! arXiv:1905.09217).

use std::ops::Range;

use maitred_sdk::words::is_unspaced;
use maitred_sdk::{Document, Error, Next, Params, Policy, Ranking, Request, Result};

#[derive(Debug, PartialEq)]
struct Passages {
    /// Words of a window.
    words: usize,
    /// Words that a window shares with the one before.
    overlap: usize,
    /// Windows of one document; what comes after is not read, as if the model
    /// had truncated it. It bounds what the policy makes of a request.
    windows_max: usize,
}

impl Policy for Passages {
    fn new(params: &Params) -> Result<Self> {
        let words = params.or_within("words", 150, 1..)?;
        let overlap = params.or("overlap", 30)?;
        let windows_max = params.or_within("windows_max", 4, 1..)?;
        if overlap > words / 2 {
            return Err(Error::internal(format_args!(
                "parameter `overlap` is `{overlap}`, not at most half of `words`, which is {words}"
            )));
        }
        Ok(Passages { words, overlap, windows_max })
    }

    fn shape(&self, mut request: Request) -> Result<Request> {
        // What a policy in front has cut is not cut again: part numbers would
        // clash, and it knew what it wanted.
        if request.documents.iter().any(|document| document.part != 0) {
            return Ok(request);
        }
        // Most documents fit, and are not touched.
        if request.documents.iter().any(|document| !self.fits(&document.text)) {
            let documents = request.documents.into_iter();
            request.documents = documents.flat_map(|document| self.cut(document)).collect();
        }
        Ok(request)
    }

    async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
        let mut ranking = next.rerank(self.shape(request)?).await?;
        ranking.keep_best_parts();
        Ok(ranking)
    }
}

impl Passages {
    /// Whether a text is certainly one window, without looking for its words:
    /// their number is below that of the bytes at which one can begin.
    fn fits(&self, text: &str) -> bool {
        text.len() <= self.words || breaks(text.as_bytes()) < self.words
    }

    fn cut(&self, document: Document) -> Vec<Document> {
        if self.fits(&document.text) {
            return vec![document];
        }
        let windows = self.windows(&document.text);
        if windows.len() < 2 {
            return vec![document];
        }
        let window = |(part, range): (u32, Range<usize>)| Document {
            index: document.index,
            part,
            text: document.text[range].into(),
            fields: document.fields.clone(),
        };
        (0..).zip(windows).map(window).collect()
    }

    /// Where the windows of a text begin and end. A window ends with a sentence
    /// if one ends in its second half.
    fn windows(&self, text: &str) -> Vec<Range<usize>> {
        let words = words(text);
        let mut windows = Vec::new();
        let mut first = 0;
        while first < words.len() && windows.len() < self.windows_max {
            let mut end = (first + self.words).min(words.len());
            if end < words.len() {
                let half = end - self.words / 2..end;
                let sentence = half.rev().find(|&word| ends_sentence(&text[words[word].clone()]));
                end = sentence.map_or(end, |word| word + 1);
            }
            windows.push(words[first].start..words[end - 1].end);
            if end == words.len() {
                break;
            }
            // Of a window at least half is kept and at most half is shared, so
            // the next one begins after it.
            first = end - self.overlap;
        }
        windows
    }
}

/// How many bytes are blank, a control character, or not ASCII. Every word but
/// the first comes after one of them (or is one), so a text has at most one word
/// more. Eight bytes a step.
fn breaks(text: &[u8]) -> usize {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Added to the low bits of a byte, it carries into the high bit unless the
    // byte is a space or less.
    const ABOVE_SPACE: u64 = 0x5f5f_5f5f_5f5f_5f5f;
    let (eights, rest) = text.as_chunks::<8>();
    let in_eights = eights.iter().map(|eight| {
        let bytes = u64::from_le_bytes(*eight);
        let printable = (bytes & LOW_BITS).wrapping_add(ABOVE_SPACE) & !bytes;
        (!printable & !LOW_BITS).count_ones() as usize
    });
    in_eights.sum::<usize>() + rest.iter().filter(|&&byte| byte <= b' ' || byte >= 0x80).count()
}

/// The byte ranges of a text's words: what stands between spaces, and single
/// characters of scripts that write none.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices() {
        let alone = is_unspaced(character);
        if (alone || character.is_whitespace())
            && let Some(start) = start.take()
        {
            words.push(start..at);
        }
        if alone {
            words.push(at..at + character.len_utf8());
        } else if !character.is_whitespace() && start.is_none() {
            start = Some(at);
        }
    }
    words.extend(start.map(|start| start..text.len()));
    words
}

fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']);
    word.ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

maitred_sdk::export!(Passages);

#[cfg(test)]
mod tests {
    use maitred_sdk::Scale;
    use maitred_sdk::test::{Kit, assert_manifest_fits, request, scores};

    use super::*;

    const MANIFEST: &str = include_str!("../passages.toml");

    fn windows(text: &str, words: usize, overlap: usize) -> Vec<&str> {
        let policy = Passages { words, overlap, windows_max: 10 };
        let windows = policy.windows(text);
        windows.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn windows_overlap_and_prefer_whole_sentences() {
        let check = |text, words, overlap, expected: &[&str]| {
            assert_eq!(windows(text, words, overlap), expected);
        };
        check("", 4, 1, &[]);
        check(" a b  c ", 4, 1, &["a b  c"]);
        check("a b c d e f g", 4, 1, &["a b c d", "d e f g"]);
        check("a b c d e f g h", 4, 2, &["a b c d", "c d e f", "e f g h"]);
        check("a b c d. e f g h", 6, 0, &["a b c d.", "e f g h"]);
        check("a b. c d e f g h", 6, 0, &["a b. c d e f", "g h"]);
        check("他们说你好。我们走", 6, 0, &["他们说你好。", "我们走"]);
        check("a\u{3042}b c", 2, 0, &["a\u{3042}", "b c"]);
        check("(a b c.) d e f", 4, 0, &["(a b c.)", "d e f"]);
    }

    #[test]
    fn every_word_is_in_a_window_and_windows_advance() {
        let seed = 7;
        let mut state: u64 = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let count = next(60);
            let word = |i| format!("w{i}{}", [" ", ". ", "  "][next(3) as usize]);
            let text: String = (0..count).map(word).collect();
            let words = 1 + next(12) as usize;
            let overlap = next(words as u64 / 2 + 1) as usize;
            let policy = Passages { words, overlap, windows_max: usize::MAX };
            let windows = policy.windows(&text);
            let covered: std::collections::BTreeSet<&str> =
                (windows.iter()).flat_map(|range| text[range.clone()].split_whitespace()).collect();
            assert_eq!(covered.len(), count as usize, "seed {seed}: {text:?} {words} {overlap}");
            let advance = windows.windows(2).all(|two| two[0].start < two[1].start);
            assert!(advance, "seed {seed}: {text:?} {words} {overlap}");
        }
    }

    #[test]
    fn the_best_window_speaks_for_its_document() {
        let kit = Kit::new().manifest(MANIFEST).param("words", 3).param("overlap", 0).next_scores(
            Scale::Logit,
            |_, document| {
                if document.text.contains("needle") { 1.0 } else { 0.0 }
            },
        );
        let run = kit.watch::<Passages>(request("needle", ["short", "a b c d e needle f"]));
        assert_eq!(run.calls[0].documents.len(), 1 + 3);
        assert_eq!(scores(&run.answer.unwrap()), [(0, 0, 0.0), (1, 1, 1.0)]);
    }

    #[test]
    fn what_was_cut_is_not_cut_again() {
        let policy = Passages { words: 2, overlap: 0, windows_max: 4 };
        let mut request = request("q", ["a b c", "d e f"]);
        request.documents[1].index = 0;
        request.documents[1].part = 1;
        assert_eq!(policy.shape(request.clone()), Ok(request));
    }

    #[test]
    fn what_certainly_fits_is_one_window() {
        let words = "a b\tc\u{a0}d 他们 é ü\u{1}x y\n\nz, end.";
        for end in (0..=words.len()).filter(|&end| words.is_char_boundary(end)) {
            let text = words[..end].repeat(3);
            for size in 1..40 {
                let policy = Passages { words: size, overlap: 0, windows_max: 10 };
                let windows = policy.windows(&text).len();
                assert!(!policy.fits(&text) || windows < 2, "{text:?} {size}");
            }
        }
        assert!(Passages { words: 100, overlap: 0, windows_max: 4 }.fits(&"word ".repeat(99)));
    }

    #[test]
    fn a_window_must_move_on() {
        let check = |words, overlap, expected: &str| {
            let kit = Kit::new().manifest(MANIFEST).param("words", words).param("overlap", overlap);
            assert_eq!(kit.make::<Passages>(), Err(Error::internal(expected)));
        };
        check(10, 6, "parameter `overlap` is `6`, not at most half of `words`, which is 10");
        check(0, 0, "parameter `words` is `0`, not at least 1");
    }

    #[test]
    fn the_manifest_says_what_the_policy_reads() {
        assert_manifest_fits::<Passages>(&Kit::new(), MANIFEST);
    }
}
