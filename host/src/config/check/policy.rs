//! `[policies.NAME]` and `[sandbox]`: components, and what they may use.

use std::path::PathBuf;

use super::faults::{Check, GIB, HOUR_MS, KIB, MIB};
use crate::config::raw::{RawLimits, RawPolicy, RawSandbox};
use crate::config::{
    Grant, POLICY_MEMORY_BYTES_MAX, PolicyLimits, PolicySettings, SandboxSettings,
};

/// Each may have 33 stacks, which take two mappings each, and Linux gives a process 65530.
const INSTANCES_MAX: u32 = 768;

impl Check {
    pub(super) fn sandbox(&mut self, raw: &RawSandbox) -> SandboxSettings {
        let cache_dir = match (raw.cache, &raw.cache_dir) {
            (false, _) => None,
            (true, Some(folder)) => Some(folder.clone()),
            (true, None) => dirs::cache_dir().map(|cache| cache.join("maitred").join("compiled")),
        };
        SandboxSettings {
            instances_max: self.within(
                "sandbox.instances_max",
                raw.instances_max,
                1..=INSTANCES_MAX,
                "instances",
            ),
            tick_ms: self.ms("sandbox.tick_ms", raw.tick_ms, 1..=1000),
            component_bytes_max: self.within(
                "sandbox.component_bytes_max",
                raw.component_bytes_max,
                KIB as u64..=GIB as u64,
                "bytes",
            ),
            cache_dir,
        }
    }

    pub(super) fn policy(&mut self, name: &str, raw: &RawPolicy) -> PolicySettings {
        self.name("policies", name);
        let known = [("clock", Grant::Clock), ("random", Grant::Random)];
        if raw.component == PathBuf::new() {
            let key = format!("policies.{name}.component");
            self.fault(&key, format!("`{key}` is not set; it must be the path of a component"));
        }
        let key = format!("policies.{name}.grants");
        PolicySettings {
            component: raw.component.clone(),
            required: raw.required,
            grants: raw.grants.iter().map(|grant| self.one_of(&key, grant, &known)).collect(),
            limits: self.limits(name, &raw.limits),
        }
    }

    pub(super) fn limits(&mut self, name: &str, raw: &RawLimits) -> PolicyLimits {
        let key = |field: &str| format!("policies.{name}.limits.{field}");
        PolicyLimits {
            cpu_ms_max: self.ms(&key("cpu_ms_max"), raw.cpu_ms_max, 1..=HOUR_MS),
            memory_bytes_max: self.within(
                &key("memory_bytes_max"),
                raw.memory_bytes_max,
                MIB..=POLICY_MEMORY_BYTES_MAX,
                "bytes",
            ),
            calls_max: self.within(&key("calls_max"), raw.calls_max, 1..=10_000, "calls"),
            log_bytes_max: self.within(&key("log_bytes_max"), raw.log_bytes_max, 0..=MIB, "bytes"),
        }
    }
}
