//! What a person can read: the configuration in force, with where each value
//! comes from, and an example with every key.

use std::collections::BTreeMap;

use super::origin::Origin;
use super::raw::Raw;
use super::read;

/// Every key with what it means, its default, unit and range. It is the default
/// configuration as it stands; what is optional begins with `#`. A test holds it
/// to the types and the checks.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Where comments begin, if the values leave room.
const COMMENT_COLUMN: usize = 44;

impl Raw {
    /// The configuration in force as a file that can be read again, each value
    /// with where it comes from.
    pub fn to_annotated_toml(&self) -> String {
        let text = self.to_toml();
        let origins = read::origins(&text);
        let mut keys = BTreeMap::new();
        for (key, line) in origins.lines() {
            // What is in an inline table comes after the key that has it.
            keys.entry(line).or_insert(key);
        }
        let mut annotated = String::new();
        if let Some(file) = &self.origins.file {
            annotated += &format!("# Lines are those of {}.\n", file.display());
        }
        for (number, line) in text.lines().enumerate() {
            annotated += line;
            let value = !line.is_empty() && !line.starts_with('[');
            if let (true, Some(key)) = (value, keys.get(&(number + 1))) {
                let room = COMMENT_COLUMN.saturating_sub(line.chars().count()).max(2);
                let origin = match self.origins.of(key) {
                    Origin::Default if self.is_of_this_machine(key) => "by this machine".into(),
                    origin => origin.to_string(),
                };
                annotated += &format!("{:room$}# {origin}", "");
            }
            annotated.push('\n');
        }
        annotated
    }

    /// Whether a default depends on where the server runs or on what else is
    /// configured.
    fn is_of_this_machine(&self, key: &str) -> bool {
        let last = key.rsplit('.').next().unwrap_or(key);
        key.starts_with("models.") && matches!(last, "replicas" | "tokenizers")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::{Table, Value};

    use super::*;
    use crate::config::check;
    use crate::config::tables::{KINDS, Place, place};

    /// The example with everything in it that is optional.
    fn whole() -> String {
        let shown = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest.to_owned(),
            _ => line.to_owned(),
        };
        EXAMPLE.lines().map(shown).collect::<Vec<_>>().join("\n")
    }

    /// Leaves by key; names that people choose are `*`, unless `names` are kept.
    fn leaves(table: &Table, names: bool) -> BTreeMap<String, Value> {
        fn walk(path: &mut Vec<String>, table: &Table, leaves: &mut Vec<(Vec<String>, Value)>) {
            for (key, value) in table {
                path.push(key.clone());
                match (value, place(path)) {
                    (Value::Table(table), Place::Table(_) | Place::Names) => {
                        walk(path, table, leaves);
                    }
                    _ => leaves.push((path.clone(), value.clone())),
                }
                path.pop();
            }
        }
        let mut found = Vec::new();
        walk(&mut Vec::new(), table, &mut found);
        let key = |mut path: Vec<String>| {
            if !names && matches!(place(&path[..1]), Place::Names) {
                path[1] = "*".into();
            }
            path.join(".")
        };
        found.into_iter().map(|(path, value)| (key(path), value)).collect()
    }

    #[test]
    fn the_example_is_the_default_configuration() {
        let mut example = Raw::parse(EXAMPLE).unwrap();
        let mut default = Raw::default();
        check(&mut default).unwrap();
        check(&mut example).unwrap();
        assert_eq!(example.to_toml(), default.to_toml());
    }

    #[test]
    fn the_whole_example_has_every_key_and_can_be_used() {
        let text = whole();
        let mut raw = Raw::parse(&text).unwrap_or_else(|faults| panic!("{faults}\nin\n{text}"));
        check(&mut raw).unwrap_or_else(|faults| panic!("{faults}\nin\n{text}"));
        let there: BTreeSet<String> = leaves(&text.parse().unwrap(), false).into_keys().collect();
        for kind in
            KINDS.iter().filter(|kind| kind.path.last() != Some(&"*") || kind.path.len() < 4)
        {
            for key in (kind.keys)() {
                let path: Vec<String> =
                    kind.path.iter().chain([key]).map(|name| name.to_string()).collect();
                let leaf =
                    matches!(place(&path), Place::Value) || path.join(".") == "routes.*.policies";
                let key = path.join(".");
                assert!(!leaf || there.contains(&key), "the example does not have `{key}`");
            }
        }
    }

    /// Each number is exchanged for one that cannot be and each word for one that
    /// is none; what the check then says must stand above the key.
    #[test]
    fn the_example_names_ranges_and_units_as_the_checks_do() {
        let text = whole();
        let table: Table = text.parse().unwrap();
        for (key, value) in leaves(&table, true) {
            let wrong: Vec<Value> = match &value {
                Value::Integer(_) => {
                    [i64::from(u32::MAX), 1_000_000_000_000_000_000, 0].map(Value::from).into()
                }
                Value::String(_) => vec!["?".into()],
                _ => continue,
            };
            let said = wrong.into_iter().find_map(|wrong| fault(&table, &key, wrong));
            // Names and paths have no range.
            let Some(said) = said else { continue };
            let block = block(&text, &key);
            assert!(block.contains(&said), "`{key}` should say `{said}`, and says:\n{block}");
        }
    }

    /// What the check demands of a key when it has this value.
    fn fault(table: &Table, key: &str, value: Value) -> Option<String> {
        let mut table = table.clone();
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut inner = &mut table;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            inner = inner.get_mut(name)?.as_table_mut()?;
        }
        inner.insert(last.to_owned(), value);
        let mut raw = Raw::parse(&toml::to_string(&table).unwrap()).ok()?;
        let faults = check(&mut raw).err()?.faults;
        let fault = faults.iter().find(|fault| fault.contains(&format!("`{key}` is ")))?;
        let (_, must) = fault.split_once("it must be ")?;
        let must = must.split(" (").next()?;
        Some(must.to_owned())
    }

    /// The comment above a key and its line.
    fn block(text: &str, key: &str) -> String {
        let origins = read::origins(text);
        let (_, line) = origins.lines().find(|(found, _)| *found == key).unwrap();
        let lines: Vec<&str> = text.lines().take(line).collect();
        let above = lines.iter().rev().skip(1).take_while(|line| line.starts_with("# "));
        let mut block: Vec<&str> = above.copied().collect();
        block.reverse();
        block.push(lines[line - 1]);
        block.join(" ").replace("# ", "")
    }

    #[test]
    fn what_is_shown_says_where_it_comes_from_and_reads_back() {
        let mut raw = Raw::parse("[server]\n\nfields_max = 7\n[models.m]\nreplicas = 3").unwrap();
        raw.origins.note_flag("models.m.replicas", "--replicas or MAITRED_REPLICAS");
        check(&mut raw).unwrap();
        let shown = raw.to_annotated_toml();
        let line = |start: &str| {
            let line = shown.lines().find(|line| line.starts_with(start));
            line.unwrap_or_else(|| panic!("no `{start}` in\n{shown}")).to_owned()
        };
        assert!(line("fields_max = 7 ").ends_with("# line 3"), "{shown}");
        assert!(line("documents_max = 1000 ").ends_with("# default"), "{shown}");
        assert!(line("replicas = 3 ").ends_with("# --replicas or MAITRED_REPLICAS"), "{shown}");
        assert!(line("tokenizers = ").ends_with("# by this machine"), "{shown}");
        let mut again = Raw::parse(&shown).unwrap();
        check(&mut again).unwrap();
        assert_eq!(again.to_toml(), raw.to_toml());
    }
}
