//! Write a maitred policy in Rust in a few lines.
//!
//! # What a policy is
//!
//! A policy stands between a client and the model, and sees a [`Request`] (a
//! query and documents) on its way there and a [`Ranking`] (scores by document)
//! on its way back. Say what it does with either; everything else has a default:
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
//!         Ok(Shop { bonus: params.or("bonus", 0.5)? })
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
//! A policy is made for one request, runs once and is gone. It needs no locks,
//! remembers nothing, and can hurt only its own request: one that loops, panics
//! or allocates without end fails that request, and no other.
//!
//! # Building it
//!
//! ```toml
//! # Cargo.toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! maitred-sdk = { git = "…" }
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes `shop.wasm`. Beside it
//! goes a manifest of the same name, `shop.toml`, which says what operators may
//! set and within which limits; the host refuses anything else when it starts:
//!
//! ```toml
//! name = "shop"
//! version = "0.1.0"
//! description = "Drops drafts, and moves what is in stock up."
//!
//! [params.bonus]
//! description = "added to the score of what is in stock, a logit"
//! type = "number"
//! default = 0.5
//! min = 0
//! ```
//!
//! `maitred policy check shop.wasm` looks at both as the server would.
//!
//! # Testing it
//!
//! `cargo test` needs no wasm: in a [`test::Kit`] the policy runs natively, with a
//! scripted model behind it and facts, parameters and time as the test sets them.
//! The kit holds the policy to the same contract as the host.
//!
//! # Doing more
//!
//! [`Policy::shape`] changes the whole request. [`Policy::rerank`] is all of a
//! policy; whoever writes it decides what to ask of the [`Next`] stage, how often
//! and with what. This one asks about titles and texts at once, and adds up what
//! it hears:
//!
//! ```
//! use maitred_sdk::{Next, Params, Policy, Ranking, Request, Result, Sent};
//!
//! struct Titles;
//!
//! impl Policy for Titles {
//!     fn new(_: &Params) -> Result<Self> {
//!         Ok(Titles)
//!     }
//!
//!     async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
//!         let mut titles = request.clone();
//!         for document in &mut titles.documents {
//!             document.text = document.require::<&str>("title")?.into();
//!         }
//!         let sent = Sent::new(&request.documents, |_| ());
//!         let [titles, mut texts] = next.join([titles, request]).await?;
//!
//!         let mut of_title = vec![0.0; sent.len()];
//!         for result in &titles.results {
//!             if let Some(place) = sent.place_of(result) {
//!                 of_title[place] = result.score;
//!             }
//!         }
//!         for result in &mut texts.results {
//!             if let Some(place) = sent.place_of(result) {
//!                 result.score = (result.score + of_title[place]) / 2.0;
//!             }
//!         }
//!         Ok(texts)
//!     }
//! }
//! # use maitred_sdk::test::{Kit, request, scores};
//! # let mut ask = request("red shoe", ["a shoe", "a hat"]);
//! # for document in &mut ask.documents {
//! #     *document = document.clone().with("title", "red shoe");
//! # }
//! # let ranking = Kit::new().run::<Titles>(ask)?;
//! # assert_eq!(scores(&ranking), [(0, 0, 1.5), (1, 0, 1.0)]);
//! # Ok::<(), maitred_sdk::Error>(())
//! ```
//!
//! [`Sent`] finds the document that a result is about (results come in any
//! order, and a stage behind may have dropped some or cut some into parts);
//! [`words`] compares texts cheaply; [`context`] knows who calls, how many
//! results are wanted and how much time is left.
//!
//! # What one trips over
//!
//! - **Scales.** A model's scores are logits, a policy's behind you may be
//!   probabilities, or only an order: [`Ranking::scale`] says. Change scores on
//!   the scale that they have ([`Scale::probability`] converts), and if what
//!   you compute is no longer on it, answer with [`Scale::Order`].
//! - **Dropping is not cutting.** Leave out what must not be seen, never what
//!   is more than the client wants: the host does that, last of all. A document
//!   that you do not send on is not in the answer, and no policy behind you sees
//!   it; so a filter that must always run stands in front, and its manifest says
//!   `required = true`.
//! - **Errors.** [`Error::invalid`] and [`Error::denied`] are the client's to
//!   read. [`Error::internal`] is your own failure, for the log.
//! - **Time.** The clock stands still unless the manifest asks for `clock` and
//!   the operator grants it; [`context::now`] tells you so.
//! - **Cost.** A policy that does nothing costs about 0.1 ms for a hundred
//!   documents of 400 characters. Allocating a string for each word costs more
//!   than that again.

#![warn(missing_docs)]

// What is generated has the documentation of `wit/rerank.wit`.
#[expect(missing_docs)]
pub mod bindings;
pub mod context;
mod document;
mod error;
mod next;
pub mod params;
mod policy;
mod ranking;
#[cfg(not(target_family = "wasm"))]
pub mod test;
pub mod words;

pub use bindings::maitred::rerank::types::{
    Document, Error, Field, Ranked, Ranking, Request, Scale, Value,
};
pub use document::{FieldValue, Metadata};
pub use error::Result;
pub use next::Next;
pub use params::{Parameter, Params};
pub use policy::{Policy, serve};
pub use ranking::Sent;

/// Makes a type the policy of this component. Natively, where there is nobody to
/// export to, it only checks that the type is one.
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = $crate::serve::<$policy>;
        };

        #[cfg(target_family = "wasm")]
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
