//! Policies in the sandbox: real components, a real chain, a model that counts
//! words. Every hostile guest has one line in the table below, and is run beside
//! good requests that must not notice.

// What the tests share is test code too: a panic is the report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use maitred::admission::{Admission, Work};
use maitred::config::{Grant, OnFailure, PolicyLimits, PolicySettings, SandboxSettings};
use maitred::metrics::Metrics;
use maitred::policy::{Chain, Link, ModelInfo, Policy, PolicyError, Sandbox};
use maitred::rerank::{
    Context, Document, DocumentId, Error, Field, Priority, Ranked, Ranking, Report, Request,
    Rerank, Scale, Value,
};
use maitred_tests::guests;
use tokio::time::{Instant, timeout};

const CPU_MS_MAX: Duration = Duration::from_millis(60);
const MEMORY_BYTES_MAX: usize = 16 << 20;
/// Time that a request has.
const DEADLINE: Duration = Duration::from_millis(600);
/// Time after which a test calls a request hung: a guest may be late by some
/// ticks of a busy machine.
const HUNG: Duration = Duration::from_secs(10);

/// What becomes of a hostile guest's request.
enum Expected {
    /// `PolicyFailed` with these words, counted under this reason.
    Fails(&'static str, &'static str),
    /// The time runs out.
    Late,
    /// The guest did no harm, and its ranking is right.
    Answers,
    /// The guest did no harm, and its ranking is its own affair.
    AnswersAnything,
    /// An error that a guest may return.
    Refuses(Error),
    /// It does not get as far as a request.
    NotLoaded(&'static str),
}
use Expected::{Answers, AnswersAnything, Fails, Late, NotLoaded, Refuses};

/// One test for each guest, and the list of all, which must be what is in the
/// folder (`every_hostile_guest_has_an_assertion`).
macro_rules! hostile {
    ($($guest:ident => $expected:expr,)*) => {
        const ASSERTED: &[&str] = &[$(stringify!($guest)),*];

        mod hostile {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $guest() {
                    attack(stringify!($guest), $expected).await;
                }
            )*
        }
    };
}

hostile! {
    asks_for_more => NotLoaded("strange:power/rockets"),
    broken_text => Fails("trap", "trapped: "),
    calls_10000 => Fails("contract", "called the next stage more than 8 times"),
    calls_10000_at_once => Fails("contract", "called the next stage more than 8 times"),
    endless_loop => Fails("cpu", "ms of CPU time, over the limit of 60 ms"),
    exits => Fails("trap", "exited with status 0"),
    flood_stdout => Answers,
    floods_forever => Fails("cpu", "ms of CPU time, over the limit of 60 ms"),
    infinity => Fails("contract", "the score inf"),
    lies_about_overload => Refuses(Error::Overloaded { retry_after: Duration::from_millis(u32::MAX.into()) }),
    memory_bomb => Fails("memory", "needed more memory than the limit of 16777216 bytes"),
    multiplies_memory => Fails("contract", "sent more than 16777216 bytes"),
    nan => Fails("contract", "the score NaN"),
    never_awaits => AnswersAnything,
    opens_file_and_socket => Answers,
    overflows_stack => Fails("trap", "call stack exhausted"),
    passes_on => Answers,
    remembers => Answers,
    repeated_index => Fails("contract", "twice"),
    sends_wrong_index => Fails("contract", "named document 999 (part 0), which it did not receive"),
    sleeps => Late,
    too_many_results => Fails("contract", "answered with 100000 results, over the limit"),
    trap => Fails("trap", "trapped: wasm trap: wasm `unreachable` instruction executed"),
    waits_forever => Fails("trap", "wasm `unreachable` instruction executed"),
    wrong_index => Fails("contract", "named document 999 (part 0), which it did not receive"),
    yields_forever => Fails("cpu", "ms of CPU time, over the limit of 60 ms"),
}

#[test]
fn every_hostile_guest_has_an_assertion() {
    assert_eq!(guests::hostile(), ASSERTED);
}

async fn attack(guest: &'static str, expected: Expected) {
    let lab = Lab::new(32);
    let hostile = match (lab.try_policy(guest, &[]).await, &expected) {
        (Err(error), NotLoaded(words)) => {
            let error = error.to_string();
            assert!(error.contains(words), "{error}");
            return;
        }
        (hostile, _) => hostile.unwrap(),
    };
    let good = lab.chain(vec![lab.link("passes_on").await], OnFailure::Fail);
    let bad = lab.chain(vec![link(hostile)], OnFailure::Fail);

    // Four attacks, one after the other, among a steady flow of good requests.
    let attacks = async {
        for _ in 0..4 {
            let begin = Instant::now();
            let answer = ask(&bad, request(), DEADLINE).await;
            check(guest, &expected, answer, begin.elapsed());
        }
    };
    let bystanders = join_all((0..4).map(|_| async {
        for _ in 0..25 {
            let answer = ask(&good, request(), HUNG).await;
            assert_eq!(answer, Ok(ranked_by_words()), "beside {guest}");
        }
    }));
    tokio::join!(attacks, bystanders);

    let metrics = lab.metrics.render();
    let counted = |reason: &str, count: u32| {
        let name = "maitred_policy_failures_total";
        let line = |l: &&str| {
            l.starts_with(name)
                && l.contains(&format!("policy=\"{guest}\""))
                && l.contains(&format!("reason=\"{reason}\""))
        };
        let line = metrics.lines().find(line);
        assert!(line.is_some_and(|l| l.ends_with(&format!(" {count}"))), "{line:?}");
    };
    match expected {
        Fails(reason, _) => counted(reason, 4),
        Late => counted("deadline", 4),
        _ => {}
    }
    assert!(metrics.contains("\nmaitred_policy_instances 0\n"), "an instance outlived its call");
}

fn check(guest: &str, expected: &Expected, answer: Result<Ranking, Error>, took: Duration) {
    match (expected, answer) {
        (Fails(_, words), Err(Error::PolicyFailed { policy, reason })) => {
            assert_eq!(&*policy, guest);
            assert!(reason.contains(words), "{guest} {reason}");
        }
        (Late, Err(Error::DeadlineExceeded)) => assert!(took >= DEADLINE),
        (Answers, answer) => assert_eq!(answer, Ok(ranked_by_words())),
        (AnswersAnything, Ok(_)) => {}
        (Refuses(expected), Err(error)) => assert_eq!(error, *expected),
        (_, answer) => panic!("{guest} got {answer:?}"),
    }
}

/// A sandbox with its settings.
struct Lab {
    sandbox: Sandbox,
    metrics: Arc<Metrics>,
    model: Arc<Words>,
}

impl Lab {
    fn new(instances_max: u32) -> Lab {
        let metrics = Metrics::new();
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max,
            tick_ms: Duration::from_millis(1),
            cache_dir: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        };
        Lab {
            sandbox: Sandbox::new(&settings, MEMORY_BYTES_MAX, metrics.clone()).unwrap(),
            metrics,
            model: Arc::default(),
        }
    }

    async fn try_policy(&self, name: &str, grants: &[Grant]) -> Result<Arc<Policy>, PolicyError> {
        let settings =
            PolicySettings { grants: grants.into(), ..settings(guests::component(name)) };
        self.sandbox.load(name, &settings).await
    }

    async fn link(&self, name: &str) -> Link {
        link(self.try_policy(name, &[]).await.unwrap())
    }

    fn chain(&self, links: Vec<Link>, on_failure: OnFailure) -> Chain {
        self.try_chain(links, on_failure).unwrap()
    }

    fn try_chain(&self, links: Vec<Link>, on_failure: OnFailure) -> Result<Chain, PolicyError> {
        let about = ModelInfo { name: "words".into(), tokens_max: 512 };
        let (model, metrics) = (self.model.clone(), self.metrics.clone());
        Chain::new(links, model, about, on_failure, metrics)
    }
}

fn settings(component: PathBuf) -> PolicySettings {
    PolicySettings {
        component,
        required: None,
        grants: Vec::new(),
        limits: PolicyLimits {
            cpu_ms_max: CPU_MS_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
            calls_max: 8,
            log_bytes_max: 4096,
        },
    }
}

fn link(policy: Arc<Policy>) -> Link {
    let params = BTreeMap::new();
    Link { policy, params }
}

fn with(link: Link, params: &[(&str, &str)]) -> Link {
    let params = params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Link { params: params.collect(), ..link }
}

/// A model: a document's score is the share of its words that the query has.
#[derive(Default)]
struct Words {
    calls: AtomicU32,
    running: Arc<AtomicU32>,
    /// What it says instead, if anything.
    error: Option<Error>,
    /// How long it takes.
    takes: Duration,
}

impl Rerank for Words {
    fn rerank<'a>(
        &'a self,
        request: Request,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let running = Running::begin(&self.running);
        Box::pin(async move {
            let _running = running;
            if !self.takes.is_zero() {
                tokio::time::sleep(self.takes).await;
            }
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            let score = |document: &Document| {
                let words: Vec<_> = document.text.split_whitespace().collect();
                let known = words.iter().filter(|w| request.query.split(' ').any(|q| q == **w));
                known.count() as f32 / words.len().max(1) as f32
            };
            let ranked = |document: &Document| Ranked { id: document.id, score: score(document) };
            Ok(Ranking {
                results: request.documents.iter().map(ranked).collect(),
                scale: Scale::Probability,
            })
        })
    }
}

struct Running(Arc<AtomicU32>);

impl Running {
    fn begin(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Running(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn document(index: u32, text: &str) -> Document {
    Document { id: DocumentId { index, part: 0 }, text: text.into(), fields: Arc::default() }
}

fn request() -> Request {
    Request {
        query: "red shoe".into(),
        documents: vec![
            document(0, "blue shoe"),
            document(1, "red shoe"),
            document(2, "green hat with a feather"),
        ],
    }
}

fn ranked_by_words() -> Ranking {
    ranking(&[(0, 0, 0.5), (1, 0, 1.0), (2, 0, 0.0)])
}

fn ranking(results: &[(u32, u32, f32)]) -> Ranking {
    let ranked =
        |&(index, part, score): &(u32, u32, f32)| Ranked { id: DocumentId { index, part }, score };
    Ranking { results: results.iter().map(ranked).collect(), scale: Scale::Probability }
}

fn context(deadline: Duration) -> Context {
    let much = Work { pairs: 1 << 20, tokens: 1 << 30 };
    let door = Admission::new(much);
    Context {
        request_id: "test".into(),
        route: "route".into(),
        deadline: Instant::now() + deadline,
        priority: Priority::Normal,
        weight: 1,
        caller: Some("tester".into()),
        wanted: Some(2),
        truncate: None,
        allowance: door.admit(much, Duration::ZERO).unwrap(),
        report: Report::default(),
    }
}

async fn ask(chain: &Chain, request: Request, deadline: Duration) -> Result<Ranking, Error> {
    let context = context(deadline);
    let answer = timeout(HUNG, chain.rerank(request, &context)).await;
    answer.expect("the request hangs")
}

#[tokio::test]
async fn policies_run_one_in_front_of_the_other() {
    let lab = Lab::new(8);
    let three = vec![
        lab.link("passes_on").await,
        lab.link("dedupe").await,
        with(lab.link("passages").await, &[("words", "2"), ("overlap", "0")]),
    ];
    let chain = lab.chain(three, OnFailure::Fail);
    let mut request = request();
    request.documents.push(document(3, "Blue  shoe!"));
    request.documents.push(document(4, "no no red shoe no no"));
    let answer = ask(&chain, request, HUNG).await;
    let expected = [(0, 0, 0.5), (1, 0, 1.0), (2, 0, 0.0), (4, 1, 1.0)];
    assert_eq!(answer, Ok(ranking(&expected)));
}

#[tokio::test]
async fn a_chain_without_policies_is_the_model() {
    let lab = Lab::new(1);
    let chain = lab.chain(Vec::new(), OnFailure::Fail);
    assert_eq!(ask(&chain, request(), HUNG).await, Ok(ranked_by_words()));
}

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
async fn a_failed_policy_is_bypassed_where_the_route_says_so() {
    let lab = Lab::new(8);
    for names in [["passes_on", "trap"], ["trap", "passes_on"]] {
        let links = vec![lab.link(names[0]).await, lab.link(names[1]).await];
        let chain = lab.chain(links, OnFailure::Bypass);
        let context = context(HUNG);
        let answer = chain.rerank(request(), &context).await;
        assert_eq!(answer, Ok(ranked_by_words()));
        assert!(context.report.bypassed());
    }
    assert!(lab.metrics.render().contains("maitred_bypasses_total{route=\"route\"} 2"));
}

#[tokio::test]
async fn a_refusal_is_not_bypassed() {
    let lab = Lab::new(8);
    let link = lab.link("lies_about_overload").await;
    let chain = lab.chain(vec![link], OnFailure::Bypass);
    let answer = ask(&chain, request(), HUNG).await;
    assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_required_policy_cannot_be_bypassed() {
    let lab = Lab::new(8);
    let settings = PolicySettings { required: Some(true), ..settings(guests::component("dedupe")) };
    let policy = lab.sandbox.load("dedupe", &settings).await.unwrap();
    let error = lab.try_chain(vec![link(policy)], OnFailure::Bypass).err();
    assert!(matches!(error, Some(PolicyError::Required { .. })), "{error:?}");
}

#[tokio::test]
async fn an_error_behind_a_policy_stays_what_it_was() {
    let mut lab = Lab::new(8);
    let errors = [
        Error::Invalid("i".into()),
        Error::Denied("d".into()),
        Error::NotFound("n".into()),
        Error::DeadlineExceeded,
        Error::Overloaded { retry_after: Duration::from_micros(1500) },
        Error::Unavailable { reason: "draining".into(), retry_after: Duration::from_secs(3) },
        Error::Internal("a secret".into()),
        Error::TooLarge { what: "a thing", value: 2, limit: 1 },
    ];
    for error in errors {
        lab.model = Arc::new(Words { error: Some(error.clone()), ..Words::default() });
        let links = vec![lab.link("passes_on").await, lab.link("passages").await];
        let chain = lab.chain(links, OnFailure::Fail);
        assert_eq!(ask(&chain, request(), HUNG).await, Err(error));
    }
}

#[tokio::test]
async fn a_dropped_request_stops_its_guests_and_its_model() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let links = vec![lab.link("passes_on").await, lab.link("passes_on").await];
    let chain = lab.chain(links, OnFailure::Fail);
    let context = context(HUNG);
    let mut answer = chain.rerank(request(), &context);
    // Both guests run up to the model, which takes its time.
    while lab.model.running.load(Ordering::Relaxed) == 0 {
        assert!(futures_util::poll!(answer.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(lab.metrics.render().contains("\nmaitred_policy_instances 2\n"));
    drop(answer);
    assert_eq!(lab.model.running.load(Ordering::Relaxed), 0);
    assert!(lab.metrics.render().contains("\nmaitred_policy_instances 0\n"));
}

#[tokio::test]
async fn a_guest_that_gives_up_on_a_call_stops_it() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let chain = lab.chain(vec![lab.link("never_awaits").await], OnFailure::Fail);
    assert!(ask(&chain, request(), HUNG).await.is_ok());
    assert_eq!(lab.model.running.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn waiting_for_the_model_costs_no_guest_cpu_and_is_nobodys_failure() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let chain = lab.chain(vec![lab.link("passes_on").await], OnFailure::Bypass);
    let answer = ask(&chain, request(), DEADLINE).await;
    assert_eq!(answer, Err(Error::DeadlineExceeded));
    let metrics = lab.metrics.render();
    let failed = |l: &&str| l.starts_with("maitred_policy_failures_total") && !l.ends_with(" 0");
    assert_eq!(metrics.lines().find(failed), None);
}

#[tokio::test]
async fn full_is_an_answer_and_not_a_queue() {
    let mut lab = Lab::new(1);
    lab.model = Arc::new(Words { takes: DEADLINE, ..Words::default() });
    let link = lab.link("passes_on").await;
    let one = lab.chain(vec![link.clone()], OnFailure::Fail);
    let both = (ask(&one, request(), HUNG), ask(&one, request(), HUNG));
    let (first, second) = tokio::join!(both.0, both.1);
    assert_eq!(first, Ok(ranked_by_words()));
    assert!(matches!(second, Err(Error::Overloaded { .. })), "{second:?}");
    // A chain of two in a pool of one never gets both.
    let two = lab.chain(vec![link.clone(), link], OnFailure::Fail);
    let answer = ask(&two, request(), HUNG).await;
    assert!(matches!(answer, Err(Error::Overloaded { .. })), "{answer:?}");
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
