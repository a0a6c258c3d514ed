//! What the server says of itself: its description, its health, its metrics.

use super::*;

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
