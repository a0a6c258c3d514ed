//! Makes a sample: the scores that answers are later compared with. It should be
//! made by something else than what is measured (`engine = "candle-stock"`), or
//! a mistake would verify itself.

use std::path::Path;

use anyhow::{Context, ensure};

use super::corpus::{Corpus, FIXED_CANDIDATES};
use super::opened::Opened;
use super::session::Watcher;
use super::sweep::Variant;
use super::verify::Sample;
use super::workload::Stage;

/// Asks the variant's target for the scores and writes them. Says how many pairs
/// they are of.
pub async fn make(variant: &Variant, out: &Path, watcher: &dyn Watcher) -> anyhow::Result<usize> {
    let workload = &variant.workload;
    let computes = matches!(workload.stage, Stage::Whole | Stage::InferenceOnly);
    ensure!(computes, "a sample needs scores, and the stage computes none");
    let corpus = Corpus::load(&workload.corpus)?;
    corpus.check(FIXED_CANDIDATES)?;
    let mut opened = Opened::new(1);
    let ready = opened.subject(variant, watcher).await?;
    let about = &ready.about;
    let model = about.model.clone().context("the server does not say which model it serves")?;
    let made_by = format!(
        "maitred {}, {}",
        about.version.as_deref().unwrap_or("of an unknown version"),
        engine(variant)
    );
    let subject = ready.subject(workload)?;
    let sample = Sample::make(&*subject, &corpus, model, made_by).await;
    opened.close().await;
    sample?.write(out)?;
    Ok(corpus.queries.len() * FIXED_CANDIDATES)
}

/// The engines that the variant names, in words.
fn engine(variant: &Variant) -> String {
    let models = variant.table.get("target").and_then(|target| target.get("settings"));
    let models = models.and_then(|settings| settings.get("models")?.as_table());
    let engines = models.into_iter().flat_map(|models| models.values());
    let named: Vec<_> = engines.filter_map(|model| model.get("engine")?.as_str()).collect();
    match named.as_slice() {
        [] => "the default engine".into(),
        named => format!("the engine {}", named.join(" and ")),
    }
}
