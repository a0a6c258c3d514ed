//! Cohere's own SDK against a real server: it changes nothing but its base URL.
//! Other clients are in the slow tier (`tests/slow/clients.rs`).

use maitred_tests::clients::drive;
use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::Served;

#[tokio::test(flavor = "multi_thread")]
async fn coheres_python_sdk() {
    let model = checkpoint("tiny-bert").display().to_string();
    let server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let answers = drive("cohere", "cohere_sdk.py", server.public, "default").await;
    assert_eq!(answers["v1"], answers["v2"]);
    assert_eq!(answers["v1_objects"], answers["v2"]);
    assert_eq!(answers["v2_async"], answers["v2"]);
    assert_eq!(answers["v2_top_n"].as_array().unwrap()[..], answers["v2"].as_array().unwrap()[..2]);
    assert_eq!(answers["unknown_model"][0], 404);
    assert_eq!(answers["no_documents"][0], 400);
    assert_eq!(answers["empty_query"][0], 400);
}
