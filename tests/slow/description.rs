//! The server against its own description: schemathesis makes requests from
//! `/openapi.json`, valid and invalid, and holds every answer to what it says.

use maitred_tests::clients::program;
use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::Served;
use tokio::process::Command;

/// Requests for each operation and phase.
const EXAMPLES: &str = "40";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_described() {
    let model = checkpoint("tiny-bert").display().to_string();
    let mut server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(program("schemathesis", "st"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", server.public))
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--seed", "20261125"])
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
