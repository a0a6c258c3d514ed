//! The end of the program: SIGTERM or ctrl-c, and what becomes of those who are
//! being served, of those who come late, and of a start that is under way.

use std::time::Duration;

use maitred::config::{Raw, check};
use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::{Served, Signal, Started, value};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const IN_FLIGHT: usize = 100;
const DOCUMENTS: usize = 12;
/// Within this a start that was told to stop has ended: half of the time that the
/// hub has for its first answer.
const START_ENDS: Duration = Duration::from_secs(5);

fn tiny() -> String {
    checkpoint("tiny-bert").display().to_string()
}

/// A request that keeps a replica busy for some milliseconds.
fn ask() -> Value {
    let text = "a green gate in a walled garden beside the river ".repeat(12);
    let texts: Vec<_> = (0..DOCUMENTS).map(|n| format!("{n} {text}")).collect();
    json!({ "query": "garden gate", "texts": texts })
}

/// The grace that a server gives who is being served, if nobody says otherwise.
fn grace() -> Duration {
    check(&mut Raw::default()).unwrap().server.drain_ms_max
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_what_was_admitted_and_takes_no_more() {
    drains(Signal::Terminate, "SIGTERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_answers_what_was_admitted_and_takes_no_more() {
    drains(Signal::Interrupt, "ctrl-c").await;
}

async fn drains(signal: Signal, named: &str) {
    let mut server = Served::start(&["--model", &tiny(), "--replicas", "1", "--log", "info"]).await;
    let url = format!("http://{}/rerank", server.public);
    let ask = ask();
    // More than must be in flight: some are answered before the last arrives.
    let asking: Vec<_> = (0..IN_FLIGHT + 40)
        .map(|_| tokio::spawn(server.client.post(&url).json(&ask).send()))
        .collect();
    // Every look is a request of its own.
    let came = loop {
        let metrics = server.metrics().await;
        let in_flight = value(&metrics, "maitred_requests_in_flight ");
        let line = "maitred_requests_total{route=\"default\",dialect=\"tei\",status=\"200\"} ";
        if in_flight >= IN_FLIGHT as f64 {
            break (in_flight + value(&metrics, line)) as usize;
        }
    };
    server.started.signal(signal).await;
    server.says(named).await;
    // The listener closes; whoever connects from now on is refused.
    while TcpStream::connect(server.public).await.is_ok() {}
    let (mut answered, mut refused) = (0, 0);
    for task in asking {
        match task.await.unwrap() {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                let answer: Value = response.json().await.unwrap();
                assert_eq!(answer.as_array().unwrap().len(), DOCUMENTS);
                answered += 1;
            }
            // Only those who had not been let in; the log below says that there
            // was nobody else.
            Err(error) => {
                assert!(error.is_connect() || error.is_request(), "{error:?}");
                refused += 1;
            }
        }
    }
    println!("{came} had come at {named}; {answered} answered, {refused} came too late");
    let status = timeout(grace(), server.started.child.wait()).await;
    let status = status.expect("the program ends within its grace").unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.said());
    server.says("drained and stopped").await;
    // Each request has one line in the log. So who had come was answered, and who
    // was answered got to read it.
    let events = server.started.events();
    let ended =
        |message: &str| events.iter().filter(|event| event["fields"]["message"] == message).count();
    assert_eq!((ended("answered"), ended("refused"), ended("failed")), (answered, 0, 0));
    assert!(answered >= came, "{came} had come, {answered} were answered");
    assert_eq!(server.said().matches("dropped: the client left").count(), 0);
    assert!(server.client.post(&url).json(&ask).send().await.is_err(), "nothing listens any more");
}

/// While load balancers have time to look, `/ready` says no, and everyone is
/// still served.
#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_get_time_to_look_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, "[server]\ndrain_wait_ms = 1000\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--model", &tiny(), "--replicas", "1"];
    let mut server = Served::start(&arguments).await;
    server.terminate().await;
    server.says("SIGTERM").await;
    let ready = format!("http://{}/ready", server.operations);
    let status = async || server.client.get(&ready).send().await.unwrap().status().as_u16();
    while status().await != 503 {}
    let url = format!("http://{}/rerank", server.public);
    let late = reqwest::Client::new().post(&url).json(&ask()).send().await.unwrap();
    assert_eq!(late.status(), 200, "a new connection is served before the wait is over");
    let status = timeout(grace(), server.started.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0), "{}", server.said());
}

/// A hub that takes the question and never answers keeps a server from starting,
/// and not from stopping.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_hangs_can_be_stopped() {
    let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    for (signal, named) in [(Signal::Terminate, "SIGTERM"), (Signal::Interrupt, "ctrl-c")] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let variables = [
            ("HF_ENDPOINT", &*endpoint),
            ("HF_HOME", home),
            ("HF_HUB_CACHE", ""),
            ("HF_HUB_OFFLINE", ""),
            ("NO_PROXY", "127.0.0.1"),
        ];
        let mut starting = Started::new(&["--model", "owner/x"], &variables);
        let question = timeout(START_ENDS, hub.accept()).await;
        let _question = question.unwrap_or_else(|_| panic!("no question; {}", starting.said()));
        starting.signal(signal).await;
        let status = timeout(START_ENDS, starting.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it starts on; {}", starting.said()));
        assert_eq!(status.unwrap().code(), Some(0), "{}", starting.said());
        starting.says(named).await;
        assert!(!starting.events().is_empty());
    }
}
