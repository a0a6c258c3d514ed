//! From a method and a path to what answers there. Pure.

use hyper::Method;

use super::Side;
use super::dialect::Dialect;
use super::dialect::family::{Flavour, Version};
use super::errors::{Problem, shown};
use crate::dashboard::{self, File};

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'p> {
    Rerank(Target<'p>),
    Page(Page),
    /// Of the operators' page.
    File(File),
    /// What happens, for that page.
    Events,
    /// A request that is tried from that page.
    Try,
}

/// What a path says about a rerank request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'p> {
    /// `None` where dialects share the path; then the body tells.
    pub dialect: Option<Dialect>,
    /// `None` leaves it to the body's `model`, or else to the default.
    pub route: Option<&'p str>,
}

/// What the server says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Whether the process lives.
    Health,
    /// Whether requests should be sent here.
    Ready,
    Info,
    Metrics,
    /// The description of the public listener, for programs.
    OpenApi,
    /// The same, for people.
    Docs,
}

pub fn resolve<'p>(side: Side, method: &Method, path: &'p str) -> Result<Endpoint<'p>, Problem> {
    let Some(endpoint) = endpoint(side, path) else {
        let hint = match side {
            Side::Public => {
                "requests go to /rerank, /v1/rerank, /v2/rerank or /score, or below /routes/{route}; /docs has all paths"
            }
            Side::Operations => "there are /, /try, /metrics, /health, /ready and /info",
        };
        return Err(Problem::NoEndpoint(format!("nothing is at `{}`; {hint}", shown(path))));
    };
    let allow = match endpoint {
        Endpoint::Rerank(_) | Endpoint::Try => "POST",
        Endpoint::Page(_) | Endpoint::File(_) => "GET, HEAD",
        Endpoint::Events => "GET",
    };
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(endpoint)
    } else {
        let method = shown(method.as_str()).into_owned();
        Err(Problem::Method { method, allow })
    }
}

fn endpoint(side: Side, path: &str) -> Option<Endpoint<'_>> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let page = match segments[..] {
        ["health"] => Some(Page::Health),
        ["ready"] => Some(Page::Ready),
        ["info"] => Some(Page::Info),
        ["openapi.json"] if side == Side::Public => Some(Page::OpenApi),
        ["docs"] if side == Side::Public => Some(Page::Docs),
        ["metrics"] if side == Side::Operations => Some(Page::Metrics),
        _ => None,
    };
    if let Some(page) = page {
        return Some(Endpoint::Page(page));
    }
    if side == Side::Operations {
        return match segments[..] {
            [""] => Some(Endpoint::File(dashboard::INDEX)),
            ["dashboard", name] => dashboard::file(name).map(Endpoint::File),
            ["events"] => Some(Endpoint::Events),
            ["try"] => Some(Endpoint::Try),
            _ => None,
        };
    }
    let (route, rest) = match segments[..] {
        ["routes", route, ref rest @ ..] => (Some(route), rest),
        ref rest => (None, rest),
    };
    let at = rest.join("/");
    let (_, dialect) = RERANK.into_iter().find(|(path, _)| path[1..] == at)?;
    Some(Endpoint::Rerank(Target { dialect, route }))
}

/// Where rerank requests go, and in which dialect; each also below
/// `/routes/{route}`. The paths without a prefix are those of the servers
/// themselves, several of which share some; a prefix says whose client asks, and
/// is part of the base URL that a client is given.
pub const RERANK: [(&str, Option<Dialect>); 17] = {
    use Flavour::{Cohere, Infinity, Jina, Shared, Vllm};
    use Version::{V1, V2};
    const fn family(flavour: Flavour) -> Option<Dialect> {
        Some(Dialect::Family(flavour))
    }
    [
        ("/rerank", None),
        ("/v1/rerank", family(Shared(V1))),
        ("/v2/rerank", family(Shared(V2))),
        ("/score", Some(Dialect::Score)),
        ("/v1/score", Some(Dialect::Score)),
        ("/tei/rerank", Some(Dialect::Tei)),
        ("/cohere/v1/rerank", family(Cohere(V1))),
        ("/cohere/v2/rerank", family(Cohere(V2))),
        ("/jina/v1/rerank", family(Jina)),
        ("/voyage/v1/rerank", Some(Dialect::Voyage)),
        // Clients of these two differ in whether their base URL ends in `/v1`.
        ("/vllm/rerank", family(Vllm)),
        ("/vllm/v1/rerank", family(Vllm)),
        ("/vllm/v2/rerank", family(Vllm)),
        ("/vllm/score", Some(Dialect::Score)),
        ("/vllm/v1/score", Some(Dialect::Score)),
        ("/infinity/rerank", family(Infinity)),
        ("/infinity/v1/rerank", family(Infinity)),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(side: Side, method: Method, path: &str) -> String {
        match resolve(side, &method, path) {
            Ok(Endpoint::Page(page)) => format!("{page:?}"),
            Ok(Endpoint::Rerank(Target { dialect, route })) => {
                let dialect = dialect.map_or("by body", Dialect::name);
                format!("{dialect} at {}", route.unwrap_or("any"))
            }
            Ok(Endpoint::File(file)) => format!("{:?}", file.media),
            Ok(other) => format!("{other:?}"),
            Err(problem) => problem.status(None).as_u16().to_string(),
        }
    }

    #[test]
    fn paths_and_what_answers_there() {
        let public = |method, path| resolved(Side::Public, method, path);
        let posted = |path: &str| resolved(Side::Public, Method::POST, path);
        assert_eq!(posted("/rerank"), "by body at any");
        assert_eq!(posted("/v1/rerank"), "rerank-v1 at any");
        assert_eq!(posted("/v2/rerank"), "rerank-v2 at any");
        assert_eq!(posted("/v1/score"), "vllm-score at any");
        assert_eq!(posted("/jina/v1/rerank"), "jina at any");
        assert_eq!(posted("/routes/a.b/rerank"), "by body at a.b");
        assert_eq!(posted("/routes/a/v1/rerank"), "rerank-v1 at a");
        assert_eq!(posted("/routes/a/cohere/v2/rerank"), "cohere-v2 at a");
        assert_eq!(public(Method::GET, "/openapi.json"), "OpenApi");
        assert_eq!(public(Method::GET, "/docs"), "Docs");
        assert_eq!(public(Method::GET, "/health"), "Health");
        assert_eq!(public(Method::HEAD, "/ready"), "Ready");
        assert_eq!(public(Method::GET, "/info"), "Info");
        for path in [
            "/",
            "",
            "*",
            "//rerank",
            "/rerank/",
            "/v3/rerank",
            "/routes/a",
            "/metrics",
            "/v2/score",
            "/jina/v2/rerank",
            "/v1",
            "/routes/a/docs",
            "/events",
            "/try",
            "/dashboard/page.js",
        ] {
            assert_eq!(public(Method::POST, path), "404", "{path}");
        }
        assert_eq!(public(Method::GET, "/rerank"), "405");
        assert_eq!(public(Method::OPTIONS, "/v1/rerank"), "405");
        assert_eq!(public(Method::POST, "/health"), "405");
    }

    #[test]
    fn operators_see_pages_and_try_requests() {
        let operations = |method, path| resolved(Side::Operations, method, path);
        assert_eq!(operations(Method::GET, "/"), "Html");
        assert_eq!(operations(Method::HEAD, "/dashboard/page.js"), "JavaScript");
        assert_eq!(operations(Method::GET, "/dashboard/mod.rs"), "404");
        assert_eq!(operations(Method::GET, "/events"), "Events");
        assert_eq!(operations(Method::POST, "/try"), "Try");
        assert_eq!(operations(Method::GET, "/try"), "405");
        assert_eq!(operations(Method::POST, "/events"), "405");
        assert_eq!(operations(Method::GET, "/metrics"), "Metrics");
        assert_eq!(operations(Method::GET, "/health"), "Health");
        assert_eq!(operations(Method::POST, "/rerank"), "404");
        assert_eq!(operations(Method::GET, "/docs"), "404");
        assert_eq!(operations(Method::POST, "/routes/a/rerank"), "404");
    }
}
