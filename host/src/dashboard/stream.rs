//! What one open page is told, as server-sent events. Each says what came since the
//! one before, the first all that is kept. So nothing is queued for a page that
//! reads slowly: it is told more at once when it reads on.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::sample::Point;
use super::{Dashboard, Told, locked};

#[derive(Debug)]
pub struct Stream {
    dashboard: Arc<Dashboard>,
    told: watch::Receiver<Told>,
    /// Points that the page was told.
    seen: u64,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(
        dashboard: Arc<Dashboard>,
        told: watch::Receiver<Told>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Stream { dashboard, told, seen: 0, _place: place }
    }

    /// The next event; `None` when there will be no more. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        let seen = self.seen;
        let told = self.told.wait_for(|told| told.ended || told.points > seen).await.ok()?;
        if told.ended {
            return None;
        }
        drop(told);
        let shown = locked(&self.dashboard.shown);
        self.seen = shown.history.count();
        let points = json(&shown.history.since(seen).collect::<Vec<&Point>>());
        Some(format!("data: {{\"points\":{points},\"view\":{}}}\n\n", shown.view))
    }
}

pub(super) fn json(shown: &impl Serialize) -> String {
    serde_json::to_string(shown).expect("what is shown holds strings and numbers")
}
