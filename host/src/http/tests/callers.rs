//! Who may call: keys, routes, rates, priorities, and what each caller sees.

use super::*;
use crate::callers::Key;
use crate::rerank::{Priority, Stage};

/// Callers with one key each: `name`, and lines of its table.
pub fn known<const N: usize>(callers: [(&str, &str); N]) -> (Callers, [Key; N]) {
    let keys: [Key; N] = std::array::from_fn(|_| Key::random().unwrap());
    let tables = callers.iter().zip(&keys).map(|((name, lines), key)| {
        format!("[callers.{name}]\nkeys = [\"{}\"]\n{lines}\n", key.hash())
    });
    let routes = "default_route = 'plain'\n[routes.plain]\n[routes.fresh]\n";
    let text: String = [routes.to_owned()].into_iter().chain(tables).collect();
    let settings = check(&mut Raw::parse(&text).unwrap()).unwrap();
    (Callers::new(&settings.callers, None), keys)
}

pub fn bearer(key: &Key) -> String {
    format!("authorization: Bearer {}\r\n", key.text())
}

#[tokio::test]
async fn without_a_known_key_nobody_is_served() {
    let (callers, [key, stranger]) = known([("shop", ""), ("wiki", "")]);
    let (_, [unknown]) = known([("shop", "")]);
    drop(stranger);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let mut client = server.client().await;
    let text = "there is no key in the request, or none that this server knows; send one key as `Authorization: Bearer KEY`";
    let two = format!("{}x-api-key: other\r\n", bearer(&key));
    for headers in ["", &bearer(&unknown), "authorization: Basic azpr\r\n", "api-key: x\r\n", &two]
    {
        for (path, member) in
            [("/rerank", "error"), ("/v2/rerank", "message"), ("/routes/no/rerank", "error")]
        {
            let reply = client.post(path, headers, COHERE).await;
            let found = reply.json()[member].clone();
            assert_eq!((reply.status, found), (401, json!(text)), "{path} {headers}");
            let challenge = reply.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"maitred\""));
        }
    }
    // Nothing else is looked at before the key: not the body, nor other headers.
    let reply = client.post("/rerank", "content-type: x/y\r\nx-maitred-priority: x\r\n", "{").await;
    assert_eq!(reply.status, 401);
    assert_eq!(server.app.metrics.keys_refused.get(), 16);
    for headers in [
        bearer(&key),
        format!("authorization: {}\r\n", key.text()),
        format!("x-api-key: {}\r\n", key.text()),
        format!("API-Key: {}\r\n", key.text()),
    ] {
        let reply = client.post("/rerank", &headers, TEI).await;
        assert_eq!(reply.status, 200, "{headers}");
    }
}

/// The refusal is on its way before the body is: a client that asks first sends
/// none of it.
#[tokio::test]
async fn a_key_is_checked_before_the_body() {
    let (callers, [key]) = known([("shop", "routes = ['fresh']")]);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let head = "HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99\r\n";
    for (line, status) in [
        ("POST /rerank", 401),
        ("POST /routes/plain/rerank", 401),
        (&format!("POST /routes/plain/rerank {head}{}", bearer(&key)), 403),
    ] {
        let mut client = server.client().await;
        let text = match line.contains("HTTP") {
            true => format!("{line}\r\n"),
            false => format!("{line} {head}\r\n"),
        };
        client.send(text).await;
        assert_eq!(client.reply().await.status, status, "{line}");
    }
}

#[tokio::test]
async fn a_caller_sees_its_routes_and_no_others() {
    let (callers, [all, only]) = known([("all", ""), ("only", "routes = ['fresh']")]);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let mut client = server.client().await;
    let named = |model: &str| format!(r#"{{"query":"q","documents":["0.5"],"model":"{model}"}}"#);
    let mut check = async |key: &Key, path: &str, body: &str, status: u16, said: &str| {
        let reply = client.post(path, &bearer(key), body).await;
        let found = match reply.status {
            200 => reply.header("x-maitred-route").unwrap().to_owned(),
            _ => reply.json()["message"].as_str().unwrap().to_owned(),
        };
        assert_eq!((reply.status, &*found), (status, said), "{path} {body}");
    };
    check(&all, "/v2/rerank", COHERE, 200, "plain").await;
    check(&all, "/routes/fresh/v2/rerank", COHERE, 200, "fresh").await;
    check(
        &all,
        "/routes/none/v2/rerank",
        COHERE,
        404,
        "no route is named `none`; there are `fresh`, `plain`",
    )
    .await;
    // Its only route is its default, and serves the model's own name.
    check(&only, "/v2/rerank", COHERE, 200, "fresh").await;
    check(&only, "/v2/rerank", &named("fresh"), 200, "fresh").await;
    check(&only, "/v2/rerank", &named("hub/mini"), 200, "fresh").await;
    check(&only, "/routes/fresh/v2/rerank", COHERE, 200, "fresh").await;
    // What exists and what does not are refused alike.
    for name in ["plain", "none"] {
        let path = format!("/routes/{name}/v2/rerank");
        let text = format!("this caller may use no route named `{name}`; it may use `fresh`");
        check(&only, &path, COHERE, 403, &text).await;
        let text = text.replace("no route", "no route or model");
        check(&only, "/v2/rerank", &named(name), 403, &text).await;
    }
}

#[tokio::test]
async fn pages_tell_strangers_nothing() {
    let (callers, [all, only]) = known([("all", ""), ("only", "routes = ['fresh']")]);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let mut client = server.client().await;
    assert_eq!(client.get("/health").await.status, 200);
    let ready = client.get("/ready").await;
    assert_eq!(ready.json(), json!({"ready": true, "draining": false}));
    let reply = client.get("/info").await;
    assert_eq!((reply.status, reply.header("www-authenticate").is_some()), (401, true));
    for (key, routes) in [(&all, vec!["fresh", "plain"]), (&only, vec!["fresh"])] {
        client.send(format!("GET /info HTTP/1.1\r\nhost: x\r\n{}\r\n", bearer(key))).await;
        let info = client.reply().await.json();
        let found: Vec<_> = info["routes"].as_object().unwrap().keys().collect();
        assert_eq!(found, routes);
    }
    // Operators see all, without a key.
    let mut operator = server.operator().await;
    let info = operator.get("/info").await.json();
    assert_eq!(info["routes"].as_object().unwrap().len(), 2);
    assert_eq!(operator.get("/ready").await.json()["models"], json!({"mini": true}));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_retry_after_is_honest() {
    let rate = "pairs_per_second = 1\npairs_burst = 5";
    let (callers, [slow, other]) = known([("slow", rate), ("other", rate)]);
    let app = app_with(reader(), callers, |_| ());
    let (mut client, _stop) = in_memory(&app);
    let body = |n: usize| json!({"query": "q", "texts": vec!["0.5"; n]}).to_string();
    let six = client.post("/rerank", &bearer(&slow), &body(6)).await;
    assert_eq!(six.status, 413);
    let text = "the number of documents in a request of this caller is 6, over the limit of 5";
    assert_eq!(six.json(), json!({"error": text, "error_type": "Validation"}));

    assert_eq!(client.post("/rerank", &bearer(&slow), &body(4)).await.status, 200);
    let refused = client.post("/rerank", &bearer(&slow), &body(4)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("3")));
    let text = "the caller's rate of 1 pairs a second is used up; try again in ";
    assert!(refused.json()["error"].as_str().unwrap().starts_with(text), "{refused:?}");
    assert_eq!(refused.json()["error_type"], "Overloaded");
    assert_eq!(client.post("/rerank", &bearer(&other), &body(4)).await.status, 200);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(client.post("/rerank", &bearer(&slow), &body(4)).await.status, 200);
    assert_eq!(client.post("/rerank", &bearer(&slow), &body(4)).await.status, 429);

    let metrics = app.metrics.render();
    for line in [
        r#"maitred_caller_requests_total{caller="slow",outcome="answered"} 2"#,
        r#"maitred_caller_requests_total{caller="slow",outcome="limited"} 2"#,
        r#"maitred_caller_requests_total{caller="slow",outcome="refused"} 1"#,
        r#"maitred_caller_requests_total{caller="other",outcome="answered"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn what_the_server_could_not_take_is_not_charged() {
    let rate = "pairs_per_second = 1\npairs_burst = 2";
    let (callers, [key]) = known([("shop", rate)]);
    let full = stage(|_, _| {
        async { Err(Error::Overloaded { retry_after: Duration::from_millis(10) }) }.boxed()
    });
    let server = Server::start(app_with(full, callers, |_| ())).await;
    let mut client = server.client().await;
    for _ in 0..5 {
        let reply = client.post("/rerank", &bearer(&key), TEI).await;
        assert_eq!(reply.status, 429);
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(said.starts_with("the server is at capacity"), "{said}");
    }
    let overloaded = r#"maitred_caller_requests_total{caller="shop",outcome="overloaded"} 5"#;
    assert!(server.app.metrics.render().contains(overloaded));
}

#[tokio::test(start_paused = true)]
async fn what_was_scored_before_the_server_was_full_is_charged() {
    let rate = "pairs_per_second = 1\npairs_burst = 2";
    let (callers, [key]) = known([("shop", rate)]);
    let full_later = stage(|_, context| {
        context.report.add_time(Stage::Inference, Duration::from_millis(1));
        async { Err(Error::Overloaded { retry_after: Duration::from_millis(10) }) }.boxed()
    });
    let app = app_with(full_later, callers, |_| ());
    let (mut client, _stop) = in_memory(&app);
    for expected in ["the server is at capacity", "the caller's rate of 1 pairs a second"] {
        let reply = client.post("/rerank", &bearer(&key), TEI).await;
        assert_eq!(reply.status, 429);
        let said = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(expected), "{said}");
    }
}

/// What callers used is what the model worked on for them: not what they sent, and
/// not what came to nothing.
#[tokio::test]
async fn usage_is_counted_by_caller() {
    let (callers, [shop, wiki]) = known([("shop", ""), ("wiki", "")]);
    // A chain that asks the model twice, or gets its refusal after it did.
    let working = stage(|request, context| {
        context.report.add_pairs(2, 30, 0);
        context.report.add_pairs(1, 12, 1);
        let refuses = &*request.query == "refuse";
        async move {
            match refuses {
                true => Err(Error::Denied("no".into())),
                false => Ok(read_scores(&request)),
            }
        }
        .boxed()
    });
    let server = Server::start(app_with(working, callers, |_| ())).await;
    let mut client = server.client().await;
    let refused = TEI.replace("\"q\"", "\"refuse\"");
    for (key, body, status) in
        [(&shop, TEI, 200), (&shop, TEI, 200), (&shop, &*refused, 403), (&wiki, TEI, 200)]
    {
        assert_eq!(client.post("/rerank", &bearer(key), body).await.status, status);
    }
    let metrics = server.app.metrics.render();
    for line in [
        r#"maitred_caller_pairs_total{caller="shop"} 6"#,
        r#"maitred_caller_tokens_total{caller="shop"} 84"#,
        r#"maitred_caller_pairs_total{caller="wiki"} 3"#,
        r#"maitred_caller_tokens_total{caller="wiki"} 42"#,
        r#"maitred_caller_requests_total{caller="shop",outcome="answered"} 2"#,
        r#"maitred_caller_requests_total{caller="shop",outcome="refused"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn stages_see_the_caller_and_its_priority() {
    let (callers, [low, normal, high]) =
        known([("low", "priority_max = 'low'"), ("normal", ""), ("high", "priority_max = 'high'")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let noting = stage(move |request, context| {
        notes.lock().unwrap().push((context.caller.clone(), context.priority));
        async move { Ok(read_scores(&request)) }.boxed()
    });
    let server = Server::start(app_with(noting, callers, |_| ())).await;
    let mut client = server.client().await;
    let mut check = async |key: &Key, wish: &str, name: &str, expected: Priority| {
        let wish = format!("{}{wish}", bearer(key));
        assert_eq!(client.post("/rerank", &wish, TEI).await.status, 200);
        let found = seen.lock().unwrap().pop();
        assert_eq!(found, Some((Some(Arc::from(name)), expected)));
    };
    let urgent = "x-maitred-priority: high\r\n";
    check(&low, urgent, "low", Priority::Low).await;
    check(&low, "", "low", Priority::Low).await;
    check(&normal, urgent, "normal", Priority::Normal).await;
    check(&normal, "x-maitred-priority: low\r\n", "normal", Priority::Low).await;
    check(&high, urgent, "high", Priority::High).await;
    check(&high, "", "high", Priority::Normal).await;
}

/// A replaced offer changes who may call at once, and fills nobody's bucket.
#[tokio::test]
async fn callers_are_replaced_with_the_rest() {
    let rate = "pairs_per_second = 1\npairs_burst = 2";
    let (callers, [old]) = known([("shop", rate)]);
    let server = Server::start(app_with(reader(), callers, |_| ())).await;
    let mut client = server.client().await;
    assert_eq!(client.post("/rerank", &bearer(&old), TEI).await.status, 200);
    let (callers, [new]) = known([("shop", rate)]);
    drop(callers);
    let table = format!("[callers.shop]\nkeys = [\"{}\"]\n{rate}", new.hash());
    let settings = check(&mut Raw::parse(&table).unwrap()).unwrap().callers;
    let before = server.app.serving();
    let callers = Callers::new(&settings, Some(before.callers()));
    server.app.replace(Serving::new(before.routes().clone(), callers));
    assert_eq!(client.post("/rerank", &bearer(&old), TEI).await.status, 401);
    assert_eq!(client.post("/rerank", &bearer(&new), TEI).await.status, 429);
}
