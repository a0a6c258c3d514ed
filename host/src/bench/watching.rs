//! Looks at the server while a window runs: at its beginning, at every interval,
//! and at its end.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::figures::Figures;
use super::opened::Ready;
use super::process::Usage;
use super::record::ServerPoint;
use super::workload::{Extent, Workload};
use crate::metrics::reading::Reading;

#[derive(Default)]
pub struct Watched {
    pub whole: Figures,
    pub series: Vec<ServerPoint>,
    pub harness_cpu_s: Option<f64>,
}

/// One look.
struct Look {
    at: Duration,
    reading: Option<Reading>,
    usage: Usage,
}

impl Look {
    async fn at(ready: &Ready, began: Instant) -> Look {
        let (at, usage) = (began.elapsed(), ready.usage());
        Look { at, reading: ready.reading().await, usage }
    }

    fn until(&self, later: &Look) -> Figures {
        let mut figures = Figures::between(self.reading.as_ref(), later.reading.as_ref());
        // What it says is finer; the system knows of those that say nothing.
        let cpu = later.usage.cpu_s.zip(self.usage.cpu_s);
        let cpu = cpu.map(|(later, earlier)| later - earlier).filter(|cpu| *cpu >= 0.0);
        figures.cpu_s = figures.cpu_s.or(cpu);
        figures.memory_bytes = figures.memory_bytes.or(later.usage.memory_bytes);
        figures
    }
}

/// Looks until the window is over, which `ended` says.
pub async fn watch(
    ready: &Ready,
    workload: &Workload,
    began: Instant,
    mut ended: oneshot::Receiver<Duration>,
) -> Watched {
    let (from, interval) = (workload.window.warmup_ms, workload.window.interval_ms);
    let to = match workload.window.extent {
        Extent::Time(length) => Some(from + length),
        Extent::Requests(_) => None,
    };
    // Without a warm-up the first look comes before the first request.
    if !from.is_zero() {
        tokio::select! {
            biased;
            _ = &mut ended => return Watched::default(),
            () = sleep_until(began + from) => {}
        }
    }
    let harness = || Usage::of(std::process::id()).cpu_s;
    let harness_before = harness();
    let first = Look::at(ready, began).await;
    let mut watched = Watched::default();
    let (mut last, mut next) = (None, from + interval);
    loop {
        let due = to.map_or(next, |to| next.min(to));
        let over = tokio::select! {
            biased;
            _ = &mut ended => true,
            () = sleep_until(began + due) => to.is_some_and(|to| due >= to),
        };
        let look = Look::at(ready, began).await;
        let before = last.as_ref().unwrap_or(&first);
        watched.series.push(ServerPoint {
            at_s: look.at.saturating_sub(from).as_secs_f64(),
            length_s: (look.at - before.at).as_secs_f64(),
            figures: before.until(&look),
        });
        last = Some(look);
        if over {
            break;
        }
        // A server that answers slowly is asked less often, not all at once.
        while began + next <= Instant::now() {
            next += interval;
        }
    }
    if let Some(last) = &last {
        watched.whole = first.until(last);
    }
    let harness = harness().zip(harness_before);
    watched.harness_cpu_s = harness.map(|(after, before)| after - before);
    watched
}
