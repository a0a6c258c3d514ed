//! Traces: a real server with a chain sends spans to a collector, which is to see
//! every stage below the one that asked for it.

use std::collections::BTreeSet;
use std::time::Duration;

use maitred_tests::collector::{Collector, tree};
use maitred_tests::fixtures::checkpoint;
use maitred_tests::guests::component;
use maitred_tests::process::Served;
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

struct Traced {
    server: Served,
    collector: Collector,
    _folder: TempDir,
}

impl Traced {
    /// A server whose `[telemetry]` has these lines beside its endpoint.
    async fn start(telemetry: &str) -> Traced {
        let collector = Collector::start().await;
        let endpoint = format!("otlp_endpoint = '{}'", collector.url());
        let (server, _folder) = serve(&format!("{endpoint}\n{telemetry}")).await;
        Traced { server, collector, _folder }
    }
}

async fn serve(telemetry: &str) -> (Served, TempDir) {
    let policy =
        |name: &str| format!("[policies.{name}]\ncomponent = '{}'\n", component(name).display());
    let policies: String = ["dedupe", "fuse", "trap", "sleeps"].into_iter().map(policy).collect();
    let configuration = format!(
        "default_route = 'plain'
         [telemetry]\n{telemetry}
         [models.tiny]\nsource = '{}'\nreplicas = 2
         [routes.plain]
         [routes.chain]\npolicies = ['dedupe', 'fuse']
         [routes.broken]\npolicies = ['dedupe', 'trap']
         [routes.bypassed]\npolicies = ['trap']\non_failure = 'bypass'
         [routes.waits]\npolicies = ['sleeps']
         {policies}",
        checkpoint("tiny-bert").display()
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, configuration).unwrap();
    (Served::start(&["--config", file.to_str().unwrap()]).await, folder)
}

fn ask(query: &str) -> Value {
    json!({ "query": query, "documents": ["a green gate", "a red door", "a green gate!"] })
}

async fn post(server: &Served, route: &str, query: &str, parent: Option<&str>) -> Response {
    let url = format!("http://{}/routes/{route}/v2/rerank", server.public);
    let request = server.client.post(url).json(&ask(query));
    let request = match parent {
        Some(parent) => request.header("traceparent", parent).header("tracestate", "shop=1"),
        None => request,
    };
    request.send().await.unwrap()
}

/// The trace and the span that an answer names, and whether they are recorded.
fn told(response: &Response) -> (String, String, bool) {
    let header = response.headers()["traceresponse"].to_str().unwrap();
    let parts: Vec<_> = header.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { panic!("{header}") };
    assert_eq!(version, "00");
    (trace.into(), span.into(), flags == "01")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_is_a_span_below_the_one_that_asked() {
    let Traced { server, collector, _folder } = Traced::start("export_ms = 10").await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let response = post(&server, "chain", "garden gate | green door", Some(&parent)).await;
    assert_eq!(response.status(), 200);
    let (trace, span, recorded) = told(&response);
    assert_eq!((&*trace, recorded), (TRACE, true));
    let spans = collector.trace(TRACE).await;
    let model = "        next
          model tiny
            tokenize
            queue
            inference\n";
    let chain = "request\n  admission\n  policy dedupe\n    next\n      policy fuse\n";
    let below = format!("{chain}{}", model.repeat(2));
    assert_eq!(tree(&spans), below, "{spans:#?}");

    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let request = named("request")[0];
    assert_eq!((&*request.parent, &request.id), (SPAN, &span), "it is below its client's");
    assert_eq!(request.state, "shop=1");
    assert_eq!(request.is("maitred.route"), "chain");
    assert_eq!(request.is("maitred.dialect"), "rerank-v2");
    assert_eq!(request.is("http.response.status_code"), "200");
    assert_eq!(request.is("maitred.pairs"), "4", "two documents by two queries");
    let policy = named("policy dedupe")[0];
    assert_eq!(policy.is("maitred.documents"), "3");
    assert_eq!(policy.is("maitred.policy.version").len(), 12);
    assert!(policy.is("maitred.policy.cpu_us").parse::<u64>().unwrap() > 0);
    assert_eq!(named("model tiny")[1].is("maitred.documents"), "2");
    for inference in named("inference") {
        assert!(inference.is("maitred.batches").parse::<u64>().unwrap() >= 1, "{inference:#?}");
    }
    for span in &spans {
        assert_eq!(span.error, None, "{span:#?}");
        assert_eq!(span.resource["service.name"], "maitred");
        assert!(!span.attributes.contains_key("maitred.dropped"), "{span:#?}");
        let words: BTreeSet<_> = span.attributes.values().map(String::as_str).collect();
        let texts = ["garden", "gate", "green", "door", "red"];
        assert!(!words.iter().any(|word| texts.iter().any(|text| word.contains(text))));
    }
    let line = server.says("\"answered\"").await;
    assert!(line.contains(&format!("\"trace_id\":\"{TRACE}\"")), "{line}");
    // They are counted when the collector has answered.
    while server.metric("maitred_spans_exported_total ").await < spans.len() as f64 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_route_has_the_model_below_the_request() {
    let Traced { server, collector, _folder } = Traced::start("export_ms = 10").await;
    let response = post(&server, "plain", "garden gate", None).await;
    let (trace, ..) = told(&response);
    let spans = collector.trace(&trace).await;
    let expected = "request\n  admission\n  model tiny\n    tokenize\n    queue\n    inference\n";
    assert_eq!(tree(&spans), expected);
    assert!(spans.iter().any(|span| span.parent.is_empty()), "the trace begins here");
}

/// Where the client does not say, the share decides; where it does, the client.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_or_the_share_decides_what_is_recorded() {
    for (share, expected) in [("0.0", false), ("1.0", true)] {
        let settings = format!("sample_ratio = {share}\nexport_ms = 10");
        let Traced { server, collector, _folder } = Traced::start(&settings).await;
        let recorded = async |parent: Option<&str>| {
            let response = post(&server, "chain", "garden gate", parent).await;
            assert_eq!(response.status(), 200);
            told(&response)
        };
        assert_eq!(recorded(None).await.2, expected, "{share}");
        let unsampled = format!("00-{TRACE}-{SPAN}-00");
        let (trace, _, flag) = recorded(Some(&unsampled)).await;
        assert_eq!((&*trace, flag), (TRACE, false), "{share}");
        let sampled = format!("00-{}-{SPAN}-01", TRACE.replace('0', "1"));
        let (last, _, flag) = recorded(Some(&sampled)).await;
        assert!(flag, "{share}");
        collector.trace(&last).await;
        let seen: BTreeSet<_> = collector.spans().into_iter().map(|span| span.trace).collect();
        assert!(!seen.contains(TRACE), "{share}");
        assert_eq!(seen.len(), 1 + usize::from(expected), "{share}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_by_their_kind() {
    let Traced { server, collector, _folder } = Traced::start("export_ms = 10").await;
    let response = post(&server, "broken", "garden gate", None).await;
    assert_eq!(response.status(), 502);
    let spans = collector.trace(&told(&response).0).await;
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    for name in ["request", "policy dedupe", "next", "policy trap"] {
        assert_eq!(named(name).error.as_deref(), Some("policy_failed"), "{name}");
        assert_eq!(named(name).is("error.type"), "policy_failed", "{name}");
    }
    assert_eq!(named("policy trap").is("maitred.policy.failure"), "trap");

    // What the client did wrong is no failure of the server.
    let response = post(&server, "plain", " ", None).await;
    assert_eq!(response.status(), 400);
    let spans = collector.trace(&told(&response).0).await;
    let request = spans.iter().find(|span| span.name == "request").unwrap();
    assert_eq!((&request.error, request.is("http.response.status_code")), (&None, "400"));

    let response = post(&server, "bypassed", "garden gate", None).await;
    assert_eq!(response.status(), 200);
    let spans = collector.trace(&told(&response).0).await;
    let expected = "request\n  admission\n  policy trap\n  model tiny\n    tokenize\n    queue\n    inference\n";
    assert_eq!(tree(&spans), expected);
    let request = spans.iter().find(|span| span.name == "request").unwrap();
    assert_eq!((&request.error, request.is("maitred.bypassed")), (&None, "true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_spans() {
    let Traced { server, collector, _folder } = Traced::start("export_ms = 10").await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let waiting = post(&server, "waits", "garden gate", Some(&parent));
    let patience = Duration::from_millis(300);
    assert!(timeout(patience, waiting).await.is_err(), "nobody answers");
    let spans = collector.trace(TRACE).await;
    for name in ["request", "policy sleeps"] {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(span.is("maitred.dropped"), "true", "{spans:#?}");
    }
}

/// Nobody waits for a collector that is not there, and nothing is lost unseen.
#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_need_the_collector() {
    // A port that was free a moment ago, and that nobody listens on.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let settings = format!("otlp_endpoint = '{endpoint}'\nexport_ms = 1\nqueue_spans_max = 8");
    let (mut server, _folder) = serve(&settings).await;
    for _ in 0..50 {
        assert_eq!(post(&server, "chain", "garden gate", None).await.status(), 200);
    }
    while server.metric("maitred_spans_dropped_total{reason=\"export\"} ").await == 0.0 {}
    assert_eq!(server.metric("maitred_spans_exported_total ").await, 0.0);
    server.says("the collector does not take them").await;
    server.terminate().await;
    let status = timeout(Duration::from_secs(30), server.started.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0), "{}", server.said());
    let said = server.said();
    assert_eq!(said.matches("the collector does not take them").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_at_sigterm() {
    let settings = "export_ms = 3600000";
    let Traced { mut server, collector, _folder } = Traced::start(settings).await;
    let mut traces = Vec::new();
    for _ in 0..5 {
        traces.push(told(&post(&server, "chain", "garden gate", None).await).0);
    }
    assert_eq!(collector.spans(), [], "they wait for more");
    server.terminate().await;
    let status = timeout(Duration::from_secs(30), server.started.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0), "{}", server.said());
    for trace in traces {
        // request, admission, two policies, two calls, the model and its three stages.
        assert_eq!(collector.trace(&trace).await.len(), 10);
    }
}

/// Without a collector there is nothing to be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_trace_says_nothing_of_traces() {
    let (server, _folder) = serve("").await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let response = post(&server, "chain", "garden gate", Some(&parent)).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("traceresponse"));
    let line = server.says("\"answered\"").await;
    assert!(!line.contains("trace_id"), "{line}");
}

/// What an operator tries is traced as any request: its route, and then the plain model.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_a_request() {
    let Traced { server, collector, _folder } = Traced::start("export_ms = 10").await;
    let mut body = ask("garden gate");
    body["route"] = json!("chain");
    let request = server.client.post(format!("http://{}/try", server.operations)).json(&body);
    let request = request.header("traceparent", format!("00-{TRACE}-{SPAN}-01"));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(told(&response).0, TRACE);
    let spans = collector.trace(TRACE).await;
    let models = spans.iter().filter(|span| span.name == "model tiny").count();
    assert_eq!(models, 2, "{}", tree(&spans));
}
