//! The self-test that is for a Mac's GPU, on the device that every machine has.

use maitred_tests::selftest;

/// Enough to have every pair in a batch.
const BATCHES: usize = 8;

#[tokio::test]
async fn the_cpu_passes_the_self_test_of_devices() {
    selftest::run("cpu", BATCHES).await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_not_there_is_named() {
    let error = selftest::run("abacus", BATCHES).await.unwrap_err();
    assert!(format!("{error:#}").contains("abacus"), "{error:#}");
}
