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

/// What a guest draws without the grant is the same in every call, so that answers
/// can be computed again; with it, nobody could know it beforehand.
#[tokio::test]
async fn randomness_needs_its_grant() {
    let lab = Lab::new(8);
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("draws_random.wasm");
    std::fs::copy(guests::component("draws_random"), &component).unwrap();
    std::fs::write(component.with_extension("toml"), "capabilities = ['random']").unwrap();
    let draws = async |grants: &[Grant]| {
        let settings = PolicySettings { grants: grants.into(), ..settings(component.clone()) };
        let policy = lab.sandbox.load("draws_random", &settings).await.unwrap();
        let chain = lab.chain(vec![link(policy)], OnFailure::Fail);
        let mut draws = Vec::new();
        for _ in 0..2 {
            let Err(Error::Denied(text)) = ask(&chain, request(), HUNG).await else {
                panic!("it tells what it drew by refusing");
            };
            let numbers: Vec<String> = text.split(' ').map(String::from).collect();
            draws.push(numbers);
        }
        (draws.swap_remove(0), draws.swap_remove(0))
    };
    let (first, second) = draws(&[]).await;
    assert_eq!(first, second);
    let (granted, then) = draws(&[Grant::Random]).await;
    assert_eq!((first.len(), granted.len()), (2, 2));
    for (source, number) in granted.iter().enumerate() {
        assert!(*number != then[source] && *number != first[source], "{granted:?}, {then:?}");
    }
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

/// Only the compiler is left out the second time, so for a component on which it has
/// long to work almost all of the time is.
#[tokio::test]
async fn a_second_start_finds_the_compiled_code() {
    const FUNCTIONS: usize = 20_000;
    const TIMES_FASTER: u32 = 4;
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("large.wasm");
    std::fs::write(&component, guests::large_component(FUNCTIONS)).unwrap();
    let load = async |cache: &str| {
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max: 4,
            tick_ms: TICK_MS,
            cache_dir: Some(folder.path().join(cache)),
        };
        let sandbox = Sandbox::new(&settings, MEMORY_BYTES_MAX, Metrics::new()).unwrap();
        let begin = Instant::now();
        sandbox.load("large", &self::settings(component.clone())).await.unwrap();
        begin.elapsed()
    };
    // Compiled before and after, so that a machine that gets faster meanwhile does
    // not pass for a cache.
    let before = load("one").await;
    let cached = load("one").await;
    let after = load("another").await;
    println!("compiled in {before:?} and {after:?}, loaded from the cache in {cached:?}");
    let compiled = before.min(after);
    assert!(cached * TIMES_FASTER < compiled, "compiled in {compiled:?}, cached in {cached:?}");
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
