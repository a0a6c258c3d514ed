//! The program's commands, as a user runs them.

use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::guests::component;
use maitred_tests::process::{Served, run, run_with};
use serde_json::{Value, json};

fn tiny() -> String {
    checkpoint("tiny-bert").display().to_string()
}

#[tokio::test]
async fn rerank_ranks_arguments_files_and_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("documents.jsonl");
    std::fs::write(
        &lines,
        "{\"text\": \"a green gate\", \"date\": \"2020-01-01\"}\n\"a red door\"\n",
    )
    .unwrap();
    let model = tiny();
    let query = ["rerank", "--model", &model, "--query", "garden gate", "--json"];
    let of_file = [&query[..], &["--file", lines.to_str().unwrap()]].concat();
    let of_arguments = [&query[..], &["a green gate", "a red door"]].concat();
    let mut answers = Vec::new();
    for arguments in [of_file, of_arguments] {
        let (code, out, err) = run(&arguments).await;
        assert_eq!(code, 0, "{err}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["results"].as_array().unwrap().len(), 2);
        answers.push(answer);
    }
    assert_eq!(answers[0]["results"], answers[1]["results"]);

    let table = ["rerank", "--model", &model, "-q", "garden gate", "-n", "1", "a green gate", "x"];
    let (code, out, _) = run(&table).await;
    assert_eq!(code, 0);
    assert!(out.contains("rank     score") && out.contains("1 documents not shown"), "{out}");
}

#[tokio::test]
async fn rerank_goes_through_a_policy_if_asked() {
    let dedupe = component("dedupe");
    let model = tiny();
    let arguments = ["rerank", "--model", &model, "--policy", dedupe.to_str().unwrap(), "--json"];
    let documents = ["--query", "gate", "a green gate", "a green gate", "a red door"];
    let (code, out, err) = run(&[&arguments[..], &documents].concat()).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["results"].as_array().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn wrong_words_end_with_a_message_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, "[server]\nbody_byte_max = 5\n").unwrap();
    let check = async |arguments: &[&str], expected: &str| {
        let (code, _, err) = run(arguments).await;
        assert_ne!(code, 0, "{arguments:?}");
        assert!(err.contains(expected), "{arguments:?} said {err}, not {expected}");
    };
    let file = file.to_str().unwrap();
    check(
        &["serve", "--config", file],
        "unknown key `body_byte_max`; did you mean `body_bytes_max`?",
    )
    .await;
    check(&["serve", "--listen", "nowhere"], "`server.listen` is \"nowhere\"").await;
    check(&["serve", "--model", "no/such/folder"], "neither a folder nor an id").await;
    check(
        &["rerank", "--model", &tiny(), "--query", "q", "--route", "x", "d"],
        "no route is named `x`",
    )
    .await;
    let refused = checkpoint("refused/deberta");
    check(&["model", "info", refused.to_str().unwrap()], "deberta").await;
    check(&["policy", "check", file], "maitred.toml").await;
    let missing = checkpoint("missing.wasm");
    check(&["serve", "--model", &tiny(), "--policy", missing.to_str().unwrap()], "missing.wasm")
        .await;
}

#[tokio::test]
async fn the_settings_in_force_are_a_configuration_file() {
    let (code, out, err) =
        run(&["serve", "--model", "owner/name", "--replicas", "3", "--print-config"]).await;
    assert_eq!(code, 0, "{err}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, &out).unwrap();
    let (code, again, err) =
        run(&["serve", "--config", file.to_str().unwrap(), "--print-config"]).await;
    assert_eq!((code, again), (0, out.clone()), "{err}");
    assert!(out.contains("source = \"owner/name\"") && out.contains("replicas = 3"), "{out}");
}

#[tokio::test]
async fn policies_and_models_say_what_they_are() {
    let (code, out, err) = run(&["policy", "check", component("fresh").to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("half_life_days") && out.contains("Clock"), "{out}");

    let folder = tempfile::tempdir().unwrap();
    let out_folder = folder.path().join("imported");
    let onnx = repository("tests/fixtures/tiny-quantised.onnx");
    let tokenizer = checkpoint("tiny-bert").join("tokenizer.json");
    let import =
        ["model", "import", onnx.to_str().unwrap(), "--tokenizer", tokenizer.to_str().unwrap()];
    let place = ["--layers", "2", "--out", out_folder.to_str().unwrap()];
    let (code, out, err) = run(&[&import[..], &place].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("2 of 3 layers"), "{out}");
    let (code, out, err) = run(&["model", "info", out_folder.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("48") && out.to_lowercase().contains("bert"), "{out}");
}

#[tokio::test]
async fn keys_are_shown_once_and_files_get_their_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let file = file.to_str().unwrap();
    std::fs::write(file, "[server]\ndocuments_max = 50").unwrap();

    let (code, key, err) = run(&["key", "new", "--caller", "shop", "--append", file]).await;
    assert_eq!(code, 0, "{err}");
    let key = key.trim();
    assert!(key.starts_with("maitred_") && !err.contains(key), "{key} {err}");
    let (code, out, _) = run(&["serve", "--config", file, "--print-config"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("[callers.shop]") && !out.contains(key), "{out}");
    let (code, hash, _) = run_with(&["key", "hash"], key).await;
    assert_eq!(code, 0);
    assert!(out.contains(hash.trim()), "{hash} is not in {out}");

    // What is printed to be pasted is what would be appended.
    let (code, out, err) = run(&["key", "new", "--caller", "wiki"]).await;
    assert_eq!(code, 0, "{err}");
    let (key, lines) = out.split_once("\n\n").unwrap();
    let (_, hash, _) = run_with(&["key", "hash"], key).await;
    assert_eq!(lines, format!("[callers.wiki]\nkeys = [\"{}\"]\n", hash.trim()));

    let before = std::fs::read_to_string(file).unwrap();
    let check = async |arguments: &[&str], expected: &str| {
        let (code, out, err) = run(&[&["key", "new"], arguments].concat()).await;
        assert_ne!(code, 0, "{arguments:?}");
        assert!(err.contains(expected) && out.is_empty(), "{arguments:?} said {err}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), before);
    };
    check(&["--caller", "shop", "--append", file], "has a caller `shop` already").await;
    check(&["--caller", "a b"], "has the name \"a b\"").await;
    let (code, _, err) = run_with(&["key", "hash"], "hunter2\n").await;
    assert!(code != 0 && err.contains("line 1 is no key") && !err.contains("hunter2"), "{err}");
}

#[tokio::test]
async fn a_server_that_others_reach_needs_callers_or_a_word() {
    let model = tiny();
    let open = ["serve", "--model", &model, "--listen", "0.0.0.0:0"];
    let (code, _, err) = run(&open).await;
    assert_ne!(code, 0);
    assert!(err.contains("there are no callers; add one"), "{err}");
    let (code, _, err) = run(&[&open[..], &["--anonymous", "--print-config"]].concat()).await;
    assert_eq!(code, 0, "{err}");
}

/// SIGTERM with requests in flight: all are answered, none is taken after, and
/// the program ends well.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains() {
    const REQUESTS: usize = 24;
    let mut server = Served::start(&["--model", &tiny(), "--replicas", "1"]).await;
    let url = format!("http://{}/rerank", server.public);
    let client = reqwest::Client::new();
    let text = "a green gate in a walled garden ".repeat(10);
    let texts: Vec<_> = (0..100).map(|n| format!("{text} {n}")).collect();
    let ask = json!({ "query": "garden gate", "texts": texts });
    let asking: Vec<_> =
        (0..REQUESTS).map(|_| tokio::spawn(client.post(&url).json(&ask).send())).collect();
    // The first answer shows that the others are in flight or queued.
    let mut asking = asking.into_iter();
    let first = asking.next().unwrap().await.unwrap().unwrap();
    assert_eq!(first.status(), 200);
    server.terminate().await;
    for task in asking {
        let response = task.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer.as_array().unwrap().len(), 100);
    }
    let status = server.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(client.post(&url).json(&ask).send().await.is_err(), "nothing listens any more");
}
