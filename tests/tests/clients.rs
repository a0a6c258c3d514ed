//! Real clients against a real server: they change nothing but their base URL.

use std::process::Stdio;

use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::process::Served;
use serde_json::Value;
use tokio::process::Command;

/// `cargo xtask test` makes the environment and names its Python.
fn python() -> String {
    std::env::var("MAITRED_TEST_PYTHON").expect(
        "MAITRED_TEST_PYTHON names a Python with the clients installed; `cargo xtask test` sets it",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn coheres_python_sdk() {
    let model = checkpoint("tiny-bert").display().to_string();
    let server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let output = Command::new(python())
        .arg(repository("tests/clients/cohere_sdk.py"))
        .args([&format!("http://{}", server.public), "default"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers["v1"], answers["v2"]);
    assert_eq!(answers["v1_objects"], answers["v2"]);
    assert_eq!(answers["v2_async"], answers["v2"]);
    assert_eq!(answers["v2_top_n"].as_array().unwrap()[..], answers["v2"].as_array().unwrap()[..2]);
    assert_eq!(answers["unknown_model"][0], 404);
    assert_eq!(answers["no_documents"][0], 400);
    assert_eq!(answers["empty_query"][0], 400);
}
