//! One tokenizer, and how a query and a document become a pair: to exactly the
//! ids that the reference's pair encoding gives. The query is encoded once a
//! request and each document once.

use std::num::NonZeroU32;
use std::path::Path;

use tokenizers::{Tokenizer, TruncationDirection};

use super::TokenizeError;
use super::frame::{Frame, own_ids};
use super::prefix::{allows_cuts, beginning, prefix};
use super::truncate::{Kept, Misfit, enough, keep};
use crate::config::Truncation;
use crate::engine::Pair;
use crate::rerank::Lengths;

/// Bytes of a long text to read for each token wanted; English has four to five.
/// If they do not suffice, more are read.
const BYTES_PER_TOKEN: usize = 8;

/// Bytes of a text that are read at most for each token that a pair may have. What is
/// behind them counts as truncated. Only a text of very long words or much white space has that
/// many.
const BYTES_PER_TOKEN_MAX: usize = 128;

/// Bytes of a text that are read at most. One of a letter and a full stop in turn has one byte a
/// token, and a megabyte of it would take the tokenizer a second and 400 MB.
const TEXT_BYTES_MAX: usize = 256 * 1024;

pub struct PairEncoder {
    tokenizer: Tokenizer,
    frame: Frame,
    /// Tokens of a pair, special ones included.
    length_max: usize,
    truncation: Truncation,
    /// The first tokens of a text can be had without reading all of it.
    cuts: bool,
}

/// A query, encoded once for all its documents.
#[derive(Debug, Clone)]
pub struct Query {
    ids: Vec<u32>,
    /// It was cut to a limit of the client's.
    cut: bool,
    /// It has more bytes than may be read.
    unread: Option<Unread>,
    /// What its documents are cut to.
    lengths: Lengths,
}

impl Query {
    /// Within the limits that the client wishes, and so are its documents.
    #[must_use]
    pub fn within(mut self, lengths: Lengths) -> Self {
        let most = most(lengths.query_max);
        self.cut |= self.ids.len() > most;
        self.ids.truncate(most);
        Query { lengths, ..self }
    }
}

/// The number of tokens that a wish allows.
fn most(wish: Option<NonZeroU32>) -> usize {
    wish.map_or(usize::MAX, |tokens| tokens.get() as usize)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPair {
    pub pair: Pair,
    /// Tokens were lost to a limit.
    pub truncated: bool,
}

/// The first tokens of a text.
struct Text {
    ids: Vec<u32>,
    whole: bool,
    /// It has more bytes than may be read, and fewer tokens than were wanted.
    unread: Option<Unread>,
}

/// A text that was not read to its end, though it might have had tokens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unread {
    bytes: usize,
    limit: usize,
}

impl PairEncoder {
    /// Loads a `tokenizer.json`. `token_types` says whether the model has them.
    pub fn load(
        path: &Path,
        token_types: bool,
        length_max: usize,
        truncation: Truncation,
    ) -> Result<Self, TokenizeError> {
        let unsupported = |reason: String| TokenizeError::Unsupported {
            path: path.display().to_string(),
            reason,
        };
        let mut tokenizer =
            Tokenizer::from_file(path).map_err(|error| unsupported(error.to_string()))?;
        if let Some(truncation) = tokenizer.get_truncation()
            && truncation.direction == TruncationDirection::Left
        {
            return Err(unsupported("it truncates on the left".into()));
        }
        // A file may pad every text to a fixed length, or truncate it to one
        // that is not the model's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| unsupported(error.to_string()))?;
        let frame = Frame::learn(&tokenizer, token_types).map_err(unsupported)?;
        if length_max <= frame.tokens() {
            return Err(unsupported(format!(
                "a length of {length_max} tokens leaves no room beside {} special ones",
                frame.tokens()
            )));
        }
        Ok(PairEncoder { cuts: allows_cuts(&tokenizer), tokenizer, frame, length_max, truncation })
    }

    pub fn length_max(&self) -> usize {
        self.length_max
    }

    /// What becomes of long pairs if the caller asks so: `Some(false)` refuses
    /// them, `Some(true)` truncates them in any case.
    pub fn truncation(&self, asked: Option<bool>) -> Truncation {
        match (asked, self.truncation) {
            (Some(false), _) => Truncation::Error,
            (Some(true), Truncation::Error) => Truncation::LongestFirst,
            (_, configured) => configured,
        }
    }

    /// Bytes that are read of a text.
    fn text_bytes_max(&self) -> usize {
        self.length_max.saturating_mul(BYTES_PER_TOKEN_MAX).min(TEXT_BYTES_MAX)
    }

    /// Encodes a query, which is read whole, as far as texts may be: its length
    /// decides what is left of the documents.
    pub fn query(&self, text: &str) -> Result<Query, TokenizeError> {
        let limit = self.text_bytes_max();
        let unread = (text.len() > limit).then_some(Unread { bytes: text.len(), limit });
        let read = if unread.is_some() { beginning(text, limit) } else { text };
        let ids = own_ids(&self.tokenizer, read).map_err(failed)?;
        Ok(Query { ids, cut: unread.is_some(), unread, lengths: Lengths::default() })
    }

    /// The pair of a query and a document, which errors name by its position.
    /// The client's limits are applied first, each to its text, and then
    /// `truncation` to what is left of them together.
    pub fn pair(
        &self,
        query: &Query,
        document: &str,
        position: usize,
        truncation: Truncation,
    ) -> Result<EncodedPair, TokenizeError> {
        let special = self.frame.tokens();
        let limit = self.length_max.min(most(query.lengths.pair_max));
        let Some(room @ 1..) = limit.checked_sub(special) else {
            return Err(TokenizeError::NoRoom { special, limit });
        };
        let (asked, most) = (query.ids.len(), most(query.lengths.document_max));
        // One token beyond the limit shows that there are more.
        let text = self.first_ids(document, enough(asked, room).min(most.saturating_add(1)))?;
        let read = text.ids.len().min(most);
        if truncation == Truncation::Error {
            let of_query = query.unread.map(|unread| (None, unread));
            let of_document = text.unread.map(|unread| (Some(position), unread));
            if let Some((document, Unread { bytes, limit })) = of_query.or(of_document) {
                return Err(TokenizeError::TextTooLong { document, bytes, limit });
            }
        }
        let kept = keep(asked, read, room, truncation);
        let kept = kept.map_err(|misfit| match misfit {
            Misfit::Pair => TokenizeError::PairTooLong {
                document: position,
                tokens: asked + read + special,
                at_least: !text.whole && read == text.ids.len(),
                limit,
            },
            Misfit::Query => {
                TokenizeError::QueryTooLong { document: position, tokens: asked + special, limit }
            }
        })?;
        let Kept { query: of_query, document: of_document } = kept;
        Ok(EncodedPair {
            pair: self.frame.pair(&query.ids[..of_query], &text.ids[..of_document]),
            truncated: query.cut
                || of_query < asked
                || of_document < text.ids.len()
                || text.unread.is_some(),
        })
    }

    /// All tokens of a text, or at least so many.
    fn first_ids(&self, text: &str, tokens: usize) -> Result<Text, TokenizeError> {
        let read = |text| own_ids(&self.tokenizer, text).map_err(failed);
        let limit = self.text_bytes_max();
        let mut bytes = tokens.saturating_mul(BYTES_PER_TOKEN);
        while self.cuts
            && let Some(prefix) = prefix(text, bytes)
            && prefix.len() <= limit
        {
            let ids = read(prefix)?;
            if ids.len() >= tokens {
                return Ok(Text { ids, whole: false, unread: None });
            }
            bytes = bytes.saturating_mul(4);
        }
        if text.len() <= limit {
            return Ok(Text { ids: read(text)?, whole: true, unread: None });
        }
        let ids = read(beginning(text, limit))?;
        let unread = (ids.len() < tokens).then_some(Unread { bytes: text.len(), limit });
        Ok(Text { ids, whole: false, unread })
    }
}

fn failed(error: tokenizers::Error) -> TokenizeError {
    TokenizeError::Failed(error.to_string())
}

#[cfg(test)]
pub mod tests;
