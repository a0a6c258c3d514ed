//! From a file's text to [`Raw`]. What is no TOML, of a wrong type or of an
//! unknown name is refused here: all of it at once, each with its line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::callers::KEY_PREFIX;
use super::check::Faults;
use super::origin::Origins;
use super::raw::Raw;
use super::tables::{KINDS, Kind, Place, place};

/// Characters of a wrong value that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// Faults that are told of a text that is no TOML.
const SYNTAX_FAULTS_MAX: usize = 3;

impl Raw {
    /// Reads a file; component paths, model folders and certificates in it
    /// are relative to the file.
    pub fn read(path: &Path) -> Result<Raw, Faults> {
        let in_file = |faults: Vec<String>| Faults { file: Some(path.into()), faults };
        let text = std::fs::read_to_string(path)
            .map_err(|error| in_file(vec![format!("it cannot be read: {error}")]))?;
        let mut raw = Raw::parse(&text).map_err(|faults| in_file(faults.faults))?;
        raw.origins.file = Some(path.into());
        raw.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(raw)
    }

    /// Makes paths begin at `folder` instead of here.
    pub fn resolve(&mut self, folder: &Path) {
        for policy in self.policies.values_mut() {
            if policy.component != PathBuf::new() {
                policy.component = folder.join(&policy.component);
            }
        }
        for model in self.models.values_mut() {
            if model.source.starts_with('.') {
                model.source = folder.join(&model.source).to_string_lossy().into_owned();
            }
        }
        if let Some(tls) = &mut self.server.tls {
            tls.cert = folder.join(&tls.cert);
            tls.key = folder.join(&tls.key);
        }
    }

    pub fn parse(text: &str) -> Result<Raw, Faults> {
        let mut reader = Reader { text, origins: Origins::default(), faults: Vec::new() };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.fault(error.span().unwrap_or_default(), error.message());
        }
        // One slip of the pen makes several errors of a line, and of those after.
        reader.faults.dedup_by_key(|(line, _)| *line);
        reader.faults.truncate(SYNTAX_FAULTS_MAX);
        if errors.is_empty() {
            reader.integers(&mut Vec::new(), document.get_ref());
        }
        if let (true, Ok(values)) = (errors.is_empty(), text.parse::<Table>()) {
            reader.table(&mut Vec::new(), document.get_ref(), &values);
        }
        if reader.faults.is_empty() {
            match toml::from_str::<Raw>(text) {
                Ok(raw) => return Ok(Raw { origins: reader.origins, ..raw }),
                Err(error) => reader.fault(error.span().unwrap_or_default(), error.message()),
            }
        }
        reader.faults.sort();
        let faults = reader.faults.into_iter().map(|(line, fault)| format!("line {line}: {fault}"));
        Err(Faults { file: None, faults: faults.collect() })
    }
}

/// Where each key of a text in TOML stands.
pub(super) fn origins(text: &str) -> Origins {
    let mut reader = Reader { text, origins: Origins::default(), faults: Vec::new() };
    if let (Ok(document), Ok(values)) = (DeTable::parse(text), text.parse::<Table>()) {
        reader.table(&mut Vec::new(), document.get_ref(), &values);
    }
    reader.origins
}

/// Walks over a document. Keys come with where they stand, and the values a
/// second time in the form that serde's types are tried on.
struct Reader<'t> {
    text: &'t str,
    origins: Origins,
    faults: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn line(&self, span: Range<usize>) -> usize {
        self.text[..span.start].matches('\n').count() + 1
    }

    fn fault(&mut self, span: Range<usize>, fault: impl Into<String>) {
        self.faults.push((self.line(span), fault.into()));
    }

    /// Integers that no 64 bits hold. The text has no values then, so nothing else is
    /// looked at.
    fn integers(&mut self, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.integer(path, value);
            path.pop();
        }
    }

    fn integer(&mut self, path: &mut Vec<String>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.integers(path, table),
            DeValue::Array(values) => {
                for (number, value) in values.iter().enumerate() {
                    path.push(number.to_string());
                    self.integer(path, value);
                    path.pop();
                }
            }
            DeValue::Integer(integer)
                if i64::from_str_radix(integer.as_str(), integer.radix()).is_err() =>
            {
                let (key, least, most) = (path.join("."), i64::MIN, i64::MAX);
                let mut shown = self.text[value.span()].to_owned();
                shorten(&mut shown);
                self.fault(
                    value.span(),
                    format!("`{key}` is {shown}; a whole number must be {least} to {most}"),
                );
            }
            _ => {}
        }
    }

    fn table(&mut self, path: &mut Vec<String>, table: &DeTable<'_>, values: &Table) {
        let kind = match place(path) {
            Place::Table(kind) => Some(kind),
            Place::Names | Place::Value => None,
        };
        for (key, spanned) in table {
            let (span, key) = (key.span(), key.get_ref().to_string());
            if let Some(kind) = kind
                && !(kind.keys)().contains(&&*key)
            {
                self.fault(span, unknown(&key, kind));
                continue;
            }
            let value = &values[&key];
            path.push(key);
            self.origins.note_line(&path.join("."), self.line(span));
            self.value(path, spanned, value, kind);
            path.pop();
        }
    }

    /// `kind` is that of the table which holds the value.
    fn value(
        &mut self,
        path: &mut Vec<String>,
        spanned: &Spanned<DeValue<'_>>,
        value: &Value,
        kind: Option<&Kind>,
    ) {
        match (place(path), spanned.get_ref(), value) {
            _ if is_links(path) => self.links(path, spanned, value),
            (Place::Table(_) | Place::Names, DeValue::Table(table), Value::Table(values)) => {
                self.table(path, table, values);
            }
            (Place::Table(_) | Place::Names, ..) => self.wrong(path, spanned, value, "a table"),
            (Place::Value, ..) => {
                let (Some(kind), Some(key)) = (kind, path.last()) else { return };
                if let Err(message) = (kind.trial)(key, value) {
                    self.wrong(path, spanned, value, &expected(&message));
                }
            }
        }
    }

    /// A route's chain: names of policies, or tables that name one.
    fn links(&mut self, path: &mut Vec<String>, spanned: &Spanned<DeValue<'_>>, value: &Value) {
        let (DeValue::Array(links), Value::Array(values)) = (spanned.get_ref(), value) else {
            return self.wrong(path, spanned, value, "a list");
        };
        for (number, (spanned, value)) in links.iter().zip(values).enumerate() {
            path.push(number.to_string());
            match (spanned.get_ref(), value) {
                (_, Value::String(_)) => {}
                (DeValue::Table(table), Value::Table(values)) => self.table(path, table, values),
                _ => {
                    let expected = "the name of a policy, or { policy = NAME, params = { … } }";
                    self.wrong(path, spanned, value, expected);
                }
            }
            path.pop();
        }
    }

    fn wrong(
        &mut self,
        path: &[String],
        spanned: &Spanned<DeValue<'_>>,
        value: &Value,
        expected: &str,
    ) {
        let mut shown = value.to_string().replace('\n', " ");
        // What may be a caller's key is not repeated: faults end up in logs.
        if shown.contains(KEY_PREFIX) {
            shown = "not shown".into();
        }
        shorten(&mut shown);
        let key = path.join(".");
        self.fault(spanned.span(), format!("`{key}` is {shown}; it must be {expected}"));
    }
}

fn shorten(shown: &mut String) {
    if let Some((end, _)) = shown.char_indices().nth(SHOWN_CHARS_MAX) {
        shown.truncate(end);
        shown.push('…');
    }
}

fn is_links(path: &[String]) -> bool {
    path.len() == 3 && path[0] == "routes" && path[2] == "policies"
}

/// What serde expected, in people's words.
fn expected(message: &str) -> String {
    let expected = message.rsplit_once("expected ").map_or(message, |(_, expected)| expected);
    let expected = expected.trim().trim_end_matches('.');
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "path string" => "a path".into(),
        "a sequence" => "a list".into(),
        other => other.into(),
    }
}

/// An unknown key, with the nearest known one of its table or, failing that, the
/// table where it would be known.
fn unknown(key: &str, kind: &Kind) -> String {
    let known = (kind.keys)();
    // A key that another table has, letter by letter, was meant for that one.
    // (Links are no tables of their own for those who write.)
    let mut tables = KINDS.iter().filter(|kind| kind.path.len() < 4);
    if let Some(other) = tables.find(|other| (other.keys)().contains(&key)) {
        return match other.path {
            [] => format!("unknown key `{key}`; it belongs before the first table"),
            path => {
                let path = path.join(".").replace('*', "NAME");
                format!("unknown key `{key}`; it belongs to `[{path}]`")
            }
        };
    }
    if let Some(nearest) = nearest(key, known.iter().copied()) {
        return format!("unknown key `{key}`; did you mean `{nearest}`?");
    }
    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("unknown key `{key}`; there are {}", known.join(", "))
}

/// The known name that is a few letters away from `unknown`, if one is.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
