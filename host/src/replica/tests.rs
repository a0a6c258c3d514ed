//! The state machine of a replica, driven by hand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::fake::{Act, pair, plan, scripted, traits};
use super::*;
use crate::engine::EngineError;

const SECOND: Duration = Duration::from_secs(1);

fn start(plan: Plan) -> (Replica, UnboundedReceiver<Report>, Instant) {
    let (report, reports) = unbounded_channel();
    let now = Instant::now();
    (Replica::start(Arc::new(plan), 0, report, now), reports, now)
}

fn scoring(act: Act) -> Plan {
    plan(scripted(traits(), Arc::new(move |_, _: &Batch| act)))
}

/// Hears reports until one is news.
async fn news(
    replica: &mut Replica,
    reports: &mut UnboundedReceiver<Report>,
    now: Instant,
) -> News {
    loop {
        let report = reports.recv().await.unwrap();
        match replica.hear(report, now) {
            News::None => {}
            news => return news,
        }
    }
}

fn batch() -> Batch {
    Batch { pairs: vec![pair(&[1, 2])] }
}

#[tokio::test]
async fn restarts_back_off_until_a_batch_is_scored() {
    // Every second batch fails; making the engine always works.
    let healthy = Arc::new(Mutex::new(false));
    let script = {
        let healthy = healthy.clone();
        move |_, _: &Batch| match *healthy.lock().unwrap() {
            true => Act::Score,
            false => Act::Err,
        }
    };
    let plan = plan(scripted(traits(), Arc::new(script)));
    let (mut replica, mut reports, mut now) = start(plan);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert!(matches!(news(&mut replica, &mut reports, now).await, News::Ready));
        replica.score(batch(), now);
        assert!(matches!(news(&mut replica, &mut reports, now).await, News::Failed(_)));
        let at = replica.next_timer().unwrap();
        assert!(matches!(replica.tend(at - SECOND / 2), News::None));
        assert!(matches!(replica.tend(at), News::Restarted));
        pauses.push((at - now).as_secs());
        now = at;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    assert!(replica.is_lost(), "a start alone is no success");
    news(&mut replica, &mut reports, now).await;
    assert!(!replica.is_lost(), "but a reason to hope");
    *healthy.lock().unwrap() = true;
    replica.score(batch(), now);
    assert!(matches!(news(&mut replica, &mut reports, now).await, News::Scored(_)));
    *healthy.lock().unwrap() = false;
    replica.score(batch(), now);
    news(&mut replica, &mut reports, now).await;
    assert_eq!(replica.next_timer(), Some(now + SECOND));
    replica.stop().into_iter().for_each(join);
}

#[tokio::test]
async fn every_batch_has_its_limit_warm_up_included() {
    let (mut replica, mut reports, now) = start(scoring(Act::Score));
    assert_eq!(replica.next_timer(), None, "loading takes as long as it takes");
    let made = reports.recv().await.unwrap();
    replica.hear(made, now);
    assert_eq!(replica.next_timer(), Some(now + 20 * SECOND), "two batches");
    assert!(matches!(news(&mut replica, &mut reports, now).await, News::Ready));
    assert_eq!(replica.next_timer(), None);
    replica.score(batch(), now);
    assert_eq!(replica.next_timer(), Some(now + 10 * SECOND));
    assert!(matches!(replica.tend(now + 10 * SECOND), News::Failed(Failure::Hung(_))));
    replica.stop().into_iter().for_each(join);
}

#[test]
fn a_fast_engine_hangs_sooner() {
    let limit = |longest_ms, max_s| {
        hang_limit(Duration::from_millis(longest_ms), max_s * SECOND).as_millis()
    };
    assert_eq!(limit(1, 60), 10_000, "pauses of the machine are no hang");
    assert_eq!(limit(1_000, 60), 20_000);
    assert_eq!(limit(5_000, 60), 60_000);
    assert_eq!(limit(1, 2), 2_000, "batch_ms_max is the last word");
}

#[tokio::test]
async fn threads_that_hang_are_bounded() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let batches = [const { AtomicUsize::new(0) }; HUNG_THREADS_MAX];
    // Each engine scores one batch, so that its replica has no failures in a row. Each counts
    // its own: one that is given up may begin its second after the next one's first.
    let script = move |engine: usize, _: &Batch| {
        if batches[engine].fetch_add(1, Ordering::SeqCst) == 1 {
            let _ = held.lock().map(|held| held.recv());
        }
        Act::Score
    };
    let (mut replica, mut reports, mut now) = start(plan(scripted(traits(), Arc::new(script))));
    for _ in 0..HUNG_THREADS_MAX {
        assert!(matches!(news(&mut replica, &mut reports, now).await, News::Ready));
        assert!(!replica.is_lost());
        replica.score(batch(), now);
        assert!(matches!(news(&mut replica, &mut reports, now).await, News::Scored(_)));
        replica.score(batch(), now);
        now += 10 * SECOND;
        assert!(matches!(replica.tend(now), News::Failed(Failure::Hung(_))));
        now = replica.next_timer().unwrap();
        replica.tend(now);
    }
    let State::Failed { reason } = replica.state() else {
        panic!("{:?}", replica.state());
    };
    assert_eq!(&*reason, "too many of its threads hang");
    assert!(replica.is_lost(), "nobody should wait for it");
    drop(release);
    while !matches!(replica.tend(replica.next_timer().unwrap()), News::Restarted) {
        std::thread::yield_now();
    }
    assert!(!replica.is_lost());
    replica.stop().into_iter().for_each(join);
}

#[tokio::test]
async fn failures_of_any_kind_are_told() {
    let away: EngineFactory = Arc::new(|| Err(EngineError::Device("is away".into())));
    let panics: EngineFactory = Arc::new(|| panic!("no {}", "luck"));
    for (factory, expected) in
        [(away, "the device failed: is away"), (panics, "the engine panicked: no luck")]
    {
        let (mut replica, mut reports, now) = start(plan(factory));
        let News::Failed(failure) = news(&mut replica, &mut reports, now).await else {
            panic!("it cannot start");
        };
        assert_eq!(failure.to_string(), expected);
        replica.stop().into_iter().for_each(join);
    }
}

#[test]
fn engines_warm_up_on_the_smallest_and_the_largest_batch() {
    let warm_up = WarmUp {
        short: pair(&[1]),
        long: pair(&[1; 512]),
        batch_tokens_max: None,
        batch_pairs_max: 64,
    };
    let sizes = |warm_up: &WarmUp| warm_up.batches(&traits()).map(|batch| batch.pairs.len());
    assert_eq!(sizes(&warm_up), [1, 8]);
    let batch_tokens_max = Some(100);
    assert_eq!(sizes(&WarmUp { batch_tokens_max, ..warm_up.clone() }), [1, 1]);
    assert_eq!(sizes(&WarmUp { batch_pairs_max: 3, ..warm_up }), [1, 3]);
}
