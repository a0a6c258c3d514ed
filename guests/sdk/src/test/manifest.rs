//! What a test needs of a manifest: the names and defaults of parameters. The
//! host reads all of it, and has the last word.

use std::collections::BTreeMap;

use toml::{Table, Value};

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    /// Each parameter with its default, as the policy reads it. `None` where the
    /// manifest speaks of no parameters: then any may be given.
    params: Option<BTreeMap<String, Option<String>>>,
}

impl Manifest {
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let params = match table.get("params") {
            None => None,
            Some(Value::Table(params)) => Some(params.iter().map(param).collect::<Result<_, _>>()?),
            Some(_) => return Err("`params` must be a table".into()),
        };
        Ok(Manifest { params })
    }

    pub fn names(&self, name: &str) -> bool {
        self.params.as_ref().is_none_or(|params| params.contains_key(name))
    }

    pub fn all_names(&self) -> impl Iterator<Item = &str> {
        self.params.iter().flatten().map(|(name, _)| &**name)
    }

    pub fn defaults(&self) -> BTreeMap<String, String> {
        let params = self.params.iter().flatten();
        params.filter_map(|(name, default)| Some((name.clone(), default.clone()?))).collect()
    }
}

fn param((name, value): (&String, &Value)) -> Result<(String, Option<String>), String> {
    let Value::Table(param) = value else {
        return Err(format!("`params.{name}` must be a table"));
    };
    let default = match param.get("default") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_))) => {
            Some(value.to_string())
        }
        Some(_) => {
            let must = "must be a text, a number or a boolean";
            return Err(format!("the default of `params.{name}` {must}"));
        }
    };
    Ok((name.clone(), default))
}
