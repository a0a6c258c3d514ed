//! What only a restart can change: the tables of the server, the sandbox and the
//! telemetry, whose listeners, pool and queue are made once.

use toml::{Table, Value};

use super::raw::Raw;

/// The keys of those tables that differ, each with both values.
pub fn fixed_differences(running: &Raw, new: &Raw) -> Vec<String> {
    let mut differences = Vec::new();
    let table = |raw: &Raw| {
        let mut table = Table::try_from(raw).expect("a configuration that was read can be written");
        table.retain(|key, _| matches!(key, "server" | "sandbox" | "telemetry"));
        table
    };
    compare("", &table(running), &table(new), &mut differences);
    differences
}

fn compare(prefix: &str, running: &Table, new: &Table, differences: &mut Vec<String>) {
    let added = new.keys().filter(|key| !running.contains_key(*key));
    for key in running.keys().chain(added) {
        match (running.get(key), new.get(key)) {
            (a, b) if a == b => {}
            (Some(Value::Table(a)), Some(Value::Table(b))) => {
                compare(&format!("{prefix}{key}."), a, b, differences);
            }
            (a, b) => {
                let text = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
                differences.push(format!("`{prefix}{key}` ({} to {})", text(a), text(b)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values() {
        let check = |running: &str, new: &str, expected: &[&str]| {
            let (running, new) = (Raw::parse(running).unwrap(), Raw::parse(new).unwrap());
            assert_eq!(fixed_differences(&running, &new), expected);
        };
        check("", "", &[]);
        check("[routes.a]", "[routes.b]\n[policies.p]\ncomponent = 'x'", &[]);
        check("[server]\nlisten = '127.0.0.1:8787'", "", &[]);
        check(
            "",
            "[server]\nfields_max = 1\nlisten = 'x'\n[sandbox]\ncache_dir = '/c'",
            &[
                "`sandbox.cache_dir` (unset to \"/c\")",
                "`server.fields_max` (64 to 1)",
                "`server.listen` (\"127.0.0.1:8787\" to \"x\")",
            ],
        );
        check("", "[telemetry]\nsample_ratio = 0.5", &["`telemetry.sample_ratio` (1.0 to 0.5)"]);
        check("[sandbox]\ncache_dir = '/c'", "", &["`sandbox.cache_dir` (\"/c\" to unset)"]);
    }
}
