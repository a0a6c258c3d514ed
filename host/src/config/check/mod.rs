//! From what people write to [`Settings`] that cannot be wrong. Every fault is
//! found, not only the first. Each file here owns the tables of one kind;
//! `faults` owns what can be wrong with a value.

mod caller;
mod faults;
mod model;
mod policy;
mod route;
mod server;
mod telemetry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::faults::Check;
pub use self::faults::Faults;
use super::raw::{DEFAULT_ROUTE, Raw, RawModel, RawRoute};
use super::{ModelSettings, PolicySettings, RouteSettings, Settings};

/// Checks a configuration and fills in what depends on the machine, so that
/// `raw` then shows what is in force.
pub fn check(raw: &mut Raw) -> Result<Settings, Faults> {
    let mut check = Check { origins: raw.origins.clone(), faults: Vec::new() };
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
    let server = check.server(&raw.server);
    let settings = Settings {
        callers: check.callers(raw, &server, &routes),
        server,
        sandbox: check.sandbox(&raw.sandbox),
        telemetry: check.telemetry(&raw.telemetry),
        default_route: check.default_route(raw.default_route.as_deref(), &routes),
        models,
        policies,
        routes,
    };
    if check.faults.is_empty() {
        Ok(settings)
    } else {
        Err(Faults { file: raw.origins.file.clone(), faults: check.faults })
    }
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
