//! A rerank client over HTTP/1.1.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::{Instant, timeout};

use super::connections::Connections;
use super::corpus::Asked;
use super::subject::{Answer, Failure, Reply, Subject};
use super::workload::{Access, Dialect, RequestSettings};

/// Bytes of an answer; a ranking of a thousand documents has 50,000.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Characters of an error's body that are repeated.
const SHOWN_CHARS_MAX: usize = 200;
const TRACE_PARENT: &str = "traceparent";
/// How long a question about the server itself may take.
const PAGE_MS_MAX: Duration = Duration::from_secs(5);

pub struct Client {
    connections: Connections,
    /// Of servers that are asked in turn.
    uris: Vec<Uri>,
    asked: AtomicUsize,
    traced_share: f64,
    dialect: Dialect,
    model: Option<String>,
    timeout: Duration,
}

impl Client {
    /// `bases` are where the servers' own clients would point to.
    pub fn new<'a>(
        bases: impl Iterator<Item = &'a str>,
        request: &RequestSettings,
        access: &Access,
    ) -> anyhow::Result<Client> {
        let route = request.route.as_ref().map(|route| format!("/routes/{route}"));
        let (route, path) = (route.unwrap_or_default(), request.dialect.path());
        let uri = |base: &str| {
            let uri = format!("{base}{route}{path}");
            uri.parse().with_context(|| format!("`{uri}` is no URL"))
        };
        Ok(Client {
            connections: Connections::new(access)?,
            uris: bases.map(uri).collect::<anyhow::Result<_>>()?,
            asked: AtomicUsize::new(0),
            traced_share: request.traced_share,
            dialect: request.dialect,
            model: request.model.clone(),
            timeout: request.timeout_ms,
        })
    }

    fn request(&self, asked: &Asked) -> Request<Full<Bytes>> {
        let body = self.dialect.body(asked, self.model.as_deref());
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.uris[number % self.uris.len()])
            .header(CONTENT_TYPE, "application/json");
        if falls_on(self.traced_share, number) {
            request = request.header(TRACE_PARENT, trace_parent());
        }
        request.body(Full::from(body)).expect("all parts were checked")
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        documents: usize,
    ) -> Result<Answer, Failure> {
        let broken = |error: &dyn std::error::Error| Failure::Connection(chain(error));
        let response = self.connections.send(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| broken(&*error))?.to_bytes();
        match status {
            StatusCode::OK => self.dialect.scores(&body, documents).map(Answer::Scores),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(Failure::Refused { retry_after })
            }
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Err(Failure::Expired),
            other => {
                let text: String =
                    String::from_utf8_lossy(&body).chars().take(SHOWN_CHARS_MAX).collect();
                Err(Failure::Status(format!("{}: {text}", other.as_u16())))
            }
        }
    }
}

impl Subject for Client {
    fn ask<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let request = self.request(asked);
            let sent = Instant::now();
            let answer = timeout(self.timeout, self.send(request, asked.documents.len())).await;
            Reply { sent, answer: answer.unwrap_or(Err(Failure::TimedOut)) }
        })
    }
}

/// Reads a page about the server, such as `/ready` or `/metrics`.
pub struct Pages {
    connections: Connections,
}

impl Pages {
    pub fn new(access: &Access) -> anyhow::Result<Pages> {
        Ok(Pages { connections: Connections::new(access)? })
    }

    /// The page's text, if the server answers with it in good time.
    pub async fn get(&self, url: &str) -> anyhow::Result<String> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let request = Request::builder().uri(uri).body(Full::default())?;
        let page = async {
            let response = self.connections.send(request).await;
            let response = response.map_err(|error| anyhow::anyhow!(chain(&error)))?;
            let status = response.status();
            ensure!(status.is_success(), "{url} answered with status {}", status.as_u16());
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(chain(&*error)))?.to_bytes();
            Ok(String::from_utf8(body.to_vec())?)
        };
        match timeout(PAGE_MS_MAX, page).await {
            Ok(page) => page,
            Err(_) => bail!("{url} did not answer within {} ms", PAGE_MS_MAX.as_millis()),
        }
    }
}

/// Whether an even share of all numbers falls on this one: of 0.01, on every hundredth.
fn falls_on(share: f64, number: usize) -> bool {
    (share * (number + 1) as f64).floor() > (share * number as f64).floor()
}

/// A trace of its own, which its sender records.
fn trace_parent() -> String {
    let trace = uuid::Uuid::now_v7();
    // Never 0, which would be no span: the half has the UUID's variant in it.
    let (_, span) = trace.as_u64_pair();
    format!("00-{}-{span:016x}-01", trace.simple())
}

/// Of a `retry-after`; its other form, a date, is no use within a benchmark.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    Duration::try_from_secs_f64(value.to_str().ok()?.trim().parse().ok()?).ok()
}

/// An error and what caused it, in a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_spread_evenly() {
        let falls = |share| (0..1000).filter(|number| falls_on(share, *number)).count();
        for (share, expected) in [(0.0, 0), (0.01, 10), (0.3, 300), (1.0, 1000)] {
            assert_eq!(falls(share), expected, "{share}");
        }
    }
}
