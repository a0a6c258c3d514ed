//! What one call of a policy uses, and where that ends: CPU time and memory.
//!
//! CPU time is the thread's, spent inside polls of the store's future; waiting
//! for the next stage costs nothing. Two places look at it: the epoch callback
//! while the guest runs, and the end of every poll.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::failure::Failure;

/// Core wasm instances of one component: Rust guests have three, interpreters
/// linked from shared libraries some twenty.
pub(super) const CORE_INSTANCES_MAX: u32 = 32;
/// Memories of one component.
pub(super) const MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub(super) const TABLES_MAX: u32 = 16;
/// Entries of one table.
pub(super) const TABLE_ENTRIES_MAX: usize = 65_536;
/// Host objects (streams, pollables, calls under way) that one call may hold.
pub(super) const HANDLES_MAX: usize = 10_000;

/// Counts what a call uses. It is shared with the store, whose callbacks write
/// while the call's future is polled, and read when both are gone.
#[derive(Debug)]
pub(super) struct Meter {
    cpu_ns_max: u64,
    cpu_ns: AtomicU64,
    /// The thread's CPU time when the present poll began.
    poll_start_ns: AtomicU64,
    memory_bytes_peak: AtomicUsize,
    memory_refused: AtomicBool,
    /// Calls of the next stage without an answer yet.
    waiting: AtomicU32,
}

impl Meter {
    pub fn new(cpu_max: Duration) -> Arc<Self> {
        Arc::new(Meter {
            cpu_ns_max: cpu_max.as_nanos() as u64,
            cpu_ns: AtomicU64::new(0),
            poll_start_ns: AtomicU64::new(0),
            memory_bytes_peak: AtomicUsize::new(0),
            memory_refused: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
        })
    }

    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Relaxed))
    }

    pub fn memory_bytes_peak(&self) -> usize {
        self.memory_bytes_peak.load(Relaxed)
    }

    /// Whether the guest was refused memory; what it does then is its own
    /// affair, but a trap after it has this cause.
    pub fn memory_refused(&self) -> bool {
        self.memory_refused.load(Relaxed)
    }

    /// Whether the guest has nothing to do before the next stage answers.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Marks the guest as waiting until the guard is dropped, be it because the
    /// answer came or because the guest gave up on it.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(self.clone())
    }

    /// CPU time of the present poll so far, or the failure if all polls
    /// together are over the limit.
    fn check(&self) -> Result<Duration, Failure> {
        let poll_ns = thread_cpu_ns().saturating_sub(self.poll_start_ns.load(Relaxed));
        self.within_limit(self.cpu_ns.load(Relaxed) + poll_ns)?;
        Ok(Duration::from_nanos(poll_ns))
    }

    fn within_limit(&self, used_ns: u64) -> Result<(), Failure> {
        if used_ns <= self.cpu_ns_max {
            return Ok(());
        }
        Err(Failure::Cpu {
            used: Duration::from_nanos(used_ns),
            limit: Duration::from_nanos(self.cpu_ns_max),
        })
    }

    /// Runs a store's future and charges its polls.
    pub async fn charge<T>(
        &self,
        future: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let start_ns = thread_cpu_ns();
            self.poll_start_ns.store(start_ns, Relaxed);
            let polled = future.as_mut().poll(cx);
            let poll_ns = thread_cpu_ns().saturating_sub(start_ns);
            let used_ns = self.cpu_ns.fetch_add(poll_ns, Relaxed) + poll_ns;
            // A guest that only ever computes for less than a tick between two
            // waits meets no callback; it ends here.
            match (polled, self.within_limit(used_ns)) {
                (Poll::Pending, Err(over)) => Poll::Ready(Err(wasmtime::Error::new(over))),
                (polled, _) => polled,
            }
        })
        .await
    }
}

#[derive(Debug)]
pub(super) struct Waiting(Arc<Meter>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Looks at a running guest once a tick. Epoch deadlines are absolute, so the
/// first step after a wait comes here at once; it yields only if this very poll
/// has lasted a tick, and otherwise goes on.
pub(super) fn watch<T: 'static>(store: &mut Store<T>, meter: &Arc<Meter>, tick: Duration) {
    let meter = meter.clone();
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| match meter.check() {
        Err(over) => Err(wasmtime::Error::new(over)),
        Ok(poll) if poll < tick => Ok(UpdateDeadline::Continue(1)),
        Ok(_) => Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))),
    });
}

/// One sum over all of a guest's memories and tables. Growth beyond the limit
/// is refused, not trapped: a garbage collector may cope.
#[derive(Debug)]
pub(super) struct Limiter {
    meter: Arc<Meter>,
    bytes: usize,
    bytes_max: usize,
}

impl Limiter {
    pub fn new(meter: Arc<Meter>, bytes_max: usize) -> Self {
        Limiter { meter, bytes: 0, bytes_max }
    }

    fn grow(&mut self, bytes: usize, fits_its_own_maximum: bool) -> bool {
        let then = self.bytes.saturating_add(bytes);
        if then > self.bytes_max || !fits_its_own_maximum {
            self.meter.memory_refused.store(true, Relaxed);
            return false;
        }
        self.bytes = then;
        self.meter.memory_bytes_peak.fetch_max(then, Relaxed);
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(self.grow(desired - current, fits))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(self.grow((desired - current) * size_of::<usize>(), fits))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_sum() {
        let meter = Meter::new(Duration::from_secs(1));
        let mut limiter = Limiter::new(meter.clone(), 1000);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        assert!(limiter.table_growing(0, 50, None).unwrap(), "400 bytes");
        assert!(!meter.memory_refused());
        assert!(!limiter.memory_growing(600, 601, None).unwrap());
        assert!(meter.memory_refused());
        assert_eq!(meter.memory_bytes_peak(), 1000);
    }

    #[test]
    fn growth_that_the_pool_refuses_is_not_counted() {
        let meter = Meter::new(Duration::from_secs(1));
        let mut limiter = Limiter::new(meter.clone(), 1000);
        assert!(!limiter.memory_growing(0, 600, Some(500)).unwrap());
        assert!(limiter.memory_growing(0, 1000, None).unwrap());
    }

    #[tokio::test]
    async fn waiting_is_free_and_computing_is_charged() {
        let meter = Meter::new(Duration::from_millis(5));
        let busy = async {
            loop {
                let start = thread_cpu_ns();
                while thread_cpu_ns() - start < 1_000_000 {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
        };
        let error = meter.charge::<()>(busy).await.unwrap_err();
        assert!(matches!(
            error.downcast_ref::<Failure>(),
            Some(Failure::Cpu { used, limit }) if used > limit
        ));
    }
}
