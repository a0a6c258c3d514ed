//! The manifest beside a component: `NAME.toml` beside `NAME.wasm`. It says what
//! the policy is, what it asks for and which parameters it takes. It is
//! optional; a policy without one asks for nothing and takes any parameter.
//!
//! ```toml
//! name = "fresh"
//! version = "0.1.0"
//! description = "relevance decays with age"
//! required = false
//! capabilities = ["clock"]
//!
//! [params.half_life_days]
//! description = "age at which half of the weight is lost"
//! default = 30
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::{Table, Value};

use crate::config::{Grant, nearest};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    pub name: Option<String>,
    pub version: Option<String>,
    pub description: Option<String>,
    /// Routes may never answer without this policy.
    pub required: bool,
    /// Powers that the policy asks for.
    pub capabilities: Vec<Grant>,
    /// `None` accepts any parameter.
    pub params: Option<BTreeMap<String, Param>>,
}

/// A parameter that routes may give.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Param {
    pub description: Option<String>,
    /// What the policy reads if the route gives nothing.
    pub default: Option<Arc<str>>,
}

const KEYS: [&str; 6] = ["name", "version", "description", "required", "capabilities", "params"];
const PARAM_KEYS: [&str; 2] = ["description", "default"];
const GRANTS: [Grant; 2] = [Grant::Clock, Grant::Random];

impl Manifest {
    /// The error says which key is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let table: Table = text.parse().map_err(|e| format!("{e}"))?;
        let mut manifest = Manifest::default();
        for (key, value) in table {
            match key.as_str() {
                "name" => manifest.name = Some(string(&key, value)?),
                "version" => manifest.version = Some(string(&key, value)?),
                "description" => manifest.description = Some(string(&key, value)?),
                "required" => manifest.required = boolean(&key, value)?,
                "capabilities" => manifest.capabilities = capabilities(value)?,
                "params" => manifest.params = Some(params(value)?),
                _ => return Err(unknown("key", &key, KEYS)),
            }
        }
        Ok(manifest)
    }

    /// The route's parameters with the manifest's defaults behind them.
    pub fn params(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<Arc<str>, Arc<str>>, String> {
        let mut params = BTreeMap::new();
        if let Some(known) = &self.params {
            if let Some(name) = given.keys().find(|name| !known.contains_key(*name)) {
                return Err(unknown("parameter", name, known.keys().map(|k| &**k)));
            }
            for (name, param) in known {
                if let Some(default) = &param.default {
                    params.insert(name.as_str().into(), default.clone());
                }
            }
        }
        for (name, value) in given {
            params.insert(name.as_str().into(), value.as_str().into());
        }
        Ok(params)
    }
}

fn params(value: Value) -> Result<BTreeMap<String, Param>, String> {
    let mut params = BTreeMap::new();
    for (name, value) in tables("params", value)? {
        let mut param = Param::default();
        for (key, value) in tables(&format!("params.{name}"), value)? {
            match key.as_str() {
                "description" => param.description = Some(string(&key, value)?),
                "default" => param.default = Some(scalar(&name, value)?),
                _ => {
                    let what = format!("key of `params.{name}`");
                    return Err(unknown(&what, &key, PARAM_KEYS));
                }
            }
        }
        params.insert(name, param);
    }
    Ok(params)
}

fn capabilities(value: Value) -> Result<Vec<Grant>, String> {
    let Value::Array(array) = value else {
        return Err("`capabilities` must be a list of names".into());
    };
    let mut grants = Vec::new();
    for value in array {
        let name = string("capabilities", value)?;
        match GRANTS.into_iter().find(|grant| grant.name() == name) {
            Some(grant) => grants.push(grant),
            None => return Err(unknown("capability", &name, GRANTS.map(Grant::name))),
        }
    }
    Ok(grants)
}

fn tables(key: &str, value: Value) -> Result<Table, String> {
    match value {
        Value::Table(table) => Ok(table),
        _ => Err(format!("`{key}` must be a table")),
    }
}

fn string(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("`{key}` must be a text")),
    }
}

fn boolean(key: &str, value: Value) -> Result<bool, String> {
    match value {
        Value::Boolean(is) => Ok(is),
        _ => Err(format!("`{key}` must be true or false")),
    }
}

/// Policies read parameters as text, whatever TOML calls them.
fn scalar(name: &str, value: Value) -> Result<Arc<str>, String> {
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(value.to_string().into()),
        _ => Err(format!("the default of `params.{name}` must be a text, a number or a boolean")),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("unknown {what} `{name}`; did you mean `{nearest}`?"),
        None if known.is_empty() => format!("unknown {what} `{name}`; there are none"),
        None => format!("unknown {what} `{name}`; there are `{}`", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_a_manifest_can_say() {
        let text = r#"
            name = "fresh"
            version = "0.1.0"
            description = "d"
            required = true
            capabilities = ["clock", "random"]
            [params.weight]
            description = "w"
            default = 0.5
            [params.field]
            default = "date"
            [params.plain]
        "#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.name.as_deref(), Some("fresh"));
        assert!(manifest.required);
        assert_eq!(manifest.capabilities, [Grant::Clock, Grant::Random]);
        let given = BTreeMap::from([("field".to_string(), "published".to_string())]);
        let params = manifest.params(&given).unwrap();
        let params: Vec<_> = params.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(params, [("field", "published"), ("weight", "0.5")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Manifest::parse(text).unwrap_err(), expected, "{text}");
        };
        check("require = true", "unknown key `require`; did you mean `required`?");
        check("required = 1", "`required` must be true or false");
        check("name = 1", "`name` must be a text");
        check("capabilities = ['clok']", "unknown capability `clok`; did you mean `clock`?");
        check("capabilities = 'clock'", "`capabilities` must be a list of names");
        check(
            "[params.a]\nmin = 1",
            "unknown key of `params.a` `min`; there are `description`, `default`",
        );
        check("params = 1", "`params` must be a table");
        check(
            "[params.a]\ndefualt = 1",
            "unknown key of `params.a` `defualt`; did you mean `default`?",
        );
        check(
            "[params.a]\ndefault = [1]",
            "the default of `params.a` must be a text, a number or a boolean",
        );
        assert!(Manifest::parse("name = ").is_err());
    }

    #[test]
    fn a_parameter_must_be_known_unless_nothing_is_said() {
        let given = BTreeMap::from([("wieght".to_string(), "1".to_string())]);
        let check = |text: &str, expected: Result<usize, &str>| {
            let params = Manifest::parse(text).unwrap().params(&given);
            assert_eq!(params.map(|p| p.len()), expected.map_err(String::from), "{text}");
        };
        check("", Ok(1));
        check("[params.weight]", Err("unknown parameter `wieght`; did you mean `weight`?"));
        check("[params]", Err("unknown parameter `wieght`; there are none"));
    }
}
