//! The server against its own description: schemathesis makes requests from
//! `/openapi.json`, valid and invalid, and holds every answer to what it says.

use maitred_tests::clients::program;
use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::Served;
use tokio::process::Command;

/// Requests for each operation and phase, and seconds for all.
const EXAMPLES: &str = "8";
const SECONDS: &str = "100";

/// What a request that the description allows may be answered with, beside success:
/// a deadline of 1 ms (504), another route or model (404), and a limit of tokens that
/// the frame of a pair alone exceeds, which depends on the model (400).
const CONFIGURATION: &str = r#"
[parameters]
"path.route" = "default"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "504"]
"#;

/// Its idea of what must be refused counts headers that nobody knows; what we refuse is
/// the business of `bad_requests`.
const NOT_CHECKED: &str = "negative_data_rejection";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_described() {
    let model = checkpoint("tiny-bert").display().to_string();
    let mut server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), CONFIGURATION).unwrap();
    let run = Command::new(program("schemathesis", "st"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", server.public))
        .args(["--checks", "all", "--exclude-checks", NOT_CHECKED])
        .args(["--phases", "coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--max-time", SECONDS, "--seed", "20261125"])
        .args(["--continue-on-failure", "--generation-database", "none"])
        .current_dir(folder.path())
        .output()
        .await
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    println!("{said}");
    assert!(server.started.child.try_wait().unwrap().is_none(), "the server has ended");
    let metrics = server.metrics().await;
    assert!(!metrics.contains("status=\"500\""), "{metrics}");
}
