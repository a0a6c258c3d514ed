//! The batcher over fake engines on real threads, under a clock that stands
//! still unless a test moves it.

mod failures;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;

use fastrand::Rng;
use futures_util::future::{FutureExt, join_all, poll_fn};
use tokio::time::advance;

use super::*;
use crate::engine::{Batch, CrossEncoder, EngineError, EngineFactory};
use crate::replica::fake::{Act, Begun, Stage, hold_clock, pair, plan, scripted, traits, truth};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> BatchSettings {
    BatchSettings {
        queue_pairs_max: 1000,
        queue_tokens_max: 100_000,
        batch_tokens_max: None,
        batch_pairs_max: 64,
        batch_wait_ms: Duration::ZERO,
        queue_cuts_max: 1000,
    }
}

fn call(pairs: &[&[u32]]) -> Call {
    Call {
        pairs: pairs.iter().map(|ids| pair(ids)).collect(),
        route: "route".into(),
        weight: 1,
        priority: Priority::Normal,
        deadline: Instant::now() + 100 * SECOND,
    }
}

fn truths(pairs: &[&[u32]]) -> Vec<f32> {
    pairs.iter().map(|ids| truth(ids)).collect()
}

async fn up(batcher: &Batcher, replicas: usize) {
    let up = |status: &Status| status.replicas.iter().filter(|state| state.is_up()).count();
    batcher.status_when(|status| up(status) == replicas).await.unwrap();
}

async fn queued(batcher: &Batcher, pairs: usize) {
    let asked = |status: &Status| status.queued.pairs == pairs;
    batcher.status_when(asked).await.unwrap();
}

/// Hands the call over now; it is awaited later.
async fn begin<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    let mut future = Box::pin(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    future
}

async fn staged(replicas: usize, settings: &BatchSettings) -> (Stage, Batcher, Arc<Metrics>) {
    // Two short pairs are one batch, however many replicas are idle.
    let traits = EngineTraits { batch_tokens_min: 100, ..traits() };
    let (stage, factory) = Stage::new(traits);
    let metrics = Metrics::new();
    let batcher = Batcher::start(plan(factory), replicas, settings, &metrics);
    up(&batcher, replicas).await;
    (stage, batcher, metrics)
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_waits_for_nobody() {
    let _clock = hold_clock();
    let (mut stage, batcher, metrics) = staged(1, &settings()).await;
    let pairs: [&[u32]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
    let scored = begin(batcher.score(call(&pairs))).await;
    let batch = stage.next().await;
    assert_eq!(batch.batch.pairs.len(), 3);
    advance(SECOND).await;
    batch.go(Act::Score);
    let scored = scored.await.unwrap();
    assert_eq!(scored.logits, truths(&pairs));
    assert_eq!((scored.queue, scored.inference), (Duration::ZERO, SECOND));
    let text = metrics.render();
    for line in [
        "maitred_pairs_total{model=\"fake\"} 3",
        "maitred_batches_total{model=\"fake\"} 1",
        "maitred_batch_tokens_total{model=\"fake\"} 6",
        "maitred_queue_pairs{model=\"fake\"} 0",
        "maitred_replica_up{model=\"fake\",replica=\"0\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(batcher.status().tokens_per_second > 0.0);
    batcher.stop().await;
}

/// However slow the last batch was: a call that nobody is before is tried.
#[tokio::test(start_paused = true)]
async fn an_idle_batcher_refuses_nobody() {
    let _clock = hold_clock();
    let (mut stage, batcher, _) = staged(1, &settings()).await;
    let slow = begin(batcher.score(call(&[&[1]]))).await;
    let batch = stage.next().await;
    let long: &[u32] = &[1; 75];
    batch.go(Act::Score);
    slow.await.unwrap();
    // Less than any engine needs, so that the measured speed would forbid it.
    let hasty = Call { deadline: Instant::now() + Duration::from_nanos(1), ..call(&[long]) };
    let hasty = begin(batcher.score(hasty)).await;
    stage.next().await.go(Act::Score);
    assert_eq!(hasty.await.unwrap().logits, truths(&[long]));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_of_eight_pairs_uses_all_replicas() {
    let _clock = hold_clock();
    let (mut stage, batcher, _) = staged(4, &settings()).await;
    let ids: Vec<Vec<u32>> = (0..8).map(|n| vec![n; 75]).collect();
    let pairs: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let scored = begin(batcher.score(call(&pairs))).await;
    let mut begun = Vec::new();
    for _ in 0..4 {
        begun.push(stage.next().await);
    }
    let mut engines: Vec<_> = begun.iter().map(|begun| begun.engine).collect();
    engines.sort_unstable();
    assert_eq!(engines, [0, 1, 2, 3]);
    drop((begun, stage));
    assert_eq!(scored.await.unwrap().logits, truths(&pairs));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn batches_form_while_replicas_are_busy() {
    let _clock = hold_clock();
    let (mut stage, batcher, _) = staged(1, &settings()).await;
    let first = begin(batcher.score(call(&[&[1]]))).await;
    let begun = stage.next().await;
    let second = begin(batcher.score(call(&[&[2], &[3]]))).await;
    let third = begin(batcher.score(call(&[&[4]]))).await;
    queued(&batcher, 3).await;
    assert!(stage.is_quiet());
    begun.go(Act::Score);
    let begun = stage.next().await;
    assert_eq!(begun.batch.pairs.len(), 3);
    begun.go(Act::Score);
    assert_eq!(first.await.unwrap().logits, truths(&[&[1]]));
    assert_eq!(second.await.unwrap().logits, truths(&[&[2], &[3]]));
    assert_eq!(third.await.unwrap().logits, truths(&[&[4]]));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_replica_waits_as_long_as_it_was_told() {
    let clock = hold_clock();
    let settings =
        BatchSettings { batch_wait_ms: Duration::from_millis(5), batch_pairs_max: 3, ..settings() };
    let (mut stage, batcher, _) = staged(1, &settings).await;
    let lone = begin(batcher.score(call(&[&[1]]))).await;
    queued(&batcher, 1).await;
    assert!(stage.is_quiet());
    advance(Duration::from_millis(5)).await;
    stage.next().await.go(Act::Score);
    assert_eq!(lone.await.unwrap().queue, Duration::from_millis(5));
    let full = begin(batcher.score(call(&[&[1], &[2], &[3]]))).await;
    stage.next().await.go(Act::Score);
    assert_eq!(full.await.unwrap().queue, Duration::ZERO);
    drop(clock);
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_the_queue() {
    let _clock = hold_clock();
    let (mut stage, batcher, metrics) = staged(1, &settings()).await;
    let busy = begin(batcher.score(call(&[&[1]]))).await;
    let begun = stage.next().await;
    let dropped = begin(batcher.score(call(&[&[2], &[3]]))).await;
    queued(&batcher, 2).await;
    drop(dropped);
    queued(&batcher, 0).await;
    assert!(metrics.render().contains("maitred_pairs_cancelled_total{model=\"fake\"} 2"));
    // Also with its pairs in a batch.
    drop(busy);
    begun.go(Act::Score);
    let next = begin(batcher.score(call(&[&[4]]))).await;
    stage.next().await.go(Act::Score);
    assert_eq!(next.await.unwrap().logits, truths(&[&[4]]));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_beyond_the_deadline_is_told_at_once() {
    let _clock = hold_clock();
    let (mut stage, batcher, _) = staged(1, &settings()).await;
    let hurried = || {
        let deadline = Instant::now() + Duration::from_nanos(1);
        Call { deadline, ..call(&[&[9]]) }
    };
    let unknown = begin(batcher.score(hurried())).await;
    stage.next().await.go(Act::Score);
    assert!(unknown.await.is_ok(), "nothing is known before the first batch");
    let first = begin(batcher.score(call(&[&[1]]))).await;
    let begun = stage.next().await;
    let refused = batcher.score(hurried()).await;
    assert!(matches!(refused, Err(BatchError::Overloaded { .. })), "{refused:?}");
    let wait = |route, priority| {
        let call = Newcomer { route, priority, weight: 1, tokens: 0 };
        batcher.status().time_until_served(call)
    };
    let in_flight = wait("other", Priority::Normal);
    assert!(in_flight > Duration::ZERO);
    let second = begin(batcher.score(call(&[&[2, 3, 4]]))).await;
    queued(&batcher, 1).await;
    assert!(wait("route", Priority::Normal) > in_flight);
    assert!(wait("route", Priority::Low) > in_flight);
    assert_eq!(wait("route", Priority::High), in_flight);
    assert_eq!(wait("other", Priority::Normal), in_flight, "its own share is free");
    begun.go(Act::Score);
    stage.next().await.go(Act::Score);
    assert!(first.await.is_ok() && second.await.is_ok());
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn calls_end_with_their_deadline() {
    let _clock = hold_clock();
    let (mut stage, batcher, metrics) = staged(1, &settings()).await;
    let until = |seconds: u32, ids: &[u32]| Call {
        deadline: Instant::now() + seconds * SECOND,
        ..call(&[ids])
    };
    let flying = begin(batcher.score(until(2, &[1]))).await;
    let begun = stage.next().await;
    let waiting = begin(batcher.score(until(1, &[2]))).await;
    let patient = begin(batcher.score(until(3, &[3]))).await;
    queued(&batcher, 2).await;
    advance(SECOND).await;
    assert_eq!(waiting.await, Err(BatchError::DeadlineExceeded));
    assert_eq!(batcher.status().queued.pairs, 1);
    assert!(metrics.render().contains("maitred_pairs_expired_total{model=\"fake\"} 1"));
    advance(SECOND).await;
    assert_eq!(flying.await, Err(BatchError::DeadlineExceeded));
    begun.go(Act::Score);
    stage.next().await.go(Act::Score);
    assert_eq!(patient.await.unwrap().logits, truths(&[&[3]]));
    batcher.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_was_taken_and_ends_the_threads() {
    let _clock = hold_clock();
    let alive = Arc::new(AtomicUsize::new(0));
    let (mut stage, factory) = Stage::new(traits());
    let counted: EngineFactory = {
        let alive = alive.clone();
        Arc::new(move || {
            let alive = Alive(alive.clone());
            alive.0.fetch_add(1, SeqCst);
            Ok(Box::new(Counted(factory()?, alive)))
        })
    };
    let batcher = Batcher::start(plan(counted), 1, &settings(), &Metrics::new());
    up(&batcher, 1).await;
    let flying = begin(batcher.score(call(&[&[1]]))).await;
    let begun = stage.next().await;
    let waiting = begin(batcher.score(call(&[&[2]]))).await;
    queued(&batcher, 1).await;
    let stopped = begin(batcher.stop()).await;
    assert_eq!(batcher.score(call(&[&[3]])).await, Err(BatchError::Stopped));
    begun.go(Act::Score);
    stage.next().await.go(Act::Score);
    assert_eq!(flying.await.unwrap().logits, truths(&[&[1]]));
    assert_eq!(waiting.await.unwrap().logits, truths(&[&[2]]));
    stopped.await;
    assert_eq!(alive.load(SeqCst), 0);
    assert_eq!(batcher.score(call(&[&[4]])).await, Err(BatchError::Stopped));
}

/// Counts the engines that have not been dropped.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

struct Counted(Box<dyn CrossEncoder>, #[allow(dead_code)] Alive);

impl CrossEncoder for Counted {
    fn traits(&self) -> EngineTraits {
        self.0.traits()
    }

    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError> {
        self.0.score(batch, logits)
    }
}

/// Real threads and a real clock: whoever calls, and whatever fails, every
/// answer belongs to its call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_lands_on_another_call() {
    const CALLERS: u64 = 64;
    let seed: u64 = std::env::var("MAITRED_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let batches = AtomicUsize::new(0);
    // More batches apart than there are callers, so that no call fails twice.
    let script = move |_, _: &Batch| match batches.fetch_add(1, SeqCst) % 100 {
        99 => Act::NotANumber,
        _ => Act::Score,
    };
    let plan =
        Plan { restart_ms: Duration::from_millis(1), ..plan(scripted(traits(), Arc::new(script))) };
    let batcher = Batcher::start(plan, 3, &settings(), &Metrics::new());
    let callers = (0..CALLERS).map(|caller| {
        let batcher = batcher.clone();
        tokio::spawn(async move {
            let mut rng = Rng::with_seed(seed.wrapping_add(caller));
            let mut scored = 0;
            for _ in 0..20 {
                let pairs: Vec<Vec<u32>> = (0..rng.usize(1..9))
                    .map(|_| (0..rng.usize(1..200)).map(|_| rng.u32(0..30_000)).collect())
                    .collect();
                let pairs: Vec<&[u32]> = pairs.iter().map(Vec::as_slice).collect();
                let answer = batcher.score(call(&pairs));
                if rng.u32(0..4) == 0 {
                    // Handed over and given up, unless the replicas were faster.
                    if let Some(answer) = answer.now_or_never() {
                        assert_eq!(answer.unwrap().logits, truths(&pairs));
                    }
                    continue;
                }
                assert_eq!(answer.await.unwrap().logits, truths(&pairs));
                scored += 1;
            }
            scored
        })
    });
    let scored: usize = join_all(callers).await.into_iter().map(Result::unwrap).sum();
    println!("{scored} calls scored");
    assert!(scored > 800);
    batcher.stop().await;
}
