//! Testing a policy natively: no wasm, no server, no model, and no real time.
//!
//! ```
//! use maitred_sdk::test::{Kit, request, scores};
//! # use maitred_sdk::{Metadata, Params, Policy, Ranked, Result, Scale};
//! # struct Shop(f32);
//! # impl Policy for Shop {
//! #     fn new(params: &Params) -> Result<Self> { Ok(Shop(params.or("bonus", 0.5)?)) }
//! #     fn score(&self, document: &Metadata, result: &Ranked, _: Scale) -> f32 {
//! #         match document.boolean_field("in_stock") {
//! #             Some(true) => result.score + self.0,
//! #             _ => result.score,
//! #         }
//! #     }
//! # }
//!
//! // The stand-in for the model counts the words of the query in a document.
//! let mut request = request("red shoe", ["a red shoe", "a red hat"]);
//! request.documents[1] = request.documents[1].clone().with("in_stock", true);
//!
//! let ranking = Kit::new().param("bonus", 1.5).run::<Shop>(request)?;
//! assert_eq!(scores(&ranking), [(0, 0, 2.0), (1, 0, 2.5)]);
//! # Ok::<(), maitred_sdk::Error>(())
//! ```
//!
//! A [`Kit`] holds what the host would: parameters, facts about the request,
//! the next stage. It also holds the policy to its contract, so that what the
//! sandbox would refuse (a document that nobody sent, a score that is no number,
//! one call too many) fails the test, in the same words.

pub(crate) mod facts;
mod manifest;
mod stand_in;

use std::fmt::{Debug, Display};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use facts::Facts;
use manifest::Manifest;
pub(crate) use stand_in::StandIn;
use stand_in::{Script, words_in_common};

use crate::context::ModelInfo;
use crate::{Document, Error, Next, Params, Policy, Ranked, Ranking, Request, Result, Scale};

/// Calls of the next stage that a policy may make, as on a host with defaults.
const CALLS_MAX: usize = 16;
/// Time that a request has, as on a host with defaults.
const REMAINING: Duration = Duration::from_secs(30);

/// A host for one policy, in a test.
#[derive(Clone)]
pub struct Kit {
    facts: Facts,
    manifest: Option<Manifest>,
    script: Script,
    takes: Duration,
    calls_max: usize,
}

/// What a policy did with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it answered.
    pub answer: Result<Ranking>,
    /// What it asked of the next stage, in order.
    pub calls: Vec<Request>,
    /// The time that passed while it waited for the next stage.
    pub took: Duration,
}

impl Default for Kit {
    fn default() -> Self {
        Kit {
            facts: Facts {
                params: Default::default(),
                request_id: "test".into(),
                remaining: REMAINING,
                wanted: None,
                caller: None,
                clock: None,
                model: ModelInfo { name: "model".into(), tokens_max: 512, precision: "f32".into() },
            },
            manifest: None,
            script: Rc::new(|request| Ok(words_in_common(request))),
            takes: Duration::ZERO,
            calls_max: CALLS_MAX,
        }
    }
}

impl Kit {
    /// No parameters, no caller, no clock, 30 s until the deadline, and a next
    /// stage whose score, a logit, is how many words of the query a document has.
    pub fn new() -> Self {
        Kit::default()
    }

    /// Takes defaults and the names of parameters from the policy's manifest:
    /// `kit.manifest(include_str!("../shop.toml"))`. From then on, a parameter
    /// that the manifest does not name cannot be given, and must not be read.
    ///
    /// # Panics
    ///
    /// If the manifest cannot be read.
    pub fn manifest(mut self, toml: &str) -> Self {
        let manifest = Manifest::parse(toml).unwrap_or_else(|why| panic!("the manifest: {why}"));
        let given = std::mem::take(&mut self.facts.params);
        self.facts.params = manifest.defaults();
        self.manifest = Some(manifest);
        given.into_iter().fold(self, |kit, (name, value)| kit.param(&name, value))
    }

    /// What the route gives as a parameter.
    ///
    /// # Panics
    ///
    /// If there is a manifest that does not name it: the host would not start.
    pub fn param(mut self, name: &str, value: impl Display) -> Self {
        if let Some(manifest) = &self.manifest {
            assert!(manifest.names(name), "the manifest names no parameter `{name}`");
        }
        self.facts.params.insert(name.into(), value.to_string());
        self
    }

    /// Who calls.
    pub fn caller(mut self, caller: &str) -> Self {
        self.facts.caller = Some(caller.into());
        self
    }

    /// How many documents the client wants back.
    pub fn wanted(mut self, wanted: u32) -> Self {
        self.facts.wanted = Some(wanted);
        self
    }

    /// What the request is called.
    pub fn request_id(mut self, id: &str) -> Self {
        self.facts.request_id = id.into();
        self
    }

    /// The time left when the policy begins. When it is over, the run ends with
    /// [`Error::DeadlineExceeded`], as the host would end it.
    pub fn remaining(mut self, remaining: Duration) -> Self {
        self.facts.remaining = remaining;
        self
    }

    /// Grants the capability `clock`, and sets it.
    pub fn clock(mut self, now: SystemTime) -> Self {
        self.facts.clock = Some(now);
        self
    }

    /// The model that the chain ends in, and the tokens that a pair may have.
    pub fn model(mut self, name: &str, tokens_max: u32) -> Self {
        self.facts.model = ModelInfo { name: name.into(), tokens_max, ..self.facts.model };
        self
    }

    /// The next stage, as a function.
    pub fn next(mut self, rank: impl Fn(&Request) -> Result<Ranking> + 'static) -> Self {
        self.script = Rc::new(rank);
        self
    }

    /// The next stage, as the score of each document.
    pub fn next_scores(
        self,
        scale: Scale,
        score: impl Fn(&str, &Document) -> f32 + 'static,
    ) -> Self {
        self.next(move |request| {
            let ranked = |document| Ranked::new(document, score(&request.query, document));
            Ok(Ranking { results: request.documents.iter().map(ranked).collect(), scale })
        })
    }

    /// The time that the next stage takes for each call. It passes at once, and
    /// side by side for calls that are made side by side.
    pub fn next_takes(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// Calls of the next stage that the policy may make; 8 if nothing is said.
    pub fn calls_max(mut self, calls_max: usize) -> Self {
        self.calls_max = calls_max;
        self
    }

    /// What the policy answers.
    ///
    /// # Errors
    ///
    /// Those of the policy.
    ///
    /// # Panics
    ///
    /// If the policy breaks its contract, or waits for anything but the next
    /// stage.
    pub fn run<P: Policy>(&self, request: Request) -> Result<Ranking> {
        self.watch::<P>(request).answer
    }

    /// What the policy answers, and what it asked for that.
    ///
    /// # Panics
    ///
    /// As [`Kit::run`].
    pub fn watch<P: Policy>(&self, request: Request) -> Run {
        let stand_in =
            Rc::new(StandIn::new(&request, self.script.clone(), self.takes, self.calls_max));
        let facts = facts::Scope::enter(self.facts.clone(), self.manifest.clone());
        let answer = self.drive::<P>(request, &stand_in, &facts);
        if let Ok(ranking) = &answer {
            stand_in.check_answer(ranking);
        }
        let took = facts::elapsed();
        drop(facts);
        Run { answer, calls: stand_in.calls(), took }
    }

    /// Polls the policy; whenever it waits, time jumps to the next answer.
    fn drive<P: Policy>(
        &self,
        request: Request,
        stand_in: &Rc<StandIn>,
        facts: &facts::Scope,
    ) -> Result<Ranking> {
        let policy = P::new(&Params::of_the_route())?;
        let mut answer = pin!(policy.rerank(request, Next::scripted(stand_in.clone())));
        loop {
            let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(answer) = polled {
                return answer;
            }
            let Some(due) = stand_in.next_due() else {
                panic!("the policy waits for something else than the next stage");
            };
            if due > self.facts.remaining {
                facts.set_elapsed(self.facts.remaining);
                return Err(Error::DeadlineExceeded);
            }
            facts.set_elapsed(due);
            stand_in.answer_until(due);
        }
    }

    /// Asks for what only [`Policy::new`] does: the policy, made of the kit's
    /// parameters.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::new`].
    pub fn make<P: Policy>(&self) -> Result<P> {
        let _facts = facts::Scope::enter(self.facts.clone(), self.manifest.clone());
        P::new(&Params::of_the_route())
    }
}

impl Debug for Kit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Holds a policy to its manifest: the defaults there must make the same policy
/// as none at all, and every parameter that one of the two knows, the other must
/// know, too.
///
/// # Panics
///
/// If they differ.
pub fn assert_manifest_fits<P: Policy + PartialEq + Debug>(kit: &Kit, toml: &str) {
    let kit = kit.clone().manifest(toml);
    let without = Kit {
        manifest: None,
        facts: Facts { params: Default::default(), ..kit.facts.clone() },
        ..kit.clone()
    };
    let (with, without) = (kit.make::<P>(), without.make::<P>());
    assert_eq!(with, without, "the manifest's defaults are not the policy's");
    let _facts = facts::Scope::enter(kit.facts.clone(), kit.manifest.clone());
    let _ = P::new(&Params::of_the_route());
    let asked = facts::asked();
    let manifest = kit.manifest.as_ref().expect("it was given");
    for name in manifest.all_names() {
        assert!(asked.contains(name), "the policy never reads the manifest's parameter `{name}`");
    }
}

/// A request for texts in a client's order, without fields.
pub fn request<'a>(query: &str, texts: impl IntoIterator<Item = &'a str>) -> Request {
    let documents = (0..).zip(texts).map(|(index, text)| Document::new(index, text));
    Request { query: query.into(), documents: documents.collect() }
}

/// The results of a ranking as triples of index, part and score, to compare with.
pub fn scores(ranking: &Ranking) -> Vec<(u32, u32, f32)> {
    ranking.results.iter().map(|r| (r.index, r.part, r.score)).collect()
}

/// The indexes of a ranking's documents, best first.
pub fn order(ranking: &Ranking) -> Vec<u32> {
    let mut ranking = ranking.clone();
    ranking.sort();
    ranking.results.iter().map(|r| r.index).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::context;

    /// Tells what it knows as an error, or does what its query says.
    struct Curious;

    impl Policy for Curious {
        fn new(_: &Params) -> Result<Self> {
            Ok(Curious)
        }

        async fn rerank(&self, mut request: Request, next: Next) -> Result<Ranking> {
            match &*request.query {
                "facts" => {
                    let before = context::remaining_ms();
                    request.query.clear();
                    next.rerank(request).await?;
                    return Err(Error::denied(format!(
                        "{} {:?} {:?} {before} {} {:?} {}",
                        context::request_id(),
                        context::caller(),
                        context::wanted(),
                        context::remaining_ms(),
                        context::now(),
                        context::model().tokens_max,
                    )));
                }
                "unknown" => request.documents.push(Document::new(9, "")),
                "twice" => request.documents.push(Document::new(0, "")),
                "endless" => request.documents[0]
                    .fields
                    .push(crate::Field { name: "f".into(), value: f64::INFINITY.into() }),
                "often" => {
                    for _ in 0..=CALLS_MAX {
                        next.rerank(request.clone()).await?;
                    }
                }
                "forever" => std::future::pending().await,
                _ => {}
            }
            let mut ranking = next.rerank(request.clone()).await?;
            match &*request.query {
                "answer unknown" => ranking.results[0].index = 9,
                "answer nan" => ranking.results[0].score = f32::NAN,
                "answer twice" => ranking.results.push(ranking.results[0]),
                _ => {}
            }
            Ok(ranking)
        }
    }

    #[test]
    fn facts_are_what_the_test_says() {
        let told = |kit: Kit| match kit.run::<Curious>(request("facts", ["d"])) {
            Err(Error::Denied(told)) => told,
            other => panic!("{other:?}"),
        };
        let stopped = told(Kit::new());
        assert!(stopped.starts_with("test None None 30000 30000 Err("), "{stopped}");
        assert!(stopped.contains("grant the capability `clock`"), "{stopped}");
        let kit = Kit::new()
            .caller("acme")
            .wanted(3)
            .request_id("r")
            .remaining(Duration::from_millis(500))
            .model("m", 256)
            .next_takes(Duration::from_millis(120))
            .clock(UNIX_EPOCH);
        let now = UNIX_EPOCH + Duration::from_millis(120);
        let expected = format!("r Some(\"acme\") Some(3) 500 380 {:?} 256", Ok::<_, Error>(now));
        assert_eq!(told(kit), expected);
    }

    #[test]
    fn a_request_ends_with_its_deadline() {
        let takes = Duration::from_millis(100);
        let kit = Kit::new().next_takes(takes).remaining(takes / 2);
        let run = kit.watch::<Curious>(request("", ["d"]));
        assert_eq!((run.answer, run.took), (Err(Error::DeadlineExceeded), takes / 2));
    }

    #[test]
    fn what_the_host_would_refuse_fails_the_test() {
        let check = |query: &str, expected: &str| {
            let run = || Kit::new().run::<Curious>(request(query, ["d"]));
            let panicked = std::panic::catch_unwind(run).unwrap_err();
            let text = panicked.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panicked.downcast_ref::<&str>().map(|t| t.to_string()));
            let text = text.unwrap_or_default();
            assert!(text.contains(expected), "{query}: {text}");
        };
        check("unknown", "named document 9 (part 0), which it did not receive");
        check("twice", "named document 0 (part 0) twice");
        check("endless", "sent field `f` of document 0 with the number inf");
        check("often", &format!("called the next stage more than {CALLS_MAX} times"));
        check("forever", "waits for something else than the next stage");
        check("answer unknown", "named document 9 (part 0), which it did not receive");
        check("answer nan", "gave document 0 (part 0) the score NaN");
        check("answer twice", "named document 0 (part 0) twice");
    }

    #[derive(Debug, PartialEq)]
    struct Weighted(f64);

    impl Policy for Weighted {
        fn new(params: &Params) -> Result<Self> {
            Ok(Weighted(params.or_within("weight", 0.5, 0.0..=1.0)?))
        }
    }

    #[test]
    fn a_manifest_gives_defaults_and_names() {
        let toml = "[params.weight]\ndefault = 0.5";
        assert_eq!(Kit::new().manifest(toml).make(), Ok(Weighted(0.5)));
        assert_eq!(Kit::new().manifest(toml).param("weight", 1).make(), Ok(Weighted(1.0)));
        assert_eq!(Kit::new().param("weight", 1).manifest(toml).make(), Ok(Weighted(1.0)));
        assert_manifest_fits::<Weighted>(&Kit::new(), toml);
    }

    #[test]
    fn what_manifest_and_policy_do_not_share_fails_the_test() {
        let check = |toml: &'static str, given: &'static [&'static str]| {
            let run = move || {
                let kit = Kit::new().manifest(toml);
                given.iter().fold(kit, |kit, name| kit.param(name, 1));
                assert_manifest_fits::<Weighted>(&Kit::new(), toml);
            };
            std::panic::catch_unwind(run).expect_err(toml);
        };
        check("[params.weight]\ndefault = 0.25", &[]);
        check("[params.wieght]\ndefault = 0.5", &[]);
        check("[params.weight]\n[params.more]", &[]);
        check("[params.weight]", &["wieght"]);
        check("params = 1", &[]);
        check("[params.weight", &[]);
    }
}
