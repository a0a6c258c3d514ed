//! The policies of use as their users run them: components in the real sandbox,
//! with their manifests, in front of a model that counts words. What each policy
//! computes is tested natively beside it; here is what only a component shows.

// What the tests share is test code too: a panic is the report.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use maitred::admission::{Admission, Work};
use maitred::config::{Grant, OnFailure, PolicyLimits, PolicySettings, SandboxSettings};
use maitred::metrics::Metrics;
use maitred::policy::{Chain, Kind, Link, ModelInfo, Policy, PolicyError, Sandbox};
use maitred::rerank::{
    Context, Document, DocumentId, Error, Field, Lengths, Priority, Ranked, Ranking, Request,
    Rerank, Scale, Value,
};
use maitred::telemetry::Trace;
use maitred_tests::guests;
use tokio::sync::Barrier;
use tokio::time::Instant;

const MEMORY_BYTES_MAX: usize = 16 << 20;
/// Time that a request has; none of them should need it.
const DEADLINE: Duration = Duration::from_secs(10);

/// A model: a document's logit is how many words of the query it has.
#[derive(Default)]
struct Words {
    /// What it was asked, in order.
    asked: Mutex<Vec<Request>>,
    /// Calls that must be there at once before any is answered.
    together: Option<Barrier>,
}

impl Rerank for Words {
    fn rerank<'a>(
        &'a self,
        request: Request,
        _: &'a Context,
    ) -> BoxFuture<'a, Result<Ranking, Error>> {
        self.asked.lock().unwrap().push(request.clone());
        Box::pin(async move {
            if let Some(together) = &self.together {
                together.wait().await;
            }
            let score = |document: &Document| {
                let has = |word: &&str| document.text.split_whitespace().any(|w| w == *word);
                request.query.split_whitespace().filter(has).count() as f32
            };
            let ranked = |document: &Document| Ranked { id: document.id, score: score(document) };
            let results = request.documents.iter().map(ranked).collect();
            Ok(Ranking { results, scale: Scale::Logit })
        })
    }
}

/// A sandbox, a model behind it, and who asks.
struct Table {
    sandbox: Sandbox,
    metrics: Arc<Metrics>,
    model: Arc<Words>,
    caller: Option<&'static str>,
    wanted: Option<u32>,
}

impl Table {
    fn new() -> Table {
        let metrics = Metrics::new();
        let settings = SandboxSettings {
            component_bytes_max: 64 << 20,
            instances_max: 8,
            tick_ms: Duration::from_millis(1),
            cache_dir: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        };
        Table {
            sandbox: Sandbox::new(&settings, MEMORY_BYTES_MAX, metrics.clone()).unwrap(),
            metrics,
            model: Arc::default(),
            caller: None,
            wanted: None,
        }
    }

    async fn policy(&self, name: &str, grants: &[Grant]) -> Arc<Policy> {
        let settings = PolicySettings {
            component: guests::component(name),
            required: None,
            grants: grants.into(),
            limits: PolicyLimits {
                cpu_ms_max: Duration::from_secs(1),
                memory_bytes_max: MEMORY_BYTES_MAX,
                calls_max: 8,
                log_bytes_max: 4096,
            },
        };
        self.sandbox.load(name, &settings).await.unwrap()
    }

    fn chain(&self, links: Vec<Link>, on_failure: OnFailure) -> Result<Chain, PolicyError> {
        let about = ModelInfo { name: "words".into(), tokens_max: 512, precision: "f32".into() };
        Chain::new(links, self.model.clone(), about, on_failure, self.metrics.clone())
    }

    async fn ask(&self, chain: &[(&str, &[(&str, &str)])], request: Request) -> Answer {
        let mut links = Vec::new();
        for (name, params) in chain {
            links.push(link(self.policy(name, &[]).await, params));
        }
        let chain = self.chain(links, OnFailure::Fail).unwrap();
        let ranking = chain.rerank(request, &self.context()).await?;
        let mut results = ranking.results;
        results.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        Ok((results.iter().map(|r| (r.id.index, r.score)).collect(), ranking.scale))
    }

    fn context(&self) -> Context {
        let much = Work { pairs: 1 << 20, tokens: 1 << 30 };
        let door = Admission::new(much);
        Context {
            request_id: "test".into(),
            route: "route".into(),
            deadline: Instant::now() + DEADLINE,
            priority: Priority::Normal,
            weight: 1,
            caller: self.caller.map(Into::into),
            wanted: self.wanted,
            truncate: None,
            lengths: Lengths::default(),
            allowance: Arc::new(door.admit(much, Duration::ZERO).unwrap()),
            report: Arc::default(),
            trace: Trace::default(),
        }
    }

    /// The texts that the model read, call after call.
    fn texts(&self) -> Vec<String> {
        let asked = self.model.asked.lock().unwrap();
        asked.iter().flat_map(|r| r.documents.iter().map(|d| d.text.to_string())).collect()
    }
}

/// Indexes with their scores, best first, and what the scores mean.
type Answer = Result<(Vec<(u32, f32)>, Scale), Error>;

fn link(policy: Arc<Policy>, params: &[(&str, &str)]) -> Link {
    let params = params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Link { policy, params: params.collect() }
}

fn request(query: &str, texts: &[&str]) -> Request {
    let document = |(index, text): (u32, &&str)| Document {
        id: DocumentId { index, part: 0 },
        text: (*text).into(),
        fields: Arc::default(),
    };
    Request { query: query.into(), documents: (0..).zip(texts).map(document).collect() }
}

/// What needs a grant, and the grant.
fn grants(name: &str) -> &'static [Grant] {
    match name {
        "fresh" => &[Grant::Clock],
        _ => &[],
    }
}

#[tokio::test]
async fn every_policy_has_a_manifest_that_says_it_all() {
    let table = Table::new();
    let policies = guests::policies();
    assert!(policies.len() >= 9, "{policies:?}");
    for name in policies {
        let policy = table.policy(&name, grants(&name)).await;
        let manifest = policy.manifest();
        assert_eq!(manifest.name.as_deref(), Some(&*name));
        assert!(manifest.description.is_some(), "{name}");
        assert_eq!(manifest.capabilities, grants(&name));
        let must_run = ["allow", "redact"].contains(&&*name);
        assert_eq!(policy.required(), must_run, "{name}");
        for (param, about) in manifest.params.iter().flatten() {
            assert!(about.description.is_some(), "{name}: {param}");
            assert!(about.kind != Kind::Any, "{name}: {param} has no type");
            assert!(about.default.is_some(), "{name}: {param} has no default");
        }
    }
}

#[tokio::test]
async fn every_policy_works_with_its_defaults_on_nothing_and_on_much() {
    let mut table = Table::new();
    table.caller = Some("tester");
    let long = "a red shoe, and another; ".repeat(400);
    let texts: Vec<&str> =
        (0..300).map(|at| if at % 50 == 0 { &*long } else { "red hat" }).collect();
    for name in guests::policies() {
        let link = link(table.policy(&name, grants(&name)).await, &[]);
        let chain = table.chain(vec![link], OnFailure::Fail).unwrap();
        for request in [request("q", &[]), request("", &["", ""]), request("red shoe", &texts)] {
            let received = request.documents.len();
            let answer = chain.rerank(request, &table.context()).await;
            assert!(answer.is_ok_and(|ranking| ranking.results.len() <= received), "{name}");
        }
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused_before_any_request() {
    let table = Table::new();
    let check = async |name: &str, param: &str, value: &str, expected: &str| {
        let link = link(table.policy(name, grants(name)).await, &[(param, value)]);
        let error = table.chain(vec![link], OnFailure::Fail).err().unwrap().to_string();
        assert_eq!(error, format!("configure policy `{name}`: {expected}"));
    };
    check(
        "dedupe",
        "similarity",
        "1.5",
        "parameter `similarity` is `1.5`, not a number, at least 0.1 and at most 1",
    )
    .await;
    check(
        "fresh",
        "half_life_days",
        "0",
        "parameter `half_life_days` is `0`, not a number, above 0",
    )
    .await;
    check("cascade", "rest", "keep", "parameter `rest` is `keep`, not one of `drop`, `follow`")
        .await;
    check("cascade", "bets", "5", "unknown parameter `bets`; did you mean `best`?").await;
    check(
        "redact",
        "kinds",
        "email,iban",
        "parameter `kinds` is `email,iban`, not a list, with commas between, of `email`, \
         `phone`, `card`",
    )
    .await;
}

#[tokio::test]
async fn what_is_required_is_never_bypassed() {
    let table = Table::new();
    for name in ["allow", "redact"] {
        let link = link(table.policy(name, &[]).await, &[]);
        let error = table.chain(vec![link], OnFailure::Bypass).err();
        assert!(matches!(error, Some(PolicyError::Required { .. })), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn the_model_reads_placeholders() {
    let table = Table::new();
    let asked = request("mail a@b.org", &["call +49 30 1234567", "2024-01-31, $1,234.50"]);
    let (results, _) = table.ask(&[("redact", &[])], asked).await.unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(table.texts(), ["call [PHONE]", "2024-01-31, $1,234.50"]);
    let asked = table.model.asked.lock().unwrap();
    assert_eq!(&*asked[0].query, "mail [EMAIL]");
}

#[tokio::test]
async fn a_caller_sees_what_is_theirs() {
    let mut table = Table::new();
    let owned = || {
        let mut request = request("red shoe", &["red shoe", "red shoe", "red shoe", "red shoe"]);
        let values = ["acme", "other", "public"].map(|tenant| Value::Texts(vec![tenant.into()]));
        for (document, value) in request.documents.iter_mut().zip(values) {
            document.fields = Arc::new([Field { name: "tenant".into(), value }]);
        }
        request
    };
    let both: &[_] = &[("values", "{caller},public")];
    let denied = table.ask(&[("allow", &[])], owned()).await;
    assert!(matches!(denied, Err(Error::Denied(_))), "{denied:?}");
    table.caller = Some("acme");
    let seen = |answer: Answer| answer.unwrap().0.iter().map(|(i, _)| *i).collect::<Vec<_>>();
    assert_eq!(seen(table.ask(&[("allow", &[])], owned()).await), [0]);
    assert_eq!(seen(table.ask(&[("allow", both)], owned()).await), [0, 2]);
    assert_eq!(table.texts().len(), 3, "the model read what the caller may not see");
}

#[tokio::test]
async fn queries_are_ranked_at_once() {
    let mut table = Table::new();
    // No query is answered before all three are there.
    table.model = Arc::new(Words { together: Some(Barrier::new(3)), ..Words::default() });
    let asked = request("red | shoe | hat", &["red shoe", "hat", "red"]);
    let (results, scale) = table.ask(&[("fuse", &[])], asked).await.unwrap();
    let order: Vec<_> = results.iter().map(|(index, _)| *index).collect();
    assert_eq!((order, scale), (vec![0, 1, 2], Scale::Order));
}

#[tokio::test]
async fn a_chain_of_them_all_answers() {
    let mut table = Table::new();
    table.caller = Some("acme");
    table.wanted = Some(2);
    let texts = [
        "red shoe of a@b.org",
        "red shoe of c@d.org",
        "a red hat and a long story about how it was lost",
        "blue shoe",
        "nothing of the kind",
    ];
    let chain: [(&str, &[(&str, &str)]); 7] = [
        ("redact", &[]),
        ("dedupe", &[]),
        ("diversify", &[("lambda", "0.9")]),
        ("threshold", &[("min", "0.6")]),
        ("fuse", &[]),
        ("cascade", &[("best", "3")]),
        ("passages", &[("words", "4"), ("overlap", "1")]),
    ];
    let answer = table.ask(&chain[..4], request("red shoe", &texts)).await;
    let (results, scale) = answer.unwrap();
    // The second is the first once both are redacted; of the two that answer as
    // well, the hat is less like the first; the last has no word of the query.
    assert_eq!(results.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(scale, Scale::Order);

    let rest = [&chain[..3], &chain[4..]].concat();
    let answer = table.ask(&rest, request("red shoe", &texts)).await;
    assert_eq!(answer.unwrap().0.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3]);
}
