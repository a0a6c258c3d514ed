//! The WIT package as Rust. The functions are generated; the records are
//! written here, so that texts are shared with the domain: a request
//! enters a guest without a copy on the host's side, and leaves it with one.
//!
//! These types stop in this room (`convert.rs`).

use wasmtime::component::bindgen;

bindgen!({
    path: "../wit",
    world: "policy",
    imports: { default: trappable },
    with: { "maitred:rerank/types": self::types },
});

/// `interface types`; the doc comments are in `wit/rerank.wit`.
pub mod types {
    use std::sync::Arc;

    use wasmtime::component::{ComponentType, HasData, Lift, Linker, Lower};

    // What `bindgen!` expects of a module that it did not write: the interface
    // has no functions, so there is nothing to host.
    pub trait Host {}
    impl<T: ?Sized> Host for T {}
    pub trait HostWithStore<T>: HasData {}
    impl<T, D: HasData> HostWithStore<T> for D {}
    pub fn add_to_linker<T: 'static, D: HasData>(
        linker: &mut Linker<T>,
        _: fn(&mut T) -> D::Data<'_>,
    ) -> wasmtime::Result<()> {
        linker.instance("maitred:rerank/types@0.1.0").map(|_| ())
    }

    #[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
    #[component(variant)]
    pub enum Value {
        #[component(name = "text")]
        Text(String),
        #[component(name = "integer")]
        Integer(i64),
        #[component(name = "number")]
        Number(f64),
        #[component(name = "boolean")]
        Boolean(bool),
        #[component(name = "texts")]
        Texts(Vec<String>),
    }

    #[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct Field {
        #[component(name = "name")]
        pub name: String,
        #[component(name = "value")]
        pub value: Value,
    }

    #[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct Document {
        #[component(name = "index")]
        pub index: u32,
        #[component(name = "part")]
        pub part: u32,
        #[component(name = "text")]
        pub text: Arc<str>,
        #[component(name = "fields")]
        pub fields: Vec<Field>,
    }

    #[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct Request {
        #[component(name = "query")]
        pub query: Arc<str>,
        #[component(name = "documents")]
        pub documents: Vec<Document>,
    }

    #[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct Ranked {
        #[component(name = "index")]
        pub index: u32,
        #[component(name = "part")]
        pub part: u32,
        #[component(name = "score")]
        pub score: f32,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
    #[component(enum)]
    #[repr(u8)]
    pub enum Scale {
        #[component(name = "logit")]
        Logit,
        #[component(name = "probability")]
        Probability,
        #[component(name = "order")]
        Order,
    }

    #[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
    #[component(record)]
    pub struct Ranking {
        #[component(name = "results")]
        pub results: Vec<Ranked>,
        #[component(name = "scale")]
        pub scale: Scale,
    }

    #[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
    #[component(variant)]
    pub enum Error {
        #[component(name = "invalid")]
        Invalid(String),
        #[component(name = "denied")]
        Denied(String),
        #[component(name = "overloaded")]
        Overloaded(u32),
        #[component(name = "deadline-exceeded")]
        DeadlineExceeded,
        #[component(name = "unavailable")]
        Unavailable(String),
        #[component(name = "internal")]
        Internal(String),
    }
}
