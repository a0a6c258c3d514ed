//! The switch between the two tiers of the tests.

/// Whether the tests that have a long form run it: minutes instead of seconds.
/// `MAITRED_SLOW=1` says so; `cargo xtask test --slow` sets it.
pub fn slow() -> bool {
    std::env::var_os("MAITRED_SLOW").is_some_and(|value| value == "1")
}
