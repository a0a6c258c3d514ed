//! A whole server in this process, on ports of its own: everything but the
//! command line is real.

use std::net::SocketAddr;

use maitred::checkpoint::Hub;
use maitred::config::{Raw, check};
use maitred::http::{self, App, Drained, Listeners};
use maitred::server::Stack;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::process::built_folder;

pub struct TestServer {
    pub public: SocketAddr,
    pub operations: SocketAddr,
    pub client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Drained>,
}

impl TestServer {
    /// Starts a server with the configuration in `toml`. Model sources in it are
    /// folders: nothing is downloaded.
    pub async fn start(toml: &str) -> TestServer {
        let mut raw = Raw::parse(toml).unwrap_or_else(|error| panic!("{error}\nin {toml}"));
        // Each test compiles or finds guests in a cache that it shares with no
        // installed server.
        raw.sandbox.cache_dir.get_or_insert_with(|| built_folder().join("compiled-guests"));
        let settings = check(&mut raw).unwrap_or_else(|faults| panic!("{faults}\nin {toml}"));
        let stack = Stack::start(&settings, &Hub::from_env()).await.unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners {
            public: bind().await.unwrap(),
            operations: bind().await.unwrap(),
            tls: None,
        };
        let public = listeners.public.local_addr().unwrap();
        let operations = listeners.operations.local_addr().unwrap();
        let (serving, metrics) = (stack.serving(None), stack.metrics().clone());
        let app = App::new(serving, settings.server.clone(), metrics);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async {
                // A test that ends without a word stops its server, too.
                let _ = stopped.await;
            };
            let drained = http::serve(listeners, app, stopped).await;
            stack.stop().await;
            drained
        });
        let client = reqwest::Client::new();
        TestServer { public, operations, client, stop: Some(stop), served }
    }

    /// Posts to the public listener; the status and the body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.public);
        let response = self.client.post(url).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// What Prometheus would read.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.operations);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The value of one line of the metrics, by its beginning.
    pub async fn metric(&self, line: &str) -> f64 {
        let metrics = self.metrics().await;
        let found = metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no metric `{line}` in\n{metrics}"))
    }

    /// Stops as SIGTERM would, and says what was cut off.
    pub async fn stop(mut self) -> Drained {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.served.await.unwrap()
    }
}
