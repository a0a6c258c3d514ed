//! The next stage: another policy, or the model.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{Params, Policy, Ranking, Request, Result, bindings};

type Stand = Rc<dyn Fn(Request) -> Result<Ranking>>;

/// Whoever ranks after this policy. Waiting for it costs the policy nothing.
#[derive(Clone, Default)]
pub struct Next {
    stand_in: Option<Stand>,
}

impl Next {
    /// For native tests: a function in place of the model.
    pub fn from_fn(rank: impl Fn(Request) -> Result<Ranking> + 'static) -> Self {
        Next { stand_in: Some(Rc::new(rank)) }
    }

    /// Asks the next stage. Its error, returned as it is, reaches the client as
    /// what it was.
    pub async fn rerank(&self, request: Request) -> Result<Ranking> {
        match &self.stand_in {
            Some(rank) => rank(request),
            None => bindings::maitred::rerank::rerank::rerank(request).await,
        }
    }

    /// Asks for several rankings at once; the answers come in the order of the
    /// requests.
    pub async fn rerank_all(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Result<Ranking>> {
        let calls = requests.into_iter().map(|request| self.rerank(request));
        let mut calls: Vec<Pin<Box<_>>> = calls.map(Box::pin).collect();
        let mut answers: Vec<Option<_>> = calls.iter().map(|_| None).collect();
        poll_fn(|cx| {
            let waiting = calls.iter_mut().zip(&mut answers);
            for (call, answer) in waiting.filter(|(_, answer)| answer.is_none()) {
                if let Poll::Ready(ready) = call.as_mut().poll(cx) {
                    *answer = Some(ready);
                }
            }
            match answers.iter().all(Option::is_some) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        answers.into_iter().flatten().collect()
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stand_in {
            Some(_) => "Next (a stand-in)",
            None => "Next",
        })
    }
}

/// For native tests: runs a policy on a request, with [`Next::from_fn`] behind
/// it.
///
/// # Panics
///
/// If the policy waits for anything else than that.
pub fn run<P: Policy>(params: &Params, request: Request, next: Next) -> Result<Ranking> {
    let policy = P::new(params)?;
    let mut rerank = pin!(policy.rerank(request, next));
    match rerank.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the policy waits for something that a test cannot give"),
    }
}
