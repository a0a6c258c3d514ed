//! Which tables a configuration has and which keys they know, taken from the
//! types that read them, so that there is no second list to forget.

use serde::de::value::Error as Stop;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use super::callers::RawCaller;
use super::raw::{
    Raw, RawBatch, RawLimits, RawLinkWith, RawModel, RawPolicy, RawRoute, RawSandbox, RawServer,
    RawTelemetry, RawTls,
};

/// A kind of table.
pub(super) struct Kind {
    /// Its path; `*` stands for a name that people choose, or for a place in a
    /// list.
    pub path: &'static [&'static str],
    pub keys: fn() -> &'static [&'static str],
    /// What is wrong with the type of a value, as serde says it.
    pub trial: fn(key: &str, value: &Value) -> Result<(), String>,
}

/// Every kind of table.
pub(super) const KINDS: &[Kind] = &[
    kind::<Raw>(&[]),
    kind::<RawServer>(&["server"]),
    kind::<RawSandbox>(&["sandbox"]),
    kind::<RawTelemetry>(&["telemetry"]),
    kind::<RawModel>(&["models", "*"]),
    kind::<RawBatch>(&["models", "*", "batch"]),
    kind::<RawPolicy>(&["policies", "*"]),
    kind::<RawLimits>(&["policies", "*", "limits"]),
    kind::<RawCaller>(&["callers", "*"]),
    kind::<RawTls>(&["server", "tls"]),
    kind::<RawRoute>(&["routes", "*"]),
    kind::<RawLinkWith>(&["routes", "*", "policies", "*"]),
];

const fn kind<T: DeserializeOwned>(path: &'static [&'static str]) -> Kind {
    Kind { path, keys: keys::<T>, trial: trial::<T> }
}

/// What is at a path.
pub(super) enum Place {
    /// A table of a known kind.
    Table(&'static Kind),
    /// A table whose keys are names, or a list; what is in it is of a known kind.
    Names,
    Value,
}

pub(super) fn place(path: &[String]) -> Place {
    if let Some(kind) = KINDS.iter().find(|kind| matches(kind.path, path)) {
        return Place::Table(kind);
    }
    let holds = |kind: &&Kind| {
        kind.path.split_last().is_some_and(|(last, front)| *last == "*" && matches(front, path))
    };
    if KINDS.iter().any(|kind| holds(&kind)) { Place::Names } else { Place::Value }
}

fn matches(pattern: &[&str], path: &[String]) -> bool {
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(pattern, name)| *pattern == "*" || *pattern == name)
}

fn trial<T: DeserializeOwned>(key: &str, value: &Value) -> Result<(), String> {
    let alone = Table::from_iter([(key.to_owned(), value.clone())]);
    let read = Value::Table(alone).try_into::<T>();
    let wrong = |error: toml::de::Error| error.message().to_owned();
    match read.map_err(wrong) {
        // What is missing is missed when the table is read whole.
        Err(message) if message.starts_with("missing field") => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The names of a struct's fields: serde tells them to whoever gives it data.
fn keys<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

/// Takes the names and has no data.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::custom("this is no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        *self.0 = fields;
        Err(Stop::custom("there is no data"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_knows_its_keys() {
        for kind in KINDS {
            assert!(!(kind.keys)().is_empty(), "{:?}", kind.path);
        }
        let root = (KINDS[0].keys)();
        assert!(root.contains(&"server") && root.contains(&"default_route"), "{root:?}");
    }

    /// Tables in tables are kinds, too: else their unknown keys would be found
    /// one at a time, without the nearest known one.
    #[test]
    fn no_table_is_forgotten() {
        let text = "[server.tls]\ncert = 'c'\nkey = 'k'\n[models.m]\n[policies.p]\n[routes.r]\n[callers.c]\nkeys = []";
        let written = Table::try_from(Raw::parse(text).unwrap()).unwrap();
        let mut tables = vec![(Vec::new(), written)];
        while let Some((path, table)) = tables.pop() {
            assert!(!matches!(place(&path), Place::Value), "{path:?} is no kind of table");
            for (key, value) in table {
                if let Value::Table(table) = value {
                    tables.push(([&path[..], &[key]].concat(), table));
                }
            }
        }
    }
}
