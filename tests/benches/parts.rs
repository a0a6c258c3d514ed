//! What the small parts of a request cost alone: a passage in the tokenizer, a cut of
//! the schedule, counting what a request was, and a look at all metrics, as the
//! dashboard takes one every second.
//!
//! `cargo bench -p maitred-tests --bench parts`, with the imported model (`cargo xtask
//! model`). Times are medians: the machine is shared.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use maitred::batch::schedule::{Entry, Schedule};
use maitred::batch::shape::Shape;
use maitred::checkpoint::{self, Hub};
use maitred::config::Truncation;
use maitred::metrics::reading::Reading;
use maitred::metrics::{Metrics, RouteStage, RouteStatus};
use maitred::rerank::Priority;
use maitred::tokenize::PairEncoder;

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
const ROUNDS: usize = 1000;
/// As many as the queue may hold by default.
const QUEUED: usize = 10_000;
const ROUTES: [&str; 3] = ["default", "fresh", "shop"];
const STAGES: [&str; 5] = ["total", "tokenize", "queue", "inference", "guest_cpu"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let model = checkpoint::locate(MODEL, &Hub::from_env()).await?;
    passages(&model.tokenizer)?;
    cuts();
    metrics();
    Ok(())
}

fn passages(tokenizer: &Path) -> anyhow::Result<()> {
    let encoder = PairEncoder::load(tokenizer, true, 512, Truncation::LongestFirst)?;
    let query = encoder.query("how long should bread dough rise")?;
    let passage = "Most yeasted doughs double in one to two hours at room temperature. In a \
        cool kitchen the first rise may take three. Watch the dough rather than the clock: press \
        a floured finger into it, and if the dent fills slowly and only part of the way, the \
        dough is ready to be shaped.";
    for (what, text) in [("a passage", passage.to_string()), ("a megabyte", passage.repeat(3600))] {
        let tokens = encoder.pair(&query, &text, 0, Truncation::LongestFirst)?.pair.tokens();
        let median = median(|| {
            let began = Instant::now();
            let encoded = encoder.pair(&query, &text, 0, Truncation::LongestFirst);
            let took = began.elapsed();
            assert!(encoded.is_ok_and(|encoded| encoded.pair.tokens() == tokens));
            took
        });
        println!("tokenizer: {what}, {tokens} tokens with the query: {median:?}");
    }
    Ok(())
}

fn cuts() {
    for (what, pairs_per_ticket, routes) in
        [("100 pairs a ticket", 100, 1), ("1 pair a ticket", 1, 1), ("10 routes", 10, 10)]
    {
        for (ragged, tokens_max) in [(true, 384), (true, 4096), (false, 32_768)] {
            let shape = Shape { ragged, tokens_min: 256, tokens_max, pairs_max: 512, replicas: 2 };
            let mut rng = Rng::with_seed(1);
            let mut schedule = Schedule::new(10_000, Duration::ZERO);
            let now = tokio::time::Instant::now();
            let mut pairs = 0;
            let median = median(|| {
                for route in (0..routes).cycle() {
                    if schedule.queued().pairs >= QUEUED {
                        break;
                    }
                    let entry = Entry {
                        route: format!("route {route}").into(),
                        weight: 1,
                        priority: Priority::Normal,
                        deadline: now + Duration::from_secs(10),
                        tokens: (0..pairs_per_ticket).map(|_| rng.u32(20..130)).collect(),
                    };
                    schedule.push(entry, now);
                }
                let began = Instant::now();
                let slots = schedule.cut(&shape);
                let took = began.elapsed();
                pairs += slots.len();
                // The tickets end when their last pair is scored.
                for slot in slots.iter().filter(|slot| slot.pair + 1 == pairs_per_ticket) {
                    schedule.remove(slot.ticket);
                }
                took
            });
            println!(
                "schedule: {what}, ragged {ragged}, {tokens_max} tokens: {median:?} a cut of {} pairs",
                pairs / ROUNDS,
            );
        }
    }
}

fn metrics() {
    let metrics = Metrics::new();
    let count = |route: &str| {
        let labels = RouteStatus { route: route.into(), dialect: "tei".into(), status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        for stage in STAGES {
            let labels = RouteStage { route: route.into(), stage: stage.into() };
            metrics.request_duration.get_or_create(&labels).observe(0.01);
        }
    };
    ROUTES.into_iter().for_each(count);
    let counting = median(|| {
        let began = Instant::now();
        count(ROUTES[0]);
        began.elapsed()
    });
    println!("metrics: {counting:?} to count a request and its stages");
    let (mut lines, mut found) = (0, 0);
    let median = median(|| {
        let began = Instant::now();
        let text = metrics.render();
        let reading = Reading::parse(&text);
        let took = began.elapsed();
        lines = text.lines().filter(|line| !line.starts_with('#')).count();
        found = reading.lines("maitred_request_duration_seconds_count").len();
        took
    });
    assert_eq!(found, ROUTES.len() * STAGES.len());
    println!("metrics: a look at {lines} lines: {median:?}");
}

fn median(mut one: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| one()).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
