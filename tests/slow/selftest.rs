//! The self-test that is for a Mac's GPU, on the device that every machine has.

use maitred_tests::selftest;

/// A debug build takes seconds for a batch: few pairs, and each of them twice.
const PAIRS: usize = 64;
const BATCHES: usize = 4;

#[tokio::test]
async fn the_cpu_passes_the_self_test_of_devices() {
    selftest::run("cpu", PAIRS, BATCHES).await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_not_there_is_named() {
    let error = selftest::run("abacus", PAIRS, BATCHES).await.unwrap_err();
    assert!(format!("{error:#}").contains("abacus"), "{error:#}");
}
