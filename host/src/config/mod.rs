//! Settings: every limit of the server, with its unit and its default.
//!
//! `raw` is what people write (file, flags, environment), `read` takes it from a
//! file's text, and `check` turns it into the types here, which cannot be wrong;
//! everyone else believes them. `tables` knows which keys there are, `origin`
//! who wrote a value, `show` prints what is in force, and `fixed` says what only
//! a restart can change.
//! A setting exists only when it works.

mod callers;
mod check;
mod fixed;
mod origin;
mod raw;
mod read;
mod show;
mod tables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use callers::{
    CallerSettings, KEY_ID_DIGITS, KEY_PREFIX, KeyHash, PriorityMax, RateSettings, RawCaller,
};
pub use check::{Faults, check};
pub use fixed::fixed_differences;
pub use origin::{Origin, Origins};
pub use raw::{DEFAULT_MODEL, DEFAULT_ROUTE, Raw, RawLink, RawModel, RawPolicy, RawRoute};
pub use read::nearest;
pub use show::EXAMPLE;

/// A configuration that was checked; nothing in it contradicts the rest.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: ServerSettings,
    pub sandbox: SandboxSettings,
    pub telemetry: TelemetrySettings,
    pub models: BTreeMap<Arc<str>, ModelSettings>,
    pub policies: BTreeMap<Arc<str>, PolicySettings>,
    pub routes: BTreeMap<Arc<str>, RouteSettings>,
    /// Who may call; everyone, if nobody is here.
    pub callers: BTreeMap<Arc<str>, CallerSettings>,
    /// Serves requests that name no route.
    pub default_route: Arc<str>,
}

/// The two listeners and what one client may do to them.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where clients send rerank requests.
    pub listen: SocketAddr,
    /// Where operators look on; loopback by default.
    pub ops_listen: SocketAddr,
    /// Names, in lower case, by which browsers may reach `ops_listen`; addresses
    /// and localhost lead there anyway.
    pub ops_hosts: Vec<String>,
    /// Connections open at once on the public listener; more wait in the
    /// kernel's queue.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection; what they hold is bounded by
    /// `bodies_bytes_max`, not by this.
    pub streams_max: u32,
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are held at once, and of answers until they are sent.
    pub bodies_bytes_max: usize,
    /// Time in which the head, and then the body, must arrive.
    pub read_ms_max: Duration,
    /// Time that a connection may stay open between two requests; longer than
    /// that of the proxies in front, which is 60 s for most. No answer waits longer
    /// to be taken.
    pub idle_ms_max: Duration,
    /// Deadline of a request whose client states none.
    pub request_ms_max: Duration,
    /// Documents of one request.
    pub documents_max: usize,
    /// Metadata fields of one document.
    pub fields_max: usize,
    /// Queries of one request that are worked on at once, where a dialect has
    /// several; each holds an instance of every policy of its route.
    pub queries_at_once: usize,
    /// Grace between the signal to stop and the end, for what was admitted.
    pub drain_ms_max: Duration,
    /// Time between the signal to stop and the end of accepting, in which
    /// `/ready` says 503 and clients are still served: a load balancer needs it
    /// to look elsewhere. The grace begins after it.
    pub drain_wait_ms: Duration,
    pub reload: ReloadOn,
    /// How often files are looked at; a change is taken up when it has been the
    /// same for two looks.
    pub reload_poll_ms: Duration,
    /// `None` speaks in clear.
    pub tls: Option<TlsSettings>,
}

/// What makes the server take up a new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOn {
    /// SIGHUP, or a change of the configuration file, a component or a manifest.
    Auto,
    /// SIGHUP only.
    Signal,
    /// Nothing but a restart.
    Off,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The certificate, and those that lead to a root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What all guests share.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Guest instances alive at once over all policies; one more is refused. A
    /// request holds one for each policy of its chain while the model works.
    pub instances_max: u32,
    /// Length of an epoch: how often a running guest is looked at.
    pub tick_ms: Duration,
    /// Bytes of a component; a Python guest has 20 million.
    pub component_bytes_max: u64,
    /// Where compiled components are kept; `None` compiles them anew each time.
    pub cache_dir: Option<PathBuf>,
}

/// Traces, and where they are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// Base URL of a collector that speaks OTLP over HTTP; `None` traces nothing.
    pub otlp_endpoint: Option<String>,
    /// Share of requests that are traced, 0 to 1, where the client does not say
    /// whether its request is.
    pub sample_ratio: f64,
    /// What the collector knows this server by.
    pub service_name: String,
    /// Spans that wait for the collector; more are dropped and counted.
    pub queue_spans_max: usize,
    /// How long a span waits for others to be sent with.
    pub export_ms: Duration,
    /// Time that the collector has for one message, retries included.
    pub export_ms_max: Duration,
}

/// One model: where its files are, what runs it, how its queue behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// A folder, or an id on the hub.
    pub source: String,
    pub engine: EngineKind,
    pub device: DeviceKind,
    pub precision: Precision,
    /// Engines of this model, each on its own thread.
    pub replicas: usize,
    /// Threads of each replica's matrix products.
    pub replica_threads: usize,
    /// Tokens of a pair; `None` is what the model's files say.
    pub length_max: Option<usize>,
    pub truncation: Truncation,
    /// Threads that tokenize.
    pub tokenizers: usize,
    pub batch: BatchSettings,
    /// Time that one batch may take before its replica counts as hung.
    pub batch_ms_max: Duration,
    /// Pause before the first restart of a failed replica; it doubles with
    /// every further failure, up to 64 times.
    pub restart_ms: Duration,
}

impl ModelSettings {
    /// Tokens of a pair where the model's files allow so many.
    pub fn length_within(&self, allowed: usize) -> usize {
        self.length_max.unwrap_or(allowed).min(allowed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// `Packed` on the CPU, `Candle` elsewhere.
    Auto,
    /// Our kernels for the CPU.
    Packed,
    /// Our device-generic graph on candle.
    Candle,
    /// candle-transformers' BERT as it comes, to compare with.
    CandleStock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Metal or CUDA where compiled in and there, else the CPU.
    Auto,
    Cpu,
    Metal,
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// On the CPU that of the weights, f32 or int8; f16 elsewhere.
    Auto,
    F32,
    F16,
    Bf16,
    Int8,
}

/// What happens to a pair that is longer than the model's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// Tokens come off the end of whichever segment is longer, as the
    /// reference does it.
    LongestFirst,
    /// Tokens come off the end of the document only.
    DocumentOnly,
    /// The request is refused.
    Error,
}

/// The queue in front of a model's replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSettings {
    /// Pairs admitted at once, over all requests.
    pub queue_pairs_max: u64,
    /// Tokens admitted at once, by their bound before tokenizing.
    pub queue_tokens_max: u64,
    /// Tokens of a batch; `None` is what the engine says.
    pub batch_tokens_max: Option<usize>,
    /// Pairs of a batch.
    pub batch_pairs_max: usize,
    /// How long an idle replica waits for more pairs; zero by default, since
    /// batches form while replicas are busy.
    pub batch_wait_ms: Duration,
    /// Batches after which a pair is served before any that is younger,
    /// whatever their priorities: nobody starves.
    pub queue_cuts_max: u32,
}

/// The most that `limits.memory_bytes_max` can be: what a 32-bit guest can
/// address. The sandbox's pool is made for it, whatever is configured: it
/// reserves addresses by the 4 GiB in any case, so a policy with a larger limit
/// can come by reload.
pub const POLICY_MEMORY_BYTES_MAX: usize = (4 << 30) - 1;

/// A wasm component and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    pub component: PathBuf,
    /// Whether routes may never answer without it (redactors, filters);
    /// `None` is what the manifest says.
    pub required: Option<bool>,
    /// Powers beyond computing, each asked for by the manifest.
    pub grants: Vec<Grant>,
    pub limits: PolicyLimits,
}

/// Powers that a route's owner may give a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// The real time instead of one that stands still.
    Clock,
    /// Real randomness instead of a seeded sequence.
    Random,
}

impl Grant {
    /// How configurations and manifests call it.
    pub fn name(self) -> &'static str {
        match self {
            Grant::Clock => "clock",
            Grant::Random => "random",
        }
    }
}

/// What one call of a policy may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLimits {
    /// CPU time of the guest; waiting for the next stage costs nothing.
    pub cpu_ms_max: Duration,
    /// Bytes over all of the guest's memories and tables.
    pub memory_bytes_max: usize,
    /// Calls of the next stage.
    pub calls_max: u32,
    /// Bytes of what a guest prints that reach the log; the rest is counted.
    pub log_bytes_max: usize,
}

/// A model with a chain of policies in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    pub model: Arc<str>,
    /// Outermost first.
    pub policies: Vec<LinkSettings>,
    pub on_failure: OnFailure,
    /// How many times the client's documents and tokens the chain may send to
    /// the model.
    pub amplification_max: u64,
    pub filtered: Filtered,
    /// Share of the model in proportion to other routes' weights.
    pub weight: u32,
}

/// A policy's place in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    pub policy: Arc<str>,
    pub params: BTreeMap<String, String>,
}

/// What a route answers when one of its policies fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// A typed error.
    Fail,
    /// The plain model's ranking, flagged in a header and counted.
    Bypass,
}

/// What becomes of documents that a policy left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtered {
    /// They are not in the answer.
    Omit,
    /// They come last, with the lowest score of the scale: some clients expect
    /// every document back.
    Last,
}
