//! Engines for tests: what they answer is a function of the pair alone, and what
//! they do before they answer is up to the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Plan, WarmUp};
use crate::engine::{Batch, CrossEncoder, EngineError, EngineFactory, EngineTraits, Pair};

/// What an engine does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Score,
    Panic,
    Err,
    Reject,
    NotANumber,
}

/// Decides, on the engine's thread, what its `n`th engine does with a batch.
pub type Script = Arc<dyn Fn(usize, &Batch) -> Act + Send + Sync>;

/// The logit of a pair.
pub fn truth(ids: &[u32]) -> f32 {
    let hash = ids.iter().fold(17u32, |hash, id| hash.wrapping_mul(31).wrapping_add(*id));
    (hash % 10_007) as f32 / 1000.0 - 5.0
}

pub fn pair(ids: &[u32]) -> Arc<Pair> {
    Arc::new(Pair { ids: ids.into(), second_from: ids.len() as u32 })
}

pub fn traits() -> EngineTraits {
    EngineTraits {
        ragged: true,
        length_max: 512,
        batch_tokens_max: 4096,
        batch_tokens_min: 1,
        precision: "f32",
    }
}

/// Begins the pairs that engines score before they are ready; scripts never see
/// them.
const WARM_UP: u32 = u32::MAX;

/// A plan whose replicas restart after a second and hang after ten.
pub fn plan(factory: EngineFactory) -> Plan {
    Plan {
        model: "fake".into(),
        factory,
        warm_up: WarmUp {
            short: pair(&[WARM_UP]),
            long: pair(&[WARM_UP; 512]),
            batch_tokens_max: None,
            batch_pairs_max: 64,
        },
        batch_ms_max: std::time::Duration::from_secs(10),
        restart_ms: std::time::Duration::from_secs(1),
    }
}

/// Makes engines that follow the script.
pub fn scripted(traits: EngineTraits, script: Script) -> EngineFactory {
    let made = AtomicUsize::new(0);
    Arc::new(move || {
        Ok(Box::new(Fake {
            nth: made.fetch_add(1, Ordering::SeqCst),
            traits: traits.clone(),
            script: script.clone(),
        }))
    })
}

struct Fake {
    nth: usize,
    traits: EngineTraits,
    script: Script,
}

impl CrossEncoder for Fake {
    fn traits(&self) -> EngineTraits {
        self.traits.clone()
    }

    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError> {
        let warm_up = batch.pairs[0].ids[0] == WARM_UP;
        let act = match warm_up {
            true => Act::Score,
            false => (self.script)(self.nth, batch),
        };
        match act {
            Act::Panic => panic!("as the test wished"),
            Act::Err => return Err(EngineError::Device("as the test wished".into())),
            Act::Reject => return Err(EngineError::Batch("as the test wished".into())),
            Act::Score | Act::NotANumber => {}
        }
        for (logit, pair) in logits.iter_mut().zip(&batch.pairs) {
            *logit = truth(&pair.ids);
        }
        if act == Act::NotANumber {
            logits[batch.pairs.len() - 1] = f32::NAN;
        }
        Ok(())
    }
}

/// Engines that wait for the test at each batch.
pub struct Stage {
    begun: UnboundedReceiver<Begun>,
}

/// A batch on its engine. Dropping it scores the batch.
#[derive(Debug)]
pub struct Begun {
    pub engine: usize,
    pub batch: Batch,
    go: mpsc::Sender<Act>,
}

impl Begun {
    pub fn go(self, act: Act) {
        self.go.send(act).expect("the engine waits");
    }
}

impl Stage {
    pub fn new(traits: EngineTraits) -> (Stage, EngineFactory) {
        let (tell, begun): (UnboundedSender<Begun>, _) = unbounded_channel();
        let script = move |engine, batch: &Batch| {
            let (go, wait) = mpsc::channel();
            let batch = batch.clone();
            // A test that has ended wants the rest scored.
            let _ = tell.send(Begun { engine, batch, go });
            wait.recv().unwrap_or(Act::Score)
        };
        (Stage { begun }, scripted(traits, Arc::new(script)))
    }

    /// The next batch that an engine begins.
    pub async fn next(&mut self) -> Begun {
        self.begun.recv().await.expect("the factory holds the other end")
    }

    pub fn is_quiet(&mut self) -> bool {
        self.begun.try_recv().is_err()
    }
}

/// While it lives, a paused clock moves only by `tokio::time::advance`. Else it
/// would jump to the next timer whenever all tasks wait for an engine's thread.
pub struct HeldClock {
    _release: mpsc::Sender<()>,
}

pub fn hold_clock() -> HeldClock {
    let (release, held) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    HeldClock { _release: release }
}
