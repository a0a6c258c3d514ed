//! One request after the other: routes, dialects, and what an answer says.
use std::num::NonZeroU32;

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
    let tei = |model: &str| format!(r#"{{"query":"q","texts":["0.5"],"model":"{model}"}}"#);
    for (path, body, route) in [
        ("/v2/rerank", COHERE.to_owned(), "plain"),
        ("/v2/rerank", named("fresh"), "fresh"),
        ("/v2/rerank", named("hub/mini"), "plain"),
        ("/routes/fresh/v2/rerank", named("plain"), "fresh"),
        ("/routes/fresh/rerank", TEI.to_owned(), "fresh"),
        ("/rerank", tei("fresh"), "fresh"),
        ("/tei/rerank", tei("hub/mini"), "plain"),
        ("/routes/plain/tei/rerank", tei("whatever"), "plain"),
        ("/routes/plain/v1/rerank", named("whatever"), "plain"),
    ] {
        let reply = client.post(path, "", &body).await;
        assert_eq!(reply.header("x-maitred-route"), Some(route), "{path} {body}");
    }
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
