//! `maitred policy …`: looks at a component without serving it.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Subcommand;

use crate::config::{Raw, RawPolicy, check};
use crate::metrics::Metrics;
use crate::policy::{Manifest, Param, Sandbox};

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Load a component as the server would (manifest, world, compilation, one
    /// instance) and say what it is and asks for.
    Check {
        /// The component; its manifest, if any, is `FILE.toml` beside it.
        #[arg(value_name = "FILE.wasm")]
        component: PathBuf,
    },
}

pub async fn run(command: PolicyCommand) -> anyhow::Result<()> {
    let PolicyCommand::Check { component } = command;
    let mut raw = Raw::default();
    let name = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    raw.policies.insert(name.clone(), RawPolicy::at(component));
    let settings = check(&mut raw)?;
    let policy = &settings.policies[&*name];
    let memory_bytes_max = policy.limits.memory_bytes_max;
    let policy = Sandbox::new(&settings.sandbox, memory_bytes_max, Metrics::new())
        .map_err(|error| anyhow!("failed to {error}"))?
        .load(&name, policy)
        .await
        .map_err(|error| anyhow!("failed to {error}"))?;
    let manifest = policy.manifest();
    println!("name          {}", manifest.name.as_deref().unwrap_or("not in a manifest"));
    println!("version       {} (of the component's content)", policy.version());
    println!("required      {}", policy.required());
    let asked: Vec<_> = manifest.capabilities.iter().map(|grant| grant.name()).collect();
    println!(
        "asks for      {}",
        if asked.is_empty() { "nothing".into() } else { asked.join(", ") }
    );
    print!("{}", parameters(manifest));
    println!("it loads, and exports and imports what it should");
    Ok(())
}

/// What a route may set, each with what it must be and what it is otherwise.
fn parameters(manifest: &Manifest) -> String {
    let Some(params) = &manifest.params else {
        return "parameters    any: the manifest does not speak of them\n".into();
    };
    if params.is_empty() {
        return "parameters    none\n".into();
    }
    let line = |(name, param): (&String, &Param)| {
        let default = match &param.default {
            Some(default) => format!("`{default}` unless given"),
            None => "no default".into(),
        };
        let described = param.description.as_deref().unwrap_or("no description");
        format!("parameter     {name}: {}; {default}\n              {described}\n", param.kind)
    };
    params.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_shown_with_all_that_is_known() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parameters(&Manifest::parse(text).unwrap()), expected, "{text}");
        };
        check("", "parameters    any: the manifest does not speak of them\n");
        check("[params]", "parameters    none\n");
        check(
            "[params.weight]\ndescription = 'what age takes'\ntype = 'number'\ndefault = 0.5\n\
             min = 0\nbelow = 1\n[params.x]",
            "parameter     weight: a number, at least 0 and below 1; `0.5` unless given\n              \
             what age takes\nparameter     x: anything; no default\n              no description\n",
        );
    }
}
