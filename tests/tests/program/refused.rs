//! What keeps a server from starting, and what `config check` says of it.

use std::path::Path;
use std::time::Duration;

use maitred_tests::guests::component;
use maitred_tests::process::{Around, Served, Started, run};
use maitred_tests::tls::configured;
use tokio::time::timeout;

use super::tiny;

/// In which a command that ends has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every fault of a configuration is told at once, with where it stands.
#[tokio::test]
async fn a_configuration_is_checked_without_serving_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let path = file.to_str().unwrap();
    let check = async |text: &str, expected: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = run(&["config", "check", path]).await;
        assert_eq!(code == 0, err.is_empty(), "{out}{err}");
        for line in expected {
            assert!(out.contains(line) || err.contains(line), "no `{line}` in\n{out}{err}");
        }
    };
    let (dedupe, fresh, tiny) = (component("dedupe"), component("fresh"), tiny());
    let (dedupe, fresh) = (dedupe.display(), fresh.display());
    check(
        &format!(
            "[models.tiny]\nsource = '{tiny}'\n[policies.dedupe]\ncomponent = '{dedupe}'\n[routes.r]"
        ),
        &["is usable (models: 1, policies: 1, routes: 1)", "`policies.dedupe`: no route has it"],
    )
    .await;
    check(
        "[server]\nlisten_to = 'x'\nread_ms_max = '1s'\n[models.a.batch]\nqueue = 1",
        &["line 2: unknown key `listen_to`", "line 3: `server.read_ms_max` is", "line 5: unknown"],
    )
    .await;
    std::fs::write(folder.path().join("text.wasm"), "no wasm").unwrap();
    std::fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    check(
        &format!(
            "[models.a]\nsource = './nowhere'
             [policies.missing]\ncomponent = 'missing.wasm'
             [policies.text]\ncomponent = 'text.wasm'
             [policies.core]\ncomponent = 'core.wasm'
             [policies.fresh]\ncomponent = '{fresh}'\ngrants = ['random']
             [policies.dedupe]\ncomponent = '{dedupe}'\nrequired = true
             [routes.r]\npolicies = ['missing', {{ policy = 'dedupe', params = {{ similar = 1 }} }}, {{ policy = 'dedupe', params = {{ like = 1 }} }}]
             [routes.default]\npolicies = ['dedupe']\non_failure = 'bypass'"
        ),
        &[
            "`models.a`: no model",
            "missing.wasm: No such file",
            "text.wasm is no component: it does not begin as WebAssembly does",
            "core.wasm is no component: it is a core module",
            "failed to grant `random` to policy `fresh`",
            "unknown parameter `similar`; did you mean `similarity`?",
            "unknown parameter `like`",
            "`routes.default`: failed to bypass a chain that holds policy `dedupe`",
        ],
    )
    .await;
    let (code, _, err) = run(&["config", "check", "/no/such/file.toml"]).await;
    assert!(code != 0 && err.contains("/no/such/file.toml is not usable"), "{err}");
    let (code, _, err) = run(&["config", "check", path, "--config", "other.toml"]).await;
    assert!(code != 0 && err.contains("--config other.toml: name one file"), "{err}");
}

/// What a policy refuses is found before the first request: manifests know only part
/// of it.
#[tokio::test]
async fn parameters_that_a_policy_refuses_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let path = file.to_str().unwrap();
    let tiny = tiny();
    let check = async |policy: &str, params: &str, expected: &str| {
        let configuration = format!(
            "[models.tiny]\nsource = '{tiny}'\nreplicas = 1
             [server]\nlisten = '127.0.0.1:0'\nops_listen = '127.0.0.1:0'
             [policies.{policy}]\ncomponent = '{}'
             [routes.wrong]\npolicies = [{{ policy = '{policy}', params = {{ {params} }} }}]",
            component(policy).display()
        );
        std::fs::write(&file, configuration).unwrap();
        let expected = format!("failed to configure policy `{policy}`: it says: {expected}");
        for (command, route) in [
            (&["config", "check", path][..], "`routes.wrong`"),
            (&["serve", "--config", path], "the route `wrong`"),
        ] {
            let (code, out, err) = timeout(PATIENCE, run(command)).await.expect("it refuses");
            assert!(code != 0 && err.contains(&expected) && err.contains(route), "{out}{err}");
        }
    };
    check("passages", "words = 50", "parameter `overlap` is `30`, not at most half of").await;
    check("threshold", "min = 2", "parameter `min` is `2`, not").await;
    check("fuse", "template = 'nothing'", "parameter `template` is `nothing`, which has no").await;
    check("allow", "values = ''", "parameter `values` is empty, which would allow").await;
    check("fresh", "", "the clock stands still: grant the capability `clock`").await;
}

/// A policy that fails of a request that nobody sent may do well with others.
#[tokio::test]
async fn a_policy_that_fails_when_it_is_tried_is_told_of() {
    let (tiny, trap) = (tiny(), component("trap"));
    let arguments = ["--model", &tiny, "--policy", trap.to_str().unwrap()];
    let (code, out, err) = run(&[&["config", "check"], &arguments[..]].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("note: `routes.default`: policy `trap` trapped"), "{out}");
    let server = Served::start(&arguments).await;
    let warning = server.says("policy `trap` trapped").await;
    assert!(warning.contains("WARN"), "{warning}");
}

#[tokio::test]
async fn a_power_is_granted_by_a_flag_and_missed_without() {
    let (tiny, fresh) = (tiny(), component("fresh"));
    let arguments = ["--model", &tiny, "--policy", fresh.to_str().unwrap()];
    let rank = ["--query", "gate", "a green gate"];
    let (code, _, err) = run(&[&["rerank"], &arguments[..], &rank].concat()).await;
    assert!(code != 0 && err.contains("grant the capability `clock`"), "{err}");
    let granted = [&arguments[..], &["--grant", "fresh=clock", "--log", "error"]].concat();
    for command in [&["config", "check"][..], &[&["rerank"], &rank[..]].concat()] {
        let (code, out, err) = run(&[command, &granted].concat()).await;
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
    }
    let other = [&["config", "check"], &arguments[..], &["--grant", "freshh=clock"]].concat();
    let (code, _, err) = run(&other).await;
    assert!(code != 0 && err.contains("no policy is called `freshh`"), "{err}");

    // One that gets along without, and answers other than it could.
    let folder = tempfile::tempdir().unwrap();
    let draws = folder.path().join("draws.wasm");
    std::fs::copy(component("draws_random"), &draws).unwrap();
    std::fs::write(draws.with_extension("toml"), "capabilities = ['random']").unwrap();
    let arguments = ["--model", &tiny, "--policy", draws.to_str().unwrap()];
    let expected = "policy `draws` asks for `random`, and `policies.draws.grants`";
    let (code, out, err) = run(&[&["config", "check"], &arguments[..]].concat()).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(expected), "{out}");
    let warning = Served::start(&arguments).await.says(expected).await;
    assert!(warning.contains("WARN"), "{warning}");
}

/// Whatever would keep `serve` from starting, as far as no weights are needed.
#[tokio::test]
async fn a_check_finds_what_a_start_would() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    let path = file.to_str().unwrap();
    let check = async |text: &str, usable: bool, expected: &str| {
        std::fs::write(&file, text).unwrap();
        let (code, out, err) = run(&["config", "check", path]).await;
        assert_eq!(code == 0, usable, "{text}\n{out}{err}");
        assert!(format!("{out}{err}").contains(expected), "no `{expected}` in\n{out}{err}");
    };
    let tiny = tiny();
    let model = format!("[models.m]\nsource = '{tiny}'\n");
    let tls = configured(folder.path());
    check(&format!("{model}{tls}"), true, "is usable").await;
    let swapped = "[server.tls]\ncert = 'cert.pem'\nkey = 'cert.pem'";
    check(&format!("{model}{swapped}"), false, "`server.tls`: failed to").await;
    let missing = "[server.tls]\ncert = 'none.pem'\nkey = 'key.pem'";
    check(&format!("{model}{missing}"), false, "none.pem").await;
    std::fs::write(folder.path().join("text.pem"), "no PEM").unwrap();
    let text = "[server.tls]\ncert = 'text.pem'\nkey = 'key.pem'";
    check(&format!("{model}{text}"), false, "text.pem").await;

    for (settings, expected) in [
        ("device = 'cuda'", "device `cuda` is not compiled in"),
        ("device = 'metal'\nengine = 'packed'", "a GPU with engine packed"),
        ("engine = 'packed'\nreplica_threads = 8", "8 threads of a replica with engine packed"),
        ("engine = 'candle'\ndevice = 'cpu'\nprecision = 'bf16'", "precision bf16 on the CPU"),
    ] {
        check(
            &format!("{model}{settings}"),
            false,
            &format!("`models.m`: the model is not supported: {expected}"),
        )
        .await;
    }
    for settings in ["engine = 'packed'", "engine = 'candle'", "engine = 'candle-stock'"] {
        check(&format!("{model}device = 'cpu'\n{settings}"), true, "is usable").await;
    }
    let note = "note: `models.m.length_max` is 4096, and the model's files allow";
    check(&format!("{model}length_max = 4096"), true, note).await;
    let server = Served::start(&["--config", path]).await;
    server.says("`models.m.length_max` is 4096").await;

    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&tiny).join(name), broken.join(name)).unwrap();
    }
    let weights = std::fs::OpenOptions::new().write(true).open(broken.join("model.safetensors"));
    let weights = weights.unwrap();
    for (bytes, expected) in [
        (100_000, "the file has 100000 bytes, and by its header it must have 503684"),
        (20, "the file ends within its header"),
        (5, "the file ends before its header"),
    ] {
        weights.set_len(bytes).unwrap();
        check("[models.m]\nsource = './broken'", false, expected).await;
        let (code, _, err) = run(&["model", "info", broken.to_str().unwrap()]).await;
        assert!(code != 0 && err.contains(expected), "{err}");
    }
}

#[tokio::test]
async fn a_mistyped_level_does_not_silence_the_server() {
    let levels = "`inof` is no level; there are trace, debug, info, warn, error and off";
    let (code, _, err) = run(&["--log", "inof", "model", "list"]).await;
    assert!(code != 0 && err.contains(levels), "{err}");
    let around = Around { variables: &[("MAITRED_LOG", "inof")], ..Around::default() };
    let (code, _, err) = around.run(&["model", "list"]).await;
    assert!(code != 0 && err.contains(levels), "{err}");
}

#[tokio::test]
async fn machines_read_with_what_a_start_ended() {
    let started = Started::new(&["--model", "no/such/folder"], &[]);
    let said = started.says("neither a folder nor an id").await;
    assert!(said.contains("ERROR"), "{said}");
    // Each line is an event.
    started.events();
}

#[tokio::test]
async fn a_server_that_others_reach_needs_callers_or_a_word() {
    let model = tiny();
    let open = ["serve", "--model", &model, "--listen", "0.0.0.0:0", "--print-config"];
    let (code, _, err) = run(&open).await;
    assert_ne!(code, 0);
    assert!(err.contains("there are no callers; add one"), "{err}");
    let (code, _, err) = run(&[&open[..], &["--anonymous"]].concat()).await;
    assert_eq!(code, 0, "{err}");
}
