//! JSON objects read member by member, so that an error names the member, what
//! was expected there and what was found. It knows no dialect.
//!
//! Members stay unparsed text until someone asks for them: a dialect reads what
//! it knows, and what it does not know costs nothing but the skipping.

use std::fmt;
use std::ops::{Bound as End, RangeBounds};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::errors::{Problem, shown};
use crate::rerank::Error;

/// An object of a request's body. Of members with the same name the last
/// counts, as in most parsers.
#[derive(Debug)]
pub struct Object<'a> {
    /// Where it stands, with the dot before its members: `documents[3].`.
    at: String,
    keep: Keep,
    members: Vec<(String, &'a RawValue)>,
    others: usize,
}

/// Which members of an object are kept: a body of nothing but members must not make
/// us hold several times its size.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Those that are asked for by name, `null` or not.
    pub known: &'static [&'static str],
    /// So many of those that are not; a `null` says nothing and is none of them.
    /// What is beyond is only counted.
    pub others_max: usize,
}

impl<'a> Object<'a> {
    /// The whole body.
    pub fn body(body: &'a [u8], keep: Keep) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            let text = "the body is empty; it must be a JSON object".to_owned();
            return Err(Problem::Malformed(text));
        }
        let raw: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Problem::Malformed(format!("the body is not JSON: {error}")))?;
        if kind(raw) != Kind::Object {
            let found = found(raw);
            let text = format!("the body must be a JSON object; found {found}");
            return Err(Problem::Malformed(text));
        }
        Object::read("the body", String::new(), raw, keep)
    }

    /// The object at `at`; the caller has looked that it is one.
    pub fn nested(at: &str, raw: &'a RawValue, keep: Keep) -> Result<Self, Problem> {
        Object::read(at, format!("{at}."), raw, keep)
    }

    fn read(name: &str, at: String, raw: &'a RawValue, keep: Keep) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_str(raw.get());
        let members = json.deserialize_map(InOrder(keep));
        let Members { members, others } = members.map_err(|error| broken(name, &error))?;
        Ok(Object { at, keep, members, others })
    }

    /// A member's text; one that is `null` counts as absent, which is what the
    /// clients that send it mean.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        debug_assert!(self.keep.known.contains(&name), "`{name}` is not among those kept");
        self.other(name)
    }

    /// The same of any member that was kept.
    pub fn other(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.members.iter().rfind(|(member, _)| member == name)?;
        (kind(raw) != Kind::Null).then_some(raw)
    }

    /// How many members there are beside those that are known, kept or not.
    pub fn others(&self) -> usize {
        self.others
    }

    /// Whether the member is there, be it `null`.
    pub fn has(&self, name: &str) -> bool {
        debug_assert!(self.keep.known.contains(&name), "`{name}` is not among those kept");
        self.members.iter().any(|(member, _)| member == name)
    }

    /// Those that were kept.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> + Clone {
        self.members.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    /// The full name of a member, for errors.
    pub fn path(&self, name: &str) -> String {
        format!("{}{}", self.at, shown(name))
    }

    pub fn required(&self, name: &str) -> Result<&'a RawValue, Problem> {
        self.get(name).ok_or_else(|| invalid(format!("`{}` is missing", self.path(name))))
    }

    pub fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        self.get(name).map(|raw| text(&self.path(name), raw)).transpose()
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(raw) = self.get(name) else {
            return Ok(None);
        };
        match raw.get() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(unexpected(&self.path(name), "true or false", raw)),
        }
    }

    /// A whole number in the range; `2.0` is one, as it is to most parsers.
    pub fn integer<T>(&self, name: &str, allowed: impl RangeBounds<T>) -> Result<Option<T>, Problem>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let Some(raw) = self.get(name) else {
            return Ok(None);
        };
        match whole(raw.get()).and_then(|number| T::try_from(number).ok()) {
            Some(value) if allowed.contains(&value) => Ok(Some(value)),
            _ => {
                let expected = match (allowed.start_bound(), allowed.end_bound()) {
                    (End::Included(least), End::Included(most)) => {
                        format!("an integer from {least} to {most}")
                    }
                    (_, End::Included(most)) => format!("an integer up to {most}"),
                    _ => "an integer of 64 bits".into(),
                };
                Err(unexpected(&self.path(name), &expected, raw))
            }
        }
    }

    /// The items of a list with at most `max` of them; `what` names their
    /// number in the refusal of a longer one. Items beyond are only counted,
    /// so a body cannot make us hold more than its limit.
    pub fn list(&self, name: &str, bound: Bound) -> Result<Option<Vec<&'a RawValue>>, Problem> {
        let Some(raw) = self.get(name) else {
            return Ok(None);
        };
        if kind(raw) != Kind::Array {
            return Err(unexpected(&self.path(name), "a list", raw));
        }
        let mut json = serde_json::Deserializer::from_str(raw.get());
        let items = json
            .deserialize_seq(Items { max: bound.max })
            .map_err(|error| broken(&self.path(name), &error))?;
        if items.count > bound.max {
            return Err(Problem::Domain(Error::TooLarge {
                what: bound.what,
                value: items.count as u64,
                limit: bound.max as u64,
            }));
        }
        Ok(Some(items.kept))
    }
}

/// How many items a list may have, and what their number is called.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    pub what: &'static str,
    pub max: usize,
}

/// What a piece of JSON is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Boolean,
    Null,
    Array,
    Object,
}

pub fn kind(raw: &RawValue) -> Kind {
    match raw.get().as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

fn whole(number: &str) -> Option<i64> {
    /// From here on not every integer is an `f64`.
    const EXACT: f64 = (1_u64 << 53) as f64;
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT;
    let integer = number.parse().ok();
    integer.or_else(|| number.parse().ok().filter(exact).map(|number: f64| number as i64))
}

/// A string at `at`.
pub fn text(at: &str, raw: &RawValue) -> Result<String, Problem> {
    if kind(raw) != Kind::Text {
        return Err(unexpected(at, "a string", raw));
    }
    read(at, raw)
}

/// The refusal of a value that is of the wrong type or out of range.
pub fn unexpected(at: &str, expected: &str, raw: &RawValue) -> Problem {
    invalid(format!("`{at}`: expected {expected}, found {}", found(raw)))
}

pub fn invalid(text: String) -> Problem {
    Problem::Domain(Error::Invalid(text))
}

/// Reads what looks right already; what is left to go wrong is inside a string
/// (a lone surrogate) or a number (too large for any type).
pub fn read<'a, T: Deserialize<'a>>(at: &str, raw: &'a RawValue) -> Result<T, Problem> {
    serde_json::from_str(raw.get()).map_err(|error| broken(at, &error))
}

/// serde_json says where it stopped, and knows only the piece that it was given.
fn broken(at: &str, error: &serde_json::Error) -> Problem {
    invalid(format!("`{at}`: {error} of this value"))
}

fn found(raw: &RawValue) -> String {
    match kind(raw) {
        Kind::Text => "a string".into(),
        Kind::Number => format!("the number {}", shown(raw.get())),
        Kind::Boolean => raw.get().into(),
        Kind::Null => "null".into(),
        Kind::Array => "a list".into(),
        Kind::Object => "an object".into(),
    }
}

struct Members<'a> {
    /// In their order.
    members: Vec<(String, &'a RawValue)>,
    others: usize,
}

/// Reads members, keeping what is said.
struct InOrder(Keep);

impl<'de> Visitor<'de> for InOrder {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &RawValue)> = Vec::new();
        let mut others = 0;
        while let Some((name, raw)) = map.next_entry::<String, &RawValue>()? {
            if self.0.known.contains(&&*name) {
                // The last of two counts.
                match members.iter_mut().find(|(member, _)| *member == name) {
                    Some((_, last)) => *last = raw,
                    None => members.push((name, raw)),
                }
            } else if kind(raw) != Kind::Null {
                others += 1;
                if others <= self.0.others_max {
                    members.push((name, raw));
                }
            }
        }
        Ok(Members { members, others })
    }
}

/// Reads a list, keeping at most `max` items.
struct Items {
    max: usize,
}

struct Kept<'a> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Kept<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.max {
            match seq.next_element()? {
                Some(item) => kept.push(item),
                None => break,
            }
        }
        let mut count = kept.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Kept { kept, count })
    }
}
