//! From an HTTP request through real guests, tokenizers, batcher and replicas to
//! a (tiny) real model, and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use maitred_tests::fixtures::{checkpoint, goldens};
use maitred_tests::guests::component;
use maitred_tests::process::Served;
use maitred_tests::server::TestServer;
use serde_json::{Value, json};

/// One tiny model, a plain route, and one with every policy that comes along.
fn configuration(replicas: usize) -> String {
    let policy = |name: &str, grants: &str| {
        let component = component(name);
        format!("[policies.{name}]\ncomponent = '{}'\ngrants = [{grants}]\n", component.display())
    };
    format!(
        r#"
        default_route = "plain"
        [models.tiny]
        source = '{model}'
        replicas = {replicas}
        [routes.plain]
        [routes.chain]
        policies = ["dedupe", {{ policy = "fresh", params = {{ field = "date" }} }}, "passages"]
        [routes.last]
        policies = ["dedupe"]
        filtered = "last"
        [routes.broken]
        policies = ["trap"]
        [routes.bypassed]
        policies = ["trap"]
        on_failure = "bypass"
        [routes.greedy]
        policies = ["calls_10000"]
        on_failure = "bypass"
        {dedupe}{fresh}{passages}{trap}{greedy}
        "#,
        model = checkpoint("tiny-bert").display(),
        dedupe = policy("dedupe", ""),
        fresh = policy("fresh", "'clock'"),
        passages = policy("passages", ""),
        trap = policy("trap", ""),
        greedy = policy("calls_10000", ""),
    )
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_over_http_are_the_references() {
    let server = TestServer::start(&configuration(2)).await;
    for golden in goldens("tests/fixtures/tiny-bert/goldens.json") {
        if golden.query.trim().is_empty() {
            continue;
        }
        let tei = json!({ "query": golden.query, "texts": [golden.document], "raw_scores": true });
        let (status, answer) = server.post("/rerank", &tei).await;
        assert_eq!(status, 200, "{answer}");
        let score = answer[0]["score"].as_f64().unwrap();
        assert!((score - f64::from(golden.logit)).abs() < 1e-3, "{golden:?} got {score}");

        let cohere =
            json!({ "model": "tiny", "query": golden.query, "documents": [golden.document] });
        let (status, answer) = server.post("/v2/rerank", &cohere).await;
        assert_eq!(status, 200, "{answer}");
        let score = answer["results"][0]["relevance_score"].as_f64().unwrap();
        assert!((score - sigmoid(golden.logit.into())).abs() < 1e-3, "{golden:?} got {score}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_shapes_filters_and_scores() {
    let server = TestServer::start(&configuration(1)).await;
    let long = format!(
        "{} the garden gate is painted green",
        "a plain sentence of no interest. ".repeat(60)
    );
    let documents = json!([
        { "text": "the garden gate is painted green", "date": "2001-01-01" },
        { "text": "the garden gate is painted green!", "date": "2001-01-01" },
        { "text": long },
    ]);
    let ask = json!({ "query": "garden gate", "documents": documents });
    let (status, plain) = server.post("/routes/plain/v1/rerank", &ask).await;
    assert_eq!((status, plain["results"].as_array().unwrap().len()), (200, 3), "{plain}");
    let (status, chain) = server.post("/routes/chain/v1/rerank", &ask).await;
    assert_eq!(status, 200, "{chain}");
    let indexes: Vec<_> =
        chain["results"].as_array().unwrap().iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert!(!indexes.contains(&1), "the near-duplicate is filtered: {chain}");
    assert_eq!(indexes.len(), 2, "one result a document: {chain}");

    let texts = json!({ "query": "garden gate", "texts": ["green gate", "green gate"] });
    let (status, last) = server.post("/routes/last/rerank", &texts).await;
    assert_eq!(
        (status, &last[1]["index"], &last[1]["score"]),
        (200, &json!(1), &json!(0.0)),
        "{last}"
    );
    server.stop().await;
}

/// Sends one request and returns the status, the results and, where the plain model
/// answered instead of the chain, what the header says.
async fn bypass(server: &TestServer, route: &str, ask: &Value) -> (u16, Value, Option<String>) {
    let url = format!("http://{}/routes/{route}/v2/rerank", server.public);
    let response = server.client.post(url).json(ask).send().await.unwrap();
    let status = response.status().as_u16();
    let said = response.headers().get("x-maitred-bypassed");
    let said = said.map(|said| said.to_str().unwrap().to_owned());
    let answer: Value = response.json().await.unwrap();
    (status, answer["results"].clone(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_policy_fails_its_request_or_is_bypassed() {
    let server = TestServer::start(&configuration(1)).await;
    let ask = json!({ "query": "garden gate", "documents": ["a green gate", "a red door"] });
    let (status, broken) = server.post("/routes/broken/v2/rerank", &ask).await;
    assert_eq!(status, 502);
    let message = broken["message"].as_str().unwrap();
    assert!(message.contains("`trap`"), "{message}");

    let plain = bypass(&server, "plain", &ask).await;
    assert_eq!((plain.0, &plain.2), (200, &None), "{plain:?}");
    // The one fails at once; the other asks the model until the request's share of
    // it is used up, and the plain model has a share of its own.
    for route in ["bypassed", "greedy"] {
        let bypassed = bypass(&server, route, &ask).await;
        assert_eq!(bypassed, (200, plain.1.clone(), Some("true".into())), "{route}");
        let counted = format!("maitred_bypasses_total{{route=\"{route}\"}}");
        assert_eq!(server.metric(&counted).await, 1.0);
    }
    let metrics = server.metrics().await;
    for (route, count) in [("broken", 1.0), ("greedy", 0.0)] {
        let labels = [&*format!("route=\"{route}"), "kind=\"policy_failed"];
        let errors = series(&metrics, "maitred_errors_total", &labels);
        assert_eq!(errors.unwrap_or(0.0), count, "{route} in\n{metrics}");
    }
    let overdrawn = series(&metrics, "maitred_policy_failures_total", &["amplification"]);
    assert_eq!(overdrawn, Some(1.0), "{metrics}");
    server.stop().await;
}

/// The value of the first line with this name and all of these labels or values of
/// labels.
fn series(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of = |line: &&str| {
        let begins = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        begins && labels.iter().all(|label| line.contains(&format!("{label}\"")))
    };
    metrics.lines().find(of)?.rsplit(' ').next()?.parse().ok()
}

/// A request's way can be followed from stage to stage in the metrics.
#[tokio::test(flavor = "multi_thread")]
async fn every_stage_of_a_chain_is_measured() {
    let server = TestServer::start(&configuration(1)).await;
    let ask = json!({ "query": "garden gate", "documents": ["a green gate", "a red door"] });
    let (status, answer) = server.post("/routes/chain/v2/rerank", &ask).await;
    assert_eq!(status, 200, "{answer}");
    let metrics = server.metrics().await;
    let value = |name: &str, labels: &[&str]| {
        let name = format!("maitred_{name}");
        series(&metrics, &name, labels)
            .unwrap_or_else(|| panic!("no `{name}` with {labels:?} in\n{metrics}"))
    };
    for stage in ["total", "tokenize", "queue", "inference", "guest_cpu"] {
        let labels = ["route=\"chain", &format!("stage=\"{stage}")];
        assert_eq!(value("request_duration_seconds_count", &labels), 1.0, "{stage}");
        assert!(value("request_duration_seconds_sum", &labels) > 0.0, "{stage}");
    }
    let is = |name: &str, labels: &[&str], expected: f64| {
        assert_eq!(value(name, labels), expected, "{name} {labels:?} in\n{metrics}");
    };
    let (tiny, replica) = (["model=\"tiny"], ["model=\"tiny", "replica=\"0"]);
    is("requests_total", &["route=\"chain", "dialect=\"rerank-v2", "status=\"200"], 1.0);
    is("requests_in_flight", &[], 0.0);
    for name in ["queue_pairs", "queue_tokens", "queue_age_seconds", "tokenizer_queue"] {
        is(name, &tiny, 0.0);
    }
    for name in ["pairs_expired_total", "pairs_cancelled_total", "pairs_truncated_total"] {
        is(name, &tiny, 0.0);
    }
    let batches = value("batches_total", &tiny);
    assert!(batches >= 1.0, "{metrics}");
    is("batch_pairs_count", &tiny, batches);
    is("batch_pairs_sum", &tiny, 2.0);
    is("pairs_total", &tiny, 2.0);
    is("batch_duration_seconds_count", &tiny, batches);
    assert!(value("batch_tokens_total", &tiny) > 0.0, "{metrics}");
    is("replica_up", &replica, 1.0);
    is("replica_state", &[replica[0], replica[1], "state=\"idle"], 1.0);
    is("replica_state", &[replica[0], replica[1], "state=\"busy"], 0.0);
    assert!(value("tokenizer_threads", &tiny) >= 1.0, "{metrics}");
    assert!(value("tokenizer_busy_seconds_total", &tiny) > 0.0, "{metrics}");
    is("replica_restarts_total", &replica, 0.0);
    assert!(value("replica_busy_seconds_total", &replica) > 0.0, "{metrics}");
    is("policy_instances", &[], 0.0);
    is("policy_instances_max", &[], 256.0);
    for policy in ["dedupe", "fresh", "passages"] {
        let labels = [&*format!("policy=\"{policy}")];
        is("policy_calls_total", &labels, 1.0);
        is("policy_memory_peak_bytes_count", &labels, 1.0);
        assert!(value("policy_memory_peak_bytes_sum", &labels) > 0.0, "{policy}");
        assert!(value("policy_cpu_seconds_total", &labels) > 0.0, "{policy}");
        is("policy_failures_total", &[labels[0], "reason=\"trap"], 0.0);
    }
    server.stop().await;
}

/// An operator finds what a guest printed by the request that it printed it for.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_prints_is_in_the_log() {
    let (model, guest) = (checkpoint("tiny-bert"), component("prints_lines"));
    let arguments = ["--model", model.to_str().unwrap(), "--policy", guest.to_str().unwrap()];
    let server = Served::start(&arguments).await;
    let url = format!("http://{}/rerank", server.public);
    let ask = json!({ "query": "garden gate", "texts": ["a green gate"] });
    let request = server.client.post(url).header("x-request-id", "printed-1").json(&ask);
    assert_eq!(request.send().await.unwrap().status(), 200);
    // What the guest printed is written when it is gone, before its request is answered.
    server.says("\"message\":\"answered\"").await;
    let events = server.started.events();
    let of_guest: Vec<_> =
        events.iter().filter(|event| event["target"] == "maitred::policy").collect();
    // The first to ask it was the server itself, when it started.
    let is_trial = |event: &&&Value| event["fields"]["request_id"] == "trial";
    assert!(of_guest.iter().any(|event| is_trial(&event)), "{of_guest:?}");
    let of_guest: Vec<_> = of_guest.iter().filter(|event| !is_trial(event)).collect();
    let printed = of_guest.iter().filter(|event| event["fields"]["said"] == "\"x\"").count();
    let cut = |event: &&&Value| {
        event["fields"]["message"].as_str().is_some_and(|said| said.contains("over the limit"))
    };
    assert_eq!(of_guest.iter().filter(|event| cut(event)).count(), 1, "{of_guest:?}");
    assert!(printed > 0 && printed == of_guest.len() - 1, "{of_guest:?}");
    for event in of_guest {
        let fields = &event["fields"];
        let named = (fields["policy"].as_str(), fields["request_id"].as_str());
        assert_eq!(named, (Some("prints_lines"), Some("printed-1")), "{event}");
    }
}

/// 64 clients with documents, lengths and chains of their own, some of whom leave
/// early or have no time: every answer is the one that the client gets alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_mixed_up() {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 4;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let server = Arc::new(TestServer::start(&configuration(2)).await);
    let mut random = fastrand::Rng::with_seed(seed);
    let asks: Vec<(&str, Value)> = (0..CLIENTS).map(|client| ask(client, &mut random)).collect();
    let mut alone = Vec::new();
    for (path, ask) in &asks {
        let (status, answer) = server.post(path, ask).await;
        assert_eq!(status, 200, "{answer}");
        alone.push(scores(&answer));
    }
    let tasks = asks.into_iter().zip(alone).enumerate().map(|(client, ((path, ask), alone))| {
        let (server, mut random) = (server.clone(), random.fork());
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                match random.u32(0..8) {
                    0 => {
                        // This client hangs up.
                        let patience = Duration::from_micros(random.u64(100..5000));
                        let _ = tokio::time::timeout(patience, server.post(path, &ask)).await;
                    }
                    1 => {
                        let url = format!("http://{}{path}", server.public);
                        let request = server.client.post(url).header("x-maitred-timeout-ms", "3");
                        let response = request.json(&ask).send().await.unwrap();
                        match response.status().as_u16() {
                            200 => same(client, &alone, &response.json().await.unwrap()),
                            // Refused at the door, or late after all.
                            status => assert!(matches!(status, 429 | 504), "{status}"),
                        }
                    }
                    _ => {
                        let (status, answer) = server.post(path, &ask).await;
                        assert_eq!(status, 200, "{answer}");
                        same(client, &alone, &answer);
                    }
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// A request that no other client sends.
fn ask(client: usize, random: &mut fastrand::Rng) -> (&'static str, Value) {
    let paths = ["/v2/rerank", "/routes/chain/v2/rerank", "/routes/last/v2/rerank"];
    let words = ["garden", "gate", "green", "river", "bridge", "train", "winter", "market"];
    let mut text = |words_max: usize| {
        let count = random.usize(1..words_max);
        let text: Vec<_> = (0..count).map(|_| words[random.usize(0..words.len())]).collect();
        format!("{} {client}", text.join(" "))
    };
    let query = text(6);
    let documents: Vec<_> = (0..1 + client % 13).map(|_| text(150)).collect();
    (paths[client % 3], json!({ "query": query, "documents": documents }))
}

fn scores(answer: &Value) -> BTreeMap<u64, f64> {
    let results = answer["results"].as_array().unwrap();
    results
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["relevance_score"].as_f64().unwrap()))
        .collect()
}

fn same(client: usize, alone: &BTreeMap<u64, f64>, answer: &Value) {
    let found = scores(answer);
    assert!(found.keys().eq(alone.keys()), "client {client}: {found:?} instead of {alone:?}");
    for (index, score) in &found {
        assert!((score - alone[index]).abs() < 1e-4, "client {client}: {found:?} not {alone:?}");
    }
}

/// Time in the queue is below a millisecond for whoever is alone, and a request
/// of 8 pairs keeps both replicas busy.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_client_never_waits_and_uses_all_replicas() {
    let server = TestServer::start(&configuration(2)).await;
    let text = "a green gate in a walled garden beside the river ".repeat(4);
    let texts: Vec<_> = (0..8).map(|n| format!("{text} {n}")).collect();
    let ask = json!({ "query": "garden gate", "texts": texts });
    let mut queue_ms = Vec::new();
    for _ in 0..31 {
        let url = format!("http://{}/rerank", server.public);
        let response = server.client.post(url).json(&ask).send().await.unwrap();
        let queue = response.headers()["x-queue-time"].to_str().unwrap().to_owned();
        queue_ms.push(queue.parse::<u64>().unwrap());
    }
    queue_ms.sort_unstable();
    assert_eq!(queue_ms[queue_ms.len() / 2], 0, "{queue_ms:?}");
    for replica in 0..2 {
        let busy =
            format!("maitred_replica_busy_seconds_total{{model=\"tiny\",replica=\"{replica}\"}}");
        assert!(server.metric(&busy).await > 0.0);
    }
    let batches = server.metric("maitred_batches_total{model=\"tiny\"}").await;
    assert!(batches >= 62.0, "each request is at least two batches, of {batches} in all");
    server.stop().await;
}
