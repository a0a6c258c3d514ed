//! Where a command's settings come from: defaults, then the file, then the
//! environment, then flags. Flags and their environment variables are one thing.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::BoolishValueParser;

use crate::config::{DEFAULT_ROUTE, Raw, RawLink, RawPolicy, Settings, check};

/// The file that is read if it is there and nobody names another.
const FILE: &str = "maitred.toml";
/// Names another, unless a flag does.
const CONFIG_VARIABLE: &str = "MAITRED_CONFIG";

#[derive(Debug, Clone, Args)]
pub struct SettingsArguments {
    /// Configuration file; `maitred.toml` here if there is one.
    #[arg(long, env = CONFIG_VARIABLE, value_name = "FILE")]
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
    /// Power that a policy gets, `clock` or `random`, by the policy's name: that of its
    /// file without `.wasm`, or the configuration's. Repeat it for more.
    #[arg(long = "grant", value_name = "NAME=POWER", value_parser = granted)]
    grants: Vec<Granted>,
}

/// `fresh=clock`.
#[derive(Debug, Clone)]
struct Granted {
    policy: String,
    power: String,
}

fn granted(text: &str) -> Result<Granted, &'static str> {
    let (policy, power) = text.split_once('=').ok_or("it has no `=`, like `fresh=clock`")?;
    Ok(Granted { policy: policy.into(), power: power.into() })
}

/// What a server is configured by: the same, and where it listens.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    #[command(flatten)]
    pub settings: SettingsArguments,
    /// Address for clients.
    #[arg(long, env = "MAITRED_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Address for operators: metrics and health.
    #[arg(long, env = "MAITRED_OPS_LISTEN", value_name = "ADDR")]
    ops_listen: Option<String>,
    /// Let everyone call who reaches the server, without a key.
    #[arg(long, env = "MAITRED_ANONYMOUS", value_parser = BoolishValueParser::new())]
    anonymous: bool,
    /// Collector that receives traces, by OTLP over HTTP; none by default.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// What the collector knows this server by.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    service_name: Option<String>,
}

impl ServerArguments {
    /// What is in force, as written and as checked.
    pub fn settings(&self) -> anyhow::Result<(Raw, Settings)> {
        self.settings.settings_with(|raw| {
            if let Some(listen) = &self.listen {
                raw.server.listen = listen.clone();
                raw.origins.note_flag("server.listen", "--listen or MAITRED_LISTEN");
            }
            if let Some(listen) = &self.ops_listen {
                raw.server.ops_listen = listen.clone();
                raw.origins.note_flag("server.ops_listen", "--ops-listen or MAITRED_OPS_LISTEN");
            }
            if self.anonymous {
                raw.server.anonymous = true;
                raw.origins.note_flag("server.anonymous", "--anonymous or MAITRED_ANONYMOUS");
            }
            if let Some(endpoint) = stated(&self.otlp_endpoint) {
                raw.telemetry.otlp_endpoint = Some(endpoint.to_owned());
                let flag = "--otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT";
                raw.origins.note_flag("telemetry.otlp_endpoint", flag);
            }
            if let Some(name) = stated(&self.service_name) {
                raw.telemetry.service_name = name.to_owned();
                let flag = "--service-name or OTEL_SERVICE_NAME";
                raw.origins.note_flag("telemetry.service_name", flag);
            }
        })
    }
}

/// OpenTelemetry's environment variables mean nothing when they are empty.
fn stated(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

impl SettingsArguments {
    /// Takes the file instead of the environment's; a flag that names another contradicts it.
    pub fn read_instead(&mut self, file: PathBuf) -> anyhow::Result<()> {
        let other = self.config.take().filter(|other| {
            std::env::var_os(CONFIG_VARIABLE).is_none_or(|of_environment| *other != of_environment)
        });
        if let Some(other) = other {
            bail!("{} and --config {}: name one file", file.display(), other.display());
        }
        self.config = Some(file);
        Ok(())
    }

    /// What is in force, as written and as checked.
    pub fn settings(&self) -> anyhow::Result<(Raw, Settings)> {
        self.settings_with(|_| {})
    }

    /// The same, after a command's own flags changed something.
    fn settings_with(&self, change: impl FnOnce(&mut Raw)) -> anyhow::Result<(Raw, Settings)> {
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
            Some(path) => Ok(Raw::read(&path)?),
            None => Ok(Raw::default()),
        }
    }

    fn apply(&self, raw: &mut Raw) -> anyhow::Result<()> {
        if self.model.is_some() || self.replicas.is_some() {
            let name = default_model(raw)?;
            let model = raw.models.entry(name.clone()).or_default();
            if let Some(source) = &self.model {
                model.source = source.clone();
                raw.origins.note_flag(&format!("models.{name}.source"), "--model or MAITRED_MODEL");
            }
            if self.replicas.is_some() {
                model.replicas = self.replicas;
                let key = format!("models.{name}.replicas");
                raw.origins.note_flag(&key, "--replicas or MAITRED_REPLICAS");
            }
        }
        for component in &self.policies {
            let name = component
                .file_stem()
                .and_then(|stem| stem.to_str())
                .with_context(|| format!("--policy {} names no file", component.display()))?
                .to_owned();
            let route = default_route(raw)?;
            raw.origins.note_flag(&format!("policies.{name}.component"), "--policy");
            raw.origins.note_flag(&format!("routes.{route}.policies"), "--policy");
            let policy = raw.policies.entry(name.clone());
            let policy = policy.or_insert_with(|| RawPolicy::at(component.clone()));
            if !is_same(&policy.component, component) {
                bail!(
                    "--policy {}: a policy is already called `{name}`, and is {}",
                    component.display(),
                    policy.component.display()
                );
            }
            raw.routes.entry(route).or_default().policies.push(RawLink::Name(name));
        }
        for Granted { policy: name, power } in &self.grants {
            let Some(policy) = raw.policies.get_mut(name) else {
                bail!("--grant {name}={power}: no policy is called `{name}`");
            };
            policy.grants.push(power.clone());
            raw.origins.note_flag(&format!("policies.{name}.grants"), "--grant");
        }
        Ok(())
    }
}

/// Whether two paths lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The name of the route that flags speak of.
fn default_route(raw: &Raw) -> anyhow::Result<String> {
    Ok(match &raw.default_route {
        Some(name) => name.clone(),
        None if raw.routes.len() == 1 => raw.routes.keys().next().cloned().unwrap_or_default(),
        None if raw.routes.is_empty() || raw.routes.contains_key(DEFAULT_ROUTE) => {
            DEFAULT_ROUTE.to_owned()
        }
        None => bail!("--policy needs a `default_route`, since there are several routes"),
    })
}

/// The name of the model that flags speak of.
fn default_model(raw: &Raw) -> anyhow::Result<String> {
    let mut names = raw.models.keys();
    match (names.next(), names.next()) {
        (None, _) => Ok("default".to_owned()),
        (Some(only), None) => Ok(only.clone()),
        (Some(_), Some(_)) => {
            let route = default_route(raw)?;
            let name = raw.routes.get(&route).and_then(|route| route.model.clone());
            name.filter(|name| raw.models.contains_key(name))
                .context("--model and --replicas need a default route whose `model` is set")
        }
    }
}
