//! `[server]`: listeners and what one client may do to them.

use super::faults::{Check, GIB, HOUR_MS, KIB, MIB};
use crate::config::raw::RawServer;
use crate::config::{ReloadOn, ServerSettings, TlsSettings};

impl Check {
    pub(super) fn server(&mut self, raw: &RawServer) -> ServerSettings {
        let listen = self.address("server.listen", &raw.listen);
        let ops_listen = self.address("server.ops_listen", &raw.ops_listen);
        // With port 0 each gets one that is free, and one that is no address was told.
        if listen == ops_listen && listen.port() != 0 {
            let key = "server.ops_listen";
            self.fault(key, format!(
                "`{key}` and `server.listen` are both {listen}; each needs an address of its own"
            ));
        }
        ServerSettings {
            listen,
            ops_listen,
            ops_hosts: self.hosts("server.ops_hosts", &raw.ops_hosts),
            connections_max: self.within(
                "server.connections_max",
                raw.connections_max,
                1..=1_000_000,
                "connections",
            ),
            streams_max: self.within("server.streams_max", raw.streams_max, 1..=10_000, "requests"),
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
            drain_wait_ms: self.ms("server.drain_wait_ms", raw.drain_wait_ms, 0..=HOUR_MS),
            reload: self.one_of(
                "server.reload",
                &raw.reload,
                &[("auto", ReloadOn::Auto), ("signal", ReloadOn::Signal), ("off", ReloadOn::Off)],
            ),
            reload_poll_ms: self.ms("server.reload_poll_ms", raw.reload_poll_ms, 10..=HOUR_MS),
            tls: raw
                .tls
                .as_ref()
                .map(|tls| TlsSettings { cert: tls.cert.clone(), key: tls.key.clone() }),
        }
    }

    /// Names of hosts, without a scheme or a port.
    fn hosts(&mut self, key: &str, names: &[String]) -> Vec<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        for name in names {
            if name.is_empty() || !name.chars().all(plain) {
                self.fault(key, format!(
                    "`{key}` has \"{name}\"; it must have names of hosts alone, like ops.example.com"
                ));
            }
        }
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    }
}
