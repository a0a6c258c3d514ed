//! The special tokens around and between the two texts of a pair. They are
//! learned from the tokenizer itself: it encodes a few probes, and what it puts
//! around them is the frame. Nothing about a family of models is written here.

use tokenizers::Tokenizer;

use crate::engine::Pair;

/// `before` query `between` document `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    before: Box<[u32]>,
    between: Box<[u32]>,
    after: Box<[u32]>,
    /// How far behind the query the second token type begins; `None` if there
    /// is none.
    second_from: Option<usize>,
}

/// Pairs that show whether the frame depends on what it holds. The first is the
/// one it is learned from.
const PROBES: [(&str, &str); 6] = [
    ("a query", "a document"),
    ("a", "some more words, and a comma"),
    ("some more words, and a comma", "a"),
    ("a query", ""),
    ("", "a document"),
    ("", ""),
];

impl Frame {
    /// `token_types` says whether the model knows them; what the tokenizer says
    /// of them is ignored if it does not. The error completes "the tokenizer …
    /// is not supported:".
    pub fn learn(tokenizer: &Tokenizer, token_types: bool) -> Result<Self, String> {
        let mut learned = None;
        for (query, document) in PROBES {
            let encode = |text| own_ids(tokenizer, text).map_err(|error| error.to_string());
            let (query_ids, document_ids) = (encode(query)?, encode(document)?);
            let pair =
                tokenizer.encode((query, document), true).map_err(|error| error.to_string())?;
            let frame = match &learned {
                Some(frame) => frame,
                None => learned.insert(Frame::around(
                    &pair,
                    query_ids.len(),
                    document_ids.len(),
                    token_types,
                )?),
            };
            let ours = frame.pair(&query_ids, &document_ids);
            let second_from = ours.second_from as usize;
            let types_agree = !token_types
                || (0..)
                    .zip(pair.get_type_ids())
                    .all(|(place, kind)| *kind == u32::from(place >= second_from));
            if *ours.ids != *pair.get_ids() || !types_agree {
                return Err(format!(
                    "the pair of {query:?} and {document:?} is not its two texts in a fixed frame"
                ));
            }
        }
        learned.ok_or_else(|| "there are no probes".into())
    }

    fn around(
        pair: &tokenizers::Encoding,
        query: usize,
        document: usize,
        token_types: bool,
    ) -> Result<Self, String> {
        let ids = pair.get_ids();
        let places = pair.get_sequence_ids();
        let starts = |text| places.iter().position(|place| *place == Some(text));
        let (Some(query_at), Some(document_at)) = (starts(0), starts(1)) else {
            return Err("it makes no tokens of plain English words".into());
        };
        let (query_to, document_to) = (query_at + query, document_at + document);
        if query_to > document_at || document_to > ids.len() {
            return Err("it does not put the query before the document".into());
        }
        let second = pair.get_type_ids().iter().position(|kind| *kind != 0);
        if token_types && second.is_some_and(|second| second < query_to) {
            return Err("the second token type begins within the query".into());
        }
        Ok(Frame {
            before: ids[..query_at].into(),
            between: ids[query_to..document_at].into(),
            after: ids[document_to..].into(),
            second_from: second.filter(|_| token_types).map(|second| second - query_to),
        })
    }

    /// Special tokens of a pair.
    pub fn tokens(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }

    pub fn pair(&self, query: &[u32], document: &[u32]) -> Pair {
        let ids: Box<[u32]> =
            [&self.before[..], query, &self.between, document, &self.after].concat().into();
        let second_from = match self.second_from {
            Some(behind) => self.before.len() + query.len() + behind,
            None => ids.len(),
        };
        Pair { ids, second_from: second_from as u32 }
    }
}

/// The tokens of one text, without special ones. A pair holds exactly these of
/// each of its texts: the reference, too, encodes them one by one and then adds
/// the frame.
pub fn own_ids(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Vec<u32>> {
    // Without offsets, which nobody asks for and which cost a third.
    Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec())
}
