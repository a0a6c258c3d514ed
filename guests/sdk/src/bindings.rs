//! The WIT package as a guest sees it, generated. What this crate offers is a
//! thin layer over it; a policy that wants the bare interface can use this.

wit_bindgen::generate!({
    path: "../../wit",
    world: "policy",
    pub_export_macro: true,
    default_bindings_module: "maitred_sdk::bindings",
    additional_derives: [Clone, PartialEq],
});
