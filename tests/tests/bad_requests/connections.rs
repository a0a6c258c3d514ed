//! What one bad request does to its neighbours on a connection.

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::client::LOST;
use super::*;

/// What is after a request's end, as its head says, is another request; where two
/// could see two ends, nothing after it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled() {
    let server = TestServer::start(&configuration()).await;
    let chunks = format!("{:x}\r\n{GOOD}\r\n0\r\n\r\n", GOOD.len());
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    // Each with a chunked body, and a length that ends it elsewhere.
    for lines in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 500\r\ntransfer-encoding: chunked",
        "transfer-encoding: Chunked\r\ncontent-length: 4\r\ncontent-length: 5",
    ] {
        let mut client = Client::connect(&server).await;
        let head = format!("POST /v2/rerank HTTP/1.1\r\nhost: x\r\n{lines}");
        client.send(raw(&head, &format!("{chunks}{smuggled}"))).await;
        let reply = client.reply(false).await.unwrap();
        assert!(reply.closes, "{lines}");
        assert_eq!(reply.status, 200, "{lines}: {}", reply.body);
        assert!(client.reply(false).await.is_none(), "{lines}: the smuggled request was answered");
    }
    // Lines that end in a bare line feed end all the same (RFC 9112, 2.2).
    let mut client = Client::connect(&server).await;
    let request =
        format!("POST /v2/rerank HTTP/1.1\nhost: x\ncontent-length: {}\n\n{GOOD}", GOOD.len());
    client.send(request).await;
    assert_eq!(client.reply(false).await.unwrap().status, 200);
    client.good().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_in_a_pipeline_are_answered_in_their_places() {
    let server = TestServer::start(&configuration()).await;
    let mut client = Client::connect(&server).await;
    let requests = [
        (post("/v2/rerank", "", GOOD), 200),
        (post("/v2/rerank", "", "{"), 400),
        (post("/rerank", "", GOOD_TEI), 200),
        (post("/rerank", "", r#"{"query":"q","texts":[7]}"#), 422),
        (post("/nowhere", "", GOOD), 404),
        (post("/v1/rerank", "content-type: text/csv\r\n", GOOD), 415),
        (post("/v1/rerank", "", GOOD), 200),
        (b"GARBAGE\r\n\r\n".to_vec(), 400),
        (post("/v1/rerank", "", GOOD), 0),
    ];
    client.send(requests.iter().flat_map(|(request, _)| request.clone()).collect::<Vec<_>>()).await;
    for (request, status) in requests {
        let reply = client.reply(false).await.map_or(0, |reply| reply.status);
        assert_eq!(reply, status, "{}", request.escape_ascii());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_abuse_ends_its_connection_only() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let frame = |length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let abuses: [(&str, Vec<u8>); 9] = [
        ("no settings", frame(0, 6, 0, 0, b"")),
        ("a frame larger than allowed", frame(0xff_ffff, 0, 0, 1, b"")),
        ("data on stream 0", frame(1, 0, 0, 0, b"x")),
        ("data on an idle stream", frame(1, 0, 0, 5, b"x")),
        ("headers that are no HPACK", frame(4, 1, 5, 1, b"\xff\xff\xff\xff")),
        ("an even stream", frame(1, 1, 5, 2, b"\x82")),
        ("a window of 0 more", frame(4, 8, 0, 0, b"\0\0\0\0")),
        ("a continuation of nothing", frame(1, 9, 4, 1, b"\x82")),
        ("a push from a client", frame(4, 5, 4, 1, b"\0\0\0\x02")),
    ];
    let server = TestServer::start(&configuration()).await;
    let mut steady = Client::connect(&server).await;
    let expected = steady.good().await;
    for (name, abuse) in abuses {
        let settings = if name == "no settings" { b"".as_slice() } else { SETTINGS };
        let mut client = Client::connect(&server).await;
        client.send([PREFACE, settings, &abuse].concat()).await;
        let mut said = Vec::new();
        // A reset is an end, too.
        let ended = timeout(LOST, client.stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{name}: the connection stays open");
        assert_eq!(steady.good().await, expected, "{name}");
    }
    drop(steady);
    server.stop().await;
}
