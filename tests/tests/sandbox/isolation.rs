//! Guests and the rest of the world: who stops when somebody leaves, and what one
//! request or one policy may take from the others.

use super::*;

#[tokio::test]
async fn a_dropped_request_stops_its_guests_and_its_model() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let links = vec![lab.link("passes_on").await, lab.link("passes_on").await];
    let chain = lab.chain(links, OnFailure::Fail);
    let context = context(HUNG);
    let mut answer = chain.rerank(request(), &context);
    // Both guests run up to the model, which takes its time.
    while lab.model.running() == 0 {
        assert!(futures_util::poll!(answer.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.instances(), 2.0);
    drop(answer);
    assert_eq!(lab.model.running(), 0);
    assert_eq!(lab.instances(), 0.0);
}

#[tokio::test]
async fn a_guest_that_gives_up_on_a_call_stops_it() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let chain = lab.chain(vec![lab.link("never_awaits").await], OnFailure::Fail);
    assert!(ask(&chain, request(), HUNG).await.is_ok());
    assert_eq!(lab.model.running(), 0);
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

/// As many at once as one policy may have.
#[tokio::test]
async fn the_stacks_that_guests_hold_are_nobody_elses() {
    let lab = Lab::new(16);
    let good = lab.chain(vec![lab.link("passes_on").await], OnFailure::Fail);
    let bad = lab.chain(vec![lab.link("takes_all_stacks").await], OnFailure::Fail);
    let attacks = async {
        let attacks = (0..12).map(|_| ask(&bad, request(), HUNG));
        for answer in join_all(attacks).await {
            assert!(matches!(answer, Err(Error::PolicyFailed { .. })), "{answer:?}");
        }
    };
    let flow = async {
        loop {
            assert_eq!(ask(&good, request(), HUNG).await, Ok(ranked_by_words()));
        }
    };
    tokio::select! {
        () = attacks => {}
        () = flow => unreachable!(),
    }
}

#[tokio::test]
async fn a_guest_that_would_not_leave_is_dropped_with_its_request() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let links = vec![lab.link("never_returns").await, lab.link("never_returns").await];
    let chain = lab.chain(links, OnFailure::Fail);
    let context = context(HUNG);
    let mut answer = chain.rerank(request(), &context);
    while lab.model.running() == 0 {
        assert!(futures_util::poll!(answer.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.instances(), 2.0);
    drop(answer);
    assert_eq!((lab.instances(), lab.model.running()), (0.0, 0));
}

#[tokio::test]
async fn a_guest_that_would_not_leave_is_dropped_when_its_caller_gives_up() {
    let mut lab = Lab::new(8);
    lab.model = Arc::new(Words { takes: HUNG, ..Words::default() });
    let links = vec![lab.link("never_awaits").await, lab.link("never_returns").await];
    let chain = lab.chain(links, OnFailure::Fail);
    assert!(ask(&chain, request(), HUNG).await.is_ok());
    assert_eq!((lab.instances(), lab.model.running()), (0.0, 0));
}

#[tokio::test]
async fn a_request_may_be_dropped_at_any_moment() {
    let lab = Lab::new(8);
    for guest in ["endless_loop", "sleeps", "yields_forever", "writes_1_gb", "exhausts_handles"] {
        let chain = lab.chain(vec![lab.link(guest).await], OnFailure::Fail);
        for polls in 1..20 {
            let context = context(HUNG);
            let mut answer = chain.rerank(request(), &context);
            for _ in 0..polls {
                if futures_util::poll!(answer.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(answer);
            assert_eq!(lab.instances(), 0.0, "{guest} after {polls} polls");
        }
    }
}

#[tokio::test]
async fn one_request_does_not_take_all_instances() {
    let lab = Lab::new(16);
    let link = lab.link("fans_out").await;
    // Eight calls each would be 73 guests at once, and 512 calls of the model.
    let chain = lab.chain(vec![link.clone(), link.clone(), link], OnFailure::Fail);
    assert_eq!(ask(&chain, request(), HUNG).await, Ok(ranked_by_words()));
    assert_eq!((lab.instances(), lab.model.running()), (0.0, 0));
}

#[tokio::test]
async fn one_policy_does_not_take_all_instances() {
    let lab = Lab::new(8);
    let sleepy = lab.chain(vec![lab.link("sleeps").await], OnFailure::Fail);
    let good = lab.chain(vec![lab.link("passes_on").await], OnFailure::Fail);
    let sleepers = join_all((0..8).map(|_| ask(&sleepy, request(), DEADLINE)));
    let bystander = async {
        while lab.instances() < 6.0 {
            tokio::task::yield_now().await;
        }
        ask(&good, request(), HUNG).await
    };
    let (sleepers, bystander) = tokio::join!(sleepers, bystander);
    assert_eq!(bystander, Ok(ranked_by_words()));
    let refused = |a: &&Result<Ranking, Error>| matches!(a, Err(Error::Overloaded { .. }));
    assert_eq!(sleepers.iter().filter(refused).count(), 2, "{sleepers:?}");
}

#[tokio::test]
async fn a_policy_is_tried_as_soon_as_there_is_room() {
    let mut lab = Lab::new(1);
    lab.model = Arc::new(Words { takes: DEADLINE, ..Words::default() });
    let link = lab.link("passes_on").await;
    let chain = lab.chain(vec![link], OnFailure::Fail);
    let busy = ask(&chain, request(), HUNG);
    let load = async {
        while lab.instances() < 1.0 {
            tokio::task::yield_now().await;
        }
        lab.try_policy("dedupe", &[]).await
    };
    let (busy, loaded) = tokio::join!(busy, load);
    assert_eq!(busy, Ok(ranked_by_words()));
    assert!(loaded.is_ok(), "{loaded:?}");
}
