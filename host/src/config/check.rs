//! From what people write to [`Settings`] that cannot be wrong. Every fault is
//! found, not only the first; each message names the key, the value and what is
//! allowed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::raw::{
    DEFAULT_ROUTE, Raw, RawLimits, RawLink, RawModel, RawPolicy, RawRoute, RawSandbox, RawServer,
    nearest,
};
use super::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;
const HOUR_MS: u64 = 3_600_000;

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the configuration is not usable:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

/// Checks a configuration and fills in what depends on the machine, so that
/// `raw` then shows what is in force.
pub fn check(raw: &mut Raw) -> Result<Settings, Faults> {
    let mut check = Check::default();
    fill(raw);
    let models: BTreeMap<Arc<str>, ModelSettings> = raw
        .models
        .iter_mut()
        .map(|(name, model)| (Arc::from(name.as_str()), check.model(name, model)))
        .collect();
    let policies: BTreeMap<Arc<str>, PolicySettings> = raw
        .policies
        .iter()
        .map(|(name, policy)| (Arc::from(name.as_str()), check.policy(name, policy)))
        .collect();
    let routes: BTreeMap<Arc<str>, RouteSettings> = raw
        .routes
        .iter_mut()
        .map(|(name, route)| {
            (Arc::from(name.as_str()), check.route(name, route, &models, &policies))
        })
        .collect();
    let settings = Settings {
        server: check.server(&raw.server),
        sandbox: check.sandbox(&raw.sandbox),
        default_route: check.default_route(raw.default_route.as_deref(), &routes),
        models,
        policies,
        routes,
    };
    if check.faults.is_empty() { Ok(settings) } else { Err(Faults(check.faults)) }
}

/// One model and one route are there even if nobody wrote them.
fn fill(raw: &mut Raw) {
    if raw.models.is_empty() {
        raw.models.insert("default".into(), RawModel::default());
    }
    if raw.routes.is_empty() {
        raw.routes.insert(DEFAULT_ROUTE.into(), RawRoute::default());
    }
    if raw.default_route.is_none() {
        let only = raw.routes.keys().next().filter(|_| raw.routes.len() == 1);
        let named = raw.routes.contains_key(DEFAULT_ROUTE).then(|| DEFAULT_ROUTE.to_owned());
        raw.default_route = named.or(only.cloned());
    }
}

#[derive(Default)]
struct Check {
    faults: Vec<String>,
}

impl Check {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn within<N: PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        value: N,
        allowed: RangeInclusive<N>,
        unit: &str,
    ) -> N {
        if !allowed.contains(&value) {
            let (least, most) = (allowed.start(), allowed.end());
            self.fault(format!("`{key}` is {value}; it must be {least} to {most} {unit}"));
        }
        value
    }

    fn ms(&mut self, key: &str, value: u64, allowed: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(key, value, allowed, "ms"))
    }

    /// A word out of a short list.
    fn one_of<T: Copy>(&mut self, key: &str, value: &str, known: &[(&str, T)]) -> T {
        if let Some((_, meaning)) = known.iter().find(|(word, _)| *word == value) {
            return *meaning;
        }
        let words: Vec<_> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.fault(format!("`{key}` is \"{value}\"; it must be one of {}", words.join(", ")));
        known[0].1
    }

    fn address(&mut self, key: &str, value: &str) -> SocketAddr {
        value.parse().unwrap_or_else(|_| {
            self.fault(format!(
                "`{key}` is \"{value}\"; it must be an address and a port, like 127.0.0.1:8787"
            ));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn name(&mut self, key: &str, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            self.fault(format!(
                "`{key}` has the name \"{name}\"; a name is 1 to 64 letters, digits, `-`, `_` or `.`"
            ));
        }
    }

    fn server(&mut self, raw: &RawServer) -> ServerSettings {
        ServerSettings {
            listen: self.address("server.listen", &raw.listen),
            ops_listen: self.address("server.ops_listen", &raw.ops_listen),
            connections_max: self.within(
                "server.connections_max",
                raw.connections_max,
                1..=1_000_000,
                "connections",
            ),
            header_bytes_max: self.within(
                "server.header_bytes_max",
                raw.header_bytes_max,
                8 * KIB..=MIB,
                "bytes",
            ),
            body_bytes_max: self.within(
                "server.body_bytes_max",
                raw.body_bytes_max,
                KIB..=GIB,
                "bytes",
            ),
            bodies_bytes_max: self.within(
                "server.bodies_bytes_max",
                raw.bodies_bytes_max,
                raw.body_bytes_max..=1024 * GIB,
                "bytes (the least is one body, `server.body_bytes_max`)",
            ),
            read_ms_max: self.ms("server.read_ms_max", raw.read_ms_max, 10..=HOUR_MS),
            idle_ms_max: self.ms("server.idle_ms_max", raw.idle_ms_max, 10..=HOUR_MS),
            request_ms_max: self.ms("server.request_ms_max", raw.request_ms_max, 1..=HOUR_MS),
            documents_max: self.within(
                "server.documents_max",
                raw.documents_max,
                1..=1_000_000,
                "documents",
            ),
            fields_max: self.within("server.fields_max", raw.fields_max, 0..=10_000, "fields"),
            queries_at_once: self.within(
                "server.queries_at_once",
                raw.queries_at_once,
                1..=10_000,
                "queries",
            ),
            drain_ms_max: self.ms("server.drain_ms_max", raw.drain_ms_max, 0..=HOUR_MS),
        }
    }

    fn sandbox(&mut self, raw: &RawSandbox) -> SandboxSettings {
        let cache_dir = match (raw.cache, &raw.cache_dir) {
            (false, _) => None,
            (true, Some(folder)) => Some(folder.clone()),
            (true, None) => dirs::cache_dir().map(|cache| cache.join("maitred").join("compiled")),
        };
        SandboxSettings {
            instances_max: self.within(
                "sandbox.instances_max",
                raw.instances_max,
                1..=4096,
                "instances",
            ),
            tick_ms: self.ms("sandbox.tick_ms", raw.tick_ms, 1..=1000),
            cache_dir,
        }
    }

    fn model(&mut self, name: &str, raw: &mut RawModel) -> ModelSettings {
        let key = |field: &str| format!("models.{name}.{field}");
        self.name("models", name);
        if raw.source.is_empty() {
            self.fault(format!("`{}` is empty; it must be a folder or a hub id", key("source")));
        }
        let device = self.one_of(
            &key("device"),
            &raw.device,
            &[
                ("auto", DeviceKind::Auto),
                ("cpu", DeviceKind::Cpu),
                ("metal", DeviceKind::Metal),
                ("cuda", DeviceKind::Cuda),
            ],
        );
        // One replica a GPU, since replicas of one device take turns; on the CPU
        // one single-threaded replica a core.
        let gpu = match device {
            DeviceKind::Metal | DeviceKind::Cuda => true,
            DeviceKind::Auto => cfg!(any(feature = "metal", feature = "cuda")),
            DeviceKind::Cpu => false,
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let replicas = *raw.replicas.get_or_insert(if gpu { 1 } else { cores });
        let threads = *raw.replica_threads.get_or_insert(1);
        let tokenizers = *raw.tokenizers.get_or_insert(cores.min(8));
        let batch = &raw.batch;
        ModelSettings {
            source: raw.source.clone(),
            engine: self.one_of(
                &key("engine"),
                &raw.engine,
                &[("candle", EngineKind::Candle), ("candle-stock", EngineKind::CandleStock)],
            ),
            device,
            precision: self.one_of(
                &key("precision"),
                &raw.precision,
                &[
                    ("auto", Precision::Auto),
                    ("f32", Precision::F32),
                    ("f16", Precision::F16),
                    ("bf16", Precision::Bf16),
                ],
            ),
            replicas: self.within(&key("replicas"), replicas, 1..=1024, "replicas"),
            replica_threads: self.within(&key("replica_threads"), threads, 1..=1024, "threads"),
            length_max: raw
                .length_max
                .map(|length| self.within(&key("length_max"), length, 8..=131_072, "tokens")),
            truncation: self.one_of(
                &key("truncation"),
                &raw.truncation,
                &[
                    ("longest-first", Truncation::LongestFirst),
                    ("document-only", Truncation::DocumentOnly),
                    ("error", Truncation::Error),
                ],
            ),
            tokenizers: self.within(&key("tokenizers"), tokenizers, 1..=256, "threads"),
            batch: BatchSettings {
                queue_pairs_max: self.within(
                    &key("batch.queue_pairs_max"),
                    batch.queue_pairs_max,
                    1..=100_000_000,
                    "pairs",
                ),
                queue_tokens_max: self.within(
                    &key("batch.queue_tokens_max"),
                    batch.queue_tokens_max,
                    512..=100_000_000_000,
                    "tokens",
                ),
                batch_tokens_max: batch.batch_tokens_max.map(|tokens| {
                    self.within(&key("batch.batch_tokens_max"), tokens, 1..=10_000_000, "tokens")
                }),
                batch_pairs_max: self.within(
                    &key("batch.batch_pairs_max"),
                    batch.batch_pairs_max,
                    1..=65_536,
                    "pairs",
                ),
                batch_wait_ms: self.ms(
                    &key("batch.batch_wait_ms"),
                    batch.batch_wait_ms,
                    0..=10_000,
                ),
                queue_cuts_max: self.within(
                    &key("batch.queue_cuts_max"),
                    batch.queue_cuts_max,
                    1..=1_000_000,
                    "batches",
                ),
            },
            batch_ms_max: self.ms(&key("batch_ms_max"), raw.batch_ms_max, 100..=HOUR_MS),
            restart_ms: self.ms(&key("restart_ms"), raw.restart_ms, 1..=60_000),
        }
    }

    fn policy(&mut self, name: &str, raw: &RawPolicy) -> PolicySettings {
        self.name("policies", name);
        let known = [("clock", Grant::Clock), ("random", Grant::Random)];
        let key = format!("policies.{name}.grants");
        PolicySettings {
            component: raw.component.clone(),
            required: raw.required,
            grants: raw.grants.iter().map(|grant| self.one_of(&key, grant, &known)).collect(),
            limits: self.limits(name, &raw.limits),
        }
    }

    fn limits(&mut self, name: &str, raw: &RawLimits) -> PolicyLimits {
        let key = |field: &str| format!("policies.{name}.limits.{field}");
        PolicyLimits {
            cpu_ms_max: self.ms(&key("cpu_ms_max"), raw.cpu_ms_max, 1..=HOUR_MS),
            memory_bytes_max: self.within(
                &key("memory_bytes_max"),
                raw.memory_bytes_max,
                MIB..=4 * GIB - 1,
                "bytes",
            ),
            calls_max: self.within(&key("calls_max"), raw.calls_max, 1..=10_000, "calls"),
            log_bytes_max: self.within(&key("log_bytes_max"), raw.log_bytes_max, 0..=MIB, "bytes"),
        }
    }

    fn route(
        &mut self,
        name: &str,
        raw: &mut RawRoute,
        models: &BTreeMap<Arc<str>, ModelSettings>,
        policies: &BTreeMap<Arc<str>, PolicySettings>,
    ) -> RouteSettings {
        let key = |field: &str| format!("routes.{name}.{field}");
        self.name("routes", name);
        let amplification = if raw.policies.is_empty() { 1 } else { 4 };
        let amplification = *raw.amplification_max.get_or_insert(amplification);
        if raw.model.is_none() && models.len() == 1 {
            raw.model = models.keys().next().map(|only| only.to_string());
        }
        let model = raw.model.clone().unwrap_or_else(|| {
            self.fault(format!("`{}` is not set, and there are several models", key("model")));
            String::new()
        });
        RouteSettings {
            model: self.known(&key("model"), &model, "model", models),
            policies: raw
                .policies
                .iter()
                .map(|link| self.link(&key("policies"), link, policies))
                .collect(),
            on_failure: self.one_of(
                &key("on_failure"),
                &raw.on_failure,
                &[("fail", OnFailure::Fail), ("bypass", OnFailure::Bypass)],
            ),
            amplification_max: self.within(
                &key("amplification_max"),
                amplification,
                1..=1000,
                "times what the client sent",
            ),
            filtered: self.one_of(
                &key("filtered"),
                &raw.filtered,
                &[("omit", Filtered::Omit), ("last", Filtered::Last)],
            ),
            weight: self.within(&key("weight"), raw.weight, 1..=1000, "shares"),
        }
    }

    fn link(
        &mut self,
        key: &str,
        raw: &RawLink,
        policies: &BTreeMap<Arc<str>, PolicySettings>,
    ) -> LinkSettings {
        let mut params = BTreeMap::new();
        if let RawLink::With(with) = raw {
            for (name, value) in &with.params {
                params.insert(name.clone(), self.param(key, name, value));
            }
        }
        LinkSettings { policy: self.known(key, raw.policy(), "policy", policies), params }
    }

    /// Guests read parameters as text.
    fn param(&mut self, key: &str, name: &str, value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                value.to_string()
            }
            other => {
                let found = other.type_str();
                self.fault(format!(
                    "`{key}`: the parameter `{name}` is of type {found}; it must be a string, a number or a boolean"
                ));
                String::new()
            }
        }
    }

    /// A reference to something that is configured elsewhere.
    fn known<T>(
        &mut self,
        key: &str,
        name: &str,
        what: &str,
        there: &BTreeMap<Arc<str>, T>,
    ) -> Arc<str> {
        if !name.is_empty() && !there.contains_key(name) {
            let hint = match nearest(name, there.keys().map(|name| &**name)) {
                Some(nearest) => format!("; did you mean \"{nearest}\"?"),
                None if there.is_empty() => format!("; no {what} is configured"),
                None => String::new(),
            };
            self.fault(format!("`{key}` names \"{name}\", but there is no such {what}{hint}"));
        }
        Arc::from(name)
    }

    fn default_route(
        &mut self,
        name: Option<&str>,
        routes: &BTreeMap<Arc<str>, RouteSettings>,
    ) -> Arc<str> {
        match name {
            Some(name) => self.known("default_route", name, "route", routes),
            None => {
                self.fault("`default_route` is not set, and there are several routes".into());
                Arc::from("")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        let mut raw = Raw::parse(text)?;
        check(&mut raw).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_empty_file_serves_the_default_model() {
        let settings = settings("").unwrap();
        assert_eq!(&*settings.default_route, "default");
        let route = &settings.routes["default"];
        assert_eq!(settings.models[&route.model].source, super::super::raw::DEFAULT_MODEL);
        assert_eq!(route.amplification_max, 1, "nothing amplifies without a policy");
        assert_eq!(settings.models[&route.model].batch.batch_wait_ms, Duration::ZERO);
    }

    #[test]
    fn faults_name_the_key_the_value_and_what_is_allowed() {
        let check = |text: &str, expected: &str| {
            let fault = settings(text).unwrap_err();
            assert!(fault.contains(expected), "{text}\ngave: {fault}\nnot: {expected}");
        };
        check("lisen = 1", "line 1: unknown key `lisen`");
        check("[server]\nlisten_ops = 'x'", "unknown key `listen_ops`; did you mean `listen`?");
        check(
            "[server]\nbody_bytes_max = 4096\nbodies_bytes_max = 4095",
            "`server.bodies_bytes_max` is 4095; it must be 4096 to 1099511627776 bytes (the least is one body, `server.body_bytes_max`)",
        );
        check(
            "[server]\nbody_bytes_max = 12",
            "`server.body_bytes_max` is 12; it must be 1024 to 1073741824 bytes",
        );
        check(
            "[server]\nlisten = 'here'",
            "`server.listen` is \"here\"; it must be an address and a port",
        );
        check("[server]\nrequest_ms_max = -1", "line 2");
        check(
            "[models.a]\nengine = 'candel'",
            "`models.a.engine` is \"candel\"; it must be one of \"candle\"",
        );
        check(
            "[models.a]\nreplicas = 0",
            "`models.a.replicas` is 0; it must be 1 to 1024 replicas",
        );
        check("[models.'a b']", "has the name \"a b\"");
        check("[models.a.batch]\nbatch_wait = 5", "did you mean `batch_wait_ms`?");
        check(
            "[models.a]\n[models.b]\n[routes.r]",
            "`routes.r.model` is not set, and there are several models",
        );
        check(
            "[models.mini]\n[routes.r]\nmodel = 'minni'",
            "`routes.r.model` names \"minni\", but there is no such model; did you mean \"mini\"?",
        );
        check(
            "[routes.r]\npolicies = ['x']",
            "`routes.r.policies` names \"x\", but there is no such policy; no policy is configured",
        );
        check("[routes.a]\n[routes.b]", "`default_route` is not set, and there are several routes");
        check("default_route = 'x'", "`default_route` names \"x\"");
        check("[policies.p]", "missing field `component`");
        check(
            "[policies.p]\ncomponent = 'p.wasm'\ngrants = ['files']",
            "`policies.p.grants` is \"files\"; it must be one of \"clock\", \"random\"",
        );
        check("[routes.r]\non_failure = 'open'", "one of \"fail\", \"bypass\"");
        check(
            "[policies.p]\ncomponent = 'p.wasm'\n[routes.r]\npolicies = [{ policy = 'p', params = { a = [1] } }]",
            "the parameter `a` is of type array",
        );
    }

    #[test]
    fn every_fault_is_found() {
        let fault = settings("[server]\nconnections_max = 0\ndocuments_max = 0").unwrap_err();
        assert_eq!(fault.matches("\n  - ").count(), 2, "{fault}");
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let text = "[policies.p]\ncomponent = 'p.wasm'\n[routes.r]\npolicies = ['p', { policy = 'p', params = { a = 1, b = 'x', c = true } }]";
        let mut raw = Raw::parse(text).unwrap();
        let first = check(&mut raw).unwrap();
        let printed = raw.to_toml();
        let mut again = Raw::parse(&printed).unwrap();
        let second = check(&mut again).unwrap();
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        assert_eq!(again.to_toml(), printed);
        assert_eq!(first.routes["r"].policies[1].params["a"], "1");
        assert_eq!(first.routes["r"].amplification_max, 4);
    }
}
