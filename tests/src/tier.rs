//! Which tests run: the fast tier always, the slow tier where someone asks for
//! it. This is the only place that reads the switch.

/// Whether tests may take minutes: `MAITRED_SLOW=1`.
pub fn slow() -> bool {
    std::env::var_os("MAITRED_SLOW").is_some_and(|value| value == "1")
}
