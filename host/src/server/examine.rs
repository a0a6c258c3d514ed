//! Tries what a start would need, without starting: every component is loaded,
//! every chain put together, every model looked for on this machine. It collects
//! all that is wrong instead of ending at the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stack::{failed, links};
use crate::checkpoint::{self, CheckpointError, Hub};
use crate::config::{POLICY_MEMORY_BYTES_MAX, Settings};
use crate::metrics::Metrics;
use crate::policy::{Sandbox, check_chain};

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
    chains(settings, &mut findings).await;
    for (name, model) in &settings.models {
        let offline = Hub { offline: true, ..hub.clone() };
        match checkpoint::locate(&model.source, &offline).await {
            Ok(checkpoint) => {
                let warning =
                    checkpoint.warning.map(|warning| format!("`models.{name}`: {warning}"));
                findings.notes.extend(warning);
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
    findings
}

async fn chains(settings: &Settings, findings: &mut Findings) {
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
            Ok(policy) => _ = policies.insert(name.clone(), policy),
            Err(error) => findings.faults.push(format!("`policies.{name}`: {}", failed(error))),
        }
    }
    for (name, route) in &settings.routes {
        // What is wrong with a policy was said; a chain without it is not looked
        // at.
        if route.policies.iter().all(|link| policies.contains_key(&link.policy))
            && let Err(error) = check_chain(&links(route, &policies), route.on_failure)
        {
            findings.faults.push(format!("`routes.{name}`: {}", failed(error)));
        }
    }
    let links = settings.routes.values().flat_map(|route| &route.policies);
    let used: BTreeSet<&Arc<str>> = links.map(|link| &link.policy).collect();
    for name in settings.policies.keys().filter(|name| !used.contains(name)) {
        findings.notes.push(format!("`policies.{name}`: no route has it"));
    }
}
