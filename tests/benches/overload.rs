//! What becomes of a server that is asked for three times what it can do.
//!
//! First its capacity is measured with a few clients that wait for their answers;
//! then requests are sent at fixed times, whatever becomes of them, and latency
//! counts from the intended time. Everyone must get one answer: a ranking within
//! the deadline, or a refusal. The figures are printed and not asserted: on a
//! shared machine they vary.
//!
//! `cargo bench -p maitred-tests --bench overload -- [SECONDS]`, with the imported
//! model (`cargo xtask model`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::join_all;
use maitred_tests::process::{Served, resident_bytes};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
const DOCUMENTS: usize = 4;
const TIMEOUT_MS: u64 = 3000;
/// Who measures the capacity.
const CLIENTS: usize = 8;
const CAPACITY_SECONDS: u64 = 20;
const OVERLOAD: f64 = 3.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`.
    let seconds = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let seconds: u64 =
        seconds.map_or(Ok(120), |word| word.parse()).context("SECONDS is a number")?;
    let server = Served::start(&["--model", MODEL]).await;
    let load = Arc::new(Load::new(&server));
    load.send().await?;

    let until = Instant::now() + Duration::from_secs(CAPACITY_SECONDS);
    let client = || async {
        let mut answered = 0;
        while Instant::now() < until {
            answered += u64::from(load.send().await?.status == 200);
        }
        anyhow::Ok(answered)
    };
    let answered: Vec<u64> = join_all((0..CLIENTS).map(|_| client()))
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    let capacity = answered.iter().sum::<u64>() as f64 / CAPACITY_SECONDS as f64;
    println!("capacity: {capacity:.1} requests/s of {DOCUMENTS} documents");

    let pid = server.child.id().context("the server runs")?;
    let over = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let over = over.clone();
        async move {
            let mut resident = Vec::new();
            while !over.load(Ordering::Relaxed) {
                resident.extend(resident_bytes(pid));
                sleep(Duration::from_secs(1)).await;
            }
            resident
        }
    });
    let mut ticks = interval(Duration::from_secs_f64(1.0 / (capacity * OVERLOAD)));
    let began = Instant::now();
    let mut sent = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        let intended = ticks.tick().await;
        let load = load.clone();
        sent.push(tokio::spawn(async move { load.send_at(intended).await }));
    }
    let window = began.elapsed().as_secs_f64();
    let mut outcomes = Vec::new();
    for one in sent {
        outcomes.push(one.await??);
    }
    let recovery = Instant::now();
    while load.send().await?.status != 200 {
        ensure!(recovery.elapsed() < Duration::from_secs(30), "no recovery");
    }
    let recovery = recovery.elapsed();
    over.store(true, Ordering::Relaxed);
    report(&outcomes, capacity * window, window);
    println!("recovered after {} ms", recovery.as_millis());
    let resident = watch.await?;
    let mib = |bytes: Option<&u64>| bytes.map_or(0.0, |&bytes| bytes as f64 / f64::from(1 << 20));
    let (first, second) = resident.split_at(resident.len() / 2);
    let (first, second) = (mib(first.iter().max()), mib(second.iter().max()));
    println!(
        "resident memory at most {first:.0} MiB in the first half, {second:.0} MiB in the second"
    );
    Ok(())
}

fn report(outcomes: &[Outcome], could: f64, window: f64) {
    let with = |status| {
        let mut found: Vec<_> =
            outcomes.iter().filter(|one| one.status == status).map(|one| one.took).collect();
        found.sort();
        found
    };
    println!("sent {} in {window:.0} s ({OVERLOAD} times the capacity)", outcomes.len());
    let mut statuses: Vec<_> = outcomes.iter().map(|one| one.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let took = with(status);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "status {status}: {} times, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    println!("goodput: {:.1} % of the capacity", 100.0 * with(200).len() as f64 / could);
    let late = with(200).into_iter().filter(|took| took.as_millis() as u64 > TIMEOUT_MS).count();
    println!("answered after their deadline: {late}");
}

struct Outcome {
    status: u16,
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
        Ok(Outcome { status, took })
    }
}
