//! How many tokens of a query and of a document stay when they do not fit
//! together. Both lose from their right end.

use crate::config::Truncation;

/// Tokens that stay of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub query: usize,
    pub document: usize,
}

/// Why a pair cannot be made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It is not to be truncated.
    Pair,
    /// No token of the document would be left.
    Query,
}

/// `room` is what special tokens leave of the model's length.
pub fn keep(
    query: usize,
    document: usize,
    room: usize,
    truncation: Truncation,
) -> Result<Kept, Misfit> {
    if query + document <= room {
        return Ok(Kept { query, document });
    }
    match truncation {
        Truncation::Error => Err(Misfit::Pair),
        Truncation::DocumentOnly if query >= room => Err(Misfit::Query),
        Truncation::DocumentOnly => Ok(Kept { query, document: room - query }),
        Truncation::LongestFirst => {
            let shorter = query.min(document).min(room / 2);
            let longer = room - shorter;
            // A tie counts as the document being longer.
            let (query, document) = match query > document {
                true => (longer, shorter),
                false => (shorter, longer),
            };
            Ok(Kept { query, document })
        }
    }
}

/// Tokens of a document from which on more of them change nothing: it fills the
/// room by itself, and it is no shorter than the query.
pub fn enough(query: usize, room: usize) -> usize {
    query.max(room) + 1
}

#[cfg(test)]
mod tests {
    use tokenizers::utils::truncation::{TruncationParams, TruncationStrategy, truncate_encodings};
    use tokenizers::{Encoding, Token};

    use super::*;

    fn encoding(tokens: usize) -> Encoding {
        let token = Token::new(7, "seven".into(), (0, 5));
        Encoding::from_tokens(vec![token; tokens], 0)
    }

    /// What the reference's library does.
    fn reference(
        query: usize,
        document: usize,
        room: usize,
        strategy: TruncationStrategy,
    ) -> Option<Kept> {
        let params = TruncationParams { max_length: room, strategy, ..TruncationParams::default() };
        let pair = (encoding(query), Some(encoding(document)));
        let (query, document) = truncate_encodings(pair.0, pair.1, &params).ok()?;
        Some(Kept { query: query.len(), document: document?.len() })
    }

    #[test]
    fn every_small_pair_is_truncated_as_the_reference_does() {
        for (query, document, room) in all(0..14, 0..14, 1..14) {
            for (ours, theirs) in [
                (Truncation::LongestFirst, TruncationStrategy::LongestFirst),
                (Truncation::DocumentOnly, TruncationStrategy::OnlySecond),
            ] {
                assert_eq!(
                    keep(query, document, room, ours).ok(),
                    reference(query, document, room, theirs),
                    "{query} and {document} tokens into {room}, {ours:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_beyond_enough_changes_nothing() {
        for (query, more, room) in all(0..14, 0..14, 1..14) {
            let enough = enough(query, room);
            for truncation in
                [Truncation::LongestFirst, Truncation::DocumentOnly, Truncation::Error]
            {
                assert_eq!(
                    keep(query, enough + more, room, truncation),
                    keep(query, enough, room, truncation),
                );
            }
        }
    }

    #[test]
    fn what_may_not_be_truncated_is_refused() {
        let error = Truncation::Error;
        assert_eq!(keep(3, 4, 7, error), Ok(Kept { query: 3, document: 4 }));
        assert_eq!(keep(3, 5, 7, error), Err(Misfit::Pair));
        let only = Truncation::DocumentOnly;
        assert_eq!(keep(7, 1, 7, only), Err(Misfit::Query));
        assert_eq!(keep(7, 0, 7, only), Ok(Kept { query: 7, document: 0 }));
    }

    fn all(
        a: std::ops::Range<usize>,
        b: std::ops::Range<usize>,
        c: std::ops::Range<usize>,
    ) -> impl Iterator<Item = (usize, usize, usize)> {
        a.flat_map(move |a| {
            let c = c.clone();
            b.clone().flat_map(move |b| c.clone().map(move |c| (a, b, c)))
        })
    }
}
