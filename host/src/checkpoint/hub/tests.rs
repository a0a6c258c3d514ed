//! A tiny hub on loopback: what hf-hub asks of one, and what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::locate;
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
const ID: &str = "owner/tiny";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A path, with the credentials that came along.
type Asked = (String, Option<String>);

struct Server {
    endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves the files of a fixture as the model [`ID`].
    async fn of(fixture: &str) -> Self {
        let folder = Path::new(FIXTURES).join(fixture);
        let files: HashMap<String, Bytes> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap().into())
            })
            .collect();
        let files = Arc::new(files);
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let log = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (files, log) = (files.clone(), log.clone());
                let service = service_fn(move |request: Request<_>| {
                    let response = answer(&files, &request);
                    let token = request.headers().get(AUTHORIZATION);
                    let token = token.map(|token| token.to_str().unwrap().to_owned());
                    let path = request.uri().path().to_owned();
                    log.lock().unwrap().push((path, token));
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Server { endpoint, asked, task }
    }

    fn asked_for(&self, file: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|(path, _)| path.ends_with(file))
    }
}

fn answer(
    files: &HashMap<String, Bytes>,
    request: &Request<hyper::body::Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == format!("/api/models/{ID}/revision/main") {
        let siblings: Vec<_> = files.keys().map(|name| json!({ "rfilename": name })).collect();
        let info = json!({ "sha": COMMIT, "siblings": siblings });
        return Response::new(Full::from(info.to_string()));
    }
    let file = path.strip_prefix(&format!("/{ID}/resolve/main/")).and_then(|name| files.get(name));
    let Some(file) = file else {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let range = request.headers()[RANGE].to_str().unwrap();
    let (from, to) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().unwrap().min(file.len() - 1);
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(CONTENT_RANGE, format!("bytes {from}-{to}/{}", file.len()))
        .header(ETAG, format!("\"{}\"", path.replace('/', "-")))
        .header("x-repo-commit", COMMIT)
        .body(file.slice(from..=to).into())
        .unwrap()
}

fn hub(dir: &tempfile::TempDir, endpoint: &str) -> Hub {
    Hub {
        endpoint: Some(endpoint.to_owned()),
        cache: dir.path().join("hub"),
        token: Some("secret".to_owned()),
        offline: false,
        imported: dir.path().join("imported"),
        connect_ms_max: Duration::from_secs(10),
        stall_ms_max: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn a_model_is_downloaded_once() {
    for fixture in ["tiny-bert", "tiny-bert-bf16-sharded", "tiny-xlm-roberta"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::of(fixture).await;
        let mut hub = hub(&dir, &server.endpoint);
        let first = locate(ID, &hub).await.unwrap();
        assert_eq!(first.name, ID);
        let source = Path::new(FIXTURES).join(fixture);
        for weights in &first.weights {
            let original = source.join(weights.file_name().unwrap());
            assert_eq!(std::fs::read(weights).unwrap(), std::fs::read(original).unwrap());
        }
        {
            let asked = server.asked.lock().unwrap();
            let token = Some("Bearer secret".to_owned());
            assert!(asked.iter().all(|(_, sent)| *sent == token), "{asked:?}");
        }
        assert!(!server.asked_for("goldens.json"), "nothing needs it");

        let asked = server.asked.lock().unwrap().len();
        locate(ID, &hub).await.unwrap();
        assert_eq!(server.asked.lock().unwrap().len(), asked, "it is here");
        drop(server);
        hub.offline = true;
        let second = locate(ID, &hub).await.unwrap();
        assert_eq!(second.weights, first.weights);
        let by_commit = locate(&format!("{ID}@{COMMIT}"), &hub).await.unwrap();
        assert_eq!(by_commit.weights, first.weights);
    }
}

#[tokio::test]
async fn a_model_that_no_engine_runs_is_refused_before_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of("refused/deberta").await;
    let error = locate(ID, &hub(&dir, &server.endpoint)).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error}");
    assert!(!server.asked_for("tokenizer.json"));
}

#[tokio::test]
async fn an_interrupted_download_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of("tiny-bert").await;
    let hub = hub(&dir, &server.endpoint);
    let whole = locate(ID, &hub).await.unwrap();
    std::fs::remove_file(&whole.weights[0]).unwrap();
    locate(ID, &hub).await.unwrap();
    let asked = server.asked.lock().unwrap();
    let configs = asked.iter().filter(|(path, _)| path.ends_with("/config.json"));
    assert_eq!(configs.count(), 2, "its size, then its bytes, once");
}

#[tokio::test]
async fn what_fails_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of("refused/deberta").await;
    let hub = hub(&dir, &server.endpoint);
    let offline = Hub { offline: true, ..hub.clone() };
    let unreachable = Hub { endpoint: Some("http://127.0.0.1:1".to_owned()), ..hub.clone() };
    let no_url = Hub { endpoint: Some("mirror.example".to_owned()), ..hub.clone() };
    for (source, hub, expected) in [
        ("owner/other", &hub, "404"),
        (ID, &offline, "off limits (HF_HUB_OFFLINE)"),
        (ID, &unreachable, "the list of files of model `owner/tiny`"),
        (ID, &no_url, "`HF_ENDPOINT` is \"mirror.example\"; it must begin with http:// or"),
        ("./nowhere", &hub, "neither a folder nor an id"),
        ("nowhere", &hub, "neither a folder nor an id"),
    ] {
        let error = locate(source, hub).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{source}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(!format!("{hub:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_hub_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = hub(&dir, &format!("http://{}", listener.local_addr().unwrap()));
    let error = locate(ID, &hub).await.unwrap_err().to_string();
    assert!(error.contains("no answer within 10000 ms"), "{error}");
}

#[tokio::test]
async fn an_imported_model_answers_to_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::of("tiny-xlm-roberta").await;
    let hub = hub(&dir, &server.endpoint);
    let imported = hub.imported.join("owner--tiny");
    std::fs::create_dir_all(&imported).unwrap();
    for file in [CONFIG, TOKENIZER, WEIGHTS] {
        let original = Path::new(FIXTURES).join("tiny-bert").join(file);
        std::fs::copy(original, imported.join(file)).unwrap();
    }
    assert_eq!(locate(ID, &hub).await.unwrap().dir, imported);
    let pinned = locate("owner/tiny@main", &hub).await.unwrap();
    assert_ne!(pinned.dir, imported, "an import has no revisions");
}

#[test]
fn settings_are_those_of_the_hubs_other_tools() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), " from-file\n").unwrap();
    let home = dir.path().to_str().unwrap().to_owned();
    let read = |settings: &[(&str, &str)]| {
        Hub::from_settings(|name| {
            let set = settings.iter().find(|(key, _)| *key == name);
            set.map(|(_, value)| (*value).to_owned())
                .or_else(|| (name == "HF_HOME").then(|| home.clone()))
        })
    };
    let hub = read(&[]);
    assert_eq!(hub.cache, dir.path().join("hub"));
    assert_eq!(hub.token.as_deref(), Some("from-file"));
    assert!(!hub.offline);
    assert_eq!(hub.endpoint, None);
    let hub = read(&[
        ("HF_HUB_CACHE", "elsewhere"),
        ("HF_TOKEN", "mine"),
        ("HF_HUB_OFFLINE", "1"),
        ("HF_ENDPOINT", "http://127.0.0.1:9/"),
    ]);
    assert_eq!(hub.cache, Path::new("elsewhere"));
    assert_eq!(hub.token.as_deref(), Some("mine"));
    assert!(hub.offline);
    assert_eq!(hub.endpoint.as_deref(), Some("http://127.0.0.1:9"));
    assert!(!read(&[("HF_HUB_OFFLINE", "0")]).offline);
}
