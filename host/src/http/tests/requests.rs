//! One request after the other: routes, dialects, refusals, pages.

use super::*;

#[tokio::test]
async fn each_dialect_gets_its_answer() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let reply = client.post("/rerank", "", TEI).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, r#"[{"index":1,"score":0.75},{"index":0,"score":0.25}]"#);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-maitred-route"), Some("plain"));
    assert_eq!(reply.header("x-compute-characters"), Some("10"));
    assert_eq!(reply.header("x-maitred-bypassed"), None);
    assert_eq!(reply.header("x-request-id").map(str::len), Some(36));

    let reply = client.post("/rerank", "x-request-id: abc\r\n", COHERE).await;
    assert_eq!(reply.header("x-request-id"), Some("abc"));
    assert_eq!(reply.json()["id"], "abc");
    assert_eq!(reply.json()["meta"]["api_version"]["version"], "1");
    let results = json!([
        {"index": 1, "relevance_score": 0.75},
        {"index": 0, "relevance_score": 0.25},
    ]);
    assert_eq!(reply.json()["results"], results);
    for (path, version) in [("/v1/rerank", "1"), ("/v2/rerank", "2")] {
        let reply =
            client.post(path, "content-type: Application/JSON; charset=utf-8\r\n", COHERE).await;
        assert_eq!(reply.json()["results"], results);
        assert_eq!(reply.json()["meta"]["api_version"]["version"], version);
    }
}

#[tokio::test]
async fn a_route_is_chosen_by_path_then_model_then_default() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let named = |model: &str| format!(r#"{{"query":"q","documents":["0.5"],"model":"{model}"}}"#);
    for (path, body, route) in [
        ("/v2/rerank", COHERE.to_owned(), "plain"),
        ("/v2/rerank", named("fresh"), "fresh"),
        ("/v2/rerank", named("hub/mini"), "plain"),
        ("/routes/fresh/v2/rerank", named("plain"), "fresh"),
        ("/routes/fresh/rerank", TEI.to_owned(), "fresh"),
        ("/routes/plain/v1/rerank", named("whatever"), "plain"),
    ] {
        let reply = client.post(path, "", &body).await;
        assert_eq!(reply.header("x-maitred-route"), Some(route), "{path} {body}");
    }
}

#[tokio::test]
async fn refusals_name_what_was_wrong() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let mut check = async |path: &str, headers: &str, body: &str, status: u16, expected: Json| {
        let reply = client.post(path, headers, body).await;
        assert_eq!((reply.status, reply.json()), (status, expected), "{path} {body}");
        assert!(reply.header("x-request-id").is_some(), "{path}");
    };
    let either = |text: &str| json!({"message": text, "error": text, "error_type": "Validation"});
    let cohere = |text: &str| json!({"message": text});
    check(
        "/v3/rerank", "", COHERE, 404,
        either("nothing is at `/v3/rerank`; rerank requests go to /rerank, /v1/rerank or /v2/rerank, or below /routes/{route}"),
    ).await;
    check(
        "/metrics", "", "", 404,
        either("nothing is at `/metrics`; rerank requests go to /rerank, /v1/rerank or /v2/rerank, or below /routes/{route}"),
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
        either("the body has neither `texts` (as TEI clients send) nor `documents` (as Cohere clients send)"),
    ).await;
    check(
        "/rerank", "", r#"{"query":"q","texts":[],"documents":[]}"#, 400,
        either("the body has both `texts` and `documents`; TEI clients send the one, Cohere clients the other"),
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
        "/v2/rerank", "content-type: application/x-www-form-urlencoded\r\n", COHERE, 415,
        cohere("the content type is \"application/x-www-form-urlencoded\"; it must be application/json"),
    ).await;
    check(
        "/v2/rerank",
        "content-encoding: gzip\r\n",
        COHERE,
        415,
        cohere("the content encoding is \"gzip\"; bodies must not be encoded"),
    )
    .await;
    check(
        "/v2/rerank",
        "x-maitred-timeout-ms: soon\r\n",
        COHERE,
        400,
        cohere(
            "`x-maitred-timeout-ms` is \"soon\"; it must be a whole number of milliseconds from 1",
        ),
    )
    .await;
    check(
        "/v2/rerank",
        "x-request-id: a b\r\n",
        COHERE,
        400,
        cohere("`x-request-id` must be 1 to 128 visible ASCII characters; it has 3"),
    )
    .await;
    check("/v2/rerank", "", r#"{"query":" ","documents":["a"]}"#, 400, cohere("`query` is empty"))
        .await;
    check(
        "/v2/rerank",
        "",
        r#"{"query":"q","documents":[]}"#,
        400,
        cohere("there are no documents to rank"),
    )
    .await;
    check(
        "/routes/none/v1/rerank",
        "",
        COHERE,
        404,
        cohere("no route is named `none`; there are `fresh`, `plain`"),
    )
    .await;
    check(
        "/v1/rerank",
        "",
        r#"{"query":"q","documents":["a"],"model":"rerank-9"}"#,
        404,
        cohere("no route or model is named `rerank-9`; the routes are `fresh`, `plain`"),
    )
    .await;
    // The connection outlives them all.
    check("/v1/rerank", "", "[]", 400, cohere("the body must be a JSON object; found a list"))
        .await;
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
        assert_eq!((reply.status, reply.json()), (status, json!({"message": text})));
        assert_eq!(reply.header("retry-after"), retry);
        assert_eq!(reply.header("x-request-id"), Some("r7"));
    };
    let retry_after = Duration::from_millis(2001);
    check(Error::Denied("not yours".into()), 403, None, "not yours").await;
    check(Error::DeadlineExceeded, 504, None, "the request's deadline passed").await;
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
async fn what_the_chain_did_is_in_the_headers() {
    let server = Server::start(app(
        stage(|request, context| {
            context.report.set_bypassed();
            let mut ranking = read_scores(&request);
            ranking.scale = Scale::Order;
            async move { Ok(ranking) }.boxed()
        }),
        |_| (),
    ))
    .await;
    let reply = server.client().await.post("/v1/rerank", "", COHERE).await;
    assert_eq!(reply.header("x-maitred-bypassed"), Some("true"));
    assert_eq!(reply.header("x-maitred-scores"), Some("order"));
    assert_eq!(reply.json()["meta"]["warnings"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_deadline_from_the_head_is_kept() {
    let (_gate, stage) = gate();
    let server = Server::start(app(stage, |_| ())).await;
    let mut client = server.client().await;
    let reply = client.post("/rerank", "x-maitred-timeout-ms: 1\r\n", TEI).await;
    assert_eq!(reply.status, 504);
    let body = json!({"error": "the request's deadline passed", "error_type": "Backend"});
    assert_eq!(reply.json(), body);
}

#[tokio::test]
async fn pages_say_how_the_server_is() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let mut operator = server.operator().await;
    let reply = client.get("/health").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"status": "ok"})));
    let ready = json!({"ready": true, "draining": false, "models": {"mini": true}});
    for reply in [client.get("/ready").await, operator.get("/ready").await] {
        assert_eq!((reply.status, reply.json()), (200, ready.clone()));
    }
    let info = client.get("/info").await.json();
    assert_eq!(info["model_id"], "hub/mini");
    assert_eq!(info["max_input_length"], 512);
    assert_eq!(info["max_client_batch_size"], 1000);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let routes = json!({
        "plain": {"model": "mini", "policies": []},
        "fresh": {"model": "mini", "policies": ["fresh@0123456789ab"]},
    });
    assert_eq!(info["routes"], routes);
    assert_eq!(info["models"]["mini"]["replicas"], json!(["idle"]));
    assert_eq!(operator.get("/info").await.json(), info);

    client.send("HEAD /info HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = client.reply_to(true).await.unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length = info.to_string().len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    let get = client.get("/rerank").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn a_model_that_is_not_ready_makes_the_server_not_ready() {
    let app = app(reader(), |_| ());
    let model = Arc::new(Model {
        admission: Admission::new(Work::default()),
        ready: AtomicBool::new(false),
    });
    let default = app.serving();
    let default = default.routes().default_route();
    let route = Route {
        name: default.name.clone(),
        model,
        stage: reader(),
        policies: Vec::new(),
        chain: default.chain.clone(),
        weight: 1,
        amplification_max: 1,
        filtered: Filtered::Omit,
        limits: default.limits,
        metrics: app.metrics.clone(),
    };
    let name = route.name.clone();
    let routes = Routes::new([route], name);
    let serving = Serving::new(Arc::new(routes), Callers::default());
    let app = App::new(serving, app.settings.clone(), app.metrics.clone());
    let server = Server::start(app).await;
    let reply = server.client().await.get("/ready").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    let expected = json!({"ready": false, "draining": false, "models": {"mini": false}});
    assert_eq!(reply.json(), expected);
    assert_eq!(server.client().await.get("/health").await.status, 200);
}

#[tokio::test]
async fn metrics_count_every_request_by_route_dialect_and_status() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    client.post("/rerank", "", TEI).await;
    client.post("/rerank", "", TEI).await;
    client.post("/v2/rerank", "", "{}").await;
    client.post("/nowhere", "", "").await;
    let reply = server.operator().await.get("/metrics").await;
    let kind = reply.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    for line in [
        r#"maitred_requests_total{route="plain",dialect="tei",status="200"} 2"#,
        r#"maitred_requests_total{route="none",dialect="cohere-v2",status="400"} 1"#,
        r#"maitred_requests_total{route="none",dialect="none",status="404"} 1"#,
        "maitred_requests_in_flight 0",
        "maitred_connections 1",
    ] {
        assert!(reply.body.contains(line), "{line} is not in\n{}", reply.body);
    }
}
