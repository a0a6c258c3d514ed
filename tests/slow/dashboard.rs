//! The operators' page in a browser, against a server that works: what it shows is
//! what `/metrics` says, and what goes wrong is seen. Its pictures are in the folder
//! for tests' files, `target/tmp/dashboard`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use maitred_tests::browser::Browser;
use maitred_tests::fixtures::checkpoint;
use maitred_tests::guests::component;
use maitred_tests::process::{Served, value};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A word whose weights are not numbers: whoever scores it fails.
const POISON: &str = "kimberlite";
const REPLICAS: usize = 3;
/// Long enough for the page, which looks once a second, to see it.
const RESTART_MS: u64 = 4000;

/// The tiny model with a poisoned word in it.
fn poisoned(folder: &Path) {
    for file in std::fs::read_dir(checkpoint("tiny-bert")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let tokenizer = json(&std::fs::read(folder.join("tokenizer.json")).unwrap());
    let word = tokenizer["model"]["vocab"][POISON].as_u64().unwrap() as usize;
    let weights = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    // Eight bytes of length, a head in JSON, then the tensors.
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let words = &json(&bytes[8..data])["bert.embeddings.word_embeddings.weight"];
    assert_eq!(words["dtype"], "F32");
    let width = words["shape"][1].as_u64().unwrap() as usize;
    let row = data + words["data_offsets"][0].as_u64().unwrap() as usize + word * width * 4;
    bytes[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
}

/// candle's kernels pass on what is not a number; those of `packed` clamp it away.
fn configuration(model: &Path) -> String {
    let component = |name: &str| component(name).display().to_string();
    format!(
        "default_route = 'plain'
         [models.tiny]\nsource = '{}'\nengine = 'candle'
         replicas = {REPLICAS}\nrestart_ms = {RESTART_MS}
         [policies.dedupe]\ncomponent = '{}'
         [policies.diversify]\ncomponent = '{}'
         [policies.trap]\ncomponent = '{}'
         [routes.plain]
         [routes.curated]\npolicies = ['dedupe', 'diversify']
         [routes.broken]\npolicies = ['trap']\n",
        model.display(),
        component("dedupe"),
        component("diversify"),
        component("trap"),
    )
}

/// Clients that ask until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(server: &Served) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let texts: Vec<_> =
            (0..6).map(|n| format!("{n} a green gate in a garden ").repeat(4)).collect();
        let clients = ["/rerank", "/rerank", "/routes/curated/rerank"].map(|path| {
            let (client, stop) = (server.client.clone(), stop.clone());
            let url = format!("http://{}{path}", server.public);
            let ask = json!({ "query": "garden gate", "texts": texts });
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    // While replicas are down some are refused.
                    let response = client.post(&url).json(&ask).send().await.unwrap();
                    answered += u64::from(response.status() == 200);
                }
                answered
            })
        });
        Load { stop, clients: clients.into() }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in self.clients {
            answered += client.await.unwrap();
        }
        answered
    }
}

fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A tile's number, as an expression.
fn tile(label: &str) -> String {
    format!(
        "[...document.querySelectorAll('#tiles div')].find((tile) => tile.firstChild.textContent === '{label}').lastChild.firstChild.textContent"
    )
}

/// What such a text says, as a number.
fn number(text: &str) -> String {
    format!("Number({text}?.replaceAll(',', '').replace('k', 'e3'))")
}

/// A cell of the row that begins with these words, as an expression; from 0.
fn cell(table: &str, row: &str, column: usize) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].find((row) => row.cells[0].textContent.startsWith('{row}'))?.cells[{column}].textContent"
    )
}

async fn post(server: &Served, path: &str, text: &str) -> u16 {
    let url = format!("http://{}{path}", server.public);
    let ask = json!({ "query": "garden gate", "texts": [text] });
    server.client.post(url).json(&ask).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_the_server_does() {
    let folder = tempfile::tempdir().unwrap();
    poisoned(folder.path());
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, configuration(folder.path())).unwrap();
    let mut server = Served::start(&["--config", file.to_str().unwrap()]).await;
    let origin = format!("http://{}", server.operations);
    let mut browser = Browser::open(&origin).await;
    browser.size(1440, 900).await;
    browser.until("document.body.dataset.link === 'live'").await;
    browser.until(&format!("{} === '–'", tile("latency p50"))).await;
    browser.until(&format!("{} === '0'", tile("requests"))).await;

    numbers_move(&server, &mut browser).await;
    the_try_box_ranks(&mut browser).await;
    a_killed_replica_is_seen(&server, &mut browser).await;
    errors_are_listed(&server, &mut browser).await;
    the_keyboard_walks_along_a_chart(&mut browser).await;
    what_was_is_shown_to_who_comes_later(&mut browser, &origin).await;

    assert_eq!(browser.complaints(), Vec::<Value>::new());
    let elsewhere = |url: &String| !url.starts_with(&format!("{origin}/"));
    let asked = browser.asked();
    assert!(asked.len() > 9 && !asked.iter().any(elsewhere), "{asked:?}");

    // A page that is open holds nobody up, and says that it is old.
    server.terminate().await;
    browser.until("document.body.dataset.link === 'stale'").await;
    let said = browser.value("document.getElementById('link').textContent").await;
    assert!(said.as_str().unwrap().starts_with("stale since "), "{said}");
    let ended = tokio::time::timeout(Duration::from_secs(10), server.started.child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{}", server.said());
    browser.picture(&pictures().join("stale.png")).await;
    browser.close().await;
}

/// The page's figures are those of `/metrics`, as rates over the same ten seconds.
async fn numbers_move(server: &Served, browser: &mut Browser) {
    let load = Load::start(server);
    let pairs = async || server.metric("maitred_pairs_total{model=\"tiny\"}").await;
    browser.until(&format!("{} > 0", number(&tile("pairs")))).await;
    // Until the ten seconds of the page are seconds with load.
    browser.until("document.querySelectorAll('.plot')[1].ariaValueMax > 12").await;
    let (before, began) = (pairs().await, Instant::now());
    let end = "document.querySelectorAll('.plot')[1].ariaValueMax";
    let seen = browser.value(end).await;
    let seen: f64 = seen.as_str().unwrap().parse().unwrap();
    browser.until(&format!("{end} >= {}", seen + 10.0)).await;
    let rate = (pairs().await - before) / began.elapsed().as_secs_f64();
    let shown = browser.value(&number(&tile("pairs"))).await.as_f64().unwrap();
    assert!((shown / rate - 1.0).abs() < 0.3, "{shown} pairs/s shown, {rate} measured");
    let latency = browser.value(&tile("latency p99")).await;
    assert!(latency.as_str().unwrap().parse::<f64>().is_ok_and(|ms| ms > 0.0), "{latency}");
    for theme in ["light", "dark"] {
        browser.theme(theme).await;
        browser.picture(&pictures().join(format!("{theme}.png"))).await;
    }
    browser.size(420, 900).await;
    browser.picture(&pictures().join("narrow.png")).await;
    browser.size(1440, 900).await;
    browser.theme("light").await;
    assert!(load.stop().await > 0);

    // What is counted since the start is the same to the last call.
    let metrics = server.metrics().await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("maitred_policy_calls_total{policy=\"dedupe\""));
    let calls: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let shown = cell("policy-table", "dedupe", 5);
    browser.until(&format!("{} === {calls}", number(&shown))).await;
}

async fn the_try_box_ranks(browser: &mut Browser) {
    browser.value("document.getElementById('trial-route').value = 'curated'").await;
    browser.value("document.getElementById('trial-query').focus()").await;
    browser.write("garden gate").await;
    browser.value("document.getElementById('trial-documents').focus()").await;
    let documents = "a green gate in a garden\na green gate in a garden\n{\"text\": \"a red door\", \"date\": \"2026-01-01\"}\nhow to hang a gate of oak\nthe river and its bridge";
    browser.write(documents).await;
    browser.value("document.querySelector('#trial button').click()").await;
    browser
        .until(
            "document.getElementById('trial-status').textContent.startsWith('ranked 5 documents')",
        )
        .await;
    let order = |table: &str| {
        format!(
            "[...document.querySelectorAll('#{table} tr')].map((row) => row.lastChild.textContent)"
        )
    };
    let plain = browser.value(&order("trial-plain")).await;
    let chain = browser.value(&order("trial-chain")).await;
    assert_eq!((plain.as_array().unwrap().len(), chain.as_array().unwrap().len()), (5, 5));
    let out = browser.value("document.querySelectorAll('#trial-chain .out').length").await;
    assert_eq!(out, 1, "a document that is there twice is dropped: {chain}");
    let moves = browser.value("document.querySelector('#trial-chain tr').cells[1].ariaLabel").await;
    assert!(moves.is_string(), "{moves}");
    browser.value("document.getElementById('try').scrollIntoView()").await;
    browser.picture(&pictures().join("try.png")).await;
}

async fn a_killed_replica_is_seen(server: &Served, browser: &mut Browser) {
    let failed = "document.querySelectorAll('.replica.failed')";
    assert_eq!(browser.value(&format!("{failed}.length")).await, 0);
    // It kills the replica that scores it, and then the one that tries again.
    assert_eq!(post(server, "/rerank", POISON).await, 500);
    browser.until(&format!("{failed}.length === 2")).await;
    let ground = "getComputedStyle(document.querySelector('.replica.failed')).backgroundColor";
    assert_eq!(browser.value(ground).await, "rgb(253, 228, 225)", "it is red");
    let words = browser.value(&format!("{failed}[0].textContent")).await;
    assert!(words.as_str().unwrap().contains("✕ failed"), "and says so: {words}");
    let up = browser.value(&tile("replicas up")).await;
    assert_eq!(up, "1 of 3");
    browser.until("document.getElementById('state').textContent === '✕ a replica is down'").await;
    for theme in ["light", "dark"] {
        browser.theme(theme).await;
        browser.picture(&pictures().join(format!("failed-{theme}.png"))).await;
    }
    browser.theme("light").await;
    assert_eq!(post(server, "/rerank", "a green gate").await, 200, "the third one serves");
    browser.until(&format!("{} === '3 of 3'", tile("replicas up"))).await;
    assert_eq!(browser.value(&format!("{failed}.length")).await, 0);
    let metrics = server.metrics().await;
    let restarts: f64 = (0..REPLICAS)
        .map(|replica| {
            let line =
                format!("maitred_replica_restarts_total{{model=\"tiny\",replica=\"{replica}\"}}");
            value(&metrics, &line)
        })
        .sum();
    assert_eq!(restarts, 2.0, "{metrics}");
    let shown = "[...document.querySelectorAll('.restarts')].filter((place) => place.textContent === '· restarted 1×').length";
    assert_eq!(browser.value(shown).await, 2);
}

async fn errors_are_listed(server: &Served, browser: &mut Browser) {
    for _ in 0..3 {
        assert_eq!(post(server, "/routes/broken/rerank", "a green gate").await, 502);
    }
    browser.until(&format!("{} === 'trap 3'", cell("policy-table", "trap", 6))).await;
    let kinds = "[...document.querySelectorAll('#failure-table tbody tr')].map((row) => [row.cells[1], row.cells[2], row.cells[3], row.cells[5]].map((cell) => cell.textContent).join(' '))";
    browser.until(&format!("{kinds}.length === 2")).await;
    let listed = browser.value(kinds).await;
    assert_eq!(listed, json!(["3 502 policy_failed broken", "1 500 internal plain"]));
    let text = browser.value("document.getElementById('failure-table').textContent").await;
    assert!(!text.as_str().unwrap().contains(POISON), "{text}");
}

async fn the_keyboard_walks_along_a_chart(browser: &mut Browser) {
    browser.value("document.querySelector('.plot').focus()").await;
    let said = "document.activeElement.ariaValueText";
    let now = browser.value("Number(document.activeElement.ariaValueNow)").await;
    browser.press("ArrowLeft").await;
    browser.press("ArrowLeft").await;
    let then = browser.value("Number(document.activeElement.ariaValueNow)").await;
    assert!(then.as_f64() < now.as_f64(), "{then} {now}");
    let text = browser.value(said).await;
    assert!(text.as_str().unwrap().contains("answered"), "{text}");
    browser.press("Escape").await;
    browser.value("document.querySelector('input[value=\"60\"]').click()").await;
    let shown = browser.value("Number(document.querySelector('.plot').ariaValueMax)").await;
    assert!(shown.as_f64().unwrap() <= 60.0, "{shown}");
}

async fn what_was_is_shown_to_who_comes_later(browser: &mut Browser, origin: &str) {
    browser.go(origin).await;
    browser.until("document.body.dataset.link === 'live'").await;
    let shown = browser.value("Number(document.querySelector('.plot').ariaValueMax)").await;
    assert!(shown.as_f64().unwrap() > 20.0, "{shown}");
}
