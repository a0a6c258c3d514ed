//! Documents that a person hands to a command: arguments, lines of a file, or
//! JSON lines with `text` and `fields`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

use crate::rerank::{Field, Value};
use crate::route::AskedDocument;

pub fn of_text(text: &str) -> AskedDocument {
    AskedDocument { text: text.into(), fields: Vec::new() }
}

/// A file's documents: one a line, `-` for standard input. Lines that begin
/// with `{` or `"` are JSON if the file is named `.jsonl`.
pub fn read(path: &Path) -> anyhow::Result<Vec<AskedDocument>> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
        text
    } else {
        std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?
    };
    let json = path.extension().is_some_and(|extension| extension == "jsonl");
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            if !json {
                return Ok(of_text(line));
            }
            of_json(line).with_context(|| format!("in line {} of {}", number + 1, path.display()))
        })
        .collect()
}

fn of_json(line: &str) -> anyhow::Result<AskedDocument> {
    const WHAT: &str = "a document is a string, or an object with a `text` that is one";
    let line = serde_json::from_str(line).with_context(|| format!("{WHAT}; this is no JSON"))?;
    let (text, fields) = match line {
        serde_json::Value::String(text) => (text, serde_json::Map::new()),
        serde_json::Value::Object(mut object) => match object.remove("text") {
            Some(serde_json::Value::String(text)) => (text, object),
            Some(other) => bail!("{WHAT}; this one's `text` is {}", kind(&other)),
            None => bail!("{WHAT}; this one has no `text`"),
        },
        other => bail!("{WHAT}; this is {}", kind(&other)),
    };
    let fields = fields
        .into_iter()
        .map(|(name, value)| Ok(Field { value: field(&name, value)?, name }))
        .collect::<anyhow::Result<_>>()?;
    Ok(AskedDocument { text: text.into(), fields })
}

fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    }
}

fn field(name: &str, value: serde_json::Value) -> anyhow::Result<Value> {
    Ok(match value {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Bool(truth) => Value::Boolean(truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Number(number.as_f64().context("the number is out of range")?),
        },
        serde_json::Value::Array(texts) => Value::Texts(
            texts
                .into_iter()
                .map(|text| match text {
                    serde_json::Value::String(text) => Ok(text),
                    other => bail!("field `{name}` holds {other}; a list holds strings"),
                })
                .collect::<anyhow::Result<_>>()?,
        ),
        other => bail!(
            "field `{name}` is {other}; expected a string, number, boolean or list of strings"
        ),
    })
}
