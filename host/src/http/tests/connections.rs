//! What peers do to connections: pipeline, dawdle, flood, leave.

use super::*;

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let bodies = [0.1, 0.2, 0.3].map(|score| TEI.replace("0.75", &score.to_string()));
    let all: String = bodies.iter().map(|body| post("/rerank", "", body)).collect();
    client.send(all).await;
    for expected in [0.25, 0.25, 0.3] {
        let reply = client.reply().await;
        assert_eq!(reply.json()[0]["score"], expected);
    }
    // And the connection serves on.
    assert_eq!(client.post("/rerank", "", TEI).await.status, 200);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let server = Server::start(app(reader(), |s| s.body_bytes_max = 2000)).await;
    let large = format!(r#"{{"query":"q","texts":["{}"]}}"#, "x".repeat(3000));
    let either = |text: &str| json!({"message": text, "detail": text, "error": text, "error_type": "Validation"});

    let reply = server.client().await.post("/rerank", "", &large).await;
    assert_eq!(reply.status, 413);
    let text = format!("the body is {} bytes long, over the limit of 2000", large.len());
    assert_eq!(reply.json(), either(&text));
    assert_eq!(reply.header("connection"), Some("close"));

    let mut client = server.client().await;
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    client
        .send(format!(
            "POST /rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
        ))
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json(), either("the body is over the limit of 2000 bytes"));

    // A client that asks first is not told to go on.
    let mut client = server.client().await;
    client.send("POST /v1/rerank HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2001\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 413);

    // Chunks below the limit are a body like any other.
    let mut client = server.client().await;
    let (first, second) = TEI.split_at(9);
    let chunks = format!("9\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
    client
        .send(format!(
            "POST /rerank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
        ))
        .await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn bodies_held_at_once_have_a_limit_together() {
    let (gate, stage) = gate();
    let server = Server::start(app(stage, |s| {
        s.body_bytes_max = 2048;
        s.bodies_bytes_max = 3072;
    }))
    .await;
    let large = TEI.replace("\"q\"", &format!("{:?}", "q".repeat(1500)));
    let mut first = server.client().await;
    first.send(post("/rerank", "", &large)).await;
    gate.entered.notified().await;
    let mut second = server.client().await;
    let reply = second.post("/rerank", "", &large).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    let text = "the server is at capacity: no room is left for bodies and answers, whose limit is 3072 bytes (`server.bodies_bytes_max`); try again in 1000 ms";
    assert_eq!(reply.json()["error"], text);
    gate.open.notify_one();
    assert_eq!(first.reply().await.status, 200);
    gate.open.notify_one();
    assert_eq!(second.post("/rerank", "", &large).await.status, 200);
}

/// A request whose answer repeats this many bytes.
fn echoed(bytes: usize) -> String {
    let text = "x".repeat(bytes);
    json!({"query": "q", "texts": [text], "return_text": true}).to_string()
}

#[tokio::test]
async fn answers_that_nobody_reads_have_the_limit_of_bodies() {
    let app = app(reader(), |s| {
        s.body_bytes_max = 300_000;
        s.bodies_bytes_max = 512 * 1024;
    });
    let echoed = echoed(250_000);
    let mut unread = Vec::new();
    for _ in 0..2 {
        let (mut client, stop) = in_memory(&app);
        client.send(post("/rerank", "", &echoed)).await;
        // Its head is there, and so is the answer.
        client.fill().await.unwrap();
        unread.push((client, stop));
    }
    let (mut late, _stop) = in_memory(&app);
    let reply = late.post("/rerank", "", &echoed).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    // Small ones have room beside them, and leave it.
    for _ in 0..100 {
        assert_eq!(late.post("/rerank", "", TEI).await.status, 200);
    }

    // One is read to its end, the other's client leaves.
    let (mut reads, _its_stop) = unread.pop().unwrap();
    assert_eq!(reads.reply().await.status, 200);
    assert_eq!(reads.post("/rerank", "", &echoed).await.status, 200);
    drop(unread);
    wait_until(|| app.metrics.connections.get() == 2).await;
    let (mut other, _stop) = in_memory(&app);
    other.send(post("/rerank", "", &echoed)).await;
    other.fill().await.unwrap();
    assert_eq!(late.post("/rerank", "", &echoed).await.status, 200);
}

/// A short body with a long answer: the room that the body has is not enough.
#[tokio::test]
async fn an_answer_without_room_is_refused() {
    let server = Server::start(app(reader(), |s| {
        s.body_bytes_max = 4096;
        s.bodies_bytes_max = 4096;
    }))
    .await;
    let texts = vec!["1"; 500];
    let body = json!({"query": "q", "texts": texts}).to_string();
    assert!(body.len() < 4096);
    let reply = server.client().await.post("/rerank", "", &body).await;
    assert_eq!(reply.status, 429, "{}", reply.body);
    assert!(reply.body.contains("`server.bodies_bytes_max`"), "{}", reply.body);
    let shed = r#"maitred_shed_total{route="plain",reason="bodies"} 1"#;
    wait_until(|| server.app.metrics.render().contains(shed)).await;
}

/// Room is taken by what has come, not by what is announced.
#[tokio::test]
async fn who_announces_and_sends_nothing_takes_no_room() {
    let server = Server::start(app(reader(), |s| {
        s.body_bytes_max = 2048;
        s.bodies_bytes_max = 8192;
    }))
    .await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut client = server.client().await;
        client.send("POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 2048\r\n\r\n{").await;
        silent.push(client);
    }
    let large = TEI.replace("\"q\"", &format!("{:?}", "q".repeat(1500)));
    let reply = server.client().await.post("/rerank", "", &large).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let server = Server::start(app(reader(), |s| s.header_bytes_max = 8192)).await;
    let mut client = server.client().await;
    let line = format!("x-large: {}\r\n", "y".repeat(9000));
    client.send(format!("GET /health HTTP/1.1\r\nhost: x\r\n{line}\r\n")).await;
    assert_eq!(client.reply_to(true).await.unwrap().status, 431);
    while client.fill().await.is_some() {}
    wait_until(|| server.app.metrics.connections_refused.get() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_off() {
    let app = app(reader(), |_| ());
    let (mut silent, _stop) = in_memory(&app);
    let began = Instant::now();
    assert!(silent.closed().await);
    assert_eq!(began.elapsed().as_secs(), 10, "nothing was ever sent");

    let (mut slow, _stop) = in_memory(&app);
    let began = Instant::now();
    wait_until(|| app.metrics.connections.get() == 1).await;
    slow.send("POST /rerank HT").await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(3)).await;
        slow.send("x").await;
    }
    assert!(slow.closed().await);
    assert_eq!(began.elapsed().as_secs(), 10, "a byte now and then buys no time");

    let (mut second, _stop) = in_memory(&app);
    assert_eq!(second.post("/rerank", "", TEI).await.status, 200);
    tokio::time::advance(Duration::from_secs(30)).await;
    let began = Instant::now();
    second.send("POST").await;
    assert!(second.closed().await);
    assert_eq!(began.elapsed().as_secs(), 10, "the second head of a connection");
    assert_eq!(app.metrics.connections_refused.get(), 3);
    assert_eq!(app.metrics.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_answered_and_cut_off() {
    let app = app(reader(), |_| ());
    let (mut client, _stop) = in_memory(&app);
    let began = Instant::now();
    client.send("POST /v2/rerank HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{").await;
    let reply = client.reply().await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    let text = "the body did not arrive within the limit of 10000 ms";
    assert_eq!(reply.json(), json!({"message": text, "detail": text}));
    assert!(client.closed().await);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_the_end() {
    let app = app(reader(), |_| ());
    let (mut client, _stop) = in_memory(&app);
    assert_eq!(client.post("/rerank", "", TEI).await.status, 200);
    tokio::time::advance(Duration::from_secs(74)).await;
    assert_eq!(client.post("/rerank", "", TEI).await.status, 200);
    let began = Instant::now();
    assert!(client.closed().await);
    assert_eq!(began.elapsed().as_secs(), 75);
    assert_eq!(app.metrics.connections_refused.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_service_is_not_idle() {
    let (gate, stage) = gate();
    let app = app(stage, |s| s.request_ms_max = Duration::from_secs(1000));
    let (mut client, _stop) = in_memory(&app);
    client.send(post("/rerank", "", TEI)).await;
    gate.entered.notified().await;
    tokio::time::advance(Duration::from_secs(500)).await;
    gate.open.notify_one();
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let app = app(reader(), |_| ());
    let (mut client, _stop) = in_memory(&app);
    client.send(post("/rerank", "", &echoed(200_000))).await;
    wait_until(|| app.metrics.requests_in_flight.get() == 0).await;
    let began = Instant::now();
    while app.metrics.connections.get() > 0 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 85, "idle, then told to leave");
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_room() {
    let server = Server::start(app(reader(), |s| s.connections_max = 1)).await;
    let mut first = server.client().await;
    assert_eq!(first.get("/health").await.status, 200);
    let mut second = server.client().await;
    second.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(first.get("/health").await.status, 200);
    assert_eq!(server.app.metrics.connections.get(), 1);
    // Operators have their own.
    assert_eq!(server.operator().await.get("/health").await.status, 200);
    drop(first);
    assert_eq!(second.reply().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let (gate, stage) = gate();
    let server = Server::start(app(stage, |_| ())).await;
    let mut client = server.client().await;
    client.send(post("/rerank", "", TEI)).await;
    gate.entered.notified().await;
    drop(client);
    gate.dropped.notified().await;
    let gone = r#"maitred_requests_total{route="plain",dialect="tei",status="499"} 1"#;
    wait_until(|| server.app.metrics.render().contains(gone)).await;
    assert_eq!(server.app.metrics.requests_in_flight.get(), 0);
    let admission = server.app.serving().routes().default_route().model.admission().clone();
    assert_eq!(admission.inside(), Work::default());
}
