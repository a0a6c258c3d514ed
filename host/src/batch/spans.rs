//! What a trace tells of a call: how long it waited, and how it was scored.

use crate::telemetry::{Span, Trace};

/// The spans of one call; first it waits (`queue`), then it is scored (`inference`),
/// in one batch or several.
pub struct Spans {
    trace: Trace,
    open: Span,
    batches: u64,
    /// The number of the last of them.
    last: Option<u64>,
    /// Of the largest of them, whosever they are.
    batch_pairs_max: u64,
}

impl Spans {
    pub fn queued(trace: Trace) -> Self {
        let open = trace.span("queue");
        Spans { trace, open, batches: 0, last: None, batch_pairs_max: 0 }
    }

    /// A pair of the call goes to a replica, in the batch of that number.
    pub fn dispatched(&mut self, batch: u64, replica: usize, pairs: usize) {
        if self.last.is_none() {
            let inference = self.trace.span("inference");
            std::mem::replace(&mut self.open, inference).end(None);
            self.open.count("maitred.replica", replica as u64);
        }
        if self.last != Some(batch) {
            self.batches += 1;
            self.batch_pairs_max = self.batch_pairs_max.max(pairs as u64);
            self.last = Some(batch);
        }
    }

    /// The call has its answer, or the kind of its error.
    pub fn end(mut self, failed: Option<&'static str>) {
        if self.batches > 0 {
            self.open.count("maitred.batches", self.batches);
            self.open.count("maitred.batch.pairs_max", self.batch_pairs_max);
        }
        self.open.end(failed);
    }
}
