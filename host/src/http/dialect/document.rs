//! Documents as clients send them: a string, or an object with a text and
//! metadata. All dialects read them alike, whatever their lists are called, so
//! policies get metadata from clients of any dialect.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::object::{Keep, Kind, Object, invalid, kind, read, text, unexpected};
use super::{Bounds, Problem};
use crate::http::errors::shown;
use crate::rerank::{Error, Field, Value};
use crate::route::AskedDocument;

/// A document: its text, or an object with the text and metadata for policies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Document {
    Text(String),
    Object {
        text: String,
        /// Metadata: strings, numbers, booleans or lists of strings. Members
        /// beside `text` and `fields` are metadata, too.
        fields: Option<BTreeMap<String, Metadatum>>,
        #[serde(flatten)]
        beside: BTreeMap<String, Json>,
    },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Metadatum {
    Text(String),
    Number(f64),
    Boolean(bool),
    Texts(Vec<String>),
    Nothing(()),
}

/// The member of a document that carries metadata explicitly; it is ours, so
/// what it holds must be of a type that policies know.
const FIELDS: &str = "fields";
const TEXT: &str = "text";

/// A document beside the JSON it came from, which some dialects give back.
#[derive(Debug)]
pub struct Sent<'a> {
    pub asked: AskedDocument,
    pub raw: &'a RawValue,
}

/// The documents in the list `name`. With `rank_fields`, an object's text is
/// made of the members so named, in that order, each value on its own line;
/// without, it is its `text`. What is not text is metadata.
pub fn documents<'a>(
    body: &Object<'a>,
    name: &str,
    rank_fields: &[String],
    bounds: &Bounds,
) -> Result<Vec<Sent<'a>>, Problem> {
    let Some(list) = body.list(name, bounds.documents())? else {
        return Err(invalid(format!("`{}` is missing", body.path(name))));
    };
    list.into_iter()
        .enumerate()
        .map(|(index, raw)| sent(&format!("{name}[{index}]"), raw, rank_fields, bounds))
        .collect()
}

/// The document at `at`.
pub fn sent<'a>(
    at: &str,
    raw: &'a RawValue,
    rank_fields: &[String],
    bounds: &Bounds,
) -> Result<Sent<'a>, Problem> {
    Ok(Sent { asked: document(at, raw, rank_fields, bounds)?, raw })
}

fn document(
    at: &str,
    raw: &RawValue,
    rank_fields: &[String],
    bounds: &Bounds,
) -> Result<AskedDocument, Problem> {
    match kind(raw) {
        Kind::Text => Ok(AskedDocument { text: Arc::from(text(at, raw)?), fields: Vec::new() }),
        Kind::Object => {
            let keep = Keep { known: &[TEXT, FIELDS], others_max: bounds.fields_max };
            let object = Object::nested(at, raw, keep)?;
            // Beyond the bound nothing was kept that the rest could look for.
            check_fields(object.others(), bounds)?;
            let text = if rank_fields.is_empty() {
                own_text(at, &object)?
            } else {
                joined(at, &object, rank_fields)?
            };
            Ok(AskedDocument { text: Arc::from(text), fields: fields(at, &object, bounds)? })
        }
        _ => {
            let expected = "a string or an object with a \"text\" field";
            Err(unexpected(at, expected, raw))
        }
    }
}

/// Members of documents that are no texts, in the APIs of multimodal rerankers.
const MEDIA: [&str; 7] = ["image", "url", "content", "multi_modal", "video", "audio", "pdf"];

fn own_text(at: &str, object: &Object<'_>) -> Result<String, Problem> {
    if let Some(text) = object.text(TEXT)? {
        return Ok(text);
    }
    Err(invalid(match MEDIA.into_iter().find(|name| object.other(name).is_some()) {
        Some(name) => format!(
            "`{at}` has `{name}` and no `text`: only texts can be ranked here, no images or other media"
        ),
        None => format!(
            "`{at}`: expected a string or an object with a \"text\" field, found an object without one"
        ),
    }))
}

/// A document with none of the fields has no text to rank; an empty one would
/// get a score that means nothing, so it is refused.
fn joined(at: &str, object: &Object<'_>, rank_fields: &[String]) -> Result<String, Problem> {
    let mut lines = Vec::with_capacity(rank_fields.len());
    for name in rank_fields {
        let Some(raw) = object.other(name) else {
            continue;
        };
        lines.push(match kind(raw) {
            Kind::Text => text(&object.path(name), raw)?,
            _ => raw.get().to_owned(),
        });
    }
    if lines.is_empty() {
        let names = rank_fields.join("`, `");
        let problem = format!("`{at}` has none of the `rank_fields` `{}`", shown(&names));
        return Err(invalid(problem));
    }
    Ok(lines.join("\n"))
}

/// The metadata: the object's members beside the text, then those of `fields`.
fn fields(at: &str, object: &Object<'_>, bounds: &Bounds) -> Result<Vec<Field>, Problem> {
    let own = match object.get(FIELDS) {
        Some(raw) if kind(raw) == Kind::Object => {
            let keep = Keep { known: &[], others_max: bounds.fields_max };
            Some(Object::nested(&object.path(FIELDS), raw, keep)?)
        }
        Some(raw) => {
            let expected = "an object with the document's metadata";
            return Err(unexpected(&object.path(FIELDS), expected, raw));
        }
        None => None,
    };
    let count = object.others() + own.as_ref().map_or(0, Object::others);
    check_fields(count, bounds)?;
    let own = own.iter().flat_map(|own| own.members());
    let beside = object.members().filter(|(name, _)| *name != TEXT && *name != FIELDS);
    let mut fields = Vec::with_capacity(count);
    for (name, raw) in beside {
        // What has no type of ours (a nested object) is the foreign dialect's
        // business; a policy can still parse its JSON.
        let value = value(&object.path(name), raw)?;
        let value = value.unwrap_or_else(|| Value::Text(raw.get().to_owned()));
        let name = name.to_owned();
        fields.push(Field { name, value });
    }
    for (name, raw) in own {
        let at = format!("{at}.{FIELDS}.{}", shown(name));
        let Some(value) = value(&at, raw)? else {
            let expected = "a string, a number, a boolean or a list of strings";
            return Err(unexpected(&at, expected, raw));
        };
        let name = name.to_owned();
        fields.push(Field { name, value });
    }
    Ok(fields)
}

fn check_fields(count: usize, bounds: &Bounds) -> Result<(), Problem> {
    if count <= bounds.fields_max {
        return Ok(());
    }
    Err(Problem::Domain(Error::TooLarge {
        what: "the number of fields of a document",
        value: count as u64,
        limit: bounds.fields_max as u64,
    }))
}

/// The value in the domain's types, if there is one for it.
fn value(at: &str, raw: &RawValue) -> Result<Option<Value>, Problem> {
    Ok(match kind(raw) {
        Kind::Text => Some(Value::Text(text(at, raw)?)),
        Kind::Boolean => Some(Value::Boolean(raw.get() == "true")),
        Kind::Number => Some(match raw.get().parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Number(read(at, raw)?),
        }),
        Kind::Array => serde_json::from_str(raw.get()).ok().map(Value::Texts),
        Kind::Null | Kind::Object => None,
    })
}
