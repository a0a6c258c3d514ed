//! What all guests share: wasmtime's engine, the pool of instances, the linked
//! host functions, the epoch clock, the cache of compiled code.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy,
    PoolingAllocationConfig,
};

use super::PolicyError;
use super::bindings::Policy as World;
use super::epoch::Ticker;
use super::guest::Guest;
use super::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ENTRIES_MAX, TABLES_MAX};
use crate::config::SandboxSettings;
use crate::metrics::{Metrics, RouteShed};

/// Metadata of one instance; wasmtime's default of 1 MiB is too small for
/// interpreters.
const METADATA_BYTES_MAX: usize = 8 << 20;
/// Stacks per instance: one to instantiate and run it, and one for each component within it that
/// waits in the middle of a synchronous call, in which it cannot be entered again. Each has a core
/// instance of its own. They are addresses until somebody uses them.
const STACKS_PER_INSTANCE: u32 = 1 + CORE_INSTANCES_MAX;
/// Bytes of a used memory that are cleared by writing instead of being given
/// back to the kernel, so that the next call meets no page faults. A Rust guest
/// needs 1 MiB for its stack alone if nobody tells its linker otherwise; with
/// 0 here, a call with 100 documents takes a third longer.
const MEMORY_BYTES_WARM: usize = 2 << 20;
/// The same for a table; it saves two system calls of four.
const TABLE_BYTES_WARM: usize = 64 << 10;

/// Part of all instances that one policy may hold, in quarters, rounded up: one
/// that only ever sleeps leaves room for the others.
const QUARTERS_OF_ONE_POLICY: u32 = 3;

/// Cheap to clone; policies hold one, so guests never outlive their clock.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    linker: Linker<Guest>,
    instances: Arc<Semaphore>,
    instances_of_one_policy: usize,
    tick: Duration,
    memory_bytes_max: usize,
    component_bytes_max: u64,
    metrics: Arc<Metrics>,
    /// Joined when the last policy is gone.
    _ticker: Ticker,
}

impl Sandbox {
    /// `memory_bytes_max` is the largest limit that any policy will have; it sizes
    /// the pool.
    pub fn new(
        settings: &SandboxSettings,
        memory_bytes_max: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Sandbox, PolicyError> {
        let failed = |error: wasmtime::Error| PolicyError::Sandbox(format!("{error:#}"));
        let config = config(settings, memory_bytes_max)?;
        let engine = Engine::new(&config).map_err(failed)?;
        let ticker = Ticker::start(engine.clone(), settings.tick_ms)
            .map_err(|error| PolicyError::Sandbox(format!("the epoch thread: {error}")))?;
        metrics.policy_instances_max.set(settings.instances_max.into());
        Ok(Sandbox {
            shared: Arc::new(Shared {
                linker: linker(&engine).map_err(failed)?,
                engine,
                instances: Arc::new(Semaphore::new(settings.instances_max as usize)),
                instances_of_one_policy: share_of_one_policy(settings.instances_max),
                tick: settings.tick_ms,
                memory_bytes_max,
                component_bytes_max: settings.component_bytes_max,
                metrics,
                _ticker: ticker,
            }),
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.shared.linker
    }

    pub(super) fn tick(&self) -> Duration {
        self.shared.tick
    }

    pub(super) fn memory_bytes_max(&self) -> usize {
        self.shared.memory_bytes_max
    }

    pub(super) fn component_bytes_max(&self) -> u64 {
        self.shared.component_bytes_max
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// What one policy may hold of the instances.
    pub(super) fn share(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.shared.instances_of_one_policy))
    }

    /// The right to one instance, or nothing, at once: there is no queue here.
    /// Whoever waits for an instance may hold another one.
    pub(super) fn place(&self, share: &Arc<Semaphore>) -> Option<Place> {
        let own = share.clone().try_acquire_owned().ok()?;
        let permit = self.shared.instances.clone().try_acquire_owned().ok()?;
        Some(self.taken([own, permit]))
    }

    /// Counts that a request of this route found no place.
    pub(super) fn shed(&self, route: &str) {
        let labels = RouteShed { route: route.to_owned(), reason: "instances" };
        self.shared.metrics.shed.get_or_create(&labels).inc();
    }

    /// The same, once there is room: for whoever serves no request and holds no
    /// other instance, such as the trial of a new policy on a busy server.
    pub(super) async fn place_when_free(&self, share: &Arc<Semaphore>) -> Place {
        let own = share.clone().acquire_owned().await;
        let permit = self.shared.instances.clone().acquire_owned().await;
        self.taken([own, permit].map(|permit| permit.expect("nobody closes a semaphore")))
    }

    fn taken(&self, permits: [OwnedSemaphorePermit; 2]) -> Place {
        let alive = self.shared.metrics.policy_instances.clone();
        alive.inc();
        Place { alive, _permits: permits }
    }
}

fn share_of_one_policy(instances_max: u32) -> usize {
    let quarters = u64::from(instances_max) * u64::from(QUARTERS_OF_ONE_POLICY);
    quarters.div_ceil(4) as usize
}

/// Dropped after its instance.
pub(super) struct Place {
    alive: Gauge,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        self.alive.dec();
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    World::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

fn config(settings: &SandboxSettings, memory_bytes_max: usize) -> Result<Config, PolicyError> {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true).allocation_strategy(
        InstanceAllocationStrategy::Pooling(pool(settings.instances_max, memory_bytes_max)),
    );
    if let Some(folder) = &settings.cache_dir {
        config.cache(Some(cache(folder)?));
    }
    Ok(config)
}

fn pool(instances: u32, memory_bytes_max: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .total_stacks(instances.saturating_mul(STACKS_PER_INSTANCE))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_component_instance_size(METADATA_BYTES_MAX)
        .max_core_instance_size(METADATA_BYTES_MAX)
        .table_elements(TABLE_ENTRIES_MAX)
        .max_memory_size(memory_bytes_max)
        .linear_memory_keep_resident(MEMORY_BYTES_WARM)
        .table_keep_resident(TABLE_BYTES_WARM)
        // Off by default, and to stay so: it can show a guest another one's
        // data (wasmtime #14357).
        .pagemap_scan(Enabled::No);
    pool
}

/// wasmtime's own cache, which names entries by the component's content, the
/// compiler's version and its settings. What is in it is run as native code, so
/// the folder must be nobody else's to write.
fn cache(folder: &Path) -> Result<Cache, PolicyError> {
    let failed = |reason: String| {
        PolicyError::Sandbox(format!("the code cache {}: {reason}", folder.display()))
    };
    private_folder(folder).map_err(&failed)?;
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    Cache::new(config).map_err(|error| failed(format!("{error:#}")))
}

#[cfg(unix)]
fn private_folder(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    (std::fs::DirBuilder::new().recursive(true).mode(0o700))
        .create(folder)
        .map_err(|error| error.to_string())?;
    let about = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if about.mode() & 0o022 != 0 {
        return Err(format!(
            "others may write to it (mode {:o}); code from it would be run",
            about.mode() & 0o777
        ));
    }
    let owner = rustix::process::geteuid().as_raw();
    if about.uid() != owner {
        return Err(format!("it belongs to user {}, not to user {owner}", about.uid()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn private_folder(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())
}
