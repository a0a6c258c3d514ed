//! Parameters that a route gives a policy, read as typed values.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::{Error, Result, bindings::maitred::rerank::context};

/// Where parameters come from: the host, or, in a native test, a list.
#[derive(Debug, Clone, Default)]
pub struct Params {
    given: Option<BTreeMap<String, String>>,
}

impl Params {
    /// The parameters of the present request.
    pub fn of_the_route() -> Self {
        Params { given: None }
    }

    /// For tests: exactly these.
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

    /// A parameter as a `T`, if it is given. Text that is no `T` is the
    /// operator's mistake, and named in the log.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::Internal(format!(
                "parameter `{name}` is `{text}`, which cannot be read as {}",
                std::any::type_name::<T>()
            ))),
        }
    }

    /// A parameter as a `T`, or `default`.
    pub fn or<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.get(name)?.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_what_they_should_be() {
        let params = Params::from_pairs([("words", "150"), ("field", "date")]);
        assert_eq!(params.or("words", 1), Ok(150));
        assert_eq!(params.or("overlap", 30), Ok(30));
        assert_eq!(params.get::<f64>("words"), Ok(Some(150.0)));
        assert_eq!(
            params.or("field", 1u32),
            Err(Error::Internal("parameter `field` is `date`, which cannot be read as u32".into()))
        );
    }
}
