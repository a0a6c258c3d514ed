//! Filtering: a document is ranked only if its metadata says that the caller may
//! see it. Tenants that share an index, documents by group, languages by site.
//!
//! The metadata field holds a text or a list of texts, and one of them must be
//! one of `values`, letter by letter. `{caller}` among those stands for the name
//! that the server gives the caller's key, which no client can choose. So
//! `values = "{caller},public"` shows everybody what is public, and to each
//! caller what is theirs.
//!
//! What is not clearly allowed is dropped: a document without the field, or with
//! a number or a boolean there. If `{caller}` is all that is allowed and the
//! server does not know who calls, the request is refused: an empty answer would
//! look like a search without results.
//!
//! The policy is `required`: no route may answer without it. A document that a
//! policy in front does not send on is never looked at here, so this one belongs
//! first in its chain.

use maitred_sdk::{Document, Error, Params, Policy, Request, Result, context};

/// What stands for the caller in `values`.
const CALLER: &str = "{caller}";

#[derive(Debug, PartialEq)]
struct Allow {
    field: String,
    /// Any of these in the field will do.
    values: Vec<String>,
}

impl Policy for Allow {
    fn new(params: &Params) -> Result<Self> {
        let mut values = params.or("values", vec![CALLER.to_string()])?;
        if values.is_empty() {
            return Err(Error::internal("parameter `values` is empty, which would allow nothing"));
        }
        if let Some(at) = values.iter().position(|value| value == CALLER) {
            match context::caller() {
                Some(caller) => values[at] = caller,
                None => drop(values.remove(at)),
            }
        }
        Ok(Allow { field: params.or("field", "tenant".to_string())?, values })
    }

    fn shape(&self, request: Request) -> Result<Request> {
        match self.values.is_empty() {
            true => Err(Error::denied("the route shows documents by caller, and nobody is known")),
            false => Ok(request),
        }
    }

    fn keep(&self, _query: &str, document: &Document) -> bool {
        let named = document.texts_field(&self.field).unwrap_or_default();
        named.iter().any(|name| self.values.contains(name))
    }
}

maitred_sdk::export!(Allow);

#[cfg(test)]
mod tests {
    use maitred_sdk::test::{Kit, assert_manifest_fits, order, request};
    use maitred_sdk::{Field, Value};

    use super::*;

    const MANIFEST: &str = include_str!("../allow.toml");

    fn tenants(field: &str) -> Request {
        let values: [Option<Value>; 9] = [
            Some("acme".into()),
            Some("other".into()),
            Some(["other", "acme"].into()),
            None,
            Some(7.into()),
            Some(true.into()),
            Some("".into()),
            Some("Acme".into()),
            Some("public".into()),
        ];
        let mut request = request("q", values.iter().map(|_| "d"));
        for (document, value) in request.documents.iter_mut().zip(values) {
            let name = field.to_string();
            document.fields.extend(value.map(|value| Field { name, value }));
        }
        request
    }

    #[test]
    fn only_what_names_the_caller_or_a_value_is_ranked() {
        let check = |kit: Kit, expected: &[u32]| {
            let run = kit.watch::<Allow>(tenants("tenant"));
            assert_eq!(order(&run.answer.unwrap()), expected);
            assert_eq!(run.calls[0].documents.len(), expected.len());
        };
        let kit = Kit::new().manifest(MANIFEST);
        check(kit.clone().caller("acme"), &[0, 2]);
        check(kit.clone().caller("nobody"), &[]);
        check(kit.clone().caller("acme").param("values", "{caller},public"), &[0, 2, 8]);
        check(kit.clone().param("values", "{caller}, public"), &[8]);
        check(kit.clone().caller("acme").param("values", "other, public"), &[1, 2, 8]);
        check(kit.clone().caller("acme").param("field", "group"), &[]);
        // A caller cannot be named into someone else's documents.
        check(kit.caller("{caller}"), &[]);
    }

    #[test]
    fn nobody_sees_nothing_and_is_told() {
        let answer = Kit::new().manifest(MANIFEST).run::<Allow>(tenants("tenant"));
        assert!(matches!(answer, Err(Error::Denied(_))), "{answer:?}");
    }

    #[test]
    fn the_last_of_two_fields_counts_as_everywhere() {
        let mut request = request("q", ["d"]);
        for tenant in ["acme", "other"] {
            request.documents[0] = request.documents[0].clone().with("tenant", tenant);
        }
        let ranked = |caller| Kit::new().caller(caller).run::<Allow>(request.clone()).unwrap();
        assert_eq!(ranked("acme").results.len(), 0);
        assert_eq!(ranked("other").results.len(), 1);
    }

    #[test]
    fn parameters_are_checked() {
        assert_manifest_fits::<Allow>(&Kit::new(), MANIFEST);
        let error = Kit::new().param("values", " , ").make::<Allow>();
        let expected = "parameter `values` is empty, which would allow nothing";
        assert_eq!(error, Err(Error::internal(expected)));
    }
}
