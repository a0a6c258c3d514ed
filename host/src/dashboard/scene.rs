//! What is served at a moment, and what the process has used: what the page shows
//! beside metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::route::{Route, Routes};

/// What is served, as it is now.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// How many configurations the process has served, this one included.
    pub generation: u64,
    pub draining: bool,
    /// Whether clients need a key.
    pub callers: bool,
    pub default_route: Arc<str>,
    pub routes: Vec<RouteScene>,
    pub models: BTreeMap<Arc<str>, ModelScene>,
    pub usage: Usage,
}

#[derive(Debug, Clone)]
pub struct RouteScene {
    pub name: Arc<str>,
    pub model: Arc<str>,
    /// `name@version`, outermost first.
    pub policies: Vec<String>,
    /// Whether the plain model answers for a chain that fails.
    pub bypasses: bool,
}

#[derive(Debug, Clone)]
pub struct ModelScene {
    /// The folder or hub id.
    pub source: Arc<str>,
    pub precision: &'static str,
    pub ready: bool,
    pub batch_tokens_max: usize,
    /// What each is doing: `starting`, `idle`, `busy` or `failed`.
    pub replicas: Vec<&'static str>,
}

impl Scene {
    pub fn of(routes: &Routes, generation: u64, draining: bool) -> Scene {
        let route = |route: &Arc<Route>| RouteScene {
            name: route.name.clone(),
            model: route.model.name(),
            policies: route.policies.clone(),
            bypasses: route.bypasses,
        };
        let model = |route: &Arc<Route>| {
            let info = route.model.info();
            let model = ModelScene {
                source: info.source,
                precision: info.traits.precision,
                ready: route.model.ready(),
                batch_tokens_max: info.traits.batch_tokens_max,
                replicas: info.replicas,
            };
            (info.name, model)
        };
        Scene {
            generation,
            draining,
            callers: false,
            default_route: routes.default_route().name.clone(),
            routes: routes.iter().map(route).collect(),
            models: routes.iter().map(model).collect(),
            usage: Usage::now(),
        }
    }
}

/// What this process has used, where the system says so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU time of all its threads since it began.
    pub cpu: Option<Duration>,
    /// Memory that is resident.
    pub memory_bytes: Option<u64>,
}

impl Usage {
    fn now() -> Usage {
        Usage { cpu: cpu(), memory_bytes: memory_bytes() }
    }
}

fn cpu() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// The second number of proc(5)'s `statm`, which is in pages.
#[cfg(target_os = "linux")]
fn memory_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
fn memory_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::now();
        assert!(usage.cpu.is_some_and(|cpu| cpu > Duration::ZERO), "{usage:?}");
        #[cfg(target_os = "linux")]
        assert!(usage.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{usage:?}");
    }
}
