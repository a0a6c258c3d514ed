//! Cohere's own SDK against a real server: it changes nothing but its base URL.
//! Other clients are in the slow tier (`tests/slow/clients.rs`).

use maitred_tests::clients::Script;
use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::{Served, run};
use maitred_tests::tls;

/// What a user does who keeps a server from strangers: a key, a certificate, and
/// an SDK that is told of both.
#[tokio::test(flavor = "multi_thread")]
async fn coheres_python_sdk_with_a_key_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("maitred.toml"), tls::configured(folder.path())).unwrap();
    let (code, key, errors) =
        run(&["key", "new", "--caller", "shop", "--append", &path("maitred.toml")]).await;
    assert_eq!(code, 0, "{errors}");
    // Three documents at once, and then one a second.
    let rate = "pairs_per_second = 3\npairs_burst = 3\n";
    let file = std::fs::read_to_string(path("maitred.toml")).unwrap() + rate;
    std::fs::write(path("maitred.toml"), file).unwrap();

    let model = checkpoint("tiny-bert").display().to_string();
    let config = ["--config", &path("maitred.toml"), "--model", &model, "--replicas", "1"];
    let server = Served::start(&config).await;
    let script = Script { environment: "cohere", name: "cohere_key.py" };
    let arguments = [&*format!("https://{}", server.public), key.trim()];
    let answers = script.run(&arguments, &[("SSL_CERT_FILE", &path("cert.pem"))]).await;
    assert_eq!(answers["known"], 3);
    assert_eq!(answers["unknown"][0], 401);
    assert!(answers["unknown"][1].as_str().unwrap().contains("there is no key"), "{answers}");
    assert_eq!(answers["limited"][0], 429);
    assert_eq!(answers["limited"][1], "1");
    assert_eq!(answers["after_retry"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn coheres_python_sdk() {
    let model = checkpoint("tiny-bert").display().to_string();
    let server = Served::start(&["--model", &model, "--replicas", "1"]).await;
    let script = Script { environment: "cohere", name: "cohere_sdk.py" };
    let answers = script.run(&[&format!("http://{}", server.public), "default"], &[]).await;
    assert_eq!(answers["v1"], answers["v2"]);
    assert_eq!(answers["v1_objects"], answers["v2"]);
    assert_eq!(answers["v2_async"], answers["v2"]);
    assert_eq!(answers["v2_top_n"].as_array().unwrap()[..], answers["v2"].as_array().unwrap()[..2]);
    assert_eq!(answers["unknown_model"][0], 404);
    assert_eq!(answers["no_documents"][0], 400);
    assert_eq!(answers["empty_query"][0], 400);
}
