//! HTTP/2 with prior knowledge, and many requests at once.

use super::*;

pub type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A connection with prior knowledge, as h2c clients open it.
pub async fn http2<S>(stream: S) -> Sender
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub fn http2_post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(format!("http://x{path}")).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

pub async fn http2_json(sender: &mut Sender, request: Request<Full<Bytes>>) -> (u16, Json) {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// A request whose right answer nobody else's is.
fn distinct(n: usize) -> (String, Json) {
    let score = (n as f32 + 1.0) / 128.0;
    let body = json!({"query": format!("q{n}"), "texts": [score.to_string(), "0"]});
    let answer = json!([{"index": 0, "score": score}, {"index": 1, "score": 0.0}]);
    (body.to_string(), answer)
}

/// Answers in an order that has nothing to do with the order of arrival.
fn shuffler() -> Arc<dyn Rerank> {
    stage(|request, _| {
        async move {
            let turns = request.query.len() * 7 + request.query.as_bytes()[1] as usize % 5;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(read_scores(&request))
        }
        .boxed()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_get_their_own_answers() {
    let server = Server::start(app(shuffler(), |_| ())).await;
    let stream = TcpStream::connect(server.public).await.unwrap();
    let sender = http2(stream).await;
    let multiplexed = (0..64).map(|n| {
        let mut sender = sender.clone();
        async move {
            let (body, expected) = distinct(n);
            let reply = http2_json(&mut sender, http2_post("/rerank", &body)).await;
            assert_eq!(reply, (200, expected));
        }
    });
    let alone = (64..128).map(|n| {
        let server = &server;
        async move {
            let (body, expected) = distinct(n);
            let reply = server.client().await.post("/rerank", "", &body).await;
            assert_eq!((reply.status, reply.json()), (200, expected));
        }
    });
    tokio::join!(join_all(multiplexed), join_all(alone));
}

#[tokio::test]
async fn a_stream_that_is_reset_cancels_its_request_alone() {
    let (gate, stage) = gate();
    let server = Server::start(app(stage, |_| ())).await;
    let mut sender = http2(TcpStream::connect(server.public).await.unwrap()).await;
    let request = tokio::spawn(sender.send_request(http2_post("/rerank", TEI)));
    gate.entered.notified().await;
    request.abort();
    gate.dropped.notified().await;
    gate.open.notify_one();
    let (status, _) = http2_json(&mut sender, http2_post("/rerank", TEI)).await;
    assert_eq!(status, 200);
    let (status, body) = http2_json(&mut sender, http2_post("/v2/rerank", "[")).await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_is_closed_in_the_end() {
    let app = app(reader(), |_| ());
    let (client, _stop) = in_memory(&app);
    let mut sender = http2(client.stream).await;
    let (status, _) = http2_json(&mut sender, http2_post("/rerank", TEI)).await;
    assert_eq!(status, 200);
    let began = Instant::now();
    while !sender.is_closed() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(began.elapsed().as_secs(), 75);
}

/// Whatever else goes on beside it.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_costs_the_connection() {
    let app = app(reader(), |s| s.bodies_bytes_max = s.body_bytes_max);
    let (client, _stop) = in_memory(&app);
    let mut sender = http2(client.stream).await;
    // More than the window of its stream, which is 2 MiB.
    let text = "x".repeat(3_000_000);
    let body = json!({"query": "q", "texts": [text], "return_text": true}).to_string();
    let unread = sender.send_request(http2_post("/rerank", &body)).await.unwrap();
    let began = Instant::now();
    let mut told = None;
    while app.metrics.connections.get() > 0 {
        assert!(began.elapsed().as_secs() < 500, "the connection stays open");
        tokio::time::advance(Duration::from_secs(3)).await;
        let served = http2_try(&mut sender, http2_post("/rerank", TEI)).await;
        if !served && told.is_none() {
            told = Some(began.elapsed());
        }
    }
    let seconds = |elapsed: Duration| elapsed.as_secs();
    assert_eq!(told.map(seconds), Some(75), "as if it were idle");
    // This client keeps to what it was told, so nothing is in service any more. The
    // clock moves in steps, and once more before the end is seen.
    let ended = began.elapsed().as_secs();
    assert!((85..=91).contains(&ended), "{ended}");
    assert!(unread.into_body().collect().await.is_err());
}

/// Whether the connection still serves.
async fn http2_try(sender: &mut Sender, request: Request<Full<Bytes>>) -> bool {
    match sender.send_request(request).await {
        Ok(response) => response.into_body().collect().await.is_ok(),
        Err(_) => false,
    }
}
