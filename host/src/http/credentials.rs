//! From a request's head to who asks, and from there to what they may use: the
//! HTTP side of `callers`. The body has no say in it, and is not read before.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio::time::Instant;

use super::Serving;
use super::errors::{Problem, shown};
use crate::callers::{Holder, Refusal};
use crate::rerank::{Error, Priority, Report, Stage};
use crate::route::{Route, Routes};

/// Where keys are sent. The SDKs of Cohere, Voyage and Jina, and LiteLLM for
/// all of its rerankers, say `Authorization: Bearer KEY`; LlamaIndex's TEI
/// reranker sends what it is given as the whole of `Authorization`; gateways in
/// the manner of Azure and AWS use the other two.
const HEADERS: [&str; 2] = ["api-key", "x-api-key"];
const BEARER: &str = "bearer ";

/// Who asks.
#[derive(Clone, Copy)]
pub struct Visitor<'s> {
    /// `None` where everyone may call.
    pub holder: Option<&'s Holder>,
    /// The routes that exist for it.
    pub routes: &'s Routes,
}

/// Who is behind the headers; nobody but holders of keys, if there are callers.
pub fn visitor<'s>(serving: &'s Serving, headers: &HeaderMap) -> Result<Visitor<'s>, Problem> {
    if serving.callers().open() {
        return Ok(Visitor { holder: None, routes: serving.routes() });
    }
    let presented = presented(headers).unwrap_or_default();
    let holder = serving.callers().holder(presented).ok_or(Problem::Unauthenticated)?;
    let routes = serving.routes_of(&holder.caller);
    Ok(Visitor { holder: Some(holder), routes })
}

/// Whether the headers hold something that may be a key.
pub fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || HEADERS.iter().any(|name| headers.contains_key(*name))
}

/// The one key that the headers hold. Several different ones are none: a proxy
/// in front may have looked at another than we would.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bare = HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(|v| v.as_bytes());
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| token(value.as_bytes()));
    let mut keys = bearer.chain(bare.map(<[u8]>::trim_ascii));
    let first = keys.next()?;
    keys.all(|key| key == first).then_some(first)
}

/// What follows the scheme. A client that knows no scheme sends the bare key;
/// whatever else stands there is no key, and is refused as one.
fn token(authorization: &[u8]) -> &[u8] {
    match authorization.split_at_checked(BEARER.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER.as_bytes()) => token,
        _ => authorization,
    }
    .trim_ascii()
}

impl<'s> Visitor<'s> {
    pub fn name(&self) -> Option<Arc<str>> {
        self.holder.map(|holder| holder.caller.name.clone())
    }

    /// The route that the path names.
    pub fn named(&self, route: &str) -> Result<&'s Arc<Route>, Problem> {
        self.found("route", route, Routes::named)
    }

    /// The route for what the body calls its model.
    pub fn for_model(&self, model: Option<&str>) -> Result<&'s Arc<Route>, Problem> {
        match model {
            Some(model) => self.found("route or model", model, |r, name| r.for_model(Some(name))),
            None => Ok(self.routes.default_route()),
        }
    }

    /// The route of that name. The refusal names it as errors show any value: what
    /// was cut is asked for once more, and names nothing either.
    fn found(
        &self,
        what: &str,
        name: &str,
        find: impl Fn(&'s Routes, &str) -> Result<&'s Arc<Route>, Error>,
    ) -> Result<&'s Arc<Route>, Problem> {
        find(self.routes, name).map_err(|error| {
            let name = shown(name);
            let error = find(self.routes, &name).err().unwrap_or(error);
            self.missing(error, what, &name)
        })
    }

    /// A caller that is not shown all routes gets the same answer for one that
    /// exists and one that does not.
    fn missing(&self, error: Error, what: &str, name: &str) -> Problem {
        let Some(names) = self.holder.and_then(|holder| holder.caller.routes.as_ref()) else {
            return Problem::Domain(error);
        };
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        Problem::Forbidden(format!(
            "this caller may use no {what} named `{name}`; it may use {}",
            names.join(", ")
        ))
    }

    /// A wish for priority, as far as it is granted.
    pub fn granted(&self, priority: Priority) -> Priority {
        self.holder.map_or(priority, |holder| priority.min(holder.caller.priority_max))
    }

    /// Takes the request's pairs from the caller's rate.
    pub fn charge(&self, pairs: usize) -> Result<Charge<'s>, Problem> {
        let pairs = pairs as u64;
        if let Some(holder) = self.holder {
            holder.caller.take(pairs, Instant::now())?;
        }
        Ok(Charge { holder: self.holder, pairs })
    }
}

/// What a request took from its caller's rate.
#[derive(Debug)]
pub struct Charge<'s> {
    holder: Option<&'s Holder>,
    pairs: u64,
}

impl Charge<'_> {
    /// Gives it back if the server had no room for the request and has computed nothing of it: of
    /// several queries, or of several calls of a policy, one can be refused when others are
    /// scored. Whatever else goes wrong stays charged.
    pub fn settle(self, problem: &Problem, report: &Report) {
        let refused = matches!(
            problem,
            Problem::Domain(
                Error::Overloaded { .. } | Error::Unavailable { .. } | Error::TooLarge { .. }
            )
        );
        let unserved = refused && report.time(Stage::Inference).is_zero();
        if let Some(holder) = self.holder.filter(|_| unserved) {
            holder.caller.give_back(self.pairs);
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooMany { pairs, pairs_burst } => Problem::Domain(Error::TooLarge {
                what: "the number of documents in a request of this caller",
                value: pairs,
                limit: pairs_burst,
            }),
            Refusal::TooFast { pairs_per_second, retry_after } => {
                Problem::RateLimited { pairs_per_second, retry_after }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn where_keys_are_found() {
        let check = |given: &[(&'static str, &'static str)], expected: Option<&str>| {
            let headers = given.iter().map(|&(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(presented(&map), expected.map(str::as_bytes), "{given:?}");
        };
        check(&[], None);
        check(&[("authorization", "Bearer k")], Some("k"));
        check(&[("authorization", "bearer  k ")], Some("k"));
        check(&[("authorization", "BEARER k")], Some("k"));
        check(&[("authorization", "k")], Some("k"));
        check(&[("authorization", "Bearer")], Some("Bearer"));
        check(&[("authorization", "Basic azpr")], Some("Basic azpr"));
        check(&[("api-key", "k")], Some("k"));
        check(&[("x-api-key", " k")], Some("k"));
        check(&[("authorization", "Bearer k"), ("x-api-key", "k")], Some("k"));
        check(&[("authorization", "Bearer k"), ("x-api-key", "j")], None);
        check(&[("authorization", "Bearer k"), ("authorization", "Bearer j")], None);
        check(&[("api-key", "j"), ("x-api-key", "k")], None);
    }
}
