//! Two versions of one policy under `examples/`: each adds its own number to
//! every score, so that a test can tell by the scores which of them computed an
//! answer, and how often.

pub use maitred_sdk;

/// A policy that adds a number to every score.
#[macro_export]
macro_rules! adds {
    ($number:literal) => {
        use $crate::maitred_sdk::{Metadata, Params, Policy, Ranked, Result, Scale};

        struct Version;

        impl Policy for Version {
            fn new(_: &Params) -> Result<Self> {
                Ok(Version)
            }

            fn score(&self, _: &Metadata, result: &Ranked, _: Scale) -> f32 {
                result.score + $number
            }
        }

        $crate::maitred_sdk::export!(Version);
    };
}
