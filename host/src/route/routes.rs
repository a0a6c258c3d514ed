//! Which route serves whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Route;
use crate::rerank::Error;

/// Every route of a server.
pub struct Routes {
    routes: BTreeMap<Arc<str>, Arc<Route>>,
    default: Arc<str>,
}

impl Routes {
    /// `default` names one of `routes`.
    pub fn new(routes: impl IntoIterator<Item = Route>, default: Arc<str>) -> Self {
        let routes: BTreeMap<_, _> =
            routes.into_iter().map(|route| (route.name.clone(), Arc::new(route))).collect();
        assert!(routes.contains_key(&default), "the configuration was checked");
        Routes { routes, default }
    }

    /// Only those of these names, as if there were no others. The default route
    /// stays the default if it is among them; else it is the first of `names`,
    /// each of which is that of a route.
    pub fn only(&self, names: &[Arc<str>]) -> Self {
        let default = match names.contains(&self.default) {
            true => self.default.clone(),
            false => names[0].clone(),
        };
        let named = names.iter().map(|name| (name.clone(), self.routes[name].clone()));
        Routes { routes: named.collect(), default }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    pub fn default_route(&self) -> &Arc<Route> {
        &self.routes[&self.default]
    }

    pub fn named(&self, name: &str) -> Result<&Arc<Route>, Error> {
        self.routes.get(name).ok_or_else(|| {
            let known: Vec<_> = self.routes.keys().map(|name| format!("`{name}`")).collect();
            Error::NotFound(format!("no route is named `{name}`; there are {}", known.join(", ")))
        })
    }

    /// The route of a request that carries `model`: a route of that name; else
    /// the default one, if the name is that of its model, so that a client
    /// configured with the model's own name works unchanged.
    pub fn for_model(&self, model: Option<&str>) -> Result<&Arc<Route>, Error> {
        let Some(model) = model else {
            return Ok(self.default_route());
        };
        if let Some(route) = self.routes.get(model) {
            return Ok(route);
        }
        let default = self.default_route();
        if default.model.is_named(model) {
            return Ok(default);
        }
        self.routes.values().find(|route| route.model.is_named(model)).ok_or_else(|| {
            let known: Vec<_> = self.routes.keys().map(|name| format!("`{name}`")).collect();
            Error::NotFound(format!(
                "no route or model is named `{model}`; the routes are {}",
                known.join(", ")
            ))
        })
    }
}
