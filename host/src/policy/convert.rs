//! WIT ↔ domain. The generated types stop here: nothing outside this room
//! names them, and the domain knows nothing of them.
//!
//! Texts are shared, so a document costs two reference counts on its way in.

use std::sync::Arc;
use std::time::Duration;

use super::bindings::types as wit;
use crate::rerank::{Document, DocumentId, Error, Field, Ranked, Ranking, Request, Scale, Value};

/// What a client is told to wait when a policy says `unavailable`, which
/// carries no time.
const UNAVAILABLE_RETRY_MS: Duration = Duration::from_millis(1000);

/// The longest time that a policy can make a client wait: clients obey, and a
/// policy that names fifty days would keep them away for good.
const OVERLOADED_RETRY_MS_MAX: Duration = Duration::from_millis(60_000);

/// Bytes of a guest's words that travel on.
const TEXT_BYTES_MAX: usize = 1000;
/// Stands where words were cut off.
const CUT: char = '…';

impl From<Request> for wit::Request {
    fn from(request: Request) -> Self {
        wit::Request {
            query: request.query,
            documents: request.documents.into_iter().map(into_wit).collect(),
        }
    }
}

fn into_wit(document: Document) -> wit::Document {
    wit::Document {
        index: document.id.index,
        part: document.id.part,
        text: document.text,
        fields: document.fields.iter().map(field_into_wit).collect(),
    }
}

fn field_into_wit(field: &Field) -> wit::Field {
    wit::Field {
        name: field.name.clone(),
        value: match &field.value {
            Value::Text(text) => wit::Value::Text(text.clone()),
            Value::Integer(integer) => wit::Value::Integer(*integer),
            Value::Number(number) => wit::Value::Number(*number),
            Value::Boolean(boolean) => wit::Value::Boolean(*boolean),
            Value::Texts(texts) => wit::Value::Texts(texts.clone()),
        },
    }
}

impl From<wit::Request> for Request {
    fn from(request: wit::Request) -> Self {
        Request {
            query: request.query,
            documents: request.documents.into_iter().map(from_wit).collect(),
        }
    }
}

fn from_wit(document: wit::Document) -> Document {
    Document {
        id: DocumentId { index: document.index, part: document.part },
        text: document.text,
        // An empty slice has no allocation of its own.
        fields: match document.fields.is_empty() {
            true => Arc::default(),
            false => document.fields.into_iter().map(field_from_wit).collect(),
        },
    }
}

fn field_from_wit(field: wit::Field) -> Field {
    Field {
        name: field.name,
        value: match field.value {
            wit::Value::Text(text) => Value::Text(text),
            wit::Value::Integer(integer) => Value::Integer(integer),
            wit::Value::Number(number) => Value::Number(number),
            wit::Value::Boolean(boolean) => Value::Boolean(boolean),
            wit::Value::Texts(texts) => Value::Texts(texts),
        },
    }
}

impl From<Ranking> for wit::Ranking {
    fn from(ranking: Ranking) -> Self {
        let ranked = |r: Ranked| wit::Ranked { index: r.id.index, part: r.id.part, score: r.score };
        wit::Ranking {
            results: ranking.results.into_iter().map(ranked).collect(),
            scale: match ranking.scale {
                Scale::Logit => wit::Scale::Logit,
                Scale::Probability => wit::Scale::Probability,
                Scale::Order => wit::Scale::Order,
            },
        }
    }
}

impl From<wit::Ranking> for Ranking {
    fn from(ranking: wit::Ranking) -> Self {
        let ranked = |r: wit::Ranked| Ranked {
            id: DocumentId { index: r.index, part: r.part },
            score: r.score,
        };
        Ranking {
            results: ranking.results.into_iter().map(ranked).collect(),
            scale: match ranking.scale {
                wit::Scale::Logit => Scale::Logit,
                wit::Scale::Probability => Scale::Probability,
                wit::Scale::Order => Scale::Order,
            },
        }
    }
}

/// What a guest reads of an error behind it. The text of an internal error is
/// for the log, so a guest, which could print or return it, does not get it.
impl From<&Error> for wit::Error {
    fn from(error: &Error) -> Self {
        match error {
            Error::Invalid(_) | Error::TooLarge { .. } | Error::NotFound(_) => {
                wit::Error::Invalid(error.to_string())
            }
            Error::Denied(text) => wit::Error::Denied(text.clone()),
            Error::Overloaded { retry_after } => {
                wit::Error::Overloaded(u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX))
            }
            Error::DeadlineExceeded => wit::Error::DeadlineExceeded,
            Error::Unavailable { reason, .. } => wit::Error::Unavailable(reason.clone()),
            Error::PolicyFailed { .. } => wit::Error::Internal(error.to_string()),
            Error::Internal(_) => wit::Error::Internal("internal error".into()),
        }
    }
}

/// An error that a guest returned of its own accord. `Err` holds the text of an
/// `internal`: that one is the policy's failure, not a refusal.
pub(super) fn refusal(error: wit::Error) -> Result<Error, String> {
    Ok(match error {
        wit::Error::Invalid(text) => Error::Invalid(legible(&text)),
        wit::Error::Denied(text) => Error::Denied(legible(&text)),
        wit::Error::Overloaded(ms) => {
            let retry_after = Duration::from_millis(ms.into()).min(OVERLOADED_RETRY_MS_MAX);
            Error::Overloaded { retry_after }
        }
        wit::Error::DeadlineExceeded => Error::DeadlineExceeded,
        wit::Error::Unavailable(text) => {
            Error::Unavailable { reason: legible(&text), retry_after: UNAVAILABLE_RETRY_MS }
        }
        wit::Error::Internal(text) => return Err(legible(&text)),
    })
}

/// A guest's words as logs and clients may see them: up to a bound, and with
/// every character that is not seen (line ends, terminal commands, reversed
/// text) written out, so that they cannot pass for words of ours.
pub(super) fn legible(text: &str) -> String {
    let mut legible = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    let mut cut_at = 0;
    for character in text.chars() {
        if legible.len() + CUT.len_utf8() <= TEXT_BYTES_MAX {
            cut_at = legible.len();
        }
        match is_seen(character) {
            true => legible.push(character),
            false => legible.extend(character.escape_default()),
        }
        if legible.len() > TEXT_BYTES_MAX {
            legible.truncate(cut_at);
            legible.push(CUT);
            break;
        }
    }
    legible
}

/// Whether a character shows as itself: it is no control character, no line
/// end, and none of those that change the direction of what follows.
fn is_seen(character: char) -> bool {
    let hidden = matches!(
        character,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    );
    !hidden && !character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way_there_and_back() {
        let values = [
            Value::Text("t".into()),
            Value::Integer(-1),
            Value::Number(0.5),
            Value::Boolean(true),
            Value::Texts(vec!["a".into(), "b".into()]),
        ];
        let fields: Arc<[Field]> =
            (values.into_iter()).map(|value| Field { name: "f".into(), value }).collect();
        let document = |index, part, fields: &Arc<[Field]>| Document {
            id: DocumentId { index, part },
            text: "text".into(),
            fields: fields.clone(),
        };
        let request = Request {
            query: "q".into(),
            documents: vec![document(7, 0, &fields), document(7, 3, &Arc::default())],
        };
        let back = Request::from(wit::Request::from(request.clone()));
        assert_eq!(back, request);
        assert!(
            Arc::ptr_eq(&back.documents[0].text, &request.documents[0].text),
            "texts are shared, not copied"
        );
    }

    #[test]
    fn refusals_pass_and_internal_errors_do_not() {
        let cases = [
            Error::Invalid("i".into()),
            Error::Denied("d".into()),
            Error::Overloaded { retry_after: Duration::from_millis(7) },
            Error::DeadlineExceeded,
        ];
        for error in cases {
            assert_eq!(refusal(wit::Error::from(&error)), Ok(error));
        }
        let secret = Error::Internal("the key is in /etc".into());
        assert_eq!(wit::Error::from(&secret), wit::Error::Internal("internal error".into()));
        assert_eq!(refusal(wit::Error::Internal("x".into())), Err("x".to_string()));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        for long in ["é", "x", "\u{1b}", "日本"] {
            let text = legible(&long.repeat(TEXT_BYTES_MAX + 1));
            assert!(text.len() <= TEXT_BYTES_MAX);
            assert!(text.ends_with(CUT), "{text}");
            assert_eq!(legible(&text), text, "who passes it on changes nothing");
        }
        let just = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(legible(&just), just);
    }

    #[test]
    fn what_is_not_seen_is_written_out() {
        let check = |text: &str, expected: &str| assert_eq!(legible(text), expected);
        check("über 3 Zeilen, 日本語 \u{1f600}", "über 3 Zeilen, 日本語 \u{1f600}");
        check("a\r\nb\t", "a\\r\\nb\\t");
        check("\u{1b}[31m\0\u{7f}\u{9b}", "\\u{1b}[31m\\u{0}\\u{7f}\\u{9b}");
        check("\u{202e}evil\u{2028}", "\\u{202e}evil\\u{2028}");
    }

    #[test]
    fn nobody_is_told_to_wait_for_days() {
        let refusal = refusal(wit::Error::Overloaded(u32::MAX));
        assert_eq!(refusal, Ok(Error::Overloaded { retry_after: OVERLOADED_RETRY_MS_MAX }));
    }
}
