//! Documents that a person hands to a command: arguments, lines of a file, or
//! JSON lines with `text` and `fields`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::rerank::{Field, Value};
use crate::route::AskedDocument;

/// A line of a `.jsonl` file: a string, or an object with a text and fields.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Object(Object),
}

#[derive(Debug, Deserialize)]
struct Object {
    text: String,
    #[serde(flatten)]
    fields: serde_json::Map<String, serde_json::Value>,
}

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
    let line: Line = serde_json::from_str(line)
        .context("failed to read a document: expected a string or an object with a `text`")?;
    let (text, fields) = match line {
        Line::Text(text) => (text, serde_json::Map::new()),
        Line::Object(object) => (object.text, object.fields),
    };
    let fields = fields
        .into_iter()
        .map(|(name, value)| Ok(Field { value: field(&name, value)?, name }))
        .collect::<anyhow::Result<_>>()?;
    Ok(AskedDocument { text: text.into(), fields })
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
