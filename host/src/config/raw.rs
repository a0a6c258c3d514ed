//! The configuration as people write it.
/// Not yet.
#[derive(Debug)]
pub struct Raw;
