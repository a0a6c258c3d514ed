//! Requests that get no ranking: wrong ones, failed ones, late ones, and those for which
//! there is no room.

use std::sync::atomic::AtomicU32;

use super::*;

#[tokio::test]
async fn refusals_name_what_was_wrong() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let mut check = async |path: &str, headers: &str, body: &str, status: u16, expected: Json| {
        let reply = client.post(path, headers, body).await;
        assert_eq!((reply.status, reply.json()), (status, expected), "{path} {body}");
        assert!(reply.header("x-request-id").is_some(), "{path}");
    };
    let either = |text: &str| json!({"message": text, "detail": text, "error": text, "error_type": "Validation"});
    let shared = |text: &str| json!({"message": text, "detail": text});
    check(
        "/v3/rerank", "", COHERE, 404,
        either("nothing is at `/v3/rerank`; requests go to /rerank, /v1/rerank, /v2/rerank or /score, or below /routes/{route}; /docs has all paths"),
    ).await;
    check(
        "/metrics", "", "", 404,
        either("nothing is at `/metrics`; requests go to /rerank, /v1/rerank, /v2/rerank or /score, or below /routes/{route}; /docs has all paths"),
    ).await;
    check("/health", "", "", 405, either("the method POST is not allowed here; use GET, HEAD"))
        .await;
    check(
        "/rerank",
        "",
        "{",
        400,
        either("the body is not JSON: EOF while parsing an object at line 1 column 1"),
    )
    .await;
    check(
        "/rerank", "", r#"{"query":"q"}"#, 400,
        either("the body has neither `texts` (as TEI's clients send) nor `documents` (as all others send)"),
    ).await;
    check(
        "/rerank", "", r#"{"query":"q","texts":[],"documents":[]}"#, 400,
        either("the body has both `texts` and `documents`; TEI's clients send the one, all others the other"),
    ).await;
    check(
        "/rerank",
        "",
        r#"{"query":"q","texts":[]}"#,
        400,
        json!({"error": "`texts` is empty", "error_type": "Empty"}),
    )
    .await;
    check(
        "/v2/rerank",
        "content-encoding: gzip\r\n",
        COHERE,
        415,
        shared("the content encoding is \"gzip\"; bodies must not be encoded"),
    )
    .await;
    check(
        "/v2/rerank",
        "x-maitred-timeout-ms: soon\r\n",
        COHERE,
        400,
        shared(
            "`x-maitred-timeout-ms` is \"soon\"; it must be a whole number of milliseconds from 1 to 18446744073709551615",
        ),
    )
    .await;
    check(
        "/v2/rerank",
        "x-request-id: a b\r\n",
        COHERE,
        400,
        shared("`x-request-id` must be 1 to 128 visible ASCII characters; character 2 is \" \""),
    )
    .await;
    check("/v2/rerank", "", r#"{"query":" ","documents":["a"]}"#, 400, shared("`query` is empty"))
        .await;
    check(
        "/v2/rerank",
        "",
        r#"{"query":"q","documents":[]}"#,
        400,
        shared("there are no documents to rank"),
    )
    .await;
    check(
        "/routes/none/v1/rerank",
        "",
        COHERE,
        404,
        shared("no route is named `none`; there are `fresh`, `plain`"),
    )
    .await;
    check(
        "/v1/rerank",
        "",
        r#"{"query":"q","documents":["a"],"model":"rerank-9"}"#,
        404,
        shared("no route or model is named `rerank-9`; the routes are `fresh`, `plain`"),
    )
    .await;
    // The connection outlives them all.
    check("/v1/rerank", "", "[]", 400, shared("the body must be a JSON object; found a list"))
        .await;
}

#[tokio::test]
async fn an_unknown_model_is_refused_in_teis_words() {
    let server = serve_reader().await;
    let body = r#"{"query":"q","texts":["a"],"model":"rerank-9"}"#;
    let reply = server.client().await.post("/rerank", "", body).await;
    let text = "no route or model is named `rerank-9`; the routes are `fresh`, `plain`";
    let expected = json!({"error": text, "error_type": "Validation"});
    assert_eq!((reply.status, reply.json()), (404, expected));
}

/// The log has the same text.
#[tokio::test]
async fn errors_repeat_values_only_so_far() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let mut operator = server.operator().await;
    let long = "\u{1}".repeat(5000);
    let name = "n".repeat(5000);
    let documents = |rest: Json| {
        let mut body = json!({"query": "q", "documents": [{"text": "a"}]});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body.to_string()
    };
    let document = |document: Json| documents(json!({"documents": [document]}));
    let tei = json!({"query": "q", "texts": ["a"], "truncation_direction": long}).to_string();
    let number = format!(r#"{{"query":"q","documents":["a"],"top_n":{}}}"#, "9".repeat(5000));
    let route = json!({"query": "q", "documents": ["a"], "route": long}).to_string();
    let of_name = json!({(&*name): 1}).to_string();
    let infinite = format!(r#"{{"query":"q","documents":[{{"text":"a","{name}":1e999}}]}}"#);
    let cases: [(&str, String, String); 15] = [
        ("/v1/rerank", "".into(), documents(json!({"model": long}))),
        ("/v1/rerank", "".into(), documents(json!({"truncation_side": long}))),
        ("/v1/rerank", "".into(), documents(json!({"rank_fields": [long]}))),
        ("/v1/rerank", "".into(), documents(json!({"rank_fields": [long, long]}))),
        ("/v1/rerank", "".into(), document(json!({"text": "a", "fields": {(&*name): {}}}))),
        ("/v1/rerank", "".into(), infinite),
        ("/v1/rerank", "".into(), number),
        ("/rerank", "".into(), tei),
        (&*format!("/routes/{name}/rerank"), "".into(), TEI.into()),
        (&*format!("/{name}"), "".into(), TEI.into()),
        ("/rerank", format!("content-type: {name}\r\n"), TEI.into()),
        ("/rerank", format!("x-maitred-{name}: 1\r\n"), TEI.into()),
        ("/rerank", format!("x-maitred-priority: {name}\r\n"), TEI.into()),
        ("/rerank", format!("x-maitred-timeout-ms: {name}\r\n"), TEI.into()),
        ("/rerank", format!("content-encoding: {name}\r\n"), TEI.into()),
    ];
    let check = |place: usize, reply: Reply| {
        let (status, length) = (reply.status, reply.body.len());
        assert!((400..500).contains(&status), "{place}: {status}");
        assert!(reply.body.contains('…') && length < 2500, "{place}: {length} bytes");
    };
    for (place, (path, headers, body)) in cases.into_iter().enumerate() {
        check(place, client.post(path, &headers, &body).await);
    }
    const JSON: &str = "content-type: application/json\r\nhost: localhost\r\n";
    for (place, body) in [route, of_name].into_iter().enumerate() {
        let request = post("/try", JSON, &body).replace("host: x\r\n", "");
        operator.send(request).await;
        check(100 + place, operator.reply().await);
    }
}

#[tokio::test]
async fn who_may_leave_out_the_content_type() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
    const PAGE: &str = "origin: https://example.org\r\n";
    const JSON: &str = "content-type: application/json\r\n";
    let mut check = async |headers: &str, body: &str, expected: Result<(), (u16, &str)>| {
        let reply = client.post("/v1/rerank", headers, body).await;
        let (status, text) = expected.err().unwrap_or((200, ""));
        assert_eq!(reply.status, status, "{headers} {reply:?}");
        if status != 200 {
            assert_eq!(reply.json()["message"], text, "{headers}");
        }
    };
    // Programs, and `curl -d`.
    check("", COHERE, Ok(())).await;
    check(FORM, COHERE, Ok(())).await;
    let not_json = "the body is not JSON: expected value at line 1 column 1";
    check(FORM, "query=q&documents=a", Err((400, not_json))).await;
    let must = "it must be application/json (curl: -H 'content-type: application/json')";
    let plain = format!("the content type is \"text/plain\"; {must}");
    check("content-type: text/plain\r\n", COHERE, Err((415, &plain))).await;
    // Web pages, whatever they send without asking.
    let page = "and the request has an `Origin`, as those of web pages have";
    let missing = format!("the content type is missing {page}; {must}");
    check(PAGE, COHERE, Err((415, &missing))).await;
    let kind = "\"application/x-www-form-urlencoded\"";
    let form = format!("the content type is {kind} {page}; {must}");
    check(&format!("{PAGE}{FORM}"), COHERE, Err((415, &form))).await;
    check(&format!("{PAGE}{JSON}"), COHERE, Ok(())).await;
}

#[tokio::test]
async fn what_a_route_fails_with_has_its_status() {
    let errors = Arc::new(Mutex::new(None));
    let failing = errors.clone();
    let server = Server::start(app(
        stage(move |_, _| {
            let error = failing.lock().unwrap().take().unwrap();
            async move { Err(error) }.boxed()
        }),
        |_| (),
    ))
    .await;
    let mut client = server.client().await;
    let mut check = async |error: Error, status: u16, retry: Option<&str>, text: &str| {
        *errors.lock().unwrap() = Some(error);
        let reply = client.post("/v2/rerank", "x-request-id: r7\r\n", COHERE).await;
        let body = json!({"message": text, "detail": text});
        assert_eq!((reply.status, reply.json()), (status, body));
        assert_eq!(reply.header("retry-after"), retry);
        assert_eq!(reply.header("x-request-id"), Some("r7"));
    };
    let retry_after = Duration::from_millis(2001);
    check(Error::Denied("not yours".into()), 403, None, "not yours").await;
    let late = "the request's deadline of 30000 ms passed (the server's `server.request_ms_max`)";
    check(Error::DeadlineExceeded, 504, None, late).await;
    check(
        Error::Overloaded { retry_after },
        429,
        Some("3"),
        "the server is at capacity; try again in 2001 ms",
    )
    .await;
    check(
        Error::Unavailable { reason: "no replica is up".into(), retry_after },
        503,
        Some("3"),
        "no replica is up",
    )
    .await;
    check(
        Error::PolicyFailed { policy: Arc::from("fresh"), reason: "trapped".into() },
        502,
        None,
        "policy `fresh` trapped",
    )
    .await;
    check(
        Error::Internal("the secret".into()),
        500,
        None,
        "internal error; the server's log tells more under request id r7",
    )
    .await;
}

#[tokio::test]
async fn bugs_behind_the_edge_are_answered_too() {
    let server = Server::start(app(
        stage(|request, _| {
            async move {
                assert_ne!(&*request.query, "panic", "a bug");
                let mut ranking = read_scores(&request);
                ranking.results[0].score = f32::NAN;
                Ok(ranking)
            }
            .boxed()
        }),
        |_| (),
    ))
    .await;
    let mut client = server.client().await;
    for query in ["panic", "nan"] {
        let body = TEI.replace("\"q\"", &format!("{query:?}"));
        let reply = client.post("/rerank", "x-request-id: r8\r\n", &body).await;
        let text = "internal error; the server's log tells more under request id r8";
        assert_eq!(reply.status, 500, "{reply:?}");
        assert_eq!(reply.json(), json!({"error": text, "error_type": "Backend"}));
    }
    assert_eq!(server.app.metrics.requests_in_flight.get(), 0);
}

#[tokio::test]
async fn a_deadline_from_the_head_is_kept() {
    let (_gate, stage) = gate();
    let server = Server::start(app(stage, |_| ())).await;
    let mut client = server.client().await;
    let reply = client.post("/rerank", "x-maitred-timeout-ms: 1\r\n", TEI).await;
    assert_eq!(reply.status, 504);
    let text = "the request's deadline of 1 ms passed (as its `x-maitred-timeout-ms` says)";
    let body = json!({"error": text, "error_type": "Backend"});
    assert_eq!(reply.json(), body);
}

/// Whoever would wait for most of its time, or finds no room, is told so before
/// anything is done for it.
#[tokio::test]
async fn the_edge_refuses_at_the_door() {
    let entered = Arc::new(AtomicU32::new(0));
    let counting = || {
        let entered = entered.clone();
        stage(move |request, _| {
            entered.fetch_add(1, Ordering::Relaxed);
            async move { Ok(read_scores(&request)) }.boxed()
        })
    };
    // Four fifths of the time may pass in the queue.
    for (wait_ms, timeout_ms, expected) in [
        (800, "1000", Ok(())),
        (801, "1000", Err(("1", "100 ms"))),
        (3300, "1000", Err(("3", "2500 ms"))),
        (3300, "5000", Ok(())),
        // Without a wish it is the server's default of 30 s.
        (24_000, "", Ok(())),
        (90_000, "", Err(("30", "30000 ms"))),
    ] {
        let model = Model { wait: Duration::from_millis(wait_ms), ..Model::default() };
        let server = Server::start(app_before(model, counting())).await;
        let header = match timeout_ms {
            "" => String::new(),
            ms => format!("x-maitred-timeout-ms: {ms}\r\n"),
        };
        let before = entered.load(Ordering::Relaxed);
        let reply = server.client().await.post("/rerank", &header, TEI).await;
        let status = if expected.is_ok() { 200 } else { 429 };
        assert_eq!(reply.status, status, "{wait_ms} of {timeout_ms}: {reply:?}");
        let served = entered.load(Ordering::Relaxed) - before;
        assert_eq!(served, u32::from(expected.is_ok()), "{wait_ms} of {timeout_ms}");
        if let Err((retry_after, time)) = expected {
            assert_eq!(reply.header("retry-after"), Some(retry_after));
            let text = format!("the server is at capacity; try again in {time}");
            assert_eq!(reply.json(), json!({"error": text, "error_type": "Overloaded"}));
        }
    }
}

#[tokio::test]
async fn a_full_door_lets_nobody_in_and_opens_again() {
    let limit = Work { pairs: 3, tokens: 100 };
    let (gate, stage) = gate();
    let model = Model { admission: Admission::new(limit), ..Model::default() };
    let server = Server::start(app_before(model, stage)).await;
    let (mut inside, mut outside) = (server.client().await, server.client().await);
    inside.send(post("/rerank", "", TEI)).await;
    gate.entered.notified().await;

    // One of two pairs too many: half of those inside must leave, who need 1.5 s.
    let reply = outside.post("/rerank", "", TEI).await;
    let text = "the server is at capacity; try again in 750 ms";
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.json(), json!({"error": text, "error_type": "Overloaded"}));
    // What could never fit is not told to come again.
    let long = format!(r#"{{"query":"q","texts":["{}"]}}"#, "x".repeat(200));
    for (body, text) in [
        (
            r#"{"query":"q","texts":["1","2","3","4"]}"#,
            "the number of pairs the request may cause is 4, over the limit of 3",
        ),
        (&*long, "the number of tokens the request may cause is 205, over the limit of 100"),
    ] {
        let reply = outside.post("/rerank", "", body).await;
        assert_eq!((reply.status, reply.header("retry-after")), (413, None));
        assert_eq!(reply.json(), json!({"error": text, "error_type": "Validation"}));
    }

    assert_eq!(gate.entered.notified().now_or_never(), None, "nobody else came in");

    gate.open.notify_one();
    assert_eq!(inside.reply().await.status, 200);
    // It is kept for whoever comes next.
    gate.open.notify_one();
    assert_eq!(outside.post("/rerank", "", TEI).await.status, 200);
}
