//! The configuration as people write it: `maitred.toml`, with every default.
//! It may contradict itself; `check` finds out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::callers::RawCaller;
use super::origin::Origins;

/// The model that is served if nobody names one.
pub const DEFAULT_MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-6-v2";
/// The route that is made if nobody configures one.
pub const DEFAULT_ROUTE: &str = "default";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    #[serde(skip)]
    pub origins: Origins,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_route: Option<String>,
    pub server: RawServer,
    pub sandbox: RawSandbox,
    pub telemetry: RawTelemetry,
    pub models: BTreeMap<String, RawModel>,
    pub policies: BTreeMap<String, RawPolicy>,
    pub routes: BTreeMap<String, RawRoute>,
    pub callers: BTreeMap<String, RawCaller>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawServer {
    pub listen: String,
    pub ops_listen: String,
    pub ops_hosts: Vec<String>,
    /// Whether everyone who reaches `listen` may call without a key. Needed only
    /// where others reach it (it is no loopback address) and there are no callers.
    pub anonymous: bool,
    pub connections_max: usize,
    pub streams_max: u32,
    pub header_bytes_max: usize,
    pub body_bytes_max: usize,
    pub bodies_bytes_max: usize,
    pub read_ms_max: u64,
    pub idle_ms_max: u64,
    pub request_ms_max: u64,
    pub documents_max: usize,
    pub fields_max: usize,
    pub queries_at_once: usize,
    pub drain_ms_max: u64,
    pub drain_wait_ms: u64,
    pub reload: String,
    pub reload_poll_ms: u64,
    /// Encrypts the public listener; it speaks in clear if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RawTls>,
}

impl Default for RawServer {
    fn default() -> Self {
        RawServer {
            listen: "127.0.0.1:8787".into(),
            ops_listen: "127.0.0.1:8788".into(),
            ops_hosts: Vec::new(),
            anonymous: false,
            connections_max: 1024,
            streams_max: 200,
            header_bytes_max: 16 * 1024,
            body_bytes_max: 16 * 1024 * 1024,
            bodies_bytes_max: 256 * 1024 * 1024,
            read_ms_max: 10_000,
            idle_ms_max: 75_000,
            request_ms_max: 30_000,
            documents_max: 1000,
            fields_max: 64,
            queries_at_once: 16,
            drain_ms_max: 20_000,
            drain_wait_ms: 0,
            reload: "auto".into(),
            reload_poll_ms: 1000,
            tls: None,
        }
    }
}

/// Both files are looked at every few seconds; a change takes effect for new
/// connections.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// File with the certificate and those that lead to a root, in PEM, its own
    /// first.
    pub cert: PathBuf,
    /// File with the certificate's private key, in PEM without a password.
    pub key: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSandbox {
    pub instances_max: u32,
    pub tick_ms: u64,
    pub component_bytes_max: u64,
    /// Whether compiled components are kept between starts.
    pub cache: bool,
    /// Where; the user's cache folder if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}

impl Default for RawSandbox {
    fn default() -> Self {
        RawSandbox {
            instances_max: 256,
            tick_ms: 5,
            component_bytes_max: 64 * 1024 * 1024,
            cache: true,
            cache_dir: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTelemetry {
    /// Nothing is traced if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    pub sample_ratio: f64,
    pub service_name: String,
    pub queue_spans_max: usize,
    pub export_ms: u64,
    pub export_ms_max: u64,
}

impl Default for RawTelemetry {
    fn default() -> Self {
        RawTelemetry {
            otlp_endpoint: None,
            sample_ratio: 1.0,
            service_name: "maitred".into(),
            queue_spans_max: 8192,
            export_ms: 1000,
            export_ms_max: 10_000,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawModel {
    pub source: String,
    pub engine: String,
    pub device: String,
    pub precision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_max: Option<usize>,
    pub truncation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizers: Option<usize>,
    pub batch_ms_max: u64,
    pub restart_ms: u64,
    pub batch: RawBatch,
}

impl Default for RawModel {
    fn default() -> Self {
        RawModel {
            source: DEFAULT_MODEL.into(),
            engine: "auto".into(),
            device: "auto".into(),
            precision: "auto".into(),
            replicas: None,
            replica_threads: None,
            length_max: None,
            truncation: "longest-first".into(),
            tokenizers: None,
            batch_ms_max: 60_000,
            restart_ms: 100,
            batch: RawBatch::default(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawBatch {
    pub queue_pairs_max: u64,
    pub queue_tokens_max: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_tokens_max: Option<usize>,
    pub batch_pairs_max: usize,
    pub batch_wait_ms: u64,
    pub queue_cuts_max: u32,
}

impl Default for RawBatch {
    fn default() -> Self {
        RawBatch {
            queue_pairs_max: 16_384,
            queue_tokens_max: 4_194_304,
            batch_tokens_max: None,
            batch_pairs_max: 256,
            batch_wait_ms: 0,
            queue_cuts_max: 1000,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    /// Empty if nobody wrote it, which `check` refuses.
    #[serde(default)]
    pub component: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    #[serde(default)]
    pub grants: Vec<String>,
    #[serde(default)]
    pub limits: RawLimits,
}

impl RawPolicy {
    pub fn at(component: PathBuf) -> Self {
        RawPolicy { component, required: None, grants: Vec::new(), limits: RawLimits::default() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    pub cpu_ms_max: u64,
    pub memory_bytes_max: usize,
    pub calls_max: u32,
    pub log_bytes_max: usize,
}

impl Default for RawLimits {
    fn default() -> Self {
        RawLimits {
            cpu_ms_max: 200,
            memory_bytes_max: 64 * 1024 * 1024,
            calls_max: 16,
            log_bytes_max: 16 * 1024,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRoute {
    /// Needed only where there are several models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub policies: Vec<RawLink>,
    pub on_failure: String,
    /// 4 for a route with policies, 1 without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amplification_max: Option<u64>,
    pub filtered: String,
    pub weight: u32,
}

impl Default for RawRoute {
    fn default() -> Self {
        RawRoute {
            model: None,
            policies: Vec::new(),
            on_failure: "fail".into(),
            amplification_max: None,
            filtered: "omit".into(),
            weight: 1,
        }
    }
}

/// `"dedupe"`, or `{ policy = "fresh", params = { half_life_days = 30 } }`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawLink {
    Name(String),
    With(RawLinkWith),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLinkWith {
    /// Empty if nobody wrote it, which `check` refuses.
    #[serde(default)]
    pub policy: String,
    #[serde(default)]
    pub params: BTreeMap<String, toml::Value>,
}

impl RawLink {
    pub fn policy(&self) -> &str {
        match self {
            RawLink::Name(name) => name,
            RawLink::With(with) => &with.policy,
        }
    }
}

impl Raw {
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration that was read can be written")
    }
}
