//! Parameters that a route gives a policy, read as typed values.
//!
//! ```
//! use maitred_sdk::{Params, Result};
//!
//! #[derive(Clone, Copy, PartialEq)]
//! enum Rest {
//!     Drop,
//!     Follow,
//! }
//!
//! struct Settings {
//!     bonus: f32,
//!     weight: f64,
//!     field: Option<String>,
//!     tenants: Vec<String>,
//!     rest: Rest,
//! }
//!
//! fn settings(params: &Params) -> Result<Settings> {
//!     Ok(Settings {
//!         bonus: params.or("bonus", 0.5)?,
//!         weight: params.or_within("weight", 0.5, 0.0..1.0)?,
//!         field: params.get("field")?,
//!         // A list is one text, with commas between its parts.
//!         tenants: params.or("tenants", Vec::new())?,
//!         rest: params.one_of("rest", &[("drop", Rest::Drop), ("follow", Rest::Follow)], Rest::Drop)?,
//!     })
//! }
//! # let given = Params::from_pairs([("weight", "0.25"), ("tenants", "a, b"), ("rest", "follow")]);
//! # let read = settings(&given)?;
//! # assert!(read.rest == Rest::Follow && read.tenants == ["a", "b"] && read.weight == 0.25);
//! # assert!(read.bonus == 0.5 && read.field.is_none());
//! # Ok::<(), maitred_sdk::Error>(())
//! ```
//!
//! A value that cannot be read is the operator's mistake: an
//! [`Error::Internal`] that names the parameter, the value and the limit, with
//! which the host refuses to start. Limits that the manifest has too are told
//! with all else that is wrong, as are parameters that it does not name.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use crate::{Error, Result, context};

/// A type that the text of a parameter can be read as. Implement it for a type
/// of yours to read it with [`Params::get`].
pub trait Parameter: Sized {
    /// What the text must be. Completes "parameter `p` is `x`, which is not …".
    const WHAT: &'static str;

    /// The value, or `None` if the text is not what it must be.
    fn read(text: &str) -> Option<Self>;
}

impl Parameter for String {
    const WHAT: &'static str = "a text";

    fn read(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl Parameter for bool {
    const WHAT: &'static str = "true or false";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Numbers of a kind, each type with its own limits.
macro_rules! numbers {
    ($what:literal, $keep:expr, $($type:ty),*) => {$(
        impl Parameter for $type {
            const WHAT: &'static str = concat!($what, stringify!($type));

            fn read(text: &str) -> Option<Self> {
                let keep: fn(&$type) -> bool = $keep;
                text.parse().ok().filter(keep)
            }
        }
    )*};
}

numbers!("a whole number of type ", |_| true, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
// Infinity and NaN would end up in a score, where the host refuses them.
numbers!("a finite number of type ", |number| number.is_finite(), f32, f64);

/// A list is one text with commas between its parts. Spaces around a part, and
/// parts without anything in them, do not count.
impl<T: Parameter> Parameter for Vec<T> {
    const WHAT: &'static str = "a list with commas between its parts";

    fn read(text: &str) -> Option<Self> {
        parts(text).map(T::read).collect()
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Where parameters come from: the host, or, in a native test, a list.
#[derive(Debug, Clone, Default)]
pub struct Params {
    given: Option<BTreeMap<String, String>>,
}

impl Params {
    /// The parameters of the present request: the route's, and behind them the
    /// manifest's defaults.
    pub fn of_the_route() -> Self {
        Params { given: None }
    }

    /// Exactly these; for tests of [`Policy::new`](crate::Policy::new) alone.
    pub fn from_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let pairs = pairs.map(|(name, value)| (name.to_string(), value.to_string()));
        Params { given: Some(pairs.into()) }
    }

    /// A parameter as text, if the route or the manifest gives it.
    pub fn text(&self, name: &str) -> Option<String> {
        match &self.given {
            Some(given) => given.get(name).cloned(),
            None => context::param(name),
        }
    }

    /// A parameter as a `T`, if it is given.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the text cannot be read as a `T`.
    pub fn get<T: Parameter>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match T::read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(wrong(name, &text, format_args!("which is not {}", T::WHAT))),
        }
    }

    /// A parameter as a `T`, or `default`.
    ///
    /// # Errors
    ///
    /// As of [`Params::get`].
    pub fn or<T: Parameter>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// A parameter as a number in a range, or `default`. The range is written
    /// as any: `0.0..=1.0`, `1..`, and for what must be above a limit
    /// `(Bound::Excluded(0.0), Bound::Unbounded)`.
    ///
    /// # Errors
    ///
    /// As of [`Params::get`], and [`Error::Internal`] if the number is outside.
    pub fn or_within<T>(&self, name: &str, default: T, range: impl RangeBounds<T>) -> Result<T>
    where
        T: Parameter + PartialOrd + Display,
    {
        let value = self.or(name, default)?;
        match range.contains(&value) {
            true => Ok(value),
            false => Err(wrong(name, value, format_args!("not {}", limits(&range)))),
        }
    }

    /// A parameter as one of several values, each with its name, or `default`.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if the text is none of the names.
    pub fn one_of<T: Clone>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T> {
        match self.text(name) {
            Some(text) => chosen(name, &text, choices),
            None => Ok(default),
        }
    }

    /// A parameter as a list of such values; if it is not given, all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if one part of the list is none of the names, or if
    /// the list is given and empty: a policy told to do nothing is a mistake.
    pub fn some_of<T: Clone>(&self, name: &str, choices: &[(&str, T)]) -> Result<Vec<T>> {
        let Some(text) = self.text(name) else {
            return Ok(choices.iter().map(|(_, value)| value.clone()).collect());
        };
        let some: Vec<T> =
            parts(&text).map(|part| chosen(name, part, choices)).collect::<Result<_>>()?;
        match some.is_empty() {
            true => Err(wrong(name, &text, format_args!("not some of {}", names(choices)))),
            false => Ok(some),
        }
    }
}

fn chosen<T: Clone>(name: &str, text: &str, choices: &[(&str, T)]) -> Result<T> {
    match choices.iter().find(|(choice, _)| *choice == text) {
        Some((_, value)) => Ok(value.clone()),
        None => Err(wrong(name, text, format_args!("not one of {}", names(choices)))),
    }
}

fn wrong(name: &str, value: impl Display, what: impl Display) -> Error {
    Error::internal(format_args!("parameter `{name}` is `{value}`, {what}"))
}

/// The names of choices, as an operator reads them.
fn names<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A range in words.
fn limits<T: Display>(range: &impl RangeBounds<T>) -> String {
    let start = match range.start_bound() {
        Bound::Included(start) => Some(format!("at least {start}")),
        Bound::Excluded(start) => Some(format!("above {start}")),
        Bound::Unbounded => None,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => Some(format!("at most {end}")),
        Bound::Excluded(end) => Some(format!("below {end}")),
        Bound::Unbounded => None,
    };
    start.into_iter().chain(end).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn check<T: PartialEq + Debug>(read: Result<T>, expected: std::result::Result<T, &str>) {
        assert_eq!(read, expected.map_err(Error::internal));
    }

    #[test]
    fn parameters_are_read_as_what_they_should_be() {
        let pairs = [("words", "150"), ("field", "date"), ("is", "true"), ("list", " 1,2 ,, 3")];
        let params = Params::from_pairs(pairs);
        check(params.or("words", 1), Ok(150));
        check(params.or("overlap", 30), Ok(30));
        check(params.get::<f64>("words"), Ok(Some(150.0)));
        check(params.or("is", false), Ok(true));
        check(params.or("list", Vec::new()), Ok(vec![1u8, 2, 3]));
        check(params.or("list", Vec::new()), Ok(vec!["1".to_string(), "2".into(), "3".into()]));
        check(
            params.or("field", 1u32),
            Err("parameter `field` is `date`, which is not a whole number of type u32"),
        );
        check(
            params.or("words", 1i8),
            Err("parameter `words` is `150`, which is not a whole number of type i8"),
        );
        check(
            params.or("words", true),
            Err("parameter `words` is `150`, which is not true or false"),
        );
        for endless in ["inf", "-inf", "nan", "1e999"] {
            let params = Params::from_pairs([("bonus", endless)]);
            let error = params.or("bonus", 0.5f32).unwrap_err().to_string();
            assert!(error.contains("not a finite number of type f32"), "{error}");
        }
    }

    #[test]
    fn ranges_are_kept_and_named() {
        let params = Params::from_pairs([("n", "7")]);
        check(params.or_within("n", 1, 1..), Ok(7));
        check(params.or_within("n", 1, 0..=7), Ok(7));
        check(params.or_within("absent", 3, 0..=7), Ok(3));
        let err = |range: (Bound<i32>, Bound<i32>), expected: &str| {
            let expected = format!("parameter `n` is `7`, not {expected}");
            check(params.or_within("n", 1, range), Err(&expected));
        };
        use Bound::{Excluded, Included, Unbounded};
        err((Included(8), Unbounded), "at least 8");
        err((Excluded(7), Unbounded), "above 7");
        err((Unbounded, Included(6)), "at most 6");
        err((Included(0), Excluded(7)), "at least 0 and below 7");
        check(
            params.or_within("n", 0.5, 0.0..1.0),
            Err("parameter `n` is `7`, not at least 0 and below 1"),
        );
    }

    #[test]
    fn choices_are_names() {
        let choices = [("email", 'e'), ("phone", 'p'), ("card", 'c')];
        let params = |value| Params::from_pairs([("kinds", value)]);
        let none = Params::from_pairs([]);
        check(none.some_of("kinds", &choices), Ok(vec!['e', 'p', 'c']));
        check(params("card, email").some_of("kinds", &choices), Ok(vec!['c', 'e']));
        check(
            params("card,emial").some_of("kinds", &choices),
            Err("parameter `kinds` is `emial`, not one of `email`, `phone`, `card`"),
        );
        check(
            params(" ,").some_of("kinds", &choices),
            Err("parameter `kinds` is ` ,`, not some of `email`, `phone`, `card`"),
        );
        check(none.one_of("kinds", &choices, 'x'), Ok('x'));
        check(params("phone").one_of("kinds", &choices, 'x'), Ok('p'));
        check(
            params("Phone").one_of("kinds", &choices, 'x'),
            Err("parameter `kinds` is `Phone`, not one of `email`, `phone`, `card`"),
        );
    }
}
