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
//! type = "number"              # text, integer, number, boolean, choice, list
//! default = 30
//! above = 0                    # also min, max, below
//! ```
//!
//! What it says of a parameter's value is checked when a chain is built, so that
//! a wrong one is refused when the server starts and not by every request.

use std::collections::BTreeMap;
use std::fmt;
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
    /// What its values must be.
    pub kind: Kind,
    /// What the policy reads if the route gives nothing.
    pub default: Option<Arc<str>>,
}

/// What a parameter's values must be. Shown as "a number, above 0".
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Kind {
    /// The manifest does not say.
    #[default]
    Any,
    Text,
    Integer(Limits),
    /// A finite one.
    Number(Limits),
    Boolean,
    /// One of these.
    Choice(Vec<String>),
    /// Texts with commas between them; some of these, if any are named.
    List(Vec<String>),
}

/// What a number must be; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    pub min: Option<f64>,
    pub above: Option<f64>,
    pub max: Option<f64>,
    pub below: Option<f64>,
}

const KEYS: [&str; 6] = ["name", "version", "description", "required", "capabilities", "params"];
const PARAM_KEYS: [&str; 8] =
    ["description", "type", "default", "choices", "min", "above", "max", "below"];
const TYPES: [&str; 6] = ["text", "integer", "number", "boolean", "choice", "list"];
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
            if let Some(param) = self.params.as_ref().and_then(|known| known.get(name)) {
                param.check(name, value)?;
            }
            params.insert(name.as_str().into(), value.as_str().into());
        }
        Ok(params)
    }
}

impl Param {
    /// Refuses a value that the policy would refuse.
    fn check(&self, name: &str, value: &str) -> Result<(), String> {
        match self.kind.takes(value) {
            true => Ok(()),
            false => Err(format!("parameter `{name}` is `{value}`, not {}", self.kind)),
        }
    }
}

impl Kind {
    fn takes(&self, value: &str) -> bool {
        match self {
            Kind::Any | Kind::Text => true,
            Kind::Integer(limits) => {
                value.parse::<i64>().is_ok_and(|integer| limits.take(integer as f64))
            }
            Kind::Number(limits) => value.parse().is_ok_and(|number| limits.take(number)),
            Kind::Boolean => matches!(value, "true" | "false"),
            Kind::Choice(choices) => choices.iter().any(|choice| choice == value),
            Kind::List(choices) => {
                let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
                let mut parts = parts.peekable();
                choices.is_empty()
                    || parts.peek().is_some() && parts.all(|part| choices.iter().any(|c| c == part))
            }
        }
    }
}

impl Limits {
    fn take(&self, number: f64) -> bool {
        number.is_finite()
            && self.min.is_none_or(|min| number >= min)
            && self.above.is_none_or(|above| number > above)
            && self.max.is_none_or(|max| number <= max)
            && self.below.is_none_or(|below| number < below)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Any => write!(f, "anything"),
            Kind::Text => write!(f, "a text"),
            Kind::Integer(limits) => write!(f, "a whole number{limits}"),
            Kind::Number(limits) => write!(f, "a number{limits}"),
            Kind::Boolean => write!(f, "true or false"),
            Kind::Choice(choices) => write!(f, "one of `{}`", choices.join("`, `")),
            Kind::List(choices) if choices.is_empty() => {
                write!(f, "a list with commas between its parts")
            }
            Kind::List(choices) => {
                write!(f, "a list, with commas between, of `{}`", choices.join("`, `"))
            }
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("at least", self.min),
            ("above", self.above),
            ("at most", self.max),
            ("below", self.below),
        ];
        let given = limits.into_iter().filter_map(|(words, limit)| Some((words, limit?)));
        for (at, (words, limit)) in given.enumerate() {
            write!(f, "{} {words} {limit}", if at == 0 { "," } else { " and" })?;
        }
        Ok(())
    }
}

fn params(value: Value) -> Result<BTreeMap<String, Param>, String> {
    let mut params = BTreeMap::new();
    for (name, value) in tables("params", value)? {
        let param = param(&name, tables(&format!("params.{name}"), value)?)?;
        params.insert(name, param);
    }
    Ok(params)
}

fn param(name: &str, table: Table) -> Result<Param, String> {
    let mut param = Param::default();
    let (mut kind, mut choices, mut limits) = (None, None, Limits::default());
    for (key, value) in table {
        let full = format!("params.{name}.{key}");
        match key.as_str() {
            "description" => param.description = Some(string(&key, value)?),
            "type" => kind = Some(string(&full, value)?),
            "default" => param.default = Some(scalar(name, value)?),
            "choices" => choices = Some(strings(&full, value)?),
            "min" => limits.min = Some(number(&full, value)?),
            "above" => limits.above = Some(number(&full, value)?),
            "max" => limits.max = Some(number(&full, value)?),
            "below" => limits.below = Some(number(&full, value)?),
            _ => return Err(unknown(&format!("key of `params.{name}`"), &key, PARAM_KEYS)),
        }
    }
    let is_limited = limits != Limits::default();
    param.kind = match (kind.as_deref(), choices) {
        (Some("integer"), None) => Kind::Integer(limits),
        (Some("number"), None) => Kind::Number(limits),
        _ if is_limited => {
            return Err(format!("`params.{name}` has limits, but is no integer or number"));
        }
        (None, None) => Kind::Any,
        (Some("text"), None) => Kind::Text,
        (Some("boolean"), None) => Kind::Boolean,
        (Some("list"), choices) => Kind::List(choices.unwrap_or_default()),
        (Some("choice"), Some(choices)) if !choices.is_empty() => Kind::Choice(choices),
        (Some("choice"), _) => {
            return Err(format!("`params.{name}` is a choice without `choices`"));
        }
        (Some(kind), _) if !TYPES.contains(&kind) => {
            return Err(unknown(&format!("type of `params.{name}`"), kind, TYPES));
        }
        _ => return Err(format!("`params.{name}` has `choices`, but is no choice or list")),
    };
    if let Some(default) = &param.default {
        (param.check(name, default)).map_err(|wrong| format!("the default of {wrong}"))?;
    }
    Ok(param)
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

fn strings(key: &str, value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(array) => array.into_iter().map(|value| string(key, value)).collect(),
        _ => Err(format!("`{key}` must be a list of texts")),
    }
}

fn number(key: &str, value: Value) -> Result<f64, String> {
    match value {
        Value::Integer(integer) => Ok(integer as f64),
        Value::Float(number) if number.is_finite() => Ok(number),
        _ => Err(format!("`{key}` must be a finite number")),
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
            "[params.a]\ncolour = 1",
            "unknown key of `params.a` `colour`; there are `description`, `type`, `default`, \
             `choices`, `min`, `above`, `max`, `below`",
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
        let check = |param: &str, expected: &str| {
            let error = Manifest::parse(&format!("[params.a]\n{param}")).unwrap_err();
            assert_eq!(error, expected, "{param}");
        };
        check("type = 'numbr'", "unknown type of `params.a` `numbr`; did you mean `number`?");
        check("type = 1", "`params.a.type` must be a text");
        check("type = 'choice'", "`params.a` is a choice without `choices`");
        check("type = 'choice'\nchoices = []", "`params.a` is a choice without `choices`");
        check("type = 'list'\nchoices = 'a'", "`params.a.choices` must be a list of texts");
        check("choices = ['a']", "`params.a` has `choices`, but is no choice or list");
        check("min = 1", "`params.a` has limits, but is no integer or number");
        check("type = 'text'\nmax = 1", "`params.a` has limits, but is no integer or number");
        check("type = 'number'\nmin = inf", "`params.a.min` must be a finite number");
        check(
            "type = 'integer'\ndefault = 0\nmin = 1",
            "the default of parameter `a` is `0`, not a whole number, at least 1",
        );
        assert!(Manifest::parse("name = ").is_err());
    }

    #[test]
    fn values_must_be_what_the_manifest_says() {
        let check = |param: &str, takes: &[&str], refuses: &[&str], words: &str| {
            let manifest = Manifest::parse(&format!("[params.a]\n{param}")).unwrap();
            let params =
                |value: &&str| manifest.params(&BTreeMap::from([("a".into(), value.to_string())]));
            for value in takes {
                assert!(params(value).is_ok(), "{param}: {value}");
            }
            for value in refuses {
                let expected = format!("parameter `a` is `{value}`, not {words}");
                assert_eq!(params(value), Err(expected), "{param}");
            }
        };
        check("", &["", "x", "1"], &[], "");
        check("type = 'text'", &["", "x", "1"], &[], "");
        check("type = 'boolean'", &["true", "false"], &["yes", "1", ""], "true or false");
        check("type = 'integer'", &["1", "-7"], &["1.5", "x", ""], "a whole number");
        check("type = 'integer'\nmin = 1", &["1", "9"], &["0"], "a whole number, at least 1");
        check("type = 'number'", &["1", "-7.5", "1e3"], &["inf", "NaN", "x"], "a number");
        check(
            "type = 'number'\nmin = 0\nbelow = 1",
            &["0", "0.99"],
            &["1", "-0.1"],
            "a number, at least 0 and below 1",
        );
        check(
            "type = 'number'\nabove = 0\nmax = 1",
            &["1", "0.01"],
            &["0", "1.01"],
            "a number, above 0 and at most 1",
        );
        let choices = "choices = ['a', 'b']";
        check(&format!("type = 'choice'\n{choices}"), &["a"], &["c", "a,b", ""], "one of `a`, `b`");
        check("type = 'list'", &["a", "a, c", ""], &[], "");
        check(
            &format!("type = 'list'\n{choices}"),
            &["a", "b, a"],
            &["a,c", "ab", "", " ,"],
            "a list, with commas between, of `a`, `b`",
        );
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
