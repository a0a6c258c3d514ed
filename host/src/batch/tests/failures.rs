//! Replicas that fail, and what becomes of the calls that they had.

use super::*;

/// How a batch can go wrong.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Does(Act),
    Hangs,
}

const WAYS: [(Wrong, &str); 4] = [
    (Wrong::Does(Act::Panic), "the engine panicked: as the test wished"),
    (Wrong::Does(Act::Err), "the device failed: as the test wished"),
    (Wrong::Does(Act::NotANumber), "logit 1 of 2 is NaN"),
    (Wrong::Hangs, "a batch took longer than its limit, 10000 ms"),
];

#[tokio::test(start_paused = true)]
async fn pairs_of_a_failed_replica_are_scored_elsewhere() {
    let _clock = hold_clock();
    for (wrong, reason) in WAYS {
        let (mut stage, batcher, metrics) = staged(2, &settings()).await;
        let scored = begin(batcher.score(call(&[&[1], &[2]]))).await;
        let failing = stage.next().await;
        let failed = failing.engine;
        let late = fail(failing, wrong).await;
        let again = stage.next().await;
        assert_ne!(again.engine, failed, "{wrong:?}");
        assert_eq!(again.batch.pairs.len(), 2, "{wrong:?}");
        let broken =
            |state: &State| matches!(state, State::Failed { reason: text } if **text == *reason);
        let status = batcher.status();
        assert!(status.replicas.iter().any(broken), "{wrong:?}: {status:?}");
        again.go(Act::Score);
        assert_eq!(scored.await.unwrap().logits, truths(&[&[1], &[2]]));

        advance(SECOND).await;
        up(&batcher, 2).await;
        assert!(metrics.render().contains("maitred_replica_restarts_total"));
        // What a thread says after it was given up is not heard.
        drop(late);
        let first = begin(batcher.score(call(&[&[3]]))).await;
        let begun = stage.next().await;
        let second = begin(batcher.score(call(&[&[4]]))).await;
        let begun = [begun, stage.next().await];
        assert!(begun.iter().all(|begun| begun.engine != failed), "{wrong:?}");
        drop(begun);
        assert_eq!(first.await.unwrap().logits, truths(&[&[3]]));
        assert_eq!(second.await.unwrap().logits, truths(&[&[4]]));
        batcher.stop().await;
    }
}

async fn fail(begun: Begun, wrong: Wrong) -> Option<Begun> {
    match wrong {
        Wrong::Does(act) => {
            begun.go(act);
            None
        }
        Wrong::Hangs => {
            advance(10 * SECOND).await;
            Some(begun)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_replica_tries_again_after_its_restart() {
    let _clock = hold_clock();
    for (wrong, _) in WAYS {
        let (mut stage, batcher, _) = staged(1, &settings()).await;
        let scored = begin(batcher.score(call(&[&[1], &[2]]))).await;
        let late = fail(stage.next().await, wrong).await;
        up(&batcher, 0).await;
        let waits = begin(batcher.score(call(&[&[3]]))).await;
        queued(&batcher, 3).await;
        advance(SECOND).await;
        stage.next().await.go(Act::Score);
        stage.next().await.go(Act::Score);
        assert_eq!(scored.await.unwrap().logits, truths(&[&[1], &[2]]));
        assert_eq!(waits.await.unwrap().logits, truths(&[&[3]]));
        drop(late);
        batcher.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_pair_takes_down_its_own_call_only() {
    let _clock = hold_clock();
    const POISON: u32 = 13;
    let poisoned = |_, batch: &Batch| {
        let poison = batch.pairs.iter().any(|pair| pair.ids[0] == POISON);
        if poison { Act::Panic } else { Act::Score }
    };
    let plan = Plan { restart_ms: Duration::ZERO, ..plan(scripted(traits(), Arc::new(poisoned))) };
    let batcher = Batcher::start(plan, 1, &settings(), &Metrics::new());
    let calls = [1, 2, POISON, 4].map(|id| batcher.score(call(&[&[id], &[id]])));
    for (id, answer) in [1, 2, POISON, 4].into_iter().zip(join_all(calls).await) {
        match id {
            POISON => {
                let error = answer.unwrap_err().to_string();
                let expected = "scoring failed twice, the second time because the engine panicked";
                assert!(error.starts_with(expected), "{error}");
            }
            _ => assert_eq!(answer.unwrap().logits, truths(&[&[id], &[id]])),
        }
    }
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_no_engine_takes_leaves_the_replica_in_service() {
    let _clock = hold_clock();
    let (mut stage, batcher, _) = staged(1, &settings()).await;
    let refused = begin(batcher.score(call(&[&[13]]))).await;
    stage.next().await.go(Act::Reject);
    stage.next().await.go(Act::Reject);
    let reason = "the batch does not fit the model: as the test wished".into();
    assert_eq!(refused.await, Err(BatchError::Failed { reason }));
    let scored = begin(batcher.score(call(&[&[1]]))).await;
    let begun = stage.next().await;
    assert_eq!(begun.engine, 0, "the engine is still the first");
    begun.go(Act::Score);
    assert_eq!(scored.await.unwrap().logits, truths(&[&[1]]));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn calls_are_refused_when_every_replica_has_failed_repeatedly() {
    let _clock = hold_clock();
    let (grant, granted) = std::sync::mpsc::channel();
    let granted = std::sync::Mutex::new(granted);
    let healthy = scripted(traits(), Arc::new(|_, _: &Batch| Act::Score));
    let factory: EngineFactory = Arc::new(move || match granted.lock().unwrap().recv() {
        Ok(true) => healthy(),
        _ => Err(EngineError::Device("is away".into())),
    });
    let batcher = Batcher::start(plan(factory), 1, &settings(), &Metrics::new());
    let waits = begin(batcher.score(call(&[&[1]]))).await;
    for pause in [1, 2] {
        grant.send(false).unwrap();
        let failed = |status: &Status| matches!(status.replicas[0], State::Failed { .. });
        batcher.status_when(failed).await.unwrap();
        assert_eq!(batcher.status().queued.pairs, 1, "there is hope");
        advance(pause * SECOND).await;
        let starts = |status: &Status| status.replicas[0] == State::Starting;
        batcher.status_when(starts).await.unwrap();
    }
    grant.send(false).unwrap();
    let retry_after = 4 * SECOND;
    let refused = Err(BatchError::Unavailable { retry_after });
    assert_eq!(waits.await, refused);
    assert_eq!(batcher.score(call(&[&[1]])).await, refused);
    advance(4 * SECOND).await;
    grant.send(true).unwrap();
    up(&batcher, 1).await;
    let scored = batcher.score(call(&[&[1]])).await.unwrap();
    assert_eq!(scored.logits, truths(&[&[1]]));
    batcher.stop().await;
}
