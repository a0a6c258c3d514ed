//! The next stage: another policy, or the model.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
#[cfg(not(target_family = "wasm"))]
use std::rc::Rc;
use std::task::Poll;

use crate::{Ranking, Request, Result};

/// Whoever ranks after this policy. Waiting for it costs the policy nothing.
///
/// Each call counts: a policy's limits say how many it may make (16 unless they
/// are set otherwise), and the route's bound on amplification how many documents
/// all of them may send to the model (4 times what the client sent).
#[derive(Clone, Default)]
pub struct Next {
    #[cfg(not(target_family = "wasm"))]
    stand_in: Option<Rc<crate::test::StandIn>>,
}

impl Next {
    /// A scripted stage, for [`Kit`](crate::test::Kit).
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn scripted(stand_in: Rc<crate::test::StandIn>) -> Self {
        Next { stand_in: Some(stand_in) }
    }

    /// Asks the next stage. A policy that drops the future has cancelled the
    /// call.
    ///
    /// # Errors
    ///
    /// Those of the next stage. Returned as they are, they reach the client as
    /// what they were.
    ///
    /// # Panics
    ///
    /// Natively outside a [`Kit`](crate::test::Kit), where nobody ranks.
    pub async fn rerank(&self, request: Request) -> Result<Ranking> {
        #[cfg(target_family = "wasm")]
        return crate::bindings::maitred::rerank::rerank::rerank(request).await;
        #[cfg(not(target_family = "wasm"))]
        match &self.stand_in {
            Some(stand_in) => stand_in.rerank(request).await,
            None => panic!("there is no next stage here: run the policy in a `test::Kit`"),
        }
    }

    /// Asks for several rankings at once, as many as are written down:
    ///
    /// ```
    /// # use maitred_sdk::{Next, Ranking, Request, Result};
    /// # async fn both(next: Next, title: Request, body: Request) -> Result<Ranking> {
    /// let [title, body] = next.join([title, body]).await?;
    /// # let _ = title; Ok(body)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first that any of the calls ends in; the others are cancelled.
    pub async fn join<const N: usize>(&self, requests: [Request; N]) -> Result<[Ranking; N]> {
        let rankings = self.try_rerank_all(requests).await?;
        Ok(rankings.try_into().expect("as many answers as requests"))
    }

    /// Asks for any number of rankings at once; they come in the order of the
    /// requests.
    ///
    /// # Errors
    ///
    /// The first that any of the calls ends in; the others are cancelled.
    pub async fn try_rerank_all(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Result<Vec<Ranking>> {
        let calls = requests.into_iter().map(|request| self.rerank(request));
        all(calls, |answer| answer.is_err()).await.into_iter().collect()
    }

    /// Asks for any number of rankings at once, and waits for all of them, for a
    /// policy that can do without some.
    pub async fn rerank_all(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Result<Ranking>> {
        let calls = requests.into_iter().map(|request| self.rerank(request));
        all(calls, |_| false).await
    }
}

/// Runs calls side by side until all have answered, or one as `enough` says, whose
/// answer is then the only one.
async fn all<T>(
    calls: impl Iterator<Item = impl Future<Output = T>>,
    enough: impl Fn(&T) -> bool,
) -> Vec<T> {
    let mut calls: Vec<Pin<Box<_>>> = calls.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = calls.iter().map(|_| None).collect();
    let last = poll_fn(|cx| {
        let waiting = calls.iter_mut().zip(&mut answers);
        for (call, answer) in waiting.filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(ready) = call.as_mut().poll(cx) {
                if enough(&ready) {
                    return Poll::Ready(Some(ready));
                }
                *answer = Some(ready);
            }
        }
        match answers.iter().all(Option::is_some) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    })
    .await;
    match last {
        Some(last) => vec![last],
        None => answers.into_iter().flatten().collect(),
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test::{Kit, request};
    use crate::{Error, Params, Policy, Scale};

    /// Asks for the query's words side by side, and answers with the first.
    struct Words;

    impl Policy for Words {
        fn new(_: &Params) -> Result<Self> {
            Ok(Words)
        }

        async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
            let words = request.query.split(' ');
            let asked = words.map(|word| Request { query: word.into(), ..request.clone() });
            Ok(next.try_rerank_all(asked).await?.swap_remove(0))
        }
    }

    /// Asks twice, by name.
    struct Twice;

    impl Policy for Twice {
        fn new(_: &Params) -> Result<Self> {
            Ok(Twice)
        }

        async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
            let [first, second] = next.join([request.clone(), request]).await?;
            assert_eq!(first, second);
            Ok(second)
        }
    }

    const TAKES: Duration = Duration::from_millis(100);

    #[test]
    fn calls_run_side_by_side() {
        let kit = Kit::new().next_takes(TAKES);
        let run = kit.watch::<Words>(request("red blue green", ["red"]));
        assert_eq!(run.answer.unwrap().results[0].score, 1.0);
        let queries: Vec<_> = run.calls.iter().map(|call| &*call.query).collect();
        assert_eq!(queries, ["red", "blue", "green"]);
        assert_eq!(run.took, TAKES);
        assert_eq!(kit.watch::<Twice>(request("q", ["d"])).took, TAKES);
    }

    #[test]
    fn the_first_error_ends_all_calls() {
        let kit = Kit::new().next_takes(TAKES).next(|request| match &*request.query {
            "blue" => Err(Error::denied("no blue")),
            _ => Ok(Ranking { results: Vec::new(), scale: Scale::Logit }),
        });
        let run = kit.watch::<Words>(request("red blue green", ["red"]));
        assert_eq!(run.answer, Err(Error::denied("no blue")));
    }
}
