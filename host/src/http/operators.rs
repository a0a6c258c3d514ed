//! The operators' page over HTTP: its files, its events, and who may have them.
//!
//! The files are the same for everyone. What the server does, and what can be done
//! with it, are for the page itself and for programs, not for other pages that
//! happen to be open in an operator's browser.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Response};

use super::App;
use super::errors::Problem;
use super::exchange::{refusal, visible};
use super::headers::{REQUEST_ID, check_host, new_request_id, request_id};
use super::outgoing::Outgoing;
use crate::dashboard::{File, Media, STREAMS_MAX};

/// Only what this server sends is shown, run or asked.
const OWN_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Of a new server's page, no file should be the old one's.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A file of the page.
pub fn file(file: File, head: &Parts) -> Response<Outgoing> {
    let body = match head.method {
        Method::HEAD => Bytes::new(),
        _ => Bytes::from_static(file.text.as_bytes()),
    };
    let mut response = Response::new(Full::new(body).into());
    let media = match file.media {
        Media::Html => "text/html; charset=utf-8",
        Media::Css => "text/css; charset=utf-8",
        Media::JavaScript => "text/javascript; charset=utf-8",
        Media::Svg => "image/svg+xml",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.text.len()));
    headers.insert(CONTENT_SECURITY_POLICY, OWN_ONLY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(REQUEST_ID, visible(&id(head)));
    response
}

/// What happens, from now on.
pub fn events(app: &App, head: &Parts) -> Response<Outgoing> {
    let stream = check_host(head)
        .and_then(|()| check_page(app, head))
        .and_then(|()| app.dashboard.follow().ok_or(Problem::Watched { streams_max: STREAMS_MAX }));
    match stream {
        Ok(stream) => {
            let mut response = Response::new(Outgoing::events(stream));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, EVENTS);
            headers.insert(CACHE_CONTROL, NO_STORE);
            headers.insert(REQUEST_ID, visible(&id(head)));
            response
        }
        Err(problem) => refusal(&problem, None, &id(head), head.version).map(Outgoing::from),
    }
}

/// As for other pages, a bad one is not worth an error.
fn id(head: &Parts) -> Arc<str> {
    request_id(&head.headers).unwrap_or_else(|_| new_request_id())
}

/// Whether it was sent for this server's own page, or by a program.
///
/// A page of another origin could ask for whatever its reader's browser can reach.
/// Browsers say which page asks (`Origin`, `Sec-Fetch-Site`), but go by names: one
/// whose owner has it lead to this machine (DNS rebinding) makes that owner's page
/// look like ours. So names have to be known; addresses lead to where they say.
pub fn check_page(app: &App, head: &Parts) -> Result<(), Problem> {
    let asked = asked(head);
    let known = asked.as_ref().is_some_and(|asked| is_known(asked.host(), &app.settings.ops_hosts));
    if !known {
        return Err(Problem::Forbidden(
            "the name in the address is not known to belong to this server; use an IP address or localhost, or add the name to `server.ops_hosts`".into(),
        ));
    }
    let site = head.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let elsewhere = matches!(site, Some(site) if site != b"same-origin" && site != b"none");
    if elsewhere || !is_own(&head.headers, asked.as_ref()) {
        return Err(Problem::Forbidden("requests of other sites' pages are not served".into()));
    }
    Ok(())
}

/// What stands in the browser's address bar.
fn asked(head: &Parts) -> Option<Authority> {
    match head.headers.get(HOST) {
        Some(host) => host.as_bytes().try_into().ok(),
        // HTTP/2 has it elsewhere.
        None => head.uri.authority().cloned(),
    }
}

fn is_known(host: &str, names: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(&host).parse::<IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || names.contains(&host)
}

/// Whether the page that asks, if it is one, came from where it asks.
fn is_own(headers: &HeaderMap, asked: Option<&Authority>) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok()?;
        let (scheme, authority) = origin.split_once("://")?;
        let same = authority.eq_ignore_ascii_case(asked?.as_str());
        Some(matches!(scheme, "http" | "https") && same)
    };
    origins.all(|origin| own(origin).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_here_are_known() {
        let check = |host: &str, expected: bool| {
            let authority: Authority = host.parse().unwrap();
            let names = ["ops.example".to_owned()];
            assert_eq!(is_known(authority.host(), &names), expected, "{host}");
        };
        check("127.0.0.1:8788", true);
        check("[::1]:8788", true);
        check("10.1.2.3", true);
        check("localhost:8788", true);
        check("LocalHost", true);
        check("maitred.localhost", true);
        check("ops.example:8788", true);
        check("Ops.Example", true);
        check("evil.example:8788", false);
        check("localhost.evil.example", false);
        check("notlocalhost", false);
        check("127.0.0.1.evil.example", false);
    }

    #[test]
    fn a_page_asks_only_where_it_came_from() {
        let check = |origins: &[&'static str], expected: bool| {
            let asked: Authority = "127.0.0.1:8788".parse().unwrap();
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_own(&headers, Some(&asked)), expected, "{origins:?}");
        };
        check(&[], true);
        check(&["http://127.0.0.1:8788"], true);
        // A proxy in front may end TLS.
        check(&["https://127.0.0.1:8788"], true);
        check(&["http://127.0.0.1:8787"], false);
        check(&["http://127.0.0.1"], false);
        check(&["http://evil.example"], false);
        check(&["null"], false);
        check(&["ftp://127.0.0.1:8788"], false);
        check(&["http://127.0.0.1:8788", "http://evil.example"], false);
    }
}
