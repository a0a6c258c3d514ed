//! Which of the models that a workload would take can be had here.

use std::time::Duration;

use anyhow::bail;

use super::sweep::Variant;
use crate::checkpoint::{self, Hub};

/// How long the hub may take to answer before the next model is tried.
const CONNECT_MS_MAX: Duration = Duration::from_secs(5);

/// Leaves of each variant's models the first that can be had. Reports name it.
pub async fn settle(variants: &mut [Variant]) -> anyhow::Result<()> {
    let hub = Hub { connect_ms_max: CONNECT_MS_MAX, ..Hub::from_env() };
    let mut settled: Vec<(Vec<String>, String)> = Vec::new();
    for variant in variants {
        let models = &mut variant.workload.target.models;
        if models.is_empty() {
            continue;
        }
        let known = settled.iter().find(|(asked, _)| asked == models);
        let model = match known {
            Some((_, model)) => model.clone(),
            None => {
                let model = first(models, &hub).await?;
                settled.push((models.clone(), model.clone()));
                model
            }
        };
        *models = vec![model];
    }
    Ok(())
}

async fn first(models: &[String], hub: &Hub) -> anyhow::Result<String> {
    let mut reasons = String::new();
    for model in models {
        match checkpoint::locate(model, hub).await {
            Ok(_) => return Ok(model.clone()),
            Err(error) => reasons += &format!("\n  - {model}: {error}"),
        }
    }
    bail!("none of `target.models` can be had:{reasons}")
}
