//! The end of the program: SIGTERM, and what becomes of those who are being
//! served and those who come late.

use std::time::Duration;

use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::Served;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const IN_FLIGHT: usize = 100;
const DOCUMENTS: usize = 12;

fn tiny() -> String {
    checkpoint("tiny-bert").display().to_string()
}

/// A request that keeps a replica busy for some milliseconds.
fn ask() -> Value {
    let text = "a green gate in a walled garden beside the river ".repeat(12);
    let texts: Vec<_> = (0..DOCUMENTS).map(|n| format!("{n} {text}")).collect();
    json!({ "query": "garden gate", "texts": texts })
}

/// Waits until the metric is as asked; every look is a request of its own.
async fn when(server: &Served, line: &str, asked: impl Fn(f64) -> bool) {
    while !asked(server.metric(line).await) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_what_was_admitted_and_takes_no_more() {
    let mut server = Served::start(&["--model", &tiny(), "--replicas", "1", "--log", "info"]).await;
    let url = format!("http://{}/rerank", server.public);
    let ask = ask();
    // More than must be in flight: some are answered before the last arrives.
    let asking: Vec<_> = (0..IN_FLIGHT + 40)
        .map(|_| tokio::spawn(server.client.post(&url).json(&ask).send()))
        .collect();
    when(&server, "maitred_requests_in_flight ", |n| n >= IN_FLIGHT as f64).await;
    let before = server.metric("maitred_requests_in_flight ").await;
    server.terminate().await;
    server.says("SIGTERM").await;
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
            // Only those who had not been let in.
            Err(error) => {
                assert!(error.is_connect() || error.is_request(), "{error:?}");
                refused += 1;
            }
        }
    }
    println!("{before} in flight at the signal; {answered} answered, {refused} came too late");
    assert!(answered >= IN_FLIGHT, "{answered} were answered, {refused} refused");
    let status = server.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.said());
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
    let status = tokio::time::timeout(Duration::from_secs(20), server.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0), "{}", server.said());
}
