//! Shaping: a document that is longer than the model reads is cut into
//! overlapping windows; the best window speaks for its document.
//!
//! A cross-encoder truncates what does not fit, so the answer to a query that
//! stands on page three is never seen. Windows are the parts of a document;
//! each is scored alone, and the best score wins ("MaxP", Dai and Callan 2019,
//! arXiv:1905.09217).

use std::ops::Range;

use maitred_sdk::{Document, Error, Next, Params, Policy, Ranking, Request, Result};

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
        let words = params.or("words", 150)?;
        let overlap = params.or("overlap", 30)?;
        let windows_max = params.or("windows_max", 4)?;
        if words == 0 || windows_max == 0 || overlap > words / 2 {
            return Err(Error::Internal(format!(
                "`words` ({words}) and `windows_max` ({windows_max}) must be at least 1, and \
                 `overlap` ({overlap}) at most half of `words`"
            )));
        }
        Ok(Passages { words, overlap, windows_max })
    }

    fn shape(&self, request: Request) -> Result<Request> {
        // What a policy in front has cut is not cut again: part numbers would
        // clash, and it knew what it wanted.
        if request.documents.iter().any(|document| document.part != 0) {
            return Ok(request);
        }
        let documents = request.documents.into_iter();
        Ok(Request {
            query: request.query,
            documents: documents.flat_map(|document| self.cut(document)).collect(),
        })
    }

    async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
        let mut ranking = next.rerank(self.shape(request)?).await?;
        ranking.keep_best_parts();
        Ok(ranking)
    }
}

impl Passages {
    fn cut(&self, document: Document) -> Vec<Document> {
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

/// Chinese characters and Japanese kana, with their punctuation.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ff01}'..='\u{ff1f}' | '\u{20000}'..='\u{3134f}')
}

fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']);
    word.ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

maitred_sdk::export!(Passages);

#[cfg(test)]
mod tests {
    use maitred_sdk::{Ranked, Scale, run};

    use super::*;

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
        let next = Next::from_fn(|request| {
            let ranked = |d: &Document| Ranked {
                index: d.index,
                part: d.part,
                score: if d.text.contains("needle") { 1.0 } else { 0.0 },
            };
            assert_eq!(request.documents.len(), 1 + 3);
            Ok(Ranking {
                results: request.documents.iter().map(ranked).collect(),
                scale: Scale::Logit,
            })
        });
        let request = Request {
            query: "needle".into(),
            documents: vec![Document::new(0, "short"), Document::new(1, "a b c d e needle f")],
        };
        let params = Params::from_pairs([("words", "3"), ("overlap", "0")]);
        let ranking = run::<Passages>(&params, request, next).unwrap();
        let ids: Vec<_> = (ranking.results.iter()).map(|r| (r.index, r.part, r.score)).collect();
        assert_eq!(ids, [(0, 0, 0.0), (1, 1, 1.0)]);
    }

    #[test]
    fn what_was_cut_is_not_cut_again() {
        let policy = Passages::new(&Params::from_pairs([("words", "2"), ("overlap", "0")]));
        let mut request = Request {
            query: "q".into(),
            documents: vec![Document::new(0, "a b c"), Document::new(0, "d e f")],
        };
        request.documents[1].part = 1;
        assert_eq!(policy.unwrap().shape(request.clone()), Ok(request));
    }

    #[test]
    fn a_window_must_move_on() {
        for pairs in [[("words", "10"), ("overlap", "6")], [("words", "0"), ("overlap", "0")]] {
            let policy = Passages::new(&Params::from_pairs(pairs));
            assert!(matches!(policy, Err(Error::Internal(_))), "{pairs:?}");
        }
    }
}
