//! Checks `[callers]`, and that a server which anyone can reach was meant to
//! serve anyone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Check;
use crate::config::callers::{
    CallerSettings, KEY_PREFIX, KeyHash, PriorityMax, RateSettings, RawCaller,
};
use crate::config::{Raw, RouteSettings, ServerSettings};

/// Pairs a second, and pairs at once.
const PAIRS_MAX: u64 = 10_000_000;

impl Check {
    pub(super) fn callers(
        &mut self,
        raw: &mut Raw,
        server: &ServerSettings,
        routes: &BTreeMap<Arc<str>, RouteSettings>,
    ) -> BTreeMap<Arc<str>, CallerSettings> {
        self.anonymous(raw, server);
        let mut holders = BTreeMap::new();
        let callers = raw.callers.iter_mut();
        callers
            .map(|(name, raw)| {
                let caller = self.caller(name, raw, server, routes);
                for key in &caller.keys {
                    if let Some(other) = holders.insert(key.id.clone(), name.clone()) {
                        let id = &key.id;
                        let key = format!("callers.{name}.keys");
                        self.fault(&key, format!(
                            "`callers.{name}.keys` has a key with the id {id}, which `callers.{other}.keys` has already; a key belongs to one caller"
                        ));
                    }
                }
                (Arc::from(name.as_str()), caller)
            })
            .collect()
    }

    /// Whether everyone may call is never an accident.
    fn anonymous(&mut self, raw: &Raw, server: &ServerSettings) {
        let (callers, anonymous) = (!raw.callers.is_empty(), raw.server.anonymous);
        if callers && anonymous {
            self.fault(
                "server.anonymous",
                "`server.anonymous` is true, but there are callers; with callers every request needs a key".into(),
            );
        }
        if !callers && !anonymous && !server.listen.ip().is_loopback() {
            self.fault("server.listen", format!(
                "`server.listen` is \"{}\", which others can reach, and there are no callers; add one (`maitred key new --caller NAME`), listen on 127.0.0.1, or say `server.anonymous = true` if everyone may call",
                server.listen
            ));
        }
    }

    fn caller(
        &mut self,
        name: &str,
        raw: &mut RawCaller,
        server: &ServerSettings,
        routes: &BTreeMap<Arc<str>, RouteSettings>,
    ) -> CallerSettings {
        let key = |field: &str| format!("callers.{name}.{field}");
        self.name("callers", name);
        let allowed = raw.routes.as_ref().map(|names| {
            if names.is_empty() {
                let key = key("routes");
                let fault = "is empty; it must name a route, or be left out to allow all";
                self.fault(&key, format!("`{key}` {fault}"));
            }
            names.iter().map(|name| self.known(&key("routes"), name, "route", routes)).collect()
        });
        let known = [
            ("low", PriorityMax::Low),
            ("normal", PriorityMax::Normal),
            ("high", PriorityMax::High),
        ];
        CallerSettings {
            keys: self.keys(&key("keys"), &raw.keys),
            routes: allowed,
            rate: self.rate(key, raw, server.documents_max as u64),
            priority_max: self.one_of(&key("priority_max"), &raw.priority_max, &known),
        }
    }

    fn keys(&mut self, key: &str, raw: &[String]) -> Vec<KeyHash> {
        let hashes = raw.iter().enumerate().filter_map(|(index, text)| {
            let hash = KeyHash::parse(text);
            if hash.is_none() {
                // What may be a key itself is not repeated: faults end up in logs.
                let is = match text.contains(KEY_PREFIX) {
                    true => "seems to be a key itself, which belongs in no file".to_owned(),
                    false => format!("is \"{}\"", text.escape_debug()),
                };
                self.fault(key, format!(
                    "`{key}[{index}]` {is}; it must be a hash as `maitred key new` and `maitred key hash` print it, sha256:ID:DIGITS"
                ));
            }
            hash
        });
        hashes.collect()
    }

    fn rate(
        &mut self,
        key: impl Fn(&str) -> String,
        raw: &mut RawCaller,
        documents_max: u64,
    ) -> Option<RateSettings> {
        let Some(pairs_per_second) = raw.pairs_per_second else {
            if raw.pairs_burst.is_some() {
                let (burst, rate) = (key("pairs_burst"), key("pairs_per_second"));
                self.fault(&burst, format!("`{burst}` is set, but `{rate}` is not"));
            }
            return None;
        };
        let burst = *raw.pairs_burst.get_or_insert(pairs_per_second.max(documents_max));
        let allowed = 1..=PAIRS_MAX;
        Some(RateSettings {
            pairs_per_second: self.within(
                &key("pairs_per_second"),
                pairs_per_second,
                allowed.clone(),
                "pairs a second",
            ),
            pairs_burst: self.within(&key("pairs_burst"), burst, allowed, "pairs"),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Raw, Settings, check};

    const HASH: &str =
        "sha256:0a1b2c3d:6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090";

    fn settings(text: &str) -> Result<Settings, String> {
        let text = text.replace("HASH", HASH);
        let mut raw = Raw::parse(&text).map_err(|faults| faults.to_string())?;
        check(&mut raw).map_err(|faults| faults.to_string())
    }

    #[test]
    fn callers_are_checked() {
        let check = |text: &str, expected: &str| {
            let fault = settings(text).unwrap_err();
            assert!(fault.contains(expected), "{text}\ngave: {fault}\nnot: {expected}");
        };
        check("[callers.a]", "missing field `keys`");
        check("[callers.a]\nkeys = []\nroute = 'x'", "did you mean `routes`?");
        check("[callers.'a b']\nkeys = []", "`callers` has the name \"a b\"");
        check("[callers.a]\nkeys = ['abc']", "`callers.a.keys[0]` is \"abc\"; it must be a hash");
        check("[callers.a]\nkeys = ['HASH', 'HASH0']", "`callers.a.keys[1]` is \"sha256:0a1b");
        check(
            "[callers.a]\nkeys = ['HASH']\n[callers.b]\nkeys = ['HASH']",
            "has a key with the id 0a1b2c3d, which `callers.a.keys` has",
        );
        check("[callers.a]\nkeys = []\nroutes = []", "`callers.a.routes` is empty");
        check("[callers.a]\nkeys = []\nroutes = ['defalt']", "did you mean \"default\"?");
        check(
            "[callers.a]\nkeys = []\npriority_max = 'top'",
            "`callers.a.priority_max` is \"top\"; it must be one of \"low\", \"normal\", \"high\"",
        );
        check(
            "[callers.a]\nkeys = []\npairs_per_second = 0",
            "`callers.a.pairs_per_second` is 0; it must be 1 to 10000000 pairs a second",
        );
        check(
            "[callers.a]\nkeys = []\npairs_burst = 5",
            "`callers.a.pairs_burst` is set, but `callers.a.pairs_per_second` is not",
        );
        check("[server]\nanonymous = true\n[callers.a]\nkeys = []", "with callers every request");
        for open in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80"] {
            check(&format!("[server]\nlisten = '{open}'"), "there are no callers; add one");
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_repeated() {
        let key = "maitred_0a1b2c3d_0123456789abcdef";
        let fault = settings(&format!("[callers.a]\nkeys = ['{key}']")).unwrap_err();
        assert!(fault.contains("seems to be a key itself") && !fault.contains("0123"), "{fault}");
    }

    #[test]
    fn what_is_allowed_and_filled_in() {
        for open in ["[server]\nlisten = '127.0.0.2:1'", "[server]\nlisten = '[::1]:1'"] {
            assert!(settings(open).unwrap().callers.is_empty());
        }
        settings("[server]\nlisten = '0.0.0.0:1'\nanonymous = true").unwrap();
        settings("[server]\nlisten = '0.0.0.0:1'\n[callers.a]\nkeys = []").unwrap();
        let text = "[callers.a]\nkeys = ['HASH']\npairs_per_second = 50\n[callers.b]\nkeys = []\npairs_per_second = 5000";
        let settings = settings(text).unwrap();
        let caller = &settings.callers["a"];
        assert_eq!(caller.keys[0].to_string(), HASH);
        assert_eq!(&*caller.keys[0].id, "0a1b2c3d");
        assert!(caller.routes.is_none());
        assert_eq!(caller.rate.unwrap().pairs_burst, 1000, "the largest request");
        assert_eq!(settings.callers["b"].rate.unwrap().pairs_burst, 5000, "one second");
    }
}
