//! New configurations and components while the program serves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use maitred_tests::fixtures::checkpoint;
use maitred_tests::guests::component;
use maitred_tests::process::Served;
use maitred_tests::slow;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Swaps a second, and how long.
const SWAP_MS: u64 = 200;
/// A reload that did not come within it never will; machines that are busy take seconds.
const RELOAD_MAX: Duration = Duration::from_secs(60);
const CLIENTS: usize = 6;
/// Looks at memory of which the median counts: those of a second. A single one may
/// find what a request or an exchange holds for a moment.
const LOOKS: usize = 5;
/// What memory may differ by in the second half of the swaps.
const RESIDENT_SHARE_MAX: f64 = 0.03;

/// A folder from which a server is configured.
struct Deployment {
    folder: tempfile::TempDir,
    server: &'static str,
}

impl Deployment {
    /// With both versions in it, and a `[server]` table.
    fn new(server: &'static str) -> Deployment {
        let folder = tempfile::tempdir().unwrap();
        for version in ["one", "two"] {
            let built = component(&format!("version_{version}"));
            std::fs::copy(built, folder.path().join(format!("{version}.wasm"))).unwrap();
        }
        std::fs::write(folder.path().join("broken.wasm"), b"\0asm is not what follows").unwrap();
        Deployment { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A plain route, and one with the same version of a policy twice.
    fn configuration(&self, version: &str) -> String {
        format!(
            "default_route = 'plain'
             [server]
             {}
             [models.tiny]
             source = '{}'
             replicas = 1
             [policies.outer]
             component = '{version}.wasm'
             [policies.inner]
             component = '{version}.wasm'
             [routes.plain]
             [routes.twice]
             policies = ['outer', 'inner']
            ",
            self.server,
            checkpoint("tiny-bert").display()
        )
    }

    fn write(&self, configuration: &str) {
        replace(&self.path("maitred.toml"), configuration.as_bytes());
    }

    async fn start(&self) -> Served {
        let file = self.path("maitred.toml");
        // Requests are not logged: they would drown what reloads say.
        let log = "warn,maitred::server=info";
        Served::start(&["--config", file.to_str().unwrap(), "--log", log]).await
    }
}

/// Exchanges a file as deployments do: nobody sees half of it.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The chain that the answer names, and the scores by document.
async fn ask(
    client: &reqwest::Client,
    server: &str,
    route: &str,
) -> Result<(String, BTreeMap<u64, f64>), String> {
    let texts = ["a green gate", "the river in winter", "a market by the bridge"];
    let ask = json!({ "query": "garden gate", "texts": texts, "raw_scores": true });
    let url = format!("{server}/routes/{route}/rerank");
    let response = client.post(url).json(&ask).send().await.map_err(|e| format!("{e:?}"))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let answer: Value = response.json().await.map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("{status}: {answer}"));
    }
    let results = answer.as_array().unwrap();
    let score = |r: &Value| (r["index"].as_u64().unwrap(), r["score"].as_f64().unwrap());
    Ok((headers["x-maitred-chain"].to_str().unwrap().into(), results.iter().map(score).collect()))
}

async fn reloads(server: &Served) -> BTreeMap<&'static str, u64> {
    let metrics = server.metrics().await;
    let count = |outcome: &'static str| {
        let line = format!("maitred_reloads_total{{outcome=\"{outcome}\"}} ");
        let value = metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok());
        (outcome, value.unwrap_or(0))
    };
    ["replaced", "unchanged", "refused"].map(count).into()
}

/// Waits until so many reloads have ended.
async fn reloaded(server: &Served, total: u64) {
    let enough = async { while reloads(server).await.values().sum::<u64>() < total {} };
    let waited = tokio::time::timeout(RELOAD_MAX, enough).await;
    assert!(waited.is_ok(), "there were not {total} reloads:\n{}", server.said());
}

/// Bytes of the program's memory.
fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Configurations that must not be taken up, each in its own way.
fn broken(deployment: &Deployment, which: usize) -> (String, &'static str) {
    let good = deployment.configuration("one");
    match which % 6 {
        0 => (good.replacen("[models.tiny]", "[models.tiny", 1), "line"),
        1 => (good.replace("one.wasm", "broken.wasm"), "broken.wasm"),
        2 => (good.replace("one.wasm", "missing.wasm"), "missing.wasm"),
        3 => (good.replace("replicas", "replica"), "did you mean `replicas`?"),
        // As the log, which is JSON, has it.
        4 => (good.replace("['outer'", "['outsider'"), r#"did you mean \"outer\"?"#),
        _ => (
            good.replace("[models.tiny]", "fields_max = 9\n[models.tiny]"),
            "only a restart can change `server.fields_max` (64 to 9)",
        ),
    }
}

/// Two versions of a chain are exchanged under load, five times a second, and
/// every tenth exchange is a broken one.
#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_fail_nobody_and_mix_nothing() {
    let time = Duration::from_secs(if slow() { 60 } else { 4 });
    let deployment = Deployment::new("reload = 'signal'");
    deployment.write(&deployment.configuration("one"));
    let server = deployment.start().await;
    let url = format!("http://{}", server.public);
    let (_, plain) = ask(&server.client, &url, "plain").await.unwrap();
    let (one, _) = ask(&server.client, &url, "twice").await.unwrap();
    deployment.write(&deployment.configuration("two"));
    server.hang_up().await;
    reloaded(&server, 1).await;
    let (two, _) = ask(&server.client, &url, "twice").await.unwrap();
    assert_ne!(one, two);

    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let expected = Arc::new(BTreeMap::from([(one, 200.0), (two, 2000.0)]));
    let clients = (0..CLIENTS).map(|_| {
        let (stop, answered, expected) = (stop.clone(), answered.clone(), expected.clone());
        let (url, plain, client) = (url.clone(), plain.clone(), reqwest::Client::new());
        tokio::spawn(async move {
            let mut seen = BTreeMap::new();
            while !stop.load(Relaxed) {
                let (chain, scores) = ask(&client, &url, "twice").await.expect("nobody fails");
                for (index, score) in &scores {
                    let added = score - plain[index];
                    let right = (added - expected[&chain]).abs() < 0.01;
                    assert!(right, "{chain} added {added} to document {index}");
                }
                assert_eq!(scores.len(), plain.len());
                *seen.entry(chain).or_insert(0_u64) += 1;
                answered.fetch_add(1, Relaxed);
            }
            seen
        })
    });
    let clients: Vec<_> = clients.collect();

    let mut resident = Vec::new();
    let (began, mut swaps) = (Instant::now(), interval(Duration::from_millis(SWAP_MS)));
    swaps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut attempts, mut refusals) = (0, 0);
    // What is served, and what is exchanged for it next.
    let mut versions = ["two", "one"];
    let before = reloads(&server).await;
    while began.elapsed() < time {
        swaps.tick().await;
        // What the last exchange replaced is gone by now.
        resident.extend(resident_bytes(server.pid()));
        attempts += 1;
        if attempts % 10 == 0 {
            let (configuration, reason) = broken(&deployment, refusals);
            deployment.write(&configuration);
            server.hang_up().await;
            reloaded(&server, 1 + attempts).await;
            server.says(reason).await;
            refusals += 1;
        } else {
            versions.reverse();
            deployment.write(&deployment.configuration(versions[0]));
            server.hang_up().await;
            reloaded(&server, 1 + attempts).await;
        }
    }
    let took = began.elapsed();
    stop.store(true, Relaxed);
    let mut seen = BTreeMap::new();
    for client in clients {
        for (chain, count) in client.await.unwrap() {
            *seen.entry(chain).or_insert(0) += count;
        }
    }
    let after = reloads(&server).await;
    let grew = |outcome| after[outcome] - before[outcome];
    let expected = (attempts - refusals as u64, 0, refusals as u64);
    assert_eq!(
        (grew("replaced"), grew("unchanged"), grew("refused")),
        expected,
        "{}",
        server.said()
    );
    assert_eq!(seen.len(), 2, "both versions answered: {seen:?}");
    let generation = server.metric("maitred_generation ").await;
    assert_eq!(generation, (1 + after["replaced"]) as f64);
    println!("{attempts} swaps in {took:?}, {refusals} refused; answers: {seen:?}");

    let later = &resident[resident.len() / 2..];
    let medians: Vec<u64> = later.chunks(LOOKS).map(median).collect();
    if let (Some(least), Some(most)) = (medians.iter().min(), medians.iter().max()) {
        let extremes = (later.iter().min(), later.iter().max());
        println!("resident in the second half, in bytes: {extremes:?}, by seconds {medians:?}");
        let share = (most - least) as f64 / *least as f64;
        println!("they differ by {share}");
        if slow() {
            assert!(share <= RESIDENT_SHARE_MAX, "{medians:?} differ by {share}");
        }
    }
    if slow() {
        let wanted = took.as_secs_f64() * 1000.0 / SWAP_MS as f64;
        assert!(attempts as f64 >= 0.9 * wanted, "{attempts} exchanges instead of {wanted}");
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Without a signal: the configuration, a component and a manifest are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_taken_up() {
    let deployment = Deployment::new("reload_poll_ms = 10");
    deployment.write(&deployment.configuration("one"));
    let server = deployment.start().await;
    let url = format!("http://{}", server.public);
    let chain = async || ask(&server.client, &url, "twice").await.unwrap().0;
    let first = chain().await;
    assert!(first.starts_with("outer@") && first.contains(",inner@"), "{first}");

    // A component is exchanged under its name.
    let two = std::fs::read(deployment.path("two.wasm")).unwrap();
    replace(&deployment.path("one.wasm"), &two);
    reloaded(&server, 1).await;
    let second = chain().await;
    assert_ne!(first, second);

    // A manifest appears: its default is a parameter.
    replace(&deployment.path("one.toml"), b"[params.x]\ndefault = 1\n");
    reloaded(&server, 2).await;
    let third = chain().await;
    assert!(third.contains('+') && third != second, "{third}");

    // A broken one is refused and said why; the repair is taken up.
    replace(&deployment.path("one.toml"), b"[parms]\n");
    reloaded(&server, 3).await;
    server.says("unknown key `parms`; did you mean `params`?").await;
    assert_eq!(server.metric("maitred_reload_refused ").await, 1.0);
    assert_eq!(chain().await, third);
    std::fs::remove_file(deployment.path("one.toml")).unwrap();
    reloaded(&server, 4).await;
    assert_eq!(server.metric("maitred_reload_refused ").await, 0.0);
    assert_eq!(chain().await, second);

    // A configuration names a component that is not there yet.
    deployment.write(&deployment.configuration("three"));
    reloaded(&server, 5).await;
    server.says("three.wasm").await;
    replace(&deployment.path("three.wasm"), &two);
    reloaded(&server, 6).await;
    assert_eq!(chain().await, second, "the same content is the same version");
    let expected = BTreeMap::from([("replaced", 3), ("unchanged", 1), ("refused", 2)]);
    assert_eq!(reloads(&server).await, expected, "{}", server.said());
}

/// What no request could get through is refused as a whole, and by the policy's words.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_a_policy_refuses_are_not_taken_up() {
    let deployment = Deployment::new("reload = 'signal'");
    let configuration = |words: u32| {
        format!(
            "[models.tiny]\nsource = '{}'\nreplicas = 1
             [server]\nreload = 'signal'
             [policies.passages]\ncomponent = '{}'
             [routes.cut]
             policies = [{{ policy = 'passages', params = {{ words = {words} }} }}]",
            checkpoint("tiny-bert").display(),
            component("passages").display()
        )
    };
    deployment.write(&configuration(100));
    let server = deployment.start().await;
    let url = format!("http://{}", server.public);
    let before = ask(&server.client, &url, "cut").await.unwrap();
    deployment.write(&configuration(50));
    server.hang_up().await;
    reloaded(&server, 1).await;
    let refused = server.says("failed to build the route `cut`").await;
    let expected = "policy `passages`: it says: parameter `overlap` is `30`, not at most half";
    assert!(refused.contains(expected), "{refused}");
    assert_eq!(ask(&server.client, &url, "cut").await.unwrap(), before);
    deployment.write(&configuration(60));
    server.hang_up().await;
    reloaded(&server, 2).await;
    assert_ne!(ask(&server.client, &url, "cut").await.unwrap().0, before.0);
}

/// Routes come and go, models are started beside the old ones, and a request
/// that is under way keeps what it began with.
#[tokio::test(flavor = "multi_thread")]
async fn models_and_routes_can_change() {
    let deployment = Deployment::new("reload = 'signal'");
    deployment.write(&deployment.configuration("one"));
    let server = deployment.start().await;
    let url = format!("http://{}", server.public);
    let (before, _) = ask(&server.client, &url, "plain").await.unwrap();

    let other = deployment
        .configuration("one")
        .replace("replicas = 1", "replicas = 2\ntruncation = 'document-only'")
        .replace("[routes.twice]", "[routes.thrice]");
    deployment.write(&other);
    server.hang_up().await;
    reloaded(&server, 1).await;
    let (after, _) = ask(&server.client, &url, "plain").await.unwrap();
    assert_ne!(before, after, "the model has other settings");
    let gone = ask(&server.client, &url, "twice").await.unwrap_err();
    assert!(gone.starts_with("404") && gone.contains("`thrice`"), "{gone}");
    ask(&server.client, &url, "thrice").await.unwrap();
    // The old model's replica is gone, and the new ones are counted once.
    let up = |replica: u32| format!("maitred_replica_up{{model=\"tiny\",replica=\"{replica}\"}} ");
    for replica in 0..2 {
        while server.metric(&up(replica)).await != 1.0 {}
    }

    deployment.write(&deployment.configuration("one"));
    server.hang_up().await;
    reloaded(&server, 2).await;
    assert_eq!(ask(&server.client, &url, "plain").await.unwrap().0, before);
    while server.metric(&up(1)).await != 0.0 {}
    server.hang_up().await;
    reloaded(&server, 3).await;
    let expected = BTreeMap::from([("replaced", 2), ("unchanged", 1), ("refused", 0)]);
    assert_eq!(reloads(&server).await, expected);
}
