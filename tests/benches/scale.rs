//! The batcher with more replicas than this machine has cores: engines that take a core's
//! time and do none of its work, since they sleep as long as the six-layer model computes in
//! int8.
//!
//! `cargo bench -p maitred-tests --bench scale`. It says what one queue and its task cost and
//! how evenly they divide, and nothing of caches and memory, which real engines share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;
use maitred::batch::{Batcher, Call};
use maitred::config::BatchSettings;
use maitred::engine::{Batch, CrossEncoder, EngineError, EngineTraits, Pair};
use maitred::metrics::Metrics;
use maitred::replica::{Plan, State, WarmUp};
use maitred::rerank::Priority;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What a core takes for a token.
const TOKEN: Duration = Duration::from_micros(60);
const DOCUMENTS: usize = 96;
/// Requests under full load, for each replica.
const CLIENTS: usize = 2;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
/// Of lone requests, whose median counts.
const ROUNDS: usize = 21;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    for replicas in [2, 8, 32, 128] {
        let done = Arc::new(Done::default());
        let batcher = start(replicas, done.clone()).await?;
        let alone = lone_request(&batcher, replicas).await?;
        let Load { used, batches_per_second, cpu } = full_load(&batcher, replicas, &done).await?;
        println!(
            "{replicas:>4} replicas: {:.1} % of their time used under full load; {:.0} batches a \
             second, {cpu:?} of CPU each; a request alone takes {alone:.2} times its longest part",
            100.0 * used,
            batches_per_second,
        );
        batcher.stop().await;
    }
    Ok(())
}

/// What all engines have scored.
#[derive(Default)]
struct Done {
    batches: AtomicUsize,
    tokens: AtomicUsize,
}

struct Asleep(Arc<Done>);

impl CrossEncoder for Asleep {
    fn traits(&self) -> EngineTraits {
        // Those of the engine `packed`.
        EngineTraits {
            ragged: true,
            length_max: 512,
            batch_tokens_max: 384,
            batch_tokens_min: 48,
            precision: "int8",
        }
    }

    fn score(&mut self, batch: &Batch, logits: &mut [f32]) -> Result<(), EngineError> {
        let tokens = batch.pairs.iter().map(|pair| pair.tokens()).sum::<usize>();
        std::thread::sleep(TOKEN * tokens as u32);
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.0.tokens.fetch_add(tokens, Ordering::Relaxed);
        logits.fill(0.0);
        Ok(())
    }
}

async fn start(replicas: usize, done: Arc<Done>) -> anyhow::Result<Batcher> {
    let plan = Plan {
        model: "asleep".into(),
        factory: Arc::new(move || Ok(Box::new(Asleep(done.clone())))),
        warm_up: WarmUp {
            short: pair(1),
            long: pair(1),
            batch_tokens_max: None,
            batch_pairs_max: 1,
        },
        batch_ms_max: Duration::from_secs(10),
        restart_ms: Duration::from_secs(1),
    };
    let settings = BatchSettings {
        queue_pairs_max: u64::MAX,
        queue_tokens_max: u64::MAX,
        batch_tokens_max: None,
        batch_pairs_max: 512,
        batch_wait_ms: Duration::ZERO,
        queue_cuts_max: 10_000,
    };
    let batcher = Batcher::start(plan, replicas, &settings, &Metrics::new());
    let all_up = batcher.status_when(|status| {
        status.replicas.len() == replicas && status.replicas.iter().all(State::is_up)
    });
    all_up.await.context("the batcher ended")?;
    Ok(batcher)
}

fn pair(tokens: usize) -> Arc<Pair> {
    Arc::new(Pair { ids: vec![1; tokens].into(), second_from: 1 })
}

/// Lengths as of passages, 90 tokens on average.
fn call(rng: &mut Rng) -> Call {
    Call {
        pairs: (0..DOCUMENTS).map(|_| pair(rng.usize(30..151))).collect(),
        route: "default".into(),
        weight: 1,
        priority: Priority::Normal,
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
    }
}

/// How many times as long as it would be if its tokens were divided evenly, or as its
/// longest pair takes.
async fn lone_request(batcher: &Batcher, replicas: usize) -> anyhow::Result<f64> {
    let mut rng = Rng::with_seed(1);
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let call = call(&mut rng);
        let tokens = call.pairs.iter().map(|pair| pair.tokens());
        let longest = tokens.clone().max().unwrap_or(0);
        let part = tokens.sum::<usize>().div_ceil(replicas).max(longest);
        let began = Instant::now();
        batcher.score(call).await?;
        ratios.push(began.elapsed().as_secs_f64() / (TOKEN * part as u32).as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    Ok(ratios[ROUNDS / 2])
}

struct Load {
    /// The part of the replicas' time in which they had something to do.
    used: f64,
    batches_per_second: f64,
    /// Of this process, with the clients, for a batch.
    cpu: Duration,
}

async fn full_load(batcher: &Batcher, replicas: usize, done: &Done) -> anyhow::Result<Load> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS * replicas {
        let batcher = batcher.clone();
        clients.spawn(async move {
            let mut rng = Rng::with_seed(client as u64);
            loop {
                if let Err(error) = batcher.score(call(&mut rng)).await {
                    return error;
                }
            }
        });
    }
    let look = || {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32);
        let counted = [&done.batches, &done.tokens].map(|count| count.load(Ordering::Relaxed));
        (Instant::now(), cpu, counted)
    };
    let window = async {
        sleep(WARM_UP).await;
        let before = look();
        sleep(WINDOW).await;
        (before, look())
    };
    let ((began, cpu_before, before), (ended, cpu_after, after)) = tokio::select! {
        Some(error) = clients.join_next() => anyhow::bail!("a client ended: {:?}", error?),
        looks = window => looks,
    };
    let seconds = (ended - began).as_secs_f64();
    let [batches, tokens] = [0, 1].map(|at| after[at] - before[at]);
    Ok(Load {
        used: TOKEN.as_secs_f64() * tokens as f64 / (seconds * replicas as f64),
        batches_per_second: batches as f64 / seconds,
        cpu: (cpu_after - cpu_before) / batches as u32,
    })
}
