//! Whether a device computes what it should, keeps its memory, and how fast it is:
//! `metal_selftest DEVICE BATCHES`. On a Mac it is run by `cargo xtask
//! metal-selftest`; the slow tier runs the same with `cpu` (`slow/selftest.rs`).

use anyhow::{Context, bail};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, batches] = &arguments[..] else {
        bail!("usage: metal_selftest DEVICE BATCHES, for example: metal_selftest metal 10000");
    };
    let batches = batches.parse().context("BATCHES is a number")?;
    maitred_tests::selftest::run(device, usize::MAX, batches).await
}
