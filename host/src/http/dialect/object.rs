//! JSON objects read member by member, so that an error names the member, what
//! was expected there and what was found. It knows no dialect.
//!
//! Members stay unparsed text until someone asks for them: a dialect reads what
//! it knows, and what it does not know costs nothing but the skipping.

use std::fmt;
use std::ops::{Bound as End, RangeBounds};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::errors::Problem;
use crate::rerank::Error;

/// An object of a request's body. Of members with the same name the last
/// counts, as in most parsers.
#[derive(Debug)]
pub struct Object<'a> {
    /// Where it stands, with the dot before its members: `documents[3].`.
    at: String,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The whole body.
    pub fn body(body: &'a [u8]) -> Result<Self, Problem> {
        let raw: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Problem::Malformed(format!("the body is not JSON: {error}")))?;
        if kind(raw) != Kind::Object {
            let found = found(raw);
            let text = format!("the body must be a JSON object; found {found}");
            return Err(Problem::Malformed(text));
        }
        Ok(Object { at: String::new(), members: read::<Members<'_>>("the body", raw)?.0 })
    }

    /// The object at `at`; the caller has looked that it is one.
    pub fn nested(at: &str, raw: &'a RawValue) -> Result<Self, Problem> {
        Ok(Object { at: format!("{at}."), members: read::<Members<'_>>(at, raw)?.0 })
    }

    /// A member's text; one that is `null` counts as absent, which is what the
    /// clients that send it mean.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.members.iter().rfind(|(member, _)| member == name)?;
        (kind(raw) != Kind::Null).then_some(raw)
    }

    /// Whether the member is there, be it `null`.
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member == name)
    }

    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> + Clone {
        self.members.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    /// The full name of a member, for errors.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.at)
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
                    (End::Included(least), _) => format!("an integer from {least}"),
                    _ => "an integer".into(),
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
            .map_err(|error| invalid(format!("`{}`: {error}", self.path(name))))?;
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
    serde_json::from_str(raw.get()).map_err(|error| invalid(format!("`{at}`: {error}")))
}

fn found(raw: &RawValue) -> String {
    /// Characters of a number that an error repeats.
    const SHOWN: usize = 32;
    match kind(raw) {
        Kind::Text => "a string".into(),
        Kind::Number if raw.get().len() <= SHOWN => format!("the number {}", raw.get()),
        Kind::Number => "a number".into(),
        Kind::Boolean => raw.get().into(),
        Kind::Null => "null".into(),
        Kind::Array => "a list".into(),
        Kind::Object => "an object".into(),
    }
}

/// The members of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        json.deserialize_map(InOrder)
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
