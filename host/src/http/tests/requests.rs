//! One request after the other: routes, dialects, refusals, pages.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::http::dialect::Dialect;
use crate::rerank::Lengths;

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
            "`x-maitred-timeout-ms` is \"soon\"; it must be a whole number of milliseconds from 1",
        ),
    )
    .await;
    check(
        "/v2/rerank",
        "x-request-id: a b\r\n",
        COHERE,
        400,
        shared("`x-request-id` must be 1 to 128 visible ASCII characters; it has 3"),
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

/// Leaves out every document whose text is no number.
fn filter() -> Arc<dyn Rerank> {
    stage(|mut request, _| {
        request.documents.retain(|document| document.text.parse::<f32>().is_ok());
        async move { Ok(read_scores(&request)) }.boxed()
    })
}

#[tokio::test]
async fn filtered_documents_are_left_out_or_last_in_every_dialect() {
    for filtered in [Filtered::Omit, Filtered::Last] {
        let server = Server::start(app_that_does(filtered, filter())).await;
        let mut client = server.client().await;
        for (path, dialect) in crate::http::router::RERANK {
            let tei = dialect.is_none_or(|dialect| dialect == Dialect::Tei);
            let documents = if tei { "texts" } else { "documents" };
            let score = dialect == Some(Dialect::Score);
            let query = if score { "queries" } else { "query" };
            let body = json!({query: "q", documents: ["0.25", "no", "0.75"]}).to_string();
            let reply = client.post(path, "", &body).await;
            assert_eq!(reply.status, 200, "{path} {reply:?}");
            let answer = reply.json();
            let results = [&answer, &answer["results"], &answer["data"]];
            let results = results.into_iter().find_map(Json::as_array).unwrap();
            let indexes: Vec<_> = results.iter().map(|result| &result["index"]).collect();
            let expected = match (filtered, score) {
                (_, true) => vec![0, 1, 2],
                (Filtered::Omit, false) => vec![2, 0],
                (Filtered::Last, false) => vec![2, 0, 1],
            };
            assert_eq!(indexes, expected, "{path} {filtered:?}");
            if score {
                assert_eq!(results[1]["score"], 0.0, "{path}");
            }
            assert_eq!(reply.header("x-maitred-filtered"), Some("1"), "{path}");
        }
    }
}

#[tokio::test]
async fn pairs_of_several_queries_are_admitted_and_answered_together() {
    // Half of the score is the document's, and half the query's.
    let both = stage(|request, _| {
        async move {
            let query: f32 = request.query.parse().unwrap();
            let mut ranking = read_scores(&request);
            ranking.results.iter_mut().for_each(|ranked| ranked.score += query);
            Ok(ranking)
        }
        .boxed()
    });
    let server = Server::start(app(both, |settings| settings.queries_at_once = 2)).await;
    let mut client = server.client().await;
    let body = json!({
        "text_1": ["0.5", "0.25", "0.5", "0.125"],
        "text_2": ["0", "0.0625", "0.25", "0.5"],
    });
    let reply = client.post("/score", "x-request-id: s1\r\n", &body.to_string()).await;
    let answer = reply.json();
    let scores: Vec<_> = answer["data"].as_array().unwrap().iter().map(|s| &s["score"]).collect();
    assert_eq!(scores, [0.5, 0.3125, 0.75, 0.625]);
    assert_eq!(answer["id"], "s1");
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000, "{answer}");
    assert_eq!(reply.header("x-maitred-filtered"), None);
    assert_eq!(
        server.app.serving().routes().default_route().model.admission().inside(),
        Work::default()
    );
}

#[tokio::test]
async fn one_query_that_fails_fails_them_all() {
    let dropped = Arc::new(Notify::new());
    let gone = dropped.clone();
    let picky = stage(move |request, _| {
        let gone = Gone(gone.clone());
        async move {
            let _gone = gone;
            if &*request.query == "bad" {
                return Err(Error::Denied("not this one".into()));
            }
            // The others never end by themselves.
            std::future::pending().await
        }
        .boxed()
    });
    let server = Server::start(app(picky, |_| ())).await;
    let body = r#"{"queries":["good","bad"],"documents":["a","b"]}"#;
    let reply = server.client().await.post("/score", "", body).await;
    let error = json!({
        "message": "not this one", "type": "PermissionDeniedError", "param": null, "code": 403,
    });
    assert_eq!((reply.status, reply.json()), (403, json!({"error": error})));
    dropped.notified().await;
    assert_eq!(
        server.app.serving().routes().default_route().model.admission().inside(),
        Work::default()
    );
}

#[tokio::test]
async fn what_a_client_says_about_lengths_reaches_the_model() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let server = Server::start(app(
        stage(move |request, context| {
            sees.lock().unwrap().push((context.truncate, context.lengths));
            async move { Ok(read_scores(&request)) }.boxed()
        }),
        |_| (),
    ))
    .await;
    let body =
        r#"{"query":"q","documents":["a"],"max_tokens_per_doc":7,"truncate_prompt_tokens":64}"#;
    server.client().await.post("/vllm/rerank", "", body).await;
    let lengths = Lengths {
        query_max: None,
        document_max: NonZeroU32::new(7),
        pair_max: NonZeroU32::new(64),
    };
    assert_eq!(*seen.lock().unwrap(), [(Some(true), lengths)]);
}

#[tokio::test]
async fn the_server_describes_itself() {
    let server = serve_reader().await;
    let mut client = server.client().await;
    let reply = client.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let document = reply.json();
    let paths = document["paths"].as_object().unwrap();
    // Whatever it describes is there.
    for (path, operations) in paths {
        let path = path.replace("{route}", "plain");
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let found = router::resolve(Side::Public, &method.parse().unwrap(), &path);
            assert!(found.is_ok(), "{method} {path}");
        }
    }
    let documents = &document["components"]["schemas"]["RerankRequest"]["properties"]["documents"];
    assert_eq!(documents["maxItems"], 1000);
    let answers = &document["paths"]["/health"]["get"]["responses"];
    assert!(answers["200"].is_object(), "{answers}");
    let mut ids: Vec<_> = paths
        .values()
        .flat_map(|operations| operations.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    let operations = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), operations);

    let reply = client.get("/docs").await;
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for said in ["<code>POST /jina/v1/rerank</code>", "id=\"VllmRequest\"", "max_tokens_per_doc"] {
        assert!(reply.body.contains(said), "{said}");
    }
    assert!(!reply.body.contains("<script") && !reply.body.contains("src="));
    for reference in reply.body.split("href=\"#").skip(1) {
        let (id, _) = reference.split_once('"').unwrap();
        assert!(reply.body.contains(&format!("id=\"{id}\"")), "{id} is nowhere");
    }
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
        "plain": {"model": "mini", "policies": [], "chain": "mini@0123456789ab"},
        "fresh": {
            "model": "mini",
            "policies": ["fresh@0123456789ab"],
            "chain": "fresh@0123456789ab,mini@0123456789ab",
        },
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
    let model = Arc::new(Model { ready: AtomicBool::new(false), ..Model::default() });
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
        bypasses: false,
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
        r#"maitred_requests_total{route="none",dialect="rerank-v2",status="400"} 1"#,
        r#"maitred_requests_total{route="none",dialect="none",status="404"} 1"#,
        "maitred_requests_in_flight 0",
        "maitred_connections 1",
    ] {
        assert!(reply.body.contains(line), "{line} is not in\n{}", reply.body);
    }
}
