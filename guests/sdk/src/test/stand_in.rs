//! The next stage in a test: a script, a time that it takes, and the contract to
//! which the host would hold the policy.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::facts;
use crate::{Ranked, Ranking, Request, Result, Scale, Value};

pub(super) type Script = Rc<dyn Fn(&Request) -> Result<Ranking>>;

pub(crate) struct StandIn {
    script: Script,
    takes: Duration,
    calls_max: usize,
    /// Indexes of the documents that the policy received.
    received: BTreeSet<u32>,
    calls: RefCell<Vec<Request>>,
    /// Calls without an answer: when it is due, and who waits.
    waiting: RefCell<Vec<(Duration, Waker)>>,
}

impl StandIn {
    pub fn new(received: &Request, script: Script, takes: Duration, calls_max: usize) -> Self {
        let received = received.documents.iter().map(|document| document.index).collect();
        let (calls, waiting) = Default::default();
        StandIn { script, takes, calls_max, received, calls, waiting }
    }

    pub async fn rerank(&self, request: Request) -> Result<Ranking> {
        self.check_request(&request);
        self.calls.borrow_mut().push(request.clone());
        let due = facts::elapsed() + self.takes;
        poll_fn(|cx| {
            if facts::elapsed() >= due {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push((due, cx.waker().clone()));
            Poll::Pending
        })
        .await;
        (self.script)(&request)
    }

    /// When the next answer is due, if anybody waits for one.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.borrow().iter().map(|(due, _)| *due).min()
    }

    /// Wakes whoever's answer is due by then.
    pub fn answer_until(&self, now: Duration) {
        let mut waiting = self.waiting.borrow_mut();
        for (_, waker) in waiting.extract_if(.., |(due, _)| *due <= now) {
            waker.wake();
        }
    }

    pub fn calls(&self) -> Vec<Request> {
        self.calls.take()
    }

    fn check_request(&self, request: &Request) {
        let max = self.calls_max;
        let calls = self.calls.borrow().len();
        assert!(calls < max, "the policy called the next stage more than {max} times");
        self.check_ids(request.documents.iter().map(|d| (d.index, d.part)));
        for document in &request.documents {
            for field in &document.fields {
                if let Value::Number(number) = field.value {
                    let (name, index) = (&field.name, document.index);
                    assert!(
                        number.is_finite(),
                        "the policy sent field `{name}` of document {index} with the number {number}"
                    );
                }
            }
        }
    }

    pub fn check_answer(&self, ranking: &Ranking) {
        for Ranked { index, part, score } in &ranking.results {
            let finite = score.is_finite();
            assert!(finite, "the policy gave document {index} (part {part}) the score {score}");
        }
        self.check_ids(ranking.results.iter().map(|r| (r.index, r.part)));
    }

    fn check_ids(&self, ids: impl Iterator<Item = (u32, u32)>) {
        let mut seen = BTreeSet::new();
        for (index, part) in ids {
            let named = format_args!("the policy named document {index} (part {part})");
            assert!(self.received.contains(&index), "{named}, which it did not receive");
            assert!(seen.insert((index, part)), "{named} twice");
        }
    }
}

/// How many words of the query a document has: easy to foretell in a test.
pub(super) fn words_in_common(request: &Request) -> Ranking {
    let results = request.documents.iter().map(|document| {
        let has = |word: &&str| document.text.split_whitespace().any(|other| other == *word);
        Ranked::new(document, request.query.split_whitespace().filter(has).count() as f32)
    });
    Ranking { results: results.collect(), scale: Scale::Logit }
}
