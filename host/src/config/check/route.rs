//! `[routes.NAME]`: a model with a chain in front, and which route is the default.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::faults::Check;
use crate::config::raw::{RawLink, RawRoute};
use crate::config::{
    Filtered, LinkSettings, ModelSettings, OnFailure, PolicySettings, RouteSettings,
};

impl Check {
    pub(super) fn route(
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
            let model = key("model");
            self.fault(&model, format!("`{model}` is not set, and there are several models"));
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

    pub(super) fn link(
        &mut self,
        key: &str,
        raw: &RawLink,
        policies: &BTreeMap<Arc<str>, PolicySettings>,
    ) -> LinkSettings {
        let mut params = BTreeMap::new();
        if let RawLink::With(with) = raw {
            if with.policy.is_empty() {
                self.fault(key, format!("`{key}` has a link without a `policy`"));
            }
            for (name, value) in &with.params {
                params.insert(name.clone(), self.param(key, name, value));
            }
        }
        LinkSettings { policy: self.known(key, raw.policy(), "policy", policies), params }
    }

    /// Guests read parameters as text.
    pub(super) fn param(&mut self, key: &str, name: &str, value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                value.to_string()
            }
            other => {
                let found = other.type_str();
                self.fault(key, format!(
                    "`{key}`: the parameter `{name}` is of type {found}; it must be a string, a number or a boolean"
                ));
                String::new()
            }
        }
    }

    pub(super) fn default_route(
        &mut self,
        name: Option<&str>,
        routes: &BTreeMap<Arc<str>, RouteSettings>,
    ) -> Arc<str> {
        match name {
            Some(name) => self.known("default_route", name, "route", routes),
            None => {
                let key = "default_route";
                self.fault(key, format!("`{key}` is not set, and there are several routes"));
                Arc::from("")
            }
        }
    }
}
