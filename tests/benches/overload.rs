//! What becomes of a server that is asked for three times what it can do.
//!
//! First its capacity is measured with a few clients that wait for their answers;
//! then requests are sent at fixed times, whatever becomes of them, and latency
//! counts from the intended time. Everyone must get one answer: a ranking within
//! the deadline, or a refusal. When no more is sent than half of the capacity, the
//! server has recovered with the last refusal: that clock starts with the end of the
//! overload, while most of what was admitted still waits.
//!
//! The figures are printed, each with what it should be. On a shared machine they
//! vary, so only `--assert` makes a failure of them.
//!
//! `cargo bench -p maitred-tests --bench overload -- [SECONDS] [--assert]`, with the
//! imported model (`cargo xtask model`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::{join_all, try_join_all};
use maitred_tests::process::{Served, resident_bytes};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
const DOCUMENTS: usize = 4;
const TIMEOUT_MS: u64 = 3000;
/// Who measures the capacity.
const CLIENTS: usize = 8;
const CAPACITY_SECONDS: u64 = 20;
const OVERLOAD: f64 = 3.0;
/// What is sent after the overload, in parts of the capacity, and how long.
const AFTERWARDS: f64 = 0.5;
const AFTERWARDS_SECONDS: u64 = 10;

/// In percent of the capacity.
const GOODPUT_MIN: f64 = 95.0;
const REFUSAL_P99_MS_MAX: f64 = 10.0;
const RECOVERY_MS_MAX: f64 = 1000.0;
/// By how much the peak of memory may grow from the first half to the second, in
/// percent.
const GROWTH_MAX: f64 = 3.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.iter().find(|word| !word.starts_with('-'));
    let seconds: u64 =
        seconds.map_or(Ok(120), |word| word.parse()).context("SECONDS is a number")?;
    let asserts = words.iter().any(|word| word == "--assert");
    let server = Served::start(&["--model", MODEL]).await;
    let load = Arc::new(Load::new(&server));
    load.send().await?;

    let capacity = capacity(&load).await?;
    println!("capacity: {capacity:.1} requests/s of {DOCUMENTS} documents");

    let over = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn(watch(server.pid(), over.clone()));
    let began = Instant::now();
    let during = send(&load, capacity * OVERLOAD, Duration::from_secs(seconds)).await;
    let window = began.elapsed().as_secs_f64();
    let ended = Instant::now();
    over.store(true, Ordering::Relaxed);
    let time = Duration::from_secs(AFTERWARDS_SECONDS);
    let after = send(&load, capacity * AFTERWARDS, time).await;
    let (during, after) = (outcomes(during).await?, outcomes(after).await?);

    println!("sent {} in {window:.0} s ({OVERLOAD} times the capacity)", during.len());
    report(&during);
    println!("then {} in {AFTERWARDS_SECONDS} s ({AFTERWARDS} times the capacity)", after.len());
    report(&after);
    let answered = took(&during, 200);
    let late =
        answered.iter().chain(&took(&after, 200)).filter(|&&ms| ms > TIMEOUT_MS as f64).count();
    let refused = took(&during, 429);
    let expired = took(&during, 504).len() + took(&after, 504).len();
    let refusals = after.iter().filter(|one| one.status != 200);
    let recovered = refusals.map(|one| one.intended - ended).max().unwrap_or_default();
    let resident = watch.await?;
    let peak = |half: &[u64]| half.iter().max().map_or(0.0, |&bytes| bytes as f64);
    let (first, second) = resident.split_at(resident.len() / 2);
    let growth = 100.0 * (peak(second) / peak(first).max(1.0) - 1.0);
    let first_mib = peak(first) / f64::from(1 << 20);
    println!("resident memory at most {first_mib:.0} MiB in the first half of the overload");

    let goodput = 100.0 * answered.len() as f64 / (capacity * window);
    let mut verdict = Verdict::default();
    verdict.at_least("goodput, % of the capacity", goodput, GOODPUT_MIN);
    verdict.at_most("p99 of refusals, ms", part(&refused, 0.99), REFUSAL_P99_MS_MAX);
    verdict.at_most("answered after their deadline", late as f64, 0.0);
    verdict.at_most("admitted and expired", expired as f64, 0.0);
    verdict.at_most("growth of memory in the second half, %", growth, GROWTH_MAX);
    verdict.at_most("last refusal after the overload, ms", ms(recovered), RECOVERY_MS_MAX);
    ensure!(!asserts || verdict.missed.is_empty(), "missed: {}", verdict.missed.join("; "));
    Ok(())
}

/// Requests a second that clients get answered who wait for their answers.
async fn capacity(load: &Load) -> anyhow::Result<f64> {
    let until = Instant::now() + Duration::from_secs(CAPACITY_SECONDS);
    let client = || async {
        let mut answered = 0;
        while Instant::now() < until {
            answered += u64::from(load.send().await?.status == 200);
        }
        anyhow::Ok(answered)
    };
    let answered = try_join_all((0..CLIENTS).map(|_| client())).await?;
    Ok(answered.iter().sum::<u64>() as f64 / CAPACITY_SECONDS as f64)
}

/// The server's memory, looked at until it is over.
async fn watch(pid: u32, over: Arc<AtomicBool>) -> Vec<u64> {
    let mut resident = Vec::new();
    while !over.load(Ordering::Relaxed) {
        resident.extend(resident_bytes(pid));
        sleep(Duration::from_secs(1)).await;
    }
    resident
}

type Sent = JoinHandle<anyhow::Result<Outcome>>;

/// Sends so many requests a second, and waits for none of them.
async fn send(load: &Arc<Load>, per_second: f64, time: Duration) -> Vec<Sent> {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
    let began = Instant::now();
    let mut sent = Vec::new();
    while began.elapsed() < time {
        let intended = ticks.tick().await;
        let load = load.clone();
        sent.push(tokio::spawn(async move { load.send_at(intended).await }));
    }
    sent
}

async fn outcomes(sent: Vec<Sent>) -> anyhow::Result<Vec<Outcome>> {
    join_all(sent).await.into_iter().map(|one| one?).collect()
}

/// Milliseconds that those with this status took, least first.
fn took(outcomes: &[Outcome], status: u16) -> Vec<f64> {
    let with = outcomes.iter().filter(|one| one.status == status);
    let mut took: Vec<_> = with.map(|one| ms(one.took)).collect();
    took.sort_by(f64::total_cmp);
    took
}

/// The value below which so large a part of them is; 0 of none.
fn part(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share) as usize).copied().unwrap_or(0.0)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn report(outcomes: &[Outcome]) {
    for status in [200, 429, 504] {
        let took = took(outcomes, status);
        println!(
            "  status {status}: {} times, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            took.len(),
            part(&took, 0.5),
            part(&took, 0.99),
            part(&took, 1.0)
        );
    }
}

/// What was wanted, and what was missed.
#[derive(Default)]
struct Verdict {
    missed: Vec<String>,
}

impl Verdict {
    fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        self.judge(format!("{what}: {value:.1} (at least {limit})"), value >= limit);
    }

    fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        self.judge(format!("{what}: {value:.1} (at most {limit})"), value <= limit);
    }

    fn judge(&mut self, line: String, holds: bool) {
        println!("{} {line}", if holds { "held  " } else { "MISSED" });
        if !holds {
            self.missed.push(line);
        }
    }
}

struct Outcome {
    status: u16,
    intended: Instant,
    /// From the intended time.
    took: Duration,
}

/// Requests of real text, no two alike.
struct Load {
    url: String,
    client: reqwest::Client,
    passages: Vec<String>,
    next: AtomicU64,
}

impl Load {
    fn new(server: &Served) -> Self {
        let goldens = maitred_tests::fixtures::goldens("tests/goldens/minilm-l12-dequantised.json");
        let passages = goldens.into_iter().map(|golden| golden.document);
        Load {
            url: format!("http://{}/rerank", server.public),
            client: reqwest::Client::new(),
            passages: passages.filter(|text| (200..800).contains(&text.len())).collect(),
            next: AtomicU64::new(0),
        }
    }

    async fn send(&self) -> anyhow::Result<Outcome> {
        self.send_at(Instant::now()).await
    }

    async fn send_at(&self, intended: Instant) -> anyhow::Result<Outcome> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let passage =
            |place: usize| &self.passages[(nth * DOCUMENTS + place) % self.passages.len()];
        let texts: Vec<_> = (0..DOCUMENTS).map(passage).collect();
        let body = json!({"query": format!("what happened in {nth}?"), "texts": texts});
        let request = self.client.post(&self.url).header("x-maitred-timeout-ms", TIMEOUT_MS);
        let response = request.json(&body).send().await?;
        let status = response.status().as_u16();
        let answer: Value = response.json().await?;
        let took = intended.elapsed();
        match status {
            200 => {
                ensure!(answer.as_array().is_some_and(|ranks| ranks.len() == DOCUMENTS), "{answer}")
            }
            429 | 504 => ensure!(answer["error"].is_string(), "{answer}"),
            _ => anyhow::bail!("{status}: {answer}"),
        }
        Ok(Outcome { status, intended, took })
    }
}
