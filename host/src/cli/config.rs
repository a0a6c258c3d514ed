//! `maitred config …`: whether a configuration can be used, what is in force,
//! and an example with every key.

use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;

use super::settings::ServerArguments;
use crate::checkpoint::Hub;
use crate::config::EXAMPLE;
use crate::server::{Findings, examine};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with a configuration, without serving it: keys and
    /// values; and where those are right, certificates, components and manifests,
    /// parameters, models and what their engines do. Nothing is downloaded, and no weights
    /// are read. The exit code is 0 if it can be used.
    Check {
        /// The file; the one that `serve` would read if absent.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Print what is in force after the file, the environment and flags, with
    /// where each value comes from, as a file that can be read again.
    Show {
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Print a configuration with every key, its meaning, default, unit and range.
    Example,
}

pub async fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, mut server } => {
            if let Some(file) = file {
                server.settings.read_instead(file)?;
            }
            check(&server).await?;
        }
        ConfigCommand::Show { server } => {
            let (raw, _) = server.settings()?;
            print!("{}", raw.to_annotated_toml());
        }
        ConfigCommand::Example => print!("{EXAMPLE}"),
    }
    Ok(())
}

async fn check(arguments: &ServerArguments) -> anyhow::Result<()> {
    let (raw, settings) = arguments.settings()?;
    let what = match &raw.origins.file {
        Some(file) => file.display().to_string(),
        None => "the default configuration".to_owned(),
    };
    let Findings { faults, notes } = examine(&settings, &Hub::from_env()).await;
    for note in notes {
        println!("note: {note}");
    }
    if !faults.is_empty() {
        let faults: String = faults.iter().map(|fault| format!("\n  - {fault}")).collect();
        bail!("{what} is not usable:{faults}");
    }
    let counts = [settings.models.len(), settings.policies.len(), settings.routes.len()];
    let [models, policies, routes] = counts;
    println!("{what} is usable (models: {models}, policies: {policies}, routes: {routes})");
    Ok(())
}
