//! How much of a very long text must be tokenized to know its first tokens.
//!
//! Of a megabyte a model sees perhaps 512 tokens. Tokenizing a prefix gives the
//! same first tokens only if the cut changes nothing before it, so texts are cut
//! only where that can be proved, and only for tokenizers made of parts that are
//! known to allow it:
//!
//! * The cut stands between an ASCII letter or digit and an ASCII space. No
//!   normalizer named below looks across it: they work character by character,
//!   on runs of spaces (all behind the cut), on combining sequences (neither
//!   character combines with the other) or on graphemes (one ends there).
//! * The pre-tokenizer splits at that space before it does anything else, and
//!   models see one split at a time, so no token spans it.
//! * Added tokens are ASCII without white space, so none spans it either, and
//!   whether they must be whole words is decided by neighbours that a space and
//!   the end of a text equal.
//!
//! Any other tokenizer reads its texts whole, up to a bound on what may be read at
//! all: memory and time grow with every byte, and nothing can stop a tokenizer.

use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Whether the first tokens of a text are those of its [`prefix`].
pub fn allows_cuts(tokenizer: &Tokenizer) -> bool {
    let added = tokenizer.get_added_tokens_decoder();
    tokenizer.get_normalizer().is_none_or(is_local)
        && tokenizer.get_pre_tokenizer().is_some_and(splits_at_spaces)
        && added.values().all(|token| token.content.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn is_local(normalizer: &NormalizerWrapper) -> bool {
    use NormalizerWrapper as N;
    match normalizer {
        N::BertNormalizer(_)
        | N::StripNormalizer(_)
        | N::StripAccents(_)
        | N::NFC(_)
        | N::NFD(_)
        | N::NFKC(_)
        | N::NFKD(_)
        | N::Lowercase(_)
        | N::Nmt(_)
        | N::Precompiled(_) => true,
        N::Sequence(parts) => parts.as_ref().iter().all(is_local),
        // Its pattern is private, so it is read from how it is written; only
        // the one that XLM-RoBERTa has is known.
        N::Replace(replace) => serde_json::to_value(replace)
            .is_ok_and(|written| written["pattern"]["Regex"] == " {2,}"),
        N::Prepend(_) | N::ByteLevel(_) => false,
    }
}

fn splits_at_spaces(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    use PreTokenizerWrapper as P;
    match pre_tokenizer {
        P::BertPreTokenizer(_) | P::Whitespace(_) | P::WhitespaceSplit(_) => true,
        P::Metaspace(metaspace) => metaspace.split,
        // Those behind the first work within its splits.
        P::Sequence(parts) => parts.as_ref().first().is_some_and(splits_at_spaces),
        _ => false,
    }
}

/// The beginning of a text, of about so many bytes: where to cut changes nothing if
/// that can be had, else between two characters.
pub fn beginning(text: &str, bytes: usize) -> &str {
    let provable = cut(text, bytes).filter(|at| *at < 2 * bytes);
    &text[..provable.unwrap_or_else(|| text.floor_char_boundary(bytes))]
}

/// A prefix of at least so many bytes with the same first tokens; `None` if there
/// is none that is much shorter than the text.
pub fn prefix(text: &str, bytes: usize) -> Option<&str> {
    // Cutting a text in half is not worth reading it twice.
    let at = cut(text, bytes).filter(|at| text.len() > 2 * at)?;
    Some(&text[..at])
}

/// The first place after so many bytes where a text may be cut.
fn cut(text: &str, bytes: usize) -> Option<usize> {
    let text = text.as_bytes();
    let is_cut = |at: &usize| text[*at] == b' ' && text[at - 1].is_ascii_alphanumeric();
    (bytes.max(1)..text.len()).find(is_cut)
}
