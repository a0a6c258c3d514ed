//! Whether a value is what a schema of `/openapi.json` says: the few keywords of
//! JSON Schema that our types make, and a panic at any other, so that nothing is
//! taken for checked that was not. (The library for it would change what serde
//! does in the build that is tested: features of one build are shared.)

use serde_json::Value as Json;

pub struct Schemas<'a> {
    /// The whole document.
    pub document: &'a Json,
}

impl Schemas<'_> {
    pub fn is_valid(&self, schema: &Json, value: &Json) -> bool {
        let members = match schema {
            Json::Bool(all) => return *all,
            Json::Object(members) => members,
            other => panic!("{other} is no schema"),
        };
        members.iter().all(|(keyword, said)| self.holds(schema, keyword, said, value))
    }

    fn holds(&self, schema: &Json, keyword: &str, said: &Json, value: &Json) -> bool {
        let all = || said.as_array().unwrap().iter();
        let number = || said.as_f64().unwrap();
        match keyword {
            "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let place = said.as_str().unwrap().strip_prefix('#').unwrap();
                self.is_valid(self.document.pointer(place).unwrap(), value)
            }
            "anyOf" => all().any(|part| self.is_valid(part, value)),
            "allOf" => all().all(|part| self.is_valid(part, value)),
            "not" => !self.is_valid(said, value),
            "const" => said == value,
            "enum" => all().any(|one| one == value),
            "type" => match said {
                Json::String(kind) => is(kind, value),
                kinds => kinds.as_array().unwrap().iter().any(|k| is(k.as_str().unwrap(), value)),
            },
            "required" => value.as_object().is_none_or(|members| {
                all().all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|members| {
                let known = said.as_object().unwrap();
                known.iter().all(|(name, schema)| {
                    members.get(name).is_none_or(|member| self.is_valid(schema, member))
                })
            }),
            "additionalProperties" => value.as_object().is_none_or(|members| {
                let known = schema["properties"].as_object();
                members
                    .iter()
                    .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                    .all(|(_, member)| self.is_valid(said, member))
            }),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| self.is_valid(said, item))),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number()),
            "uniqueItems" => value.as_array().is_none_or(|items| {
                assert_eq!(said, true);
                items.iter().enumerate().all(|(place, item)| !items[..place].contains(item))
            }),
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "pattern" => {
                assert_eq!(said, r"\S", "the only one in bodies");
                value.as_str().is_none_or(|text| !text.trim().is_empty())
            }
            other => panic!("the keyword `{other}` is not known here"),
        }
    }
}

fn is(kind: &str, value: &Json) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("there is no type `{other}`"),
    }
}
