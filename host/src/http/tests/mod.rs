//! Clients on real sockets (or, where time matters, on streams in memory with a
//! paused clock) against the whole of this room, with a fake stage behind it.

mod callers;
mod connections;
mod drain;
mod http2;
mod operators;
mod pages;
mod refusals;
mod requests;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::connections::converse;
use super::*;
use crate::admission::{Admission, Work};
use crate::config::{Filtered, Raw, check};
use crate::engine::EngineTraits;
use crate::model::ModelInfo;
use crate::rerank::{Context, Error, Priority, Ranked, Ranking, Request as Asked, Rerank, Scale};
use crate::route::{Backend, EdgeLimits, Route};

/// What is behind the edge, as a test wants it.
struct Model {
    admission: Arc<Admission>,
    ready: AtomicBool,
    /// What it expects a newcomer to wait.
    wait: Duration,
}

impl Default for Model {
    fn default() -> Self {
        let limit = Work { pairs: 100_000, tokens: 100_000_000 };
        Model {
            admission: Admission::new(limit),
            ready: AtomicBool::new(true),
            wait: Duration::ZERO,
        }
    }
}

impl Rerank for Model {
    fn rerank<'a>(
        &'a self,
        request: Asked,
        _context: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        async move { Ok(read_scores(&request)) }.boxed()
    }
}

impl Backend for Model {
    fn name(&self) -> Arc<str> {
        Arc::from("mini")
    }

    fn is_named(&self, name: &str) -> bool {
        name == "mini" || name == "hub/mini"
    }

    fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    fn retry_after(&self) -> Duration {
        Duration::from_millis(1500)
    }

    fn wait(&self, _route: &str, _priority: Priority, _weight: u32) -> Duration {
        self.wait
    }

    fn length_max(&self) -> usize {
        512
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn info(&self) -> ModelInfo {
        ModelInfo {
            name: self.name(),
            source: Arc::from("hub/mini"),
            traits: EngineTraits {
                ragged: true,
                length_max: 512,
                batch_tokens_max: 4096,
                batch_tokens_min: 256,
                precision: "f32",
            },
            replicas: vec!["idle"],
        }
    }
}

/// A stage that is a function.
struct Stage<F>(F);

impl<F> Rerank for Stage<F>
where
    F: Fn(Asked, &Context) -> BoxFuture<'static, Result<Ranking, Error>> + Send + Sync,
{
    fn rerank<'a>(
        &'a self,
        request: Asked,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        (self.0)(request, context)
    }
}

fn stage<F>(f: F) -> Arc<dyn Rerank>
where
    F: Fn(Asked, &Context) -> BoxFuture<'static, Result<Ranking, Error>> + Send + Sync + 'static,
{
    Arc::new(Stage(f))
}

/// Scores a document by the number that is its text.
fn read_scores(request: &Asked) -> Ranking {
    let ranked = |document: &crate::rerank::Document| Ranked {
        id: document.id,
        score: document.text.parse().unwrap_or(0.5),
    };
    Ranking { results: request.documents.iter().map(ranked).collect(), scale: Scale::Probability }
}

fn reader() -> Arc<dyn Rerank> {
    stage(|request, _| async move { Ok(read_scores(&request)) }.boxed())
}

/// A stage that tells when a request is in it, and answers when told.
struct Gate {
    entered: Arc<Notify>,
    open: Arc<Notify>,
    dropped: Arc<Notify>,
}

/// Tells that the future which owns it is gone.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn gate() -> (Gate, Arc<dyn Rerank>) {
    let notify = || Arc::new(Notify::new());
    let (entered, open, dropped) = (notify(), notify(), notify());
    let gate = Gate { entered: entered.clone(), open: open.clone(), dropped: dropped.clone() };
    let stage = stage(move |request, _| {
        let (entered, open, gone) = (entered.clone(), open.clone(), Gone(dropped.clone()));
        async move {
            let _gone = gone;
            entered.notify_one();
            open.notified().await;
            Ok(read_scores(&request))
        }
        .boxed()
    });
    (gate, stage)
}

fn app(stage: Arc<dyn Rerank>, change: impl FnOnce(&mut ServerSettings)) -> Arc<App> {
    app_with(stage, Callers::default(), change)
}

fn app_with(
    stage: Arc<dyn Rerank>,
    callers: Callers,
    change: impl FnOnce(&mut ServerSettings),
) -> Arc<App> {
    app_of(stage, Rest { callers, ..Rest::default() }, change)
}

/// Whose routes do so with what the stage leaves out.
fn app_that_does(filtered: Filtered, stage: Arc<dyn Rerank>) -> Arc<App> {
    app_of(stage, Rest { filtered, ..Rest::default() }, |_| ())
}

/// Whose routes all lead to this model.
fn app_before(model: Model, stage: Arc<dyn Rerank>) -> Arc<App> {
    app_of(stage, Rest { model, ..Rest::default() }, |_| ())
}

/// What an app has beside its stage and its settings.
struct Rest {
    model: Model,
    filtered: Filtered,
    callers: Callers,
}

impl Default for Rest {
    fn default() -> Self {
        let (model, callers) = (Model::default(), Callers::default());
        Rest { model, filtered: Filtered::Omit, callers }
    }
}

fn app_of(
    stage: Arc<dyn Rerank>,
    rest: Rest,
    change: impl FnOnce(&mut ServerSettings),
) -> Arc<App> {
    let mut settings = check(&mut Raw::default()).unwrap().server;
    change(&mut settings);
    let metrics = Metrics::new();
    let model = Arc::new(rest.model);
    let route = |name: &str, policies: &[&str]| Route {
        name: Arc::from(name),
        model: model.clone(),
        stage: stage.clone(),
        policies: policies.iter().map(|&p| p.to_owned()).collect(),
        chain: [policies, &["mini@0123456789ab"]].concat().join(",").into(),
        weight: 1,
        amplification_max: 1,
        bypasses: false,
        filtered: rest.filtered,
        limits: EdgeLimits {
            documents_max: settings.documents_max,
            queries_at_once: settings.queries_at_once,
            request_ms_max: settings.request_ms_max,
        },
        metrics: metrics.clone(),
    };
    let routes = [route("plain", &[]), route("fresh", &["fresh@0123456789ab"])];
    let routes = Arc::new(Routes::new(routes, Arc::from("plain")));
    let serving = Serving::new(routes, rest.callers);
    App::new(serving, settings, metrics)
}

struct Server {
    app: Arc<App>,
    public: SocketAddr,
    operations: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Drained>,
}

impl Server {
    async fn start(app: Arc<App>) -> Self {
        Self::start_with(app, None).await
    }

    async fn start_with(app: Arc<App>, tls: Option<Tls>) -> Self {
        let listeners = Listeners {
            public: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            operations: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls,
        };
        let public = listeners.public.local_addr().unwrap();
        let operations = listeners.operations.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = stopped.map(|_| ());
        let done = tokio::spawn(serve(listeners, app.clone(), shutdown));
        Server { app, public, operations, stop, done }
    }

    async fn client(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.public).await.unwrap())
    }

    async fn operator(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.operations).await.unwrap())
    }
}

async fn serve_reader() -> Server {
    Server::start(app(reader(), |_| ())).await
}

/// A connection in memory.
fn in_memory(app: &Arc<App>) -> (Client<DuplexStream>, watch::Sender<bool>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(converse(theirs, Side::Public, app.clone(), stopped));
    (Client::new(ours), stop)
}

struct Client<S> {
    stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Reply {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Client { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, text: impl AsRef<str>) {
        self.stream.write_all(text.as_ref().as_bytes()).await.unwrap();
    }

    /// Reads one answer; `None` if the connection ends first.
    async fn reply_to(&mut self, head_only: bool) -> Option<Reply> {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            self.fill().await?;
        };
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length: usize = match head_only {
            true => 0,
            false => headers.get("content-length")?.parse().unwrap(),
        };
        while self.buffer.len() < length {
            self.fill().await?;
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let body = String::from_utf8(body).unwrap();
        Some(Reply { status, headers, body })
    }

    async fn reply(&mut self) -> Reply {
        self.reply_to(false).await.expect("the connection ended")
    }

    async fn fill(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => Some(()),
            Ok(0) | Err(_) => None,
        }
    }

    /// Whether the server closes, having sent nothing more.
    async fn closed(&mut self) -> bool {
        self.fill().await.is_none() && self.buffer.is_empty()
    }

    async fn post(&mut self, path: &str, headers: &str, body: &str) -> Reply {
        self.send(post(path, headers, body)).await;
        self.reply().await
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        self.reply().await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// `headers` are whole lines.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

const TEI: &str = r#"{"query":"q","texts":["0.25","0.75"]}"#;
const COHERE: &str = r#"{"query":"q","documents":["0.25","0.75"]}"#;

/// Lets other tasks run until it is so.
async fn wait_until(so: impl Fn() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}
