//! `[telemetry]`: traces, and the collector that receives them.

use super::faults::{Check, HOUR_MS};
use crate::config::TelemetrySettings;
use crate::config::raw::RawTelemetry;

impl Check {
    pub(super) fn telemetry(&mut self, raw: &RawTelemetry) -> TelemetrySettings {
        // Environments state an empty one where they mean none.
        let endpoint = raw.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        if let Some(endpoint) = endpoint
            && !is_http(endpoint)
        {
            let key = "telemetry.otlp_endpoint";
            self.fault(key, format!(
                "`{key}` is \"{endpoint}\"; it must be a URL like http://127.0.0.1:4318 (TLS is the collector's business)"
            ));
        }
        self.service_name(&raw.service_name);
        TelemetrySettings {
            otlp_endpoint: endpoint.map(String::from),
            sample_ratio: self.within(
                "telemetry.sample_ratio",
                raw.sample_ratio,
                0.0..=1.0,
                "of the requests",
            ),
            service_name: raw.service_name.clone(),
            queue_spans_max: self.within(
                "telemetry.queue_spans_max",
                raw.queue_spans_max,
                1..=1_000_000,
                "spans",
            ),
            export_ms: self.ms("telemetry.export_ms", raw.export_ms, 0..=HOUR_MS),
            export_ms_max: self.ms("telemetry.export_ms_max", raw.export_ms_max, 1..=HOUR_MS),
        }
    }

    fn service_name(&mut self, name: &str) {
        if name.is_empty() || name.len() > 255 {
            let key = "telemetry.service_name";
            self.fault(key, format!("`{key}` is \"{name}\"; it must be 1 to 255 bytes"));
        }
    }
}

/// Whether it is `http://` and the name of a host, whatever follows.
fn is_http(url: &str) -> bool {
    let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', ':']).next());
    host.is_some_and(|host| !host.is_empty()) && url.bytes().all(|b| b.is_ascii_graphic())
}
