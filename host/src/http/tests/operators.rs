//! The operators' page: its files, the events that it follows, and the requests that
//! are tried from it.

use super::*;
use crate::dashboard::{Dashboard, Stream};
use crate::rerank;

const HOST: &str = "host: 127.0.0.1:8788\r\n";

/// `headers` are whole lines.
fn try_it(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /try HTTP/1.1\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn json_of(body: &str) -> String {
    try_it(&format!("{HOST}content-type: application/json\r\n"), body)
}

/// A connection in memory to the operators' side, and a sampler.
fn operator(app: &Arc<App>) -> (Client<DuplexStream>, watch::Sender<bool>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(converse(theirs, Side::Operations, app.clone(), stopped.clone()));
    let app = app.clone();
    tokio::spawn(async move {
        let end = crate::http::connections::stopped(stopped);
        app.dashboard.sample(&app.metrics, || app.scene(), end).await;
    });
    (Client::new(ours), stop)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// The next event; `None` if the connection or the stream ends first.
    async fn event(&mut self) -> Option<Json> {
        loop {
            if let Some(start) = find(&self.buffer, b"data: ")
                && let Some(length) = find(&self.buffer[start..], b"\n\n")
            {
                let event: Vec<u8> = self.buffer.drain(..start + length).skip(start + 6).collect();
                return Some(serde_json::from_slice(&event).unwrap());
            }
            if find(&self.buffer, b"\r\n0\r\n\r\n").is_some() {
                return None;
            }
            self.fill().await?;
        }
    }
}

async fn follow<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    client.send(format!("GET /events HTTP/1.1\r\n{HOST}\r\n")).await;
    let head = loop {
        if let Some(end) = find(&client.buffer, b"\r\n\r\n") {
            break String::from_utf8(client.buffer.drain(..end).collect()).unwrap();
        }
        client.fill().await.expect("there is a head");
    };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
}

fn room(dashboard: &Arc<Dashboard>) -> usize {
    let streams: Vec<Stream> = std::iter::from_fn(|| dashboard.follow()).collect();
    streams.len()
}

#[tokio::test]
async fn the_page_comes_with_its_files_and_may_load_nothing_else() {
    let server = serve_reader().await;
    let mut client = server.operator().await;
    let page = client.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let script = client.get("/dashboard/page.js").await;
    let media = script.header("content-type");
    assert_eq!((script.status, media), (200, Some("text/javascript; charset=utf-8")));
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(client.get("/dashboard/nothing.js").await.status, 404);
    assert_eq!(server.client().await.get("/").await.status, 404, "clients have no page");
}

#[tokio::test(start_paused = true)]
async fn a_page_hears_what_was_and_what_happens() {
    let app = app(reader(), |_| ());
    let (mut client, stop) = operator(&app);
    follow(&mut client).await;
    let event = client.event().await.unwrap();
    assert_eq!(event["points"].as_array().unwrap().len(), 1, "{event}");
    let routes = event["view"]["routes"].as_array().unwrap();
    assert_eq!(routes[0]["name"], "fresh", "{event}");
    assert_eq!(routes[0]["policies"], json!(["fresh@0123456789ab"]));
    assert_eq!(event["view"]["models"][0]["replicas"][0]["state"], "idle");
    assert_eq!(event["view"]["all"]["latency"]["p50_ms"], Json::Null, "nobody asked");

    let (mut asking, _asking) = in_memory(&app);
    asking.post("/rerank", "", TEI).await;
    let event = client.event().await.unwrap();
    assert_eq!(event["points"].as_array().unwrap().len(), 1, "only what is new: {event}");
    let answered = event["view"]["all"]["requests"]["answered"].as_f64().unwrap();
    assert!(answered > 0.0, "{event}");

    stop.send(true).unwrap();
    assert!(client.event().await.is_none());
    assert!(client.fill().await.is_none(), "the connection ends");
}

#[tokio::test(start_paused = true)]
async fn who_follows_may_stay_and_who_does_not_read_may_not() {
    let app = app(reader(), |_| ());
    let (mut client, _stop) = operator(&app);
    let idle = app.settings.idle_ms_max;
    follow(&mut client).await;
    let began = Instant::now();
    while began.elapsed() < idle * 3 {
        client.event().await.expect("it goes on");
    }
    let all = room(&app.dashboard) + 1;
    // From now on it does not read; what is sent fills its buffer first.
    tokio::time::sleep(idle * 8).await;
    assert_eq!(room(&app.dashboard), all, "its place is free again");
}

#[tokio::test]
async fn as_many_follow_as_may_and_none_holds_the_end_up() {
    let server = serve_reader().await;
    let mut clients = Vec::new();
    for _ in 0..crate::dashboard::STREAMS_MAX {
        let mut client = server.operator().await;
        follow(&mut client).await;
        clients.push(client);
    }
    let mut late = server.operator().await;
    late.send(format!("GET /events HTTP/1.1\r\n{HOST}\r\n")).await;
    let reply = late.reply().await;
    let text = "16 pages follow this server already, which is the limit";
    assert_eq!((reply.status, &reply.json()["message"]), (503, &json!(text)));
    drop(clients.pop());
    wait_until(|| room(&server.app.dashboard) == 1).await;

    server.stop.send(()).unwrap();
    assert_eq!(server.done.await.unwrap(), Drained::default());
    for mut client in clients {
        while client.event().await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn errors_are_shown_without_what_the_client_wrote() {
    let app = app(reader(), |_| ());
    let (mut asking, _asking) = in_memory(&app);
    for _ in 0..3 {
        let reply =
            asking.post("/routes/fresh/rerank", "", r#"{"query":"secret","texts":1}"#).await;
        assert_eq!(reply.status, 422);
    }
    asking.post("/v2/rerank", "", r#"{"model":"secret","query":"q","documents":["d"]}"#).await;
    asking.post("/secret", "", "").await;
    let (mut client, _stop) = operator(&app);
    follow(&mut client).await;
    let event = client.event().await.unwrap();
    assert!(!event.to_string().contains("secret"), "{event}");
    let failures = event["view"]["failures"].as_array().unwrap();
    let told: Vec<_> = failures
        .iter()
        .map(|f| {
            (
                f["status"].as_u64().unwrap(),
                f["kind"].as_str().unwrap(),
                f["times"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(404, "no_endpoint", 1), (404, "not_found", 1), (422, "invalid", 3)]);
}

#[tokio::test]
async fn a_request_is_tried_with_and_without_its_policies() {
    // The chain turns the ranking round; the model reads scores.
    let turned = stage(|request, context| {
        context.report.add_pairs(3, 30, 0);
        context.report.add_time(rerank::Stage::GuestCpu, Duration::from_millis(7));
        async move {
            let mut ranking = read_scores(&request);
            ranking.results.truncate(2);
            ranking.results.iter_mut().for_each(|ranked| ranked.score = 1.0 - ranked.score);
            Ok(ranking)
        }
        .boxed()
    });
    let server = Server::start(app(turned, |_| ())).await;
    let mut client = server.operator().await;
    let body = r#"{"route":"fresh","query":"q","documents":["0.25",{"text":"0.75"},"0.5"]}"#;
    client.send(json_of(body)).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let tried = reply.json();
    let order = |run: &Json| {
        let results = run["results"].as_array().unwrap().iter();
        results.map(|r| r["index"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((order(&tried["chain"]), order(&tried["plain"])), (vec![0, 1], vec![1, 2, 0]));
    assert_eq!((&tried["route"], &tried["chain"]["filtered"]), (&json!("fresh"), &json!(1)));
    assert!(tried["plain"]["took_ms"].as_f64().unwrap() > 0.0);
    let spent = |run: &Json| ["pairs", "tokens", "guest_cpu_ms"].map(|what| run[what].clone());
    assert_eq!(spent(&tried["chain"]), [json!(3), json!(30), json!(7.0)]);
    assert_eq!(spent(&tried["plain"]), [json!(0), json!(0), json!(0.0)]);

    client.send(json_of(r#"{"query":"q","documents":["0.25"]}"#)).await;
    let tried = client.reply().await.json();
    assert_eq!((&tried["route"], &tried["plain"]), (&json!("plain"), &Json::Null));
    let counted = server.operator().await.get("/metrics").await.body;
    for line in [
        r#"maitred_requests_total{route="fresh",dialect="try",status="200"} 1"#,
        r#"maitred_request_duration_seconds_count{route="fresh",stage="total"} 1"#,
    ] {
        assert!(counted.contains(line), "no `{line}` in\n{counted}");
    }
}

#[tokio::test]
async fn a_route_that_fails_is_shown_beside_its_model() {
    let failing = stage(|_, _| {
        let reason = "trapped: unreachable".into();
        async { Err(Error::PolicyFailed { policy: "fresh".into(), reason }) }.boxed()
    });
    let server = Server::start(app(failing, |_| ())).await;
    let mut client = server.operator().await;
    client.send(json_of(r#"{"route":"fresh","query":"q","documents":["0.25"]}"#)).await;
    let reply = client.reply().await;
    assert_eq!(reply.status, 502);
    let tried = reply.json();
    let expected = json!({"status": 502, "message": "policy `fresh` trapped: unreachable"});
    assert_eq!((&tried["chain"], &tried["plain"]["results"][0]["index"]), (&expected, &json!(0)));
}

/// A trial has to come from this server's page or from a program, say what it is,
/// and be admitted.
#[tokio::test]
async fn trials_are_guarded_and_bounded() {
    let server = Server::start(app(reader(), |s| {
        s.documents_max = 2;
        s.ops_hosts = vec!["ops.example".into()];
    }))
    .await;
    let body = r#"{"query":"q","documents":["0.25"]}"#;
    let check = async |headers: &str, body: &str, status: u16, says: &str| {
        let mut client = server.operator().await;
        client.send(try_it(headers, body)).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{headers} {body}: {}", reply.body);
        assert!(reply.body.contains(says), "{headers} {body}: {}", reply.body);
    };
    let json = "content-type: application/json\r\n";
    let known = "host: ops.example\r\norigin: http://ops.example\r\n";
    check(&format!("{known}{json}"), body, 200, "\"results\"").await;
    let own = format!("{HOST}origin: http://127.0.0.1:8788\r\nsec-fetch-site: same-origin\r\n");
    check(&format!("{own}{json}"), body, 200, "\"results\"").await;
    check(HOST, body, 415, "content type is missing").await;
    check(&format!("{HOST}content-type: text/plain\r\n"), body, 415, "text/plain").await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    check(&format!("{HOST}{form}"), body, 415, "application/json").await;
    let foreign = format!("{HOST}origin: http://evil.example\r\n{json}");
    check(&foreign, body, 403, "other sites").await;
    let foreign = format!("{HOST}sec-fetch-site: cross-site\r\n{json}");
    check(&foreign, body, 403, "other sites").await;
    let rebound = format!("host: evil.example:8788\r\norigin: http://evil.example:8788\r\n{json}");
    check(&rebound, body, 403, "server.ops_hosts").await;
    let plain = format!("{HOST}{json}");
    check(&plain, &body.replace("query", "qeury"), 400, "did you mean `query`?").await;
    check(&plain, r#"{"documents":["0.25"]}"#, 400, "`query` is missing").await;
    check(&plain, r#"{"query":"q","documents":["1","2","3"]}"#, 413, "over the limit of 2").await;
    check(&plain, &body.replace('{', r#"{"route":"no","#), 404, "no route is named `no`").await;

    let mut client = server.operator().await;
    client.send("GET /events HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 403);
}

/// On loopback an operator needs no key; one that is sent counts as it does for
/// clients. Elsewhere a trial is no way around keys.
#[tokio::test]
async fn a_trial_is_no_way_around_keys() {
    let (callers, [key]) = super::callers::known([("shop", "routes = ['fresh']")]);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let body = r#"{"route":"plain","query":"q","documents":["0.25"]}"#;
    let tried = async |server: &Server, headers: &str| {
        let mut client = server.operator().await;
        let headers = format!("{HOST}content-type: application/json\r\n{headers}");
        client.send(try_it(&headers, body)).await;
        client.reply().await.status
    };
    let shown = super::callers::bearer(&key);
    assert_eq!(tried(&server, "").await, 200);
    assert_eq!(tried(&server, &shown).await, 403, "the caller has no such route");
    assert_eq!(tried(&server, "x-api-key: unknown\r\n").await, 401);

    let elsewhere = |s: &mut ServerSettings| s.ops_listen = ([0, 0, 0, 0], 8788).into();
    let (callers, [key]) = super::callers::known([("shop", "")]);
    let server = Server::start(app_with(reader(), callers, elsewhere)).await;
    assert_eq!(tried(&server, "").await, 401);
    assert_eq!(tried(&server, &super::callers::bearer(&key)).await, 200);
    let server = Server::start(app(reader(), elsewhere)).await;
    assert_eq!(tried(&server, "").await, 403, "clients elsewhere are not served");
    let server = Server::start(app(reader(), |s| {
        elsewhere(s);
        s.listen = s.ops_listen;
    }))
    .await;
    assert_eq!(tried(&server, "").await, 200, "anyone is served");
}
