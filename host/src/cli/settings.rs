//! Where a command's settings come from: defaults, then the file, then the
//! environment, then flags. Flags and their environment variables are one thing.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::config::{DEFAULT_ROUTE, Raw, RawLink, RawModel, RawPolicy, RawRoute, Settings, check};

/// The file that is read if it is there and nobody names another.
const FILE: &str = "maitred.toml";

#[derive(Debug, Clone, Args)]
pub struct SettingsArguments {
    /// Configuration file; `maitred.toml` here if there is one.
    #[arg(long, env = "MAITRED_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Model of the default route: a folder, or an id on the hub.
    #[arg(long, env = "MAITRED_MODEL", value_name = "DIR|ID")]
    pub model: Option<String>,
    /// Engines of that model, each on its own thread.
    #[arg(long, env = "MAITRED_REPLICAS", value_name = "N")]
    pub replicas: Option<usize>,
    /// Policy in front of the default route; repeat it for a chain, outermost
    /// first.
    #[arg(long = "policy", value_name = "FILE.wasm")]
    pub policies: Vec<PathBuf>,
}

impl SettingsArguments {
    /// What is in force, as written and as checked.
    pub fn settings(&self) -> anyhow::Result<(Raw, Settings)> {
        self.settings_with(|_| {})
    }

    /// The same, after a command's own flags changed something.
    pub fn settings_with(&self, change: impl FnOnce(&mut Raw)) -> anyhow::Result<(Raw, Settings)> {
        let mut raw = self.read()?;
        change(&mut raw);
        self.apply(&mut raw)?;
        let settings = check(&mut raw)?;
        Ok((raw, settings))
    }

    /// The file that is read, if one is.
    pub fn file(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(FILE)).filter(|path| path.exists());
        self.config.clone().or_else(usual)
    }

    fn read(&self) -> anyhow::Result<Raw> {
        match self.file() {
            Some(path) => Raw::read(&path).map_err(|error| anyhow!(error)),
            None => Ok(Raw::default()),
        }
    }

    fn apply(&self, raw: &mut Raw) -> anyhow::Result<()> {
        if self.model.is_some() || self.replicas.is_some() {
            let model = default_model(raw)?;
            if let Some(source) = &self.model {
                model.source = source.clone();
            }
            model.replicas = self.replicas.or(model.replicas);
        }
        for component in &self.policies {
            let name = component
                .file_stem()
                .and_then(|stem| stem.to_str())
                .with_context(|| format!("--policy {} names no file", component.display()))?
                .to_owned();
            raw.policies.insert(name.clone(), RawPolicy::at(component.clone()));
            default_route(raw)?.policies.push(RawLink::Name(name));
        }
        Ok(())
    }
}

/// The route that flags speak of.
fn default_route(raw: &mut Raw) -> anyhow::Result<&mut RawRoute> {
    let name = match &raw.default_route {
        Some(name) => name.clone(),
        None if raw.routes.len() == 1 => raw.routes.keys().next().cloned().unwrap_or_default(),
        None if raw.routes.is_empty() || raw.routes.contains_key(DEFAULT_ROUTE) => {
            DEFAULT_ROUTE.to_owned()
        }
        None => bail!("--policy needs a `default_route`, since there are several routes"),
    };
    Ok(raw.routes.entry(name).or_default())
}

/// The model that flags speak of.
fn default_model(raw: &mut Raw) -> anyhow::Result<&mut RawModel> {
    if raw.models.len() > 1 {
        let name = default_route(raw)?.model.clone();
        return name
            .and_then(|name| raw.models.get_mut(&name))
            .context("--model and --replicas need a default route whose `model` is set");
    }
    if raw.models.is_empty() {
        raw.models.insert("default".into(), RawModel::default());
    }
    Ok(raw.models.values_mut().next().expect("one was inserted if there was none"))
}
