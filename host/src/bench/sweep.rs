//! From a workload file to the variants it names: the product of its `[sweep]`
//! lists, times its `[[variant]]` tables. A list can stand for any key, those of
//! the server's configuration included.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use toml::{Table, Value};

use super::workload::Workload;
use crate::config::Faults;

/// Variants of one workload; more are a mistake of somebody's.
const VARIANTS_MAX: usize = 256;

/// One setting of everything that is swept.
#[derive(Debug, Clone)]
pub struct Variant {
    /// What is special about it; empty if the workload has one variant only.
    pub name: String,
    pub workload: Workload,
    /// As a workload file without sweeps.
    pub table: Table,
}

/// A key, as the tables that lead to it, and a value.
type Setting = (Vec<String>, Value);

/// Reads a file. `set` are further settings, `KEY=VALUE`, that win over it.
pub fn read(file: &Path, set: &[String]) -> anyhow::Result<Vec<Variant>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    let table = text.parse::<Table>().with_context(|| format!("{} is no TOML", file.display()))?;
    let folder = std::path::absolute(file)?.parent().map(PathBuf::from).unwrap_or_default();
    let set = set.iter().map(|text| setting(text)).collect::<anyhow::Result<Vec<_>>>()?;
    variants(table, &set, file, &folder)
}

fn variants(
    mut table: Table,
    set: &[Setting],
    file: &Path,
    folder: &Path,
) -> anyhow::Result<Vec<Variant>> {
    let mut lists = Vec::new();
    match table.remove("sweep") {
        Some(Value::Table(sweep)) => collect(&mut Vec::new(), sweep, &mut lists)?,
        Some(_) => bail!("`sweep` must be a table of lists"),
        None => {}
    }
    // What is set from outside is not swept.
    lists.retain(|(path, _)| !set.iter().any(|(key, _)| key == path));
    let named = match table.remove("variant") {
        Some(Value::Array(named)) => named.into_iter().map(named_variant).collect(),
        Some(_) => bail!("`variant` must be tables: [[variant]]"),
        None => Ok(vec![(String::new(), Table::new())]),
    }?;
    for (path, value) in set {
        put(&mut table, path, value.clone());
    }
    let products = product(&lists);
    if products.len() * named.len() > VARIANTS_MAX {
        let count = products.len() * named.len();
        bail!("{} has {count} variants, over the limit of {VARIANTS_MAX}", file.display());
    }
    let mut variants = Vec::new();
    let mut faults: Vec<String> = Vec::new();
    for settings in &products {
        for (name, changes) in &named {
            let mut table = table.clone();
            merge(&mut table, changes);
            for (path, value) in settings {
                put(&mut table, path, value.clone());
            }
            let name = called(name, settings, &lists);
            match Workload::check(&table, file, folder) {
                Ok(workload) => variants.push(Variant { name, workload, table }),
                Err(found) => faults.extend(found.faults),
            }
        }
    }
    // What is wrong with all variants is told once.
    let mut told = HashSet::new();
    faults.retain(|fault| told.insert(fault.clone()));
    if !faults.is_empty() {
        return Err(Faults { file: Some(file.into()), faults }.into());
    }
    Ok(variants)
}

/// `KEY=VALUE`, where what is no value in TOML is taken for a string.
fn setting(text: &str) -> anyhow::Result<Setting> {
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("`{text}` is no setting; it must be KEY=VALUE"))?;
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text[key.len() + 1..].to_owned()));
    Ok((key.trim().split('.').map(str::to_owned).collect(), value))
}

/// The lists in a sweep's tables, each with its key.
fn collect(
    path: &mut Vec<String>,
    table: Table,
    lists: &mut Vec<(Vec<String>, Vec<Value>)>,
) -> anyhow::Result<()> {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(table) => collect(path, table, lists)?,
            Value::Array(values) if !values.is_empty() => lists.push((path.clone(), values)),
            other => bail!("`sweep.{}` is {other}; it must be a list of values", path.join(".")),
        }
        path.pop();
    }
    Ok(())
}

fn named_variant(value: Value) -> anyhow::Result<(String, Table)> {
    let Value::Table(mut table) = value else { bail!("`variant` must be tables: [[variant]]") };
    let name = match table.remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => bail!("a `[[variant]]` needs a `name`"),
    };
    let set = match table.remove("set") {
        Some(Value::Table(set)) => set,
        None => Table::new(),
        Some(_) => bail!("`variant.set` must be a table of what is different"),
    };
    if let Some(key) = table.keys().next() {
        bail!("unknown key `variant.{key}`; there are `name`, `set`");
    }
    Ok((name, set))
}

/// Every combination, the first list changing slowest.
fn product(lists: &[(Vec<String>, Vec<Value>)]) -> Vec<Vec<Setting>> {
    let mut all = vec![Vec::new()];
    for (path, values) in lists {
        all = all
            .into_iter()
            .flat_map(|settings: Vec<Setting>| {
                values
                    .iter()
                    .map(move |value| [&settings[..], &[(path.clone(), value.clone())]].concat())
            })
            .take(VARIANTS_MAX + 1)
            .collect();
    }
    all
}

/// A variant's name, and each swept key with its value: by its last word, where
/// no other swept key ends in the same.
fn called(name: &str, settings: &[Setting], lists: &[(Vec<String>, Vec<Value>)]) -> String {
    let short = |path: &[String]| {
        let last = path.last().cloned().unwrap_or_default();
        let same = lists.iter().filter(|(other, _)| other.last() == path.last()).count();
        if same > 1 { path.join(".") } else { last }
    };
    let settings = settings.iter().map(|(path, value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("{}={value}", short(path))
    });
    let parts = (!name.is_empty()).then(|| name.to_owned()).into_iter().chain(settings);
    parts.collect::<Vec<_>>().join(", ")
}

fn put(table: &mut Table, path: &[String], value: Value) {
    let mut nested = value;
    for key in path.iter().rev() {
        nested = Value::Table(Table::from_iter([(key.clone(), nested)]));
    }
    if let Value::Table(changes) = nested {
        merge(table, &changes);
    }
}

/// Puts what `changes` says into a table, and leaves alone what it does not
/// speak of.
pub fn merge(table: &mut Table, changes: &Table) {
    for (key, value) in changes {
        match (table.get_mut(key), value) {
            (Some(Value::Table(there)), Value::Table(changes)) => merge(there, changes),
            _ => _ = table.insert(key.clone(), value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::{Load, Place};

    fn names(text: &str, set: &[&str]) -> anyhow::Result<Vec<Variant>> {
        let set: Vec<_> = set.iter().map(|text| setting(text).unwrap()).collect();
        variants(text.parse().unwrap(), &set, Path::new("w.toml"), Path::new("/w"))
    }

    #[test]
    fn every_combination_is_a_variant() {
        let text = "[sweep]\nload.clients = [1, 2]\ntarget.settings.models.default.precision = ['f32', 'f16']";
        let variants = names(text, &[]).unwrap();
        let called: Vec<_> = variants.iter().map(|variant| &*variant.name).collect();
        assert_eq!(
            called,
            [
                "clients=1, precision=f32",
                "clients=1, precision=f16",
                "clients=2, precision=f32",
                "clients=2, precision=f16"
            ]
        );
        assert_eq!(variants[2].workload.load, Load::Closed { clients: 2 });
        let Place::Started { settings, .. } = &variants[3].workload.target.place else { panic!() };
        assert_eq!(settings["models"]["default"]["precision"].as_str(), Some("f16"));
    }

    #[test]
    fn named_variants_and_settings_from_outside() {
        let text = "[sweep]\nload.clients = [1, 2]\n[[variant]]\nname = 'plain'\n[[variant]]\nname = 'ten'\nset.request.documents = 10";
        let variants = names(text, &["load.clients=7", "title=a b"]).unwrap();
        let called: Vec<_> = variants.iter().map(|variant| &*variant.name).collect();
        assert_eq!(called, ["plain", "ten"]);
        assert_eq!(variants[1].workload.request.documents, 10);
        assert_eq!(variants[1].workload.load, Load::Closed { clients: 7 });
        assert_eq!(variants[0].workload.title, "a b");
        assert_eq!(names("", &[]).unwrap()[0].name, "");
    }

    #[test]
    fn a_wrong_variant_is_a_fault_told_once() {
        let faults = |text: &str, expected: &str| {
            let error = names(text, &[]).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        };
        faults("[sweep]\nload.clients = 3", "`sweep.load.clients` is 3");
        faults("[sweep]\nload.client = [3, 4]", "unknown key `load.client`; did you mean");
        faults("[[variant]]\nset.x = 1", "needs a `name`");
        faults("[[variant]]\nname = 'a'\nsets = 1", "unknown key `variant.sets`");
        faults(
            "[sweep]\nseed = [1,2,3,4,5,6,7]\nrequest.documents = [1,2,3,4,5,6,7]\nload.clients = [1,2,3,4,5,6,7]",
            "over the limit of 256",
        );
    }
}
