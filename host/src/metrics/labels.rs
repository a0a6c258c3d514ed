//! The labels of every family, and which values they have: names out of the
//! configuration, or words of a short list. A client cannot make a series.

use prometheus_client::encoding::EncodeLabelSet;

/// A label, as `docs/metrics.md` tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    pub values: &'static str,
}

/// A set of labels that knows what is in it.
pub trait Labels {
    const LABELS: &'static [Label];
}

/// Declares sets of labels; what stands above a label goes to the table.
macro_rules! label_sets {
    ($($set:ident { $($(#[doc = $values:literal])+ $label:ident: $type:ty,)+ })+) => { $(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $set {
            $($(#[doc = $values])+ pub $label: $type,)+
        }

        impl Labels for $set {
            const LABELS: &'static [Label] =
                &[$(Label { name: stringify!($label), values: concat!($($values),+) },)+];
        }
    )+ };
}

label_sets! {
    RouteStatus {
        /// a route, or `none` where none was found
        route: String,
        /// how the client speaks, such as `tei` or `rerank-v2`, `try` for the operators'
        /// page, or `none`
        dialect: String,
        /// of HTTP; 499 where the client left
        status: u16,
    }

    RouteStage {
        /// a route
        route: String,
        /// `total`, `tokenize`, `queue`, `inference`, and with policies `guest_cpu`
        stage: String,
    }

    RouteError {
        /// a route, or `none` where none was found
        route: String,
        /// of HTTP: `malformed`, `empty`, `header`, `body_broken`, `body_slow`,
        /// `body_too_large`, `media_type`, `no_endpoint`, `method`, `unauthenticated`,
        /// `forbidden`, `rate_limited`, `watched`; of what was asked: `invalid`, `too_large`,
        /// `not_found`, `denied`, `overloaded`, `deadline_exceeded`, `policy_failed`,
        /// `unavailable`, `internal`
        kind: &'static str,
    }

    RouteShed {
        /// a route, or `none` where none was found yet
        route: String,
        /// `bodies` (`server.bodies_bytes_max`), `rate` (the caller's), `admission` (the
        /// model's queue), `wait` (it would not be served before its deadline),
        /// `tokenizer` (its queue), `instances` (`sandbox.instances_max`)
        reason: &'static str,
    }

    Route {
        /// a route
        route: String,
    }

    Caller {
        /// a configured caller
        caller: String,
    }

    CallerOutcome {
        /// a configured caller
        caller: String,
        /// `answered`, `limited` (by its rate), `overloaded`, `refused` (its own fault),
        /// `failed` or `gone`
        outcome: &'static str,
    }

    Listener {
        /// `public`
        listener: &'static str,
    }

    TlsReload {
        /// `replaced`, or `refused` for a broken one
        outcome: &'static str,
    }

    Model {
        /// a configured model
        model: String,
    }

    Replica {
        /// a configured model
        model: String,
        /// its number, from 0
        replica: u32,
    }

    ReplicaState {
        /// a configured model
        model: String,
        /// its number, from 0
        replica: u32,
        /// `starting`, `idle`, `busy` or `failed`
        state: &'static str,
    }

    Policy {
        /// a configured policy
        policy: String,
        /// the first twelve digits of the component's sha256
        version: String,
    }

    PolicyFailure {
        /// a configured policy; for `amplification` a chain
        policy: String,
        /// the first twelve digits of the component's sha256; for a chain all of them
        version: String,
        /// `trap`, `cpu`, `memory`, `deadline`, `contract`, `reported` (by itself),
        /// `host`, or `amplification`
        reason: String,
    }

    Reload {
        /// `replaced`, `unchanged` or `refused`
        outcome: String,
    }

    SpansDropped {
        /// `queue` (`telemetry.queue_spans_max`), `export` (the collector did not take
        /// them) or `shutdown` (the grace was over)
        reason: &'static str,
    }

    Build {
        /// of the program
        version: &'static str,
    }
}
