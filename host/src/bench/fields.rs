//! Takes values out of a TOML table and says everything that is wrong with them,
//! in the words of the server's own configuration: the key, the value, what is
//! allowed and in which unit; for an unknown key the nearest known one.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use crate::config::nearest;

/// A table that is being read. Faults go to a list that all tables share.
pub struct Fields<'a> {
    path: String,
    table: Option<&'a Table>,
    known: RefCell<Vec<&'static str>>,
    faults: &'a RefCell<Vec<String>>,
}

impl<'a> Fields<'a> {
    pub fn of(table: &'a Table, faults: &'a RefCell<Vec<String>>) -> Self {
        Fields { path: String::new(), table: Some(table), known: RefCell::default(), faults }
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The key with the tables it is in.
    pub fn key(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    pub fn fault(&self, fault: String) {
        self.faults.borrow_mut().push(fault);
    }

    /// Notes that a key has no business in the present circumstances.
    pub fn idle(&self, key: &'static str, reason: &str) {
        if self.value(key).is_some() {
            self.fault(format!("`{}` has no effect {reason}", self.key(key)));
        }
    }

    pub fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// A table in this one; empty if it is not there.
    pub fn table(&self, key: &'static str) -> Fields<'a> {
        let table = match self.value(key) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.wrong(key, other, "a table");
                None
            }
            None => None,
        };
        let (path, faults) = (format!("{}.", self.key(key)), self.faults);
        Fields { path, table, known: RefCell::default(), faults }
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            Value::String(text) => Some(text.clone()),
            other => {
                self.wrong(key, other, "a string");
                None
            }
        }
    }

    pub fn truth(&self, key: &'static str, default: bool) -> bool {
        match self.value(key) {
            None => default,
            Some(Value::Boolean(truth)) => *truth,
            Some(other) => {
                self.wrong(key, other, "true or false");
                default
            }
        }
    }

    pub fn texts(&self, key: &'static str) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match self.value(key) {
            None => Vec::new(),
            Some(value) => value
                .as_array()
                .and_then(|values| values.iter().map(text).collect())
                .unwrap_or_else(|| {
                    self.wrong(key, value, "a list of strings");
                    Vec::new()
                }),
        }
    }

    pub fn whole(
        &self,
        key: &'static str,
        default: u64,
        allowed: RangeInclusive<u64>,
        unit: &str,
    ) -> u64 {
        self.whole_if(key, allowed, unit).unwrap_or(default)
    }

    pub fn whole_if(
        &self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
        unit: &str,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        self.within(key, number, allowed, unit)
    }

    pub fn number(
        &self,
        key: &'static str,
        default: f64,
        allowed: RangeInclusive<f64>,
        unit: &str,
    ) -> f64 {
        self.number_if(key, allowed, unit).unwrap_or(default)
    }

    pub fn number_if(
        &self,
        key: &'static str,
        allowed: RangeInclusive<f64>,
        unit: &str,
    ) -> Option<f64> {
        let value = self.value(key)?;
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        self.within(key, number, allowed, unit)
    }

    pub fn ms(&self, key: &'static str, default: u64, allowed: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.whole(key, default, allowed, "ms"))
    }

    /// A word out of a short list; the first is the default.
    pub fn one_of<T: Copy>(&self, key: &'static str, known: &[(&str, T)]) -> T {
        if let Some(text) = self.text(key) {
            match known.iter().find(|(word, _)| *word == text) {
                Some((_, meaning)) => return *meaning,
                None => {
                    let words: Vec<_> =
                        known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                    let (key, words) = (self.key(key), words.join(", "));
                    self.fault(format!("`{key}` is \"{text}\"; it must be one of {words}"));
                }
            }
        }
        known[0].1
    }

    /// Says which keys nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(Table::keys) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let named = self.key(key);
            self.fault(match nearest(key, known.iter().copied()) {
                Some(nearest) => {
                    format!("unknown key `{named}`; did you mean `{}`?", self.key(nearest))
                }
                None => {
                    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
                    format!("unknown key `{named}`; there are {}", known.join(", "))
                }
            });
        }
    }

    /// `number` is what the key's value is as a number, if it is one.
    fn within<N: PartialOrd + Display>(
        &self,
        key: &'static str,
        number: Option<N>,
        allowed: RangeInclusive<N>,
        unit: &str,
    ) -> Option<N> {
        let allows = |number: &N| allowed.contains(number);
        let number = number.filter(allows);
        if number.is_none()
            && let Some(value) = self.table.and_then(|table| table.get(key))
        {
            let (least, most) = (allowed.start(), allowed.end());
            self.wrong(key, value, &format!("{least} to {most} {unit}"));
        }
        number
    }

    fn wrong(&self, key: &'static str, value: &Value, expected: &str) {
        self.fault(format!("`{}` is {value}; it must be {expected}", self.key(key)));
    }
}
