//! Tries what a start would need, without starting: the certificate is read, every
//! component loaded, every chain put together and tried, every model looked for on
//! this machine and shown to its engine. It collects all that is wrong instead of
//! ending at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load_tls;
use super::stack::{failed, links, powerless, shortened};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Hub, header};
use crate::config::{ModelSettings, POLICY_MEMORY_BYTES_MAX, Precision, Settings};
use crate::engine;
use crate::metrics::Metrics;
use crate::policy::{ModelInfo, Sandbox, rehearse_chain};

/// Tokens of a pair that policies are told of where the model is not on this machine:
/// what most cross-encoders read.
const LENGTH_USUAL: usize = 512;

#[derive(Debug, Default)]
pub struct Findings {
    /// What would keep the server from starting.
    pub faults: Vec<String>,
    /// What it would do that may surprise.
    pub notes: Vec<String>,
}

/// Policies that no route names are looked at, too: who configures one means it.
pub async fn examine(settings: &Settings, hub: &Hub) -> Findings {
    let mut findings = Findings::default();
    if let Some(tls) = &settings.server.tls
        && let Err(error) = load_tls(tls).await
    {
        findings.faults.push(format!("`server.tls`: {error}"));
    }
    let mut checkpoints = BTreeMap::new();
    for (name, model) in &settings.models {
        if let Err(error) = engine::check(model) {
            findings.faults.push(format!("`models.{name}`: {error}"));
        }
        let offline = Hub { offline: true, ..hub.clone() };
        match checkpoint::locate(&model.source, &offline).await {
            Ok(checkpoint) => {
                let notes = [
                    checkpoint.warning.as_ref().map(|said| format!("`models.{name}`: {said}")),
                    shortened(name, model, checkpoint.config.length_max),
                ];
                findings.notes.extend(notes.into_iter().flatten());
                if let Err(error) = header::check(&checkpoint) {
                    findings.faults.push(format!("`models.{name}`: {error}"));
                }
                checkpoints.insert(name.clone(), checkpoint);
            }
            Err(CheckpointError::Offline { missing, .. }) if !hub.offline => {
                let source = &model.source;
                findings.notes.push(format!(
                    "`models.{name}`: {source} is not complete on this machine (missing: {missing}); a start would fetch it, and `maitred model pull {source}` does it now"
                ));
            }
            Err(error) => findings.faults.push(format!("`models.{name}`: {error}")),
        }
    }
    chains(settings, &checkpoints, &mut findings).await;
    findings
}

async fn chains(
    settings: &Settings,
    checkpoints: &BTreeMap<Arc<str>, Checkpoint>,
    findings: &mut Findings,
) {
    if settings.policies.is_empty() {
        return;
    }
    let sandbox = match Sandbox::new(&settings.sandbox, POLICY_MEMORY_BYTES_MAX, Metrics::new()) {
        Ok(sandbox) => sandbox,
        Err(error) => return findings.faults.push(failed(error).to_string()),
    };
    let mut policies = BTreeMap::new();
    for (name, policy) in &settings.policies {
        match sandbox.load(name, policy).await {
            Ok(policy) => {
                findings.notes.extend(powerless(&policy));
                policies.insert(name.clone(), policy);
            }
            Err(error) => findings.faults.push(format!("`policies.{name}`: {}", failed(error))),
        }
    }
    for (name, route) in &settings.routes {
        let model = &settings.models[&route.model];
        let about = about(&route.model, model, checkpoints.get(&route.model));
        // What is wrong with a policy itself was said.
        let mut route = route.clone();
        route.policies.retain(|link| policies.contains_key(&link.policy));
        // Each alone, so that a fault of one hides none of the next.
        for link in links(&route, &policies) {
            match rehearse_chain(&[link], route.on_failure, &about).await {
                Ok(doubts) => {
                    let doubts = doubts.iter().map(|doubt| format!("`routes.{name}`: {doubt}"));
                    findings.notes.extend(doubts);
                }
                Err(error) => findings.faults.push(format!("`routes.{name}`: {}", failed(error))),
            }
        }
    }
    let links = settings.routes.values().flat_map(|route| &route.policies);
    let used: BTreeSet<&Arc<str>> = links.map(|link| &link.policy).collect();
    for name in settings.policies.keys().filter(|name| !used.contains(name)) {
        findings.notes.push(format!("`policies.{name}`: no route has it"));
    }
}

/// What policies would be told of their model, as far as it is known without its
/// weights.
fn about(name: &Arc<str>, settings: &ModelSettings, found: Option<&Checkpoint>) -> ModelInfo {
    let length_max = match found {
        Some(found) => settings.length_within(found.config.length_max),
        None => settings.length_max.unwrap_or(LENGTH_USUAL),
    };
    ModelInfo {
        name: name.clone(),
        tokens_max: length_max as u32,
        precision: match settings.precision {
            Precision::Auto | Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
        .into(),
    }
}
