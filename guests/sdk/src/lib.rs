//! Write a maitred policy in Rust in a few lines.
//!
//! A policy stands between a client and the model, and sees a [`Request`] on
//! its way there and a [`Ranking`] on its way back. Say what it does with
//! either; everything else has a default:
//!
//! ```
//! use maitred_sdk::{Document, Metadata, Params, Policy, Ranked, Result, Scale};
//!
//! /// Drops drafts, and moves what is in stock up.
//! struct Shop {
//!     bonus: f32,
//! }
//!
//! impl Policy for Shop {
//!     fn new(params: &Params) -> Result<Self> {
//!         let bonus = params.or("bonus", 0.5)?;
//!         Ok(Shop { bonus })
//!     }
//!
//!     fn keep(&self, _query: &str, document: &Document) -> bool {
//!         document.text_field("state") != Some("draft")
//!     }
//!
//!     fn score(&self, document: &Metadata, result: &Ranked, _scale: Scale) -> f32 {
//!         match document.boolean_field("in_stock") {
//!             Some(true) => result.score + self.bonus,
//!             _ => result.score,
//!         }
//!     }
//! }
//!
//! maitred_sdk::export!(Shop);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`; put a manifest of the same name
//! beside it (`shop.wasm`, `shop.toml`) to say which parameters it takes. A
//! policy that does more, such as asking the model twice, implements
//! [`Policy::rerank`] itself.
//!
//! Logic is tested natively, with a next stage from [`Next::from_fn`].

pub mod bindings;
pub mod context;
mod next;
mod params;
mod policy;
mod words;

pub use bindings::maitred::rerank::types::{
    Document, Error, Field, Ranked, Ranking, Request, Scale, Value,
};
pub use next::{Next, run};
pub use params::Params;
pub use policy::{Policy, serve};
pub use words::Metadata;

/// What a policy returns: an [`Error`] is a refusal that the client reads, or,
/// if it is [`Error::Internal`], the policy's own failure.
pub type Result<T> = std::result::Result<T, Error>;

/// Makes a type the policy of this component.
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        // Elsewhere there is no host to export to, and linkers dislike the
        // names.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::maitred::rerank::rerank::Guest for Component {
                async fn rerank(request: $crate::Request) -> $crate::Result<$crate::Ranking> {
                    $crate::serve::<$policy>(request).await
                }
            }

    $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
