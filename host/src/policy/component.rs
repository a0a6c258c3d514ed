//! A policy: a component that was read, checked and compiled, ready to be
//! instantiated for every call.
//!
//! Loading tries everything that could fail later (imports, exports, one
//! instance), so that a bad file is refused when it is deployed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, InstancePre};

use super::bindings::PolicyPre;
use super::failure::Failure;
use super::guest::Guest;
use super::manifest::Manifest;
use super::sandbox::Sandbox;
use super::{PolicyError, call};
use crate::config::{Grant, PolicyLimits, PolicySettings};
use crate::metrics;

/// Bytes of a manifest. Not a setting: people write manifests, the longest has
/// a hundredth of this, and a file that is larger is no manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Digits of the sha256 that name a version.
const VERSION_DIGITS: usize = 12;

type Digest256 = [u8; 32];

/// One version of one policy. Immutable; routes share it.
pub struct Policy {
    name: Arc<str>,
    version: Arc<str>,
    digest: Digest256,
    required: bool,
    grants: Vec<Grant>,
    limits: PolicyLimits,
    manifest: Manifest,
    pub(super) sandbox: Sandbox,
    /// What it may hold of the sandbox's instances.
    pub(super) share: Arc<Semaphore>,
    pub(super) component: PolicyPre<Guest>,
    pub(super) metrics: PolicyMetrics,
}

impl Policy {
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The first twelve digits of the component's sha256.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Whether routes may never answer without it.
    pub fn required(&self) -> bool {
        self.required
    }

    /// The powers it was granted.
    pub fn capabilities(&self) -> &[Grant] {
        &self.grants
    }

    /// The powers that its manifest asks for and nobody granted.
    pub fn ungranted(&self) -> impl Iterator<Item = Grant> {
        let asked = self.manifest.capabilities.iter().copied();
        asked.filter(|asked| !self.grants.contains(asked))
    }

    pub fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A route's parameters, checked, with the manifest's defaults.
    pub fn params(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<Arc<str>, Arc<str>>, PolicyError> {
        (self.manifest.params(given))
            .map_err(|reason| PolicyError::Params { policy: self.name.clone(), reason })
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "policy `{}` ({})", self.name, self.version)
    }
}

/// What a policy is made of.
struct Source {
    bytes: Vec<u8>,
    digest: Digest256,
    manifest: Manifest,
    settings: PolicySettings,
}

impl Source {
    fn required(&self) -> bool {
        self.settings.required.unwrap_or(self.manifest.required)
    }

    /// Whether a running policy was made of the same. The file's name does not
    /// count.
    fn made(&self, policy: &Policy) -> bool {
        self.digest == policy.digest
            && self.manifest == policy.manifest
            && self.required() == policy.required
            && self.settings.grants == policy.grants
            && self.settings.limits == policy.limits
    }
}

enum Loaded {
    Running(Arc<Policy>),
    New(Box<Policy>),
}

impl Sandbox {
    /// Reads, checks, compiles and tries a policy. Compiling is slow (seconds
    /// for an interpreter, unless cached), so it has a thread of its own.
    pub async fn load(
        &self,
        name: &str,
        settings: &PolicySettings,
    ) -> Result<Arc<Policy>, PolicyError> {
        self.load_unless(None, name, settings).await
    }

    /// The same, or the running policy again if its component, its manifest and
    /// its settings are what they were.
    pub async fn reload(
        &self,
        running: &Arc<Policy>,
        settings: &PolicySettings,
    ) -> Result<Arc<Policy>, PolicyError> {
        self.load_unless(Some(running), &running.name, settings).await
    }

    async fn load_unless(
        &self,
        running: Option<&Arc<Policy>>,
        name: &str,
        settings: &PolicySettings,
    ) -> Result<Arc<Policy>, PolicyError> {
        let (sandbox, name, settings) = (self.clone(), Arc::from(name), settings.clone());
        let running = running.cloned();
        let load = move || {
            let source = sandbox.read(settings)?;
            match running {
                Some(running) if source.made(&running) => Ok(Loaded::Running(running)),
                _ => sandbox.compile(name, source).map(|policy| Loaded::New(Box::new(policy))),
            }
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let loaded = loaded
            .map_err(|error| PolicyError::Sandbox(format!("the compiler's thread: {error}")))??;
        let policy = match loaded {
            Loaded::Running(policy) => return Ok(policy),
            Loaded::New(policy) => *policy,
        };
        call::trial(&policy).await.map_err(|failure| PolicyError::Trial {
            policy: policy.name.clone(),
            reason: match &failure {
                Failure::Host(error) => format!("{failure}: {error}"),
                _ => failure.to_string(),
            },
        })?;
        Ok(Arc::new(policy))
    }

    fn read(&self, settings: PolicySettings) -> Result<Source, PolicyError> {
        let bytes = read(&settings.component, self.component_bytes_max())?;
        let manifest = manifest(&settings.component.with_extension("toml"))?;
        let digest = Sha256::digest(&bytes).into();
        Ok(Source { bytes, digest, manifest, settings })
    }

    fn compile(&self, name: Arc<str>, source: Source) -> Result<Policy, PolicyError> {
        let required = source.required();
        let Source { bytes, digest, manifest, settings } = source;
        let policy = || name.clone();
        if let Some(&grant) = (settings.grants.iter()).find(|g| !manifest.capabilities.contains(g))
        {
            let (policy, grant) = (policy(), grant.name());
            return Err(PolicyError::Grant { policy, grant });
        }
        if settings.limits.memory_bytes_max > self.memory_bytes_max() {
            return Err(PolicyError::Memory {
                policy: policy(),
                value: settings.limits.memory_bytes_max,
                limit: self.memory_bytes_max(),
            });
        }
        let unusable = |reason: String| {
            let path = settings.component.clone();
            PolicyError::Compile { policy: policy(), path, reason }
        };
        if let Some(other) = other_than_component(&bytes) {
            return Err(unusable(other.into()));
        }
        let component =
            Component::new(self.engine(), &bytes).map_err(|error| match over_limit(&error) {
                Some(reason) => PolicyError::Limits {
                    policy: policy(),
                    path: settings.component.clone(),
                    reason,
                },
                None => unusable(one_line(&format!("{error:#}"))),
            })?;
        let component = self.check_world(&name, &component)?;
        let version: Arc<str> = version(&digest).into();
        Ok(Policy {
            metrics: PolicyMetrics::new(self.metrics(), &name, &version),
            required,
            grants: settings.grants,
            limits: settings.limits,
            sandbox: self.clone(),
            share: self.share(),
            name,
            version,
            digest,
            manifest,
            component,
        })
    }

    /// Refuses a component that imports what no grant can give (by the import's
    /// name), or that is no policy.
    fn check_world(
        &self,
        name: &Arc<str>,
        component: &Component,
    ) -> Result<PolicyPre<Guest>, PolicyError> {
        let refused = |reason: String| PolicyError::World { policy: name.clone(), reason };
        let linked: InstancePre<Guest> = (self.linker().instantiate_pre(component))
            .map_err(|error| refused(format!("it asks for what no policy gets: {error:#}")))?;
        PolicyPre::new(linked).map_err(|error| {
            refused(format!("it does not export maitred:rerank/rerank@0.1.0: {error:#}"))
        })
    }
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, PolicyError> {
    let failed =
        |error: std::io::Error| PolicyError::Read { path: path.into(), reason: error.to_string() };
    let file = std::fs::File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let path = || path.into();
    if bytes > max {
        let path = path();
        return Err(PolicyError::TooLarge { path, bytes, max });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // A file may grow while it is read.
    (file.take(max).read_to_end(&mut content)).map_err(failed)?;
    Ok(content)
}

/// The manifest beside a component, if there is one.
fn manifest(path: &Path) -> Result<Manifest, PolicyError> {
    if !path.exists() {
        return Ok(Manifest::default());
    }
    let refused = |reason: String| PolicyError::Manifest { path: path.into(), reason };
    let text = String::from_utf8(read(path, MANIFEST_BYTES_MAX)?)
        .map_err(|error| refused(error.to_string()))?;
    Manifest::parse(&text).map_err(refused)
}

/// What a file is instead, if its first bytes tell: the parser's own words for
/// it are numbers.
fn other_than_component(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Some(
            "it is a core module; build for wasm32-wasip2, or make a component of it with `wasm-tools component new`",
        ),
        [b'\0', b'a', b's', b'm', ..] => None,
        [] => Some("it is empty"),
        _ => Some("it does not begin as WebAssembly does"),
    }
}

/// What a sound component needs more of than the pool of instances has, if that is
/// what is wrong with it. wasmtime has no type for it; a test notices if its words
/// change.
fn over_limit(error: &wasmtime::Error) -> Option<String> {
    let reason = one_line(&error.root_cause().to_string());
    let over = [
        "exceeds the limit of",
        "exceeds the configured maximum",
        "exceeds the per-instance limit",
    ];
    over.iter().any(|words| reason.contains(words)).then_some(reason)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn version(digest: &Digest256) -> String {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..VERSION_DIGITS].into()
}

/// The policy's own counters, looked up once.
#[derive(Debug)]
pub(super) struct PolicyMetrics {
    pub calls: Counter,
    pub cpu_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    pub memory_bytes_peak: Histogram,
    failures: [Counter; Failure::KINDS.len()],
}

impl PolicyMetrics {
    fn new(metrics: &metrics::Metrics, name: &str, version: &str) -> Self {
        let labels = metrics::Policy { policy: name.into(), version: version.into() };
        let failures = Failure::KINDS.map(|reason| {
            let labels = metrics::PolicyFailure {
                policy: name.into(),
                version: version.into(),
                reason: reason.into(),
            };
            metrics.policy_failures.get_or_create(&labels).clone()
        });
        PolicyMetrics {
            calls: metrics.policy_calls.get_or_create(&labels).clone(),
            cpu_seconds: metrics.policy_cpu.get_or_create(&labels).clone(),
            memory_bytes_peak: metrics.policy_memory_peak.get_or_create(&labels).clone(),
            failures,
        }
    }

    pub fn failed(&self, failure: &Failure) {
        let kind = failure.kind();
        let known = Failure::KINDS.iter().zip(&self.failures);
        for (_, counter) in known.filter(|(known, _)| **known == kind) {
            counter.inc();
        }
    }
}
