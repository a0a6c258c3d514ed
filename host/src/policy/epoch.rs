//! The clock of all guests: one OS thread that ends an epoch every tick, whether
//! or not the async runtime has a free thread. It ends with its owner.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

#[derive(Debug)]
pub(super) struct Ticker {
    /// Dropped first; the thread waits on its other end.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(engine: Engine, tick: Duration) -> std::io::Result<Ticker> {
        let (alive, end) = channel();
        let thread = std::thread::Builder::new().name("policy-epoch".into()).spawn(move || {
            while end.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Ticker { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it waits and adds one.
            let _ = thread.join();
        }
    }
}
