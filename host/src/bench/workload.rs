//! A workload: what is asked of whom, how often, for how long, and what the
//! answers must be, in types that cannot be wrong.

mod check;

use std::path::PathBuf;
use std::time::Duration;

use toml::Table;

#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub title: String,
    /// What it is about, for the report.
    pub about: String,
    /// Where its paths begin; absolute.
    pub folder: PathBuf,
    /// Decides arrivals, and with which query the texts begin.
    pub seed: u64,
    pub stage: Stage,
    pub target: TargetSettings,
    pub request: RequestSettings,
    pub load: Load,
    pub window: WindowSettings,
    pub corpus: CorpusSettings,
    pub runs: RunsSettings,
    pub verify: Option<VerifySettings>,
    /// Share of the measured requests that may end in an error (refusals do not
    /// count) before the benchmark counts as failed.
    pub errors_max: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A server, over HTTP.
    Whole,
    /// The tokenizer threads alone, in this process.
    TokenizeOnly,
    /// Batcher, replicas and engine alone, in this process, on pairs that were
    /// tokenized before.
    InferenceOnly,
    /// A route's chain of policies alone, in this process, before a model that
    /// answers at once.
    PolicyOnly,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TargetSettings {
    pub place: Place,
    /// The first of these that can be had is served by the default model.
    pub models: Vec<String>,
    pub access: Access,
    /// Time in which the target must be ready.
    pub ready_ms_max: Duration,
}

/// What it takes to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Name of the environment variable that holds the API key.
    pub key_env: Option<String>,
    /// PEM file of the authorities that sign for servers; the public ones if absent.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// A server that somebody else runs.
    Url { base: String, metrics: Option<String> },
    /// A server that is started for the benchmark: a configuration file, and
    /// what differs from it; or several such processes, asked in turn.
    Started { config: Option<PathBuf>, settings: Table, processes: usize },
}

#[derive(Debug, Clone, PartialEq)]
pub struct RequestSettings {
    pub dialect: Dialect,
    /// The default route if absent.
    pub route: Option<String>,
    /// What the body says as `model`, for servers that want to hear one.
    pub model: Option<String>,
    pub documents: usize,
    /// Share of the requests that are part of a trace which their sender records.
    pub traced_share: f64,
    /// What a client waits before it gives up.
    pub timeout_ms: Duration,
}

/// As whose client requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Tei,
    Cohere,
    Jina,
    Voyage,
    Vllm,
    Infinity,
}

/// When requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// So many clients, each of which sends when it has its answer.
    Closed { clients: usize },
    /// At fixed times.
    Fixed { per_second: f64, in_flight_max: usize },
    /// At random times, as from many clients that know nothing of each other.
    Poisson { per_second: f64, in_flight_max: usize },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowSettings {
    /// Time before the window, under the same load, of which nothing counts.
    pub warmup_ms: Duration,
    pub extent: Extent,
    /// How often the time series has a point.
    pub interval_ms: Duration,
}

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    Time(Duration),
    Requests(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CorpusSettings {
    pub source: TextSource,
    /// Passages that are made or read.
    pub passages: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TextSource {
    Generated,
    EqualLength { words: usize },
    Lines { passages: PathBuf, queries: PathBuf },
    Beir(PathBuf),
    Trec(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunsSettings {
    pub repeats: usize,
    pub order: Order,
    /// Servers with different settings that are kept running at a time.
    pub servers_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One window of each variant, and again: what the machine does meanwhile
    /// happens to all of them.
    Interleaved,
    /// All windows of a variant, then the next one.
    InTurn,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// Files of stored scores; the one of the model that is served counts.
    pub samples: Vec<PathBuf>,
    /// Whether it is an error if none of them is of what is served. Reports say
    /// what was not verified.
    pub required: bool,
    /// Difference of logits up to which a score is right.
    pub tolerance: f64,
}

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Tei => "tei",
            Dialect::Cohere => "cohere",
            Dialect::Jina => "jina",
            Dialect::Voyage => "voyage",
            Dialect::Vllm => "vllm",
            Dialect::Infinity => "infinity",
        }
    }
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Whole => "whole",
            Stage::TokenizeOnly => "tokenize-only",
            Stage::InferenceOnly => "inference-only",
            Stage::PolicyOnly => "policy-only",
        }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Load::Closed { clients: 1 } => write!(f, "closed loop, 1 client"),
            Load::Closed { clients } => write!(f, "closed loop, {clients} clients"),
            Load::Fixed { per_second, .. } => {
                write!(f, "open loop, {per_second} requests/s at fixed times")
            }
            Load::Poisson { per_second, .. } => {
                write!(f, "open loop, {per_second} requests/s at random times (Poisson)")
            }
        }
    }
}
