//! The WASI that a guest meets. Every toolchain imports it, so all of it is
//! linked, and none of it has power: no folders, no sockets, no environment, no
//! arguments, a closed stdin, clocks that stand still, and random numbers that
//! are the same in every call. A grant changes what stands behind an import;
//! what a guest can import never changes.

use std::sync::LazyLock;
use std::time::Duration;

use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use super::journal::{Journal, Source};
use crate::config::Grant;

/// Bytes of one request for random numbers.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Builds the context of one call.
pub(super) fn context(journal: &Journal, grants: &[Grant]) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(journal.stream(Source::Stdout))
        .stderr(journal.stream(Source::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        // These are the defaults; they are said here because all depends on them.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .socket_addr_check(|_, _| Box::pin(async { false }));
    if !grants.contains(&Grant::Clock) {
        wasi.wall_clock(StoppedClock).monotonic_clock(StoppedClock);
    }
    if !grants.contains(&Grant::Random) {
        wasi.secure_random(Deterministic::new(NOISE.clone()))
            .insecure_random(Deterministic::new(NOISE.clone()))
            .insecure_random_seed(0);
    }
    wasi.build()
}

/// It is always midnight of 1 January 1970. A guest can still sleep (until its
/// request's deadline), but it cannot measure anything.
struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// What a guest without the grant draws from, over and over: splitmix64 from 0.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
});
