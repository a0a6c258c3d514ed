//! From texts to pairs of token ids: [`PairEncoder`] knows one tokenizer,
//! [`TokenizerPool`] runs it on threads of its own. Neither knows batches.

mod encode;
mod frame;
mod pool;
mod prefix;
mod truncate;

pub use encode::{EncodedPair, PairEncoder, Query};
pub use pool::{Encoded, PoolMeters, TokenizerPool};

/// Why texts became no pairs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizeError {
    /// The tokenizer's file is at fault.
    #[error("the tokenizer {path} is not supported: {reason}")]
    Unsupported { path: String, reason: String },
    /// The request is at fault. Of a very long document only so much is
    /// tokenized that it is known to be too long.
    #[error("document {document} and the query have {} tokens, over the limit of {limit}", least(*tokens, *at_least))]
    PairTooLong {
        /// Position in the request.
        document: usize,
        tokens: usize,
        at_least: bool,
        limit: usize,
    },
    /// The request is at fault: only the document may be truncated, and nothing
    /// of it would be left.
    #[error(
        "the query has {tokens} tokens, special ones included, and leaves no room for document {document} within the limit of {limit}"
    )]
    QueryTooLong { document: usize, tokens: usize, limit: usize },
    /// The request is at fault: a text that may not be truncated has more bytes than
    /// are ever read for the tokens that a pair may have.
    #[error("{} has {bytes} bytes, over the limit of {limit} for a text that is not truncated", text_of(*document))]
    TextTooLong {
        /// Position in the request; `None` is the query.
        document: Option<usize>,
        bytes: usize,
        limit: usize,
    },
    /// The request is at fault: its own limit leaves nothing of the texts.
    #[error(
        "a query and a document may have {limit} tokens together, and {special} special ones leave no room for them"
    )]
    NoRoom { special: usize, limit: usize },
    /// The tokenizer's threads have more requests waiting than they may.
    #[error("{limit} requests wait for the tokenizer, which is the limit")]
    Full { limit: usize },
    /// The pool was stopped.
    #[error("the tokenizer has stopped")]
    Stopped,
    /// A bug, or a text that the tokenizer cannot take.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

fn text_of(document: Option<usize>) -> String {
    match document {
        Some(document) => format!("document {document}"),
        None => "the query".to_owned(),
    }
}

fn least(tokens: usize, at_least: bool) -> String {
    match at_least {
        true => format!("at least {tokens}"),
        false => tokens.to_string(),
    }
}
