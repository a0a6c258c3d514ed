//! From what people write to settings that cannot be wrong.
use super::{Raw, Settings};
/// Not yet.
pub fn check(_raw: Raw) -> anyhow::Result<Settings> {
    anyhow::bail!("not yet")
}
