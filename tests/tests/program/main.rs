//! The program's commands, as a user runs them.

mod models;
mod refused;

use std::path::Path;

use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::guests::component;
use maitred_tests::process::{Around, Served, run, run_with};
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
async fn rerank_reads_documents_from_standard_input() {
    let model = tiny();
    let query = ["rerank", "--model", &model, "--query", "garden gate", "--json"];
    let (code, expected, err) =
        run(&[&query[..], &["a green gate", "{\"text\": \"a red door\"}"]].concat()).await;
    assert_eq!(code, 0, "{err}");
    // One a line, as they stand: only a file's name can say that lines are JSON.
    let input = "a green gate\n\n{\"text\": \"a red door\"}\n";
    for arguments in [&query[..], &[&query[..], &["--file", "-"]].concat()] {
        let (code, out, err) = run_with(arguments, input).await;
        assert_eq!((code, out), (0, expected.clone()), "{err}");
    }
    let (code, _, err) = run_with(&query, "\n").await;
    assert_ne!(code, 0);
    assert!(err.contains("there are no documents: give them as arguments"), "{err}");
}

#[tokio::test]
async fn rerank_goes_through_a_route_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let configuration = format!(
        "default_route = 'plain'
         [models.tiny]\nsource = '{}'
         [policies.dedupe]\ncomponent = '{}'
         [routes.plain]
         [routes.distinct]\npolicies = ['dedupe']",
        tiny(),
        component("dedupe").display()
    );
    std::fs::write(&file, configuration).unwrap();
    let query = ["rerank", "--config", file.to_str().unwrap(), "--query", "gate", "--json"];
    let check = async |route: &[&str], name: &str, count: usize| {
        let arguments = [&query[..], route].concat();
        let (code, out, err) =
            run_with(&arguments, "a green gate\na green gate\na red door\n").await;
        assert_eq!(code, 0, "{err}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        let results = answer["results"].as_array().unwrap().len();
        assert_eq!((answer["route"].as_str(), results), (Some(name), count), "{answer}");
    };
    check(&[], "plain", 3).await;
    check(&["--route", "plain"], "plain", 3).await;
    check(&["--route", "distinct"], "distinct", 2).await;
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
    assert_eq!((&answer["filtered"], &answer["bypassed"]), (&json!(1), &json!(false)));
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
    let dedupe = component("dedupe");
    let policy = ["--policy", dedupe.to_str().unwrap()];
    let tiny = tiny();
    let both = ["rerank", "--model", &tiny, "--query", "q", "--route", "x", "d"];
    check(&[&both[..], &policy].concat(), "cannot be used with").await;
    let taken = folder.path().join("taken.toml");
    let fresh = component("fresh");
    let configuration = format!("[policies.dedupe]\ncomponent = '{}'\n", fresh.display());
    std::fs::write(&taken, configuration).unwrap();
    for command in [&["serve"][..], &["rerank", "--query", "q", "d"]] {
        let settings = ["--config", taken.to_str().unwrap(), "--model", &tiny];
        let arguments = [command, &settings, &policy].concat();
        check(&arguments, "a policy is already called `dedupe`").await;
    }
    let refused = checkpoint("refused/deberta");
    check(&["model", "info", refused.to_str().unwrap()], "deberta").await;
    check(&["policy", "check", file], "maitred.toml").await;
    let missing = checkpoint("missing.wasm");
    check(&["serve", "--model", &tiny, "--policy", missing.to_str().unwrap()], "missing.wasm")
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

/// Defaults, then the file, then the environment, then flags.
#[tokio::test]
async fn who_speaks_last_decides() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(file, "[models.m]\nsource = 'owner/name'\nreplicas = 5\n").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let check = async |place: &Path, variables: &[(&str, &str)], flags: &[&str], expected: &str| {
        let arguments = [&["serve", "--print-config"], flags].concat();
        let around = Around { folder: Some(place), variables, ..Around::default() };
        let (code, out, err) = around.run(&arguments).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.lines().any(|line| line == expected), "no `{expected}` in\n{out}");
    };
    let three = [("MAITRED_REPLICAS", "3")];
    check(folder.path(), &[], &[], "replicas = 5").await;
    check(folder.path(), &three, &[], "replicas = 3").await;
    check(folder.path(), &three, &["--replicas", "4"], "replicas = 4").await;
    // OpenTelemetry's own variables, of which an empty one means nothing.
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"), ("OTEL_SERVICE_NAME", "")];
    check(folder.path(), &traced, &[], "otlp_endpoint = \"http://a:4318\"").await;
    check(folder.path(), &traced, &[], "service_name = \"maitred\"").await;
    let flags = ["--otlp-endpoint", "http://b:4318"];
    check(folder.path(), &traced, &flags, "otlp_endpoint = \"http://b:4318\"").await;
    // A file is found where the program is started, and nowhere else.
    check(folder.path(), &three, &[], "source = \"owner/name\"").await;
    let model = ["--model", "owner/other"];
    check(elsewhere.path(), &three, &model, "source = \"owner/other\"").await;
    check(elsewhere.path(), &three, &model, "[models.default]").await;
}

/// On a machine that has no model and whose network is off limits.
#[tokio::test]
async fn without_a_network_a_missing_model_says_why() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_str().unwrap();
    let variables = [
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HOME", path),
        ("HF_HUB_CACHE", ""),
        ("HOME", path),
        ("XDG_CACHE_HOME", path),
    ];
    let around = Around { variables: &variables, ..Around::default() };
    let (code, out, err) = around.run(&["model", "pull", "owner/x"]).await;
    assert!(code != 0 && out.is_empty(), "{out}");
    assert!(err.contains("owner/x") && err.contains("HF_HUB_OFFLINE"), "{err}");
    let (code, out, err) = around.run(&["model", "list"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(out, "no model is on this machine; `maitred model pull ID` gets one\n");
}

#[tokio::test]
async fn policies_and_models_say_what_they_are() {
    let (code, out, err) = run(&["policy", "check", component("fresh").to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("half_life_days") && out.contains("asks for      clock"), "{out}");

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

    // Whoever serves a stand-in by mistake is told so.
    let server = Served::start(&["--model", out_folder.to_str().unwrap()]).await;
    let warning = server.says("scores mean nothing").await;
    assert!(warning.contains("WARN"), "{warning}");
}

/// What HTTP says in headers of an answer.
#[tokio::test]
async fn rerank_says_what_its_scores_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let model = tiny();
    let configuration = format!(
        "default_route = 'plain'
         [models.tiny]\nsource = '{model}'\nreplicas = 1\nlength_max = 16
         [policies.trap]\ncomponent = '{}'
         [policies.fuse]\ncomponent = '{}'
         [policies.version]\ncomponent = '{}'
         [routes.plain]
         [routes.bypass]\npolicies = ['trap']\non_failure = 'bypass'
         [routes.fuse]\npolicies = ['fuse']
         [routes.version]\npolicies = ['version']",
        component("trap").display(),
        component("fuse").display(),
        component("version_one").display()
    );
    std::fs::write(&file, configuration).unwrap();
    let long = "the river in winter and a market by the bridge ".repeat(10);
    let check = async |arguments: &[&str], expected: Option<&str>| {
        let config = ["rerank", "--log", "off", "--config", file.to_str().unwrap()];
        let (code, _, err) = run(&[&config, arguments].concat()).await;
        assert_eq!(code, 0, "{err}");
        match expected {
            Some(expected) => assert_eq!(err, format!("maitred: {expected}\n")),
            None => assert_eq!(err, ""),
        }
    };
    check(&["-q", "gate", "--raw-scores", "a green gate"], None).await;
    check(&["-q", "gate", "a", &long], Some("1 of 2 pairs lost tokens to the model's limit")).await;
    check(
        &["-q", "gate", "--route", "bypass", "a", "b"],
        Some("a policy failed and was bypassed: this is the plain model's ranking"),
    )
    .await;
    check(
        &["-q", "gate|door", "--route", "fuse", "a", "b"],
        Some("only the order means something: the scores are ranks"),
    )
    .await;
    check(&["-q", "gate", "--route", "version", "a", "b"], None).await;
    let config = ["rerank", "--config", file.to_str().unwrap(), "--route", "version"];
    let (_, _, err) = run(&[&config[..], &["-q", "gate", "--raw-scores", "a"]].concat()).await;
    assert!(err.contains("version@") && err.contains("made of the model's logits"), "{err}");
}

/// As many digits as an f32 has.
#[tokio::test]
async fn scores_are_printed_as_http_answers_them() {
    let model = tiny();
    let (code, out, err) =
        run(&["rerank", "--model", &model, "-q", "garden gate", "--json", "a green gate"]).await;
    assert_eq!(code, 0, "{err}");
    let score = out.lines().find_map(|line| line.trim().strip_prefix("\"score\": "));
    let digits = score.unwrap().trim_end_matches(',');
    let number: f32 = digits.parse().unwrap();
    assert_eq!(digits, number.to_string());
}

#[tokio::test]
async fn what_is_over_a_limit_is_a_component_all_the_same() {
    let check = async |file: &Path, expected: &str| {
        let (code, _, err) = run(&["policy", "check", file.to_str().unwrap()]).await;
        let said = err.contains(expected) && !err.contains("is no component");
        assert!(code != 0 && said, "{err}");
    };
    let limit = "is over a limit of the sandbox: memory has a minimum byte size of 67305472";
    check(&component("needs_too_much_at_start"), limit).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memories.wasm");
    let core = format!("(core module $core {})", "(memory 1)".repeat(5));
    let text = format!("(component {core} (core instance (instantiate $core)))");
    std::fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    check(&file, "over a limit of the sandbox: defined memories count of 5").await;
}

#[tokio::test]
async fn wrong_files_are_named_with_what_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let around = Around { folder: Some(folder.path()), ..Around::default() };
    let import = ["model", "import", "m.onnx", "--out", "out"];
    let (code, _, err) = around.run(&import).await;
    assert!(code != 0 && err.contains("m.onnx: there is no such file"), "{err}");
    std::fs::write(folder.path().join("m.onnx"), "").unwrap();
    let (code, _, err) = around.run(&import).await;
    assert!(code != 0 && err.contains(": . has no tokenizer.json"), "{err}");

    let lines = folder.path().join("lines.jsonl");
    let model = tiny();
    for (line, expected) in [
        ("{\"txt\": \"a\"}", "this one has no `text`"),
        ("{\"text\": 5}", "this one's `text` is a number"),
        ("5", "this is a number"),
        ("text", "this is no JSON"),
    ] {
        std::fs::write(&lines, format!("\"a\"\n{line}\n")).unwrap();
        let file = lines.to_str().unwrap();
        let (code, _, err) = run(&["rerank", "--model", &model, "-q", "q", "-f", file]).await;
        let rule = "a document is a string, or an object with a `text` that is one";
        let said = err.contains("in line 2 of ") && err.contains(rule) && err.contains(expected);
        assert!(code != 0 && said, "{err}");
    }
}

#[tokio::test]
async fn what_is_in_force_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, "[server]\nfields_max = 7\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--listen", "127.0.0.1:1"];
    let (code, out, err) = run(&[&["config", "show"], &arguments[..]].concat()).await;
    assert_eq!(code, 0, "{err}");
    let from = |start: &str, origin: &str| {
        let line = out.lines().find(|line| line.starts_with(start));
        assert!(line.is_some_and(|line| line.ends_with(origin)), "{start} {origin} not in\n{out}");
    };
    from("fields_max = 7", "# line 2");
    from("listen = \"127.0.0.1:1\"", "# --listen or MAITRED_LISTEN");
    from("documents_max = 1000", "# default");

    let (code, example, _) = run(&["config", "example"]).await;
    assert_eq!(code, 0);
    std::fs::write(&file, example).unwrap();
    let (code, out, err) = run(&["config", "check", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{out}{err}");
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
    let (code, _, err) = run_with(&["key", "hash"], "\n").await;
    assert!(code != 0 && err.contains("standard input has no key"), "{err}");
}
