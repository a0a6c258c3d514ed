//! Rules and dashboard of `deploy/` against a real Prometheus that scrapes real servers:
//! it takes the rules, the alerts fire when they should, and every query has an answer.

use std::path::Path;
use std::time::Duration;

use maitred_tests::collector::Collector;
use maitred_tests::deploy::panels;
use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::guests::component;
use maitred_tests::process::{Served, run};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Prometheus looks this often, here.
const EVERY: &str = "1s";
/// Two looks at least lie in it.
const RATE: &str = "10s";
/// How long Prometheus may take for what needs several looks.
const PATIENCE: Duration = Duration::from_secs(90);
/// Prometheus cannot be told to say when it has looked.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs one of Debian's programs in `deploy/prometheus`.
async fn promtool(words: &[&str]) {
    let output = Command::new("promtool")
        .args(words)
        .current_dir(repository("deploy/prometheus"))
        .output()
        .await
        .expect("promtool is there; `cargo xtask test --slow` installs the package prometheus");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn promtool_takes_rules_and_configuration() {
    promtool(&["check", "rules", "recording.yml", "alerts.yml"]).await;
    promtool(&["check", "config", "prometheus.yml"]).await;
}

#[tokio::test]
async fn alerts_fire_when_they_should() {
    promtool(&["test", "rules", "alerts_test.yml"]).await;
}

/// A server in which something of everything happens.
struct Busy {
    server: Served,
    key: String,
}

impl Busy {
    async fn start(folder: &Path, collector: &Collector) -> Busy {
        let policy = |name: &str| {
            format!("[policies.{name}]\ncomponent = '{}'\n", component(name).display())
        };
        let file = folder.join("maitred.toml");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let model = checkpoint("tiny-bert").display().to_string();
        let text = format!(
            "default_route = 'plain'
             [telemetry]\notlp_endpoint = '{}'\nexport_ms = 100
             [models.tiny]\nsource = '{model}'\nreplicas = 2
             [models.narrow]\nsource = '{model}'\nreplicas = 1\nbatch.queue_pairs_max = 8
             [routes.plain]\nmodel = 'tiny'
             [routes.narrow]\nmodel = 'narrow'
             [routes.chain]\nmodel = 'tiny'\npolicies = ['dedupe', 'passages']
             [routes.broken]\nmodel = 'tiny'\npolicies = ['trap']
             [routes.bypassed]\nmodel = 'tiny'\npolicies = ['trap']\non_failure = 'bypass'
             {}{}{}",
            collector.url(),
            policy("dedupe"),
            policy("passages"),
            policy("trap"),
        );
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let (code, key, err) = run(&["key", "new", "--caller", "shop", "--append", file]).await;
        assert_eq!(code, 0, "{err}");
        let server = Served::start(&["--config", file]).await;
        Busy { server, key: key.trim().to_owned() }
    }

    async fn post(&self, route: &str, documents: usize) -> u16 {
        let url = format!("http://{}/routes/{route}/v2/rerank", self.server.public);
        let text = "a green gate in a walled garden beside the river ".repeat(4);
        let documents: Vec<_> = (0..documents).map(|n| format!("{n} {text}")).collect();
        let ask = json!({ "query": "garden gate", "documents": documents });
        let request = self.server.client.post(url).bearer_auth(&self.key).json(&ask);
        request.send().await.unwrap().status().as_u16()
    }

    /// Something of everything.
    async fn round(&self) {
        let narrow = (0..16).map(|_| self.post("narrow", 8));
        let (narrow, plain, chain, broken, bypassed, wrong) = tokio::join!(
            futures_util::future::join_all(narrow),
            self.post("plain", 4),
            self.post("chain", 4),
            self.post("broken", 2),
            self.post("bypassed", 2),
            self.post("plain", 0),
        );
        assert!(narrow.contains(&429) && narrow.contains(&200), "{narrow:?}");
        assert_eq!([plain, chain, broken, bypassed, wrong], [200, 200, 502, 200, 400]);
    }
}

/// A server with a certificate, which nobody asks anything.
async fn encrypted(folder: &Path) -> Served {
    let file = folder.join("encrypted.toml");
    let text = format!(
        "[server.tls]\ncert = '{0}/cert.pem'\nkey = '{0}/key.pem'
         [models.tiny]\nsource = '{1}'\nreplicas = 1",
        folder.display(),
        checkpoint("tiny-bert").display()
    );
    std::fs::write(&file, text).unwrap();
    Served::start(&["--config", file.to_str().unwrap()]).await
}

struct Prometheus {
    /// It is killed when the test ends.
    _process: Child,
    base: String,
    client: Client,
}

impl Prometheus {
    async fn start(folder: &Path, targets: &[String]) -> Prometheus {
        let source = repository("deploy/prometheus");
        let written = std::fs::read_to_string(source.join("prometheus.yml")).unwrap();
        let targets = targets.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", ");
        let mut changed = written.clone();
        for (was, is) in [("15s", EVERY), ("\"127.0.0.1:8788\"", &*targets)] {
            assert!(changed.contains(was), "{written}");
            changed = changed.replace(was, is);
        }
        std::fs::write(folder.join("prometheus.yml"), changed).unwrap();
        for rules in ["recording.yml", "alerts.yml"] {
            std::fs::copy(source.join(rules), folder.join(rules)).unwrap();
        }
        // It cannot say which port it took, so it is given one that was free.
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is there; `cargo xtask test --slow` installs it");
        let base = format!("http://{address}/api/v1");
        Prometheus { _process: process, base, client: Client::new() }
    }

    /// What a query gives now; `Null` while it does not answer at all.
    async fn ask(&self, path: &str, query: &str) -> Value {
        let url = format!("{}/{path}", self.base);
        let request = self.client.get(url).query(&[("query", query)]);
        match request.send().await {
            Ok(response) => response.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    async fn has_data(&self, query: &str) -> bool {
        let answer = self.ask("query", query).await;
        if answer["status"] == "error" {
            panic!("`{query}`: {answer}");
        }
        let number = |sample: &Value| sample["value"][1] != "NaN";
        answer["data"]["result"].as_array().is_some_and(|found| found.iter().any(number))
    }

    async fn rules(&self) -> Vec<Value> {
        let answer = self.ask("rules", "").await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let busy = Busy::start(folder.path(), &collector).await;
    let encrypted = encrypted(folder.path()).await;
    let targets = [&busy.server, &encrypted].map(|server| server.operations.to_string());
    let prometheus = Prometheus::start(folder.path(), &targets).await;

    let mut asked: Vec<(String, String)> = Vec::new();
    for panel in panels() {
        for query in panel.queries {
            // No GPU is here.
            if query.contains("maitred_metal_memory_bytes") {
                continue;
            }
            let query = query
                .replace("$__rate_interval", RATE)
                .replace("$job", "maitred")
                .replace("$instance", ".*")
                .replace("$route", ".*");
            assert!(!query.contains('$'), "{query}");
            asked.push((panel.title.clone(), query));
        }
    }
    busy.round().await;
    busy.server.hang_up().await;
    let until = Instant::now() + PATIENCE;
    let mut rules = Vec::new();
    while Instant::now() < until && (rules.is_empty() || !asked.is_empty()) {
        busy.round().await;
        sleep(PAUSE).await;
        if rules.is_empty() {
            rules = prometheus.rules().await;
            let recording = rules.iter().filter(|rule| rule["type"] == "recording");
            let name = |rule: &Value| rule["name"].as_str().unwrap().to_owned();
            asked.extend(recording.map(|rule| ("recording rule".to_owned(), name(rule))));
        }
        let mut left = Vec::new();
        for (title, query) in asked {
            if !prometheus.has_data(&query).await {
                left.push((title, query));
            }
        }
        asked = left;
    }
    assert!(asked.is_empty(), "no data for {asked:#?}");
    let rules = prometheus.rules().await;
    assert!(rules.len() > 25, "{rules:#?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
}
