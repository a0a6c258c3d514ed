//! What is checked before a policy serves anyone: its file, its manifest, what
//! it was granted, its parameters, and the cache of its code.

use super::*;

#[tokio::test]
async fn a_grant_changes_what_stands_behind_an_import() {
    let lab = Lab::new(8);
    let dated = |index, date: &str| {
        let mut document = document(index, "red shoe");
        document.fields =
            Arc::new([Field { name: "date".into(), value: Value::Text(date.into()) }]);
        document
    };
    let request = || Request {
        query: "red shoe".into(),
        documents: vec![dated(0, "1980-01-01"), dated(1, "2999-12-31")],
    };
    let powerless = lab.chain(vec![lab.link("fresh").await], OnFailure::Fail);
    let refused = ask(&powerless, request(), HUNG).await.unwrap_err().to_string();
    assert!(refused.contains("grant the capability `clock`"), "{refused}");

    let granted = link(lab.try_policy("fresh", &[Grant::Clock]).await.unwrap());
    let granted = lab.chain(vec![with(granted, &[("weight", "0.75")])], OnFailure::Fail);
    let answer = ask(&granted, request(), HUNG).await;
    assert_eq!(answer, Ok(ranking(&[(0, 0, 0.25), (1, 0, 1.0)])));
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_granted() {
    let lab = Lab::new(8);
    let error = lab.try_policy("dedupe", &[Grant::Random]).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "grant `random` to policy `dedupe`: its manifest does not ask for it"
    );
}

#[tokio::test]
async fn parameters_are_checked_when_a_chain_is_built() {
    let lab = Lab::new(8);
    let link = with(lab.link("dedupe").await, &[("similarty", "0.5")]);
    let error = lab.try_chain(vec![link], OnFailure::Fail).err().unwrap();
    assert_eq!(
        error.to_string(),
        "configure policy `dedupe`: unknown parameter `similarty`; did you mean `similarity`?"
    );
}

#[tokio::test]
async fn a_file_that_is_no_policy_is_refused() {
    let lab = Lab::new(8);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.wasm");
    let refused = async || {
        let error = lab.sandbox.load("p", &settings(path.clone())).await;
        error.unwrap_err().to_string()
    };
    assert!(refused().await.starts_with("read "));
    std::fs::write(&path, "not wasm").unwrap();
    assert!(refused().await.starts_with("compile policy `p`"));
    // A component with nothing in it.
    std::fs::write(&path, b"\0asm\x0d\0\x01\0").unwrap();
    let error = refused().await;
    assert!(error.contains("it does not export maitred:rerank/rerank@0.1.0"), "{error}");
    std::fs::write(path.with_extension("toml"), "requird = true").unwrap();
    let error = refused().await;
    assert!(error.contains("did you mean `required`?"), "{error}");
}

#[tokio::test]
async fn a_second_start_finds_the_compiled_code() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let load = async || {
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max: 4,
            tick_ms: Duration::from_millis(1),
            cache_dir: Some(cache.clone()),
        };
        let sandbox = Sandbox::new(&settings, MEMORY_BYTES_MAX, Metrics::new()).unwrap();
        let settings = self::settings(guests::component("dedupe"));
        let begin = Instant::now();
        sandbox.load("dedupe", &settings).await.unwrap();
        begin.elapsed()
    };
    let first = load().await;
    let second = load().await;
    assert!(second < first / 2, "first {first:?}, second {second:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    let start = || {
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max: 4,
            tick_ms: Duration::from_millis(1),
            cache_dir: Some(folder.path().into()),
        };
        Sandbox::new(&settings, MEMORY_BYTES_MAX, Metrics::new())
    };
    std::fs::set_permissions(folder.path(), mode(0o722)).unwrap();
    let error = start().err().unwrap().to_string();
    assert!(error.contains("others may write to it (mode 722)"), "{error}");
    std::fs::set_permissions(folder.path(), mode(0o700)).unwrap();
    assert!(start().is_ok());
}
