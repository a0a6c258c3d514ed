//! The clients that people have, against a real server: whatever shape each of
//! them speaks, all must report the same ranking.

use maitred_tests::clients::Script;
use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::process::Served;
use serde_json::{Value, json};

/// Runs a script and compares all its answers with TEI's plain shape; those whose
/// name ends in "top 2" with its beginning.
async fn agree(script: Script) {
    let model = checkpoint("tiny-bert").display().to_string();
    let server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let expected = plain(&server).await;
    let answers = script.run(&[&format!("http://{}", server.public), "default"], &[]).await;
    let answers = answers.as_object().expect("answers by call");
    assert!(answers.len() > 3, "{answers:?}");
    for (call, answer) in answers {
        let answer: Vec<(usize, f64)> = serde_json::from_value(answer.clone()).unwrap();
        let wanted = if call.ends_with("top 2") { 2 } else { expected.len() };
        assert_eq!(answer.len(), wanted, "{call}");
        for ((index, score), (expected_index, expected_score)) in answer.iter().zip(&expected) {
            assert_eq!(index, expected_index, "{call}");
            assert!((score - expected_score).abs() < 1e-6, "{call}: {score} {expected_score}");
        }
    }
}

async fn plain(server: &Served) -> Vec<(usize, f64)> {
    let corpus = std::fs::read(repository("tests/clients/corpus.json")).unwrap();
    let corpus: Value = serde_json::from_slice(&corpus).unwrap();
    let body = json!({"query": corpus["query"], "texts": corpus["documents"]});
    let url = format!("http://{}/rerank", server.public);
    let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    let ranks: Vec<Value> = response.json().await.unwrap();
    let pair =
        |rank: &Value| (rank["index"].as_u64().unwrap() as usize, rank["score"].as_f64().unwrap());
    ranks.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm() {
    agree(Script { environment: "litellm", name: "litellm_rerank.py" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_and_voyage() {
    agree(Script { environment: "langchain", name: "langchain_rerank.py" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn llamaindex_and_open_webui() {
    agree(Script { environment: "llamaindex", name: "llamaindex_rerank.py" }).await;
}
