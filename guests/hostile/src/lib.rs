//! Guests that attack the host, one small file each under `examples/`. The
//! sandbox's tests run every one, and fail if one has no assertion.

pub use maitred_sdk;

/// A policy whose whole behaviour is one block.
#[macro_export]
macro_rules! guest {
    (|$request:ident, $next:ident| $body:block) => {
        struct Guest;

        impl $crate::maitred_sdk::Policy for Guest {
            fn new(_: &$crate::maitred_sdk::Params) -> $crate::maitred_sdk::Result<Self> {
                Ok(Guest)
            }

            async fn rerank(
                &self,
                $request: $crate::maitred_sdk::Request,
                $next: $crate::maitred_sdk::Next,
            ) -> $crate::maitred_sdk::Result<$crate::maitred_sdk::Ranking> $body
        }

        $crate::maitred_sdk::export!(Guest);
    };
}
