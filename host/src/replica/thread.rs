//! The thread that owns an engine. All it knows is to make it, to warm it up and
//! to score what it is given until nobody gives any more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{Event, Failure, Outcome, Plan, Report};
use crate::engine::{Batch, CrossEncoder, EngineError};

/// How a thread is heard.
pub struct Voice {
    pub replica: usize,
    pub generation: u64,
    /// Unbounded, but a thread says three things at most besides one answer to
    /// each batch, and it is given one batch at a time.
    pub reports: UnboundedSender<Report>,
}

impl Voice {
    fn say(&self, event: Event) {
        // Without a listener there is nobody left to tell.
        let _ =
            self.reports.send(Report { replica: self.replica, generation: self.generation, event });
    }
}

/// Ends when the other end of `batches` is dropped, or with the first failure.
pub fn run(plan: &Plan, batches: &Receiver<Batch>, voice: &Voice) {
    if let Err(failure) = live(plan, batches, voice) {
        voice.say(Event::Failed(failure));
    }
}

fn live(plan: &Plan, batches: &Receiver<Batch>, voice: &Voice) -> Result<(), Failure> {
    let mut engine = guarded(|| (plan.factory)())?;
    let traits = guarded(|| Ok(engine.traits()))?;
    voice.say(Event::Made(traits.clone()));
    let mut longest = Duration::ZERO;
    for batch in plan.warm_up.batches(&traits) {
        longest = longest.max(score(engine.as_mut(), &batch)?.took);
    }
    voice.say(Event::Ready { longest });
    while let Ok(batch) = batches.recv() {
        match score(engine.as_mut(), &batch) {
            Ok(outcome) => voice.say(Event::Scored(outcome)),
            // The engine looked at the batch and is as good as before.
            Err(Failure::Rejected(reason)) => voice.say(Event::Rejected(reason)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

fn score(engine: &mut dyn CrossEncoder, batch: &Batch) -> Result<Outcome, Failure> {
    let mut logits = vec![f32::NAN; batch.pairs.len()];
    let began = Instant::now();
    guarded(|| engine.score(batch, &mut logits))?;
    let took = began.elapsed();
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(Outcome { logits, took }),
        Some(position) => {
            Err(Failure::NotFinite { position, pairs: logits.len(), value: logits[position] })
        }
    }
}

/// An engine that panicked may be in any state; it is never used again.
fn guarded<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ EngineError::Batch(_))) => Err(Failure::Rejected(error.to_string())),
        Ok(Err(error)) => Err(Failure::Engine(error.to_string())),
        Err(panic) => Err(Failure::Panicked(words(panic.as_ref()))),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".into())
}
