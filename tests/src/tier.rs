//! Which tests run: the fast tier always, the slow tier where someone asks for
//! it with `cargo xtask test --slow`. That sets two switches: the feature `slow`
//! builds tests that need more than the machine has (`slow/`), and the variable
//! here makes others run longer.

/// Whether tests may take minutes: `MAITRED_SLOW=1`.
pub fn slow() -> bool {
    std::env::var_os("MAITRED_SLOW").is_some_and(|value| value == "1")
}
