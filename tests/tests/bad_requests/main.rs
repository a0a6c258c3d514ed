//! Requests that are wrong, in every way that clients and attackers have found:
//! each gets the one right status and words that name the fault, none is the
//! server's own failure, and none is noticed by the good request after it, on
//! its own connection where that stays open and on another one.

// A panic is the report.
#![allow(clippy::unwrap_used)]

mod bodies;
mod client;
mod connections;
mod framing;

use maitred_tests::fixtures::checkpoint;
use maitred_tests::server::TestServer;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use client::Client;

/// Limits small enough to be reached, and a route with another name.
fn configuration() -> String {
    format!(
        r#"
        default_route = "plain"
        [server]
        body_bytes_max = 32768
        header_bytes_max = 8192
        documents_max = 8
        fields_max = 4
        read_ms_max = 1000
        [models.tiny]
        source = '{model}'
        replicas = 1
        [routes.plain]
        [routes.other]
        "#,
        model = checkpoint("tiny-bert").display(),
    )
}

struct Bad {
    /// Everything that the client sends.
    sends: Vec<u8>,
    /// Whether it says afterwards that it sends no more.
    ends: bool,
    status: u16,
    /// What the answer's body contains; nothing where the fault is found before
    /// there is a request that could have an answer of ours.
    says: &'static str,
    /// The members of the answer's body, where they are judged.
    shape: Option<Shape>,
}

impl Bad {
    fn shaped(self, shape: Shape) -> Bad {
        Bad { shape: Some(shape), ..self }
    }
}

fn bad(sends: impl Into<Vec<u8>>, status: u16, says: &'static str) -> Bad {
    Bad { sends: sends.into(), ends: false, status, says, shape: None }
}

/// The members of an error's body, in the order of the alphabet, by whose clients read
/// it: the table "Errors" of `docs/dialects.md`.
type Shape = &'static [&'static str];

const TEI: Shape = &["error", "error_type"];
const COHERE: Shape = &["message"];
const JINA_OR_VOYAGE: Shape = &["detail"];
const VLLM_OR_INFINITY: Shape = &["error.code", "error.message", "error.param", "error.type"];
const SHARED: Shape = &["detail", "message"];
/// Where nobody knows yet who asks.
const ANY: Shape = &["detail", "error", "error_type", "message"];

/// A request that HTTP itself does not allow. hyper answers those, with no body.
fn broken(sends: impl Into<Vec<u8>>) -> Bad {
    bad(sends, 400, "")
}

fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// The head is written as it stands here.
fn raw(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\r\n\r\n{body}").into()
}

const GOOD_TEI: &str = r#"{"query":"q","texts":["a"]}"#;
const GOOD: &str = r#"{"query":"q","documents":["a"]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_is_told_its_fault() {
    let server = TestServer::start(&configuration()).await;
    let mut steady = Client::connect(&server).await;
    let groups = [
        ("no JSON", bodies::no_json()),
        ("wrong in all dialects", bodies::wrong_in_all_dialects()),
        ("wrong members", bodies::wrong_members()),
        ("wrong members elsewhere", bodies::wrong_members_elsewhere()),
        ("wrong scores", bodies::wrong_scores()),
        ("wrong heads", framing::wrong_heads()),
        ("wrong bodies", framing::wrong_bodies()),
        ("against HTTP", framing::against_http()),
    ];
    let expected = steady.good().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for (group, requests) in groups {
        for bad in requests {
            count += 1;
            let seen = judge(&server, &bad, &expected).await;
            if let Err(seen) = seen {
                let sent: String = bad.sends.escape_ascii().to_string().chars().take(200).collect();
                wrong.push(format!(
                    "{group}: {sent}\n    expected {} {:?}\n    {seen}",
                    bad.status, bad.says
                ));
            }
            assert_eq!(steady.good().await, expected, "after {}", bad.sends.escape_ascii());
        }
    }
    assert!(wrong.is_empty(), "{} of {count} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 80, "{count}");
    assert!(!server.metrics().await.contains("status=\"500\""));
    drop(steady);
    assert_eq!(server.stop().await.requests_cut, 0);
}

/// Sends a bad request, and after its answer a good one.
async fn judge(server: &TestServer, bad: &Bad, expected: &str) -> Result<(), String> {
    let mut client = Client::connect(server).await;
    // A server that has refused may have closed before all was sent.
    let _ = client.stream.write_all(&bad.sends).await;
    if bad.ends {
        let _ = client.stream.shutdown().await;
    }
    let head_only = bad.sends.starts_with(b"HEAD");
    let reply = client.reply(head_only).await;
    let Some(reply) = reply else {
        return if bad.status == 0 { Ok(()) } else { Err("it was not answered".into()) };
    };
    if reply.status != bad.status || !reply.body.contains(bad.says) {
        return Err(format!("answered {} {}", reply.status, reply.body));
    }
    if let Some(shape) = bad.shape {
        judge_shape(&reply.body, shape)?;
    }
    if reply.closes || bad.ends {
        return match client.reply(false).await {
            None => Ok(()),
            Some(more) => Err(format!("a second answer: {} {}", more.status, more.body)),
        };
    }
    let good = client.good().await;
    if good != expected {
        return Err(format!("the good request after it was answered {good}"));
    }
    Ok(())
}

/// Whether the body has the members of the shape and no others, all with the same text.
fn judge_shape(body: &str, shape: Shape) -> Result<(), String> {
    let answer: Value = serde_json::from_str(body).map_err(|error| format!("{body}: {error}"))?;
    let mut members = Vec::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => members.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            None => members.push(name.clone()),
        }
    }
    members.sort_unstable();
    if members != shape {
        return Err(format!("the members are {members:?}, not {shape:?}: {body}"));
    }
    let mut texts: Vec<_> =
        ["message", "detail", "error"].iter().filter_map(|name| answer[name].as_str()).collect();
    texts.dedup();
    match texts.len() {
        0 | 1 => Ok(()),
        _ => Err(format!("the texts differ: {body}")),
    }
}
