//! `maitred policy …`: looks at a component without serving it.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Subcommand;

use crate::config::{Raw, RawPolicy, check};
use crate::metrics::Metrics;
use crate::policy::Sandbox;

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
    match &manifest.params {
        None => println!("parameters    any: the manifest does not speak of them"),
        Some(params) if params.is_empty() => println!("parameters    none"),
        Some(params) => params.iter().for_each(|(name, param)| {
            let default = match &param.default {
                Some(default) => format!("`{default}` unless given"),
                None => "no default".into(),
            };
            println!("parameter     {name}: {}; {default}", param.kind);
            if let Some(description) = &param.description {
                println!("              {description}");
            }
        }),
    }
    println!("it loads, and exports and imports what it should");
    Ok(())
}
