//! The end: what was admitted is finished, within a grace.

use super::http2::{http2, http2_post};
use super::*;

#[tokio::test]
async fn draining_finishes_what_was_admitted() {
    let (gate, stage) = gate();
    let server = Server::start(app(stage, |_| ())).await;
    let mut idle = server.client().await;
    assert_eq!(idle.get("/health").await.status, 200);
    let mut multiplexed = http2(TcpStream::connect(server.public).await.unwrap()).await;
    let mut busy = server.client().await;
    busy.send(post("/rerank", "", TEI)).await;
    gate.entered.notified().await;
    let second = multiplexed.send_request(http2_post("/rerank", TEI));
    let second = tokio::spawn(second);
    gate.entered.notified().await;

    server.stop.send(()).unwrap();
    assert!(idle.closed().await, "an idle connection ends at once");
    let mut operator = Client::new(TcpStream::connect(server.operations).await.unwrap());
    let ready = operator.get("/ready").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("1")));
    assert_eq!(ready.json()["draining"], true);
    assert!(TcpStream::connect(server.public).await.is_err());

    gate.open.notify_one();
    gate.open.notify_waiters();
    let reply = busy.reply().await;
    assert_eq!(reply.status, 200);
    assert!(busy.closed().await);
    gate.open.notify_one();
    assert_eq!(second.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.done.await.unwrap(), Drained::default());
    assert!(operator.closed().await, "operators look on until the end");
}

#[tokio::test]
async fn draining_has_an_end() {
    let (gate, stage) = gate();
    let grace = Duration::from_millis(1);
    let server = Server::start(app(stage, |s| s.drain_ms_max = grace)).await;
    let mut stuck = server.client().await;
    stuck.send(post("/rerank", "", TEI)).await;
    gate.entered.notified().await;
    server.stop.send(()).unwrap();
    let drained = server.done.await.unwrap();
    let cut = Drained { connections_cut: 1, requests_cut: 1 };
    assert_eq!(drained, cut);
    gate.dropped.notified().await;
    assert!(stuck.closed().await);
}
