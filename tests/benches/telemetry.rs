//! What being watched costs a server: CPU time a pair at 70 % of what it can do, of
//! windows in which it is left alone and of windows in which a collector gets a trace of
//! every tenth request, Prometheus reads it every second and the dashboard is open.
//!
//! It is one process all the time, since two of the same program differ by more than what
//! is looked for, for as long as they live: whoever watches comes and goes, and the
//! requests say which of them are traced. It counts in all windows (counting cannot be
//! turned off; the bench `parts` says what it costs). What is compared is two windows next
//! to each other; which comes first changes from pair to pair.
//!
//! A replica's time for the same pairs changes by some per cent from second to second, by
//! what the machine's other tenants do, and nothing in it knows of watchers
//! (`tests/tests/layout.rs`). So the time of all other threads is compared apart, as a
//! share of the whole; the whole is shown as well. Linux only: times of threads are read
//! where it has them.
//!
//! `cargo bench -p maitred-tests --bench telemetry [-- WINDOWS]`, with the imported model
//! (`cargo xtask model`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use maitred::bench::record::Record;
use maitred::bench::report::comparison;
use maitred::bench::run::Live;
use maitred::bench::session::{Planned, Session, Watcher};
use maitred::bench::statistics::{mean, of_mean};
use maitred::bench::{diff, sweep};
use maitred_tests::collector::Collector;
use maitred_tests::process::Served;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

const MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";
const LOAD: f64 = 0.7;
/// Pairs of windows, unless told otherwise.
const WINDOWS: u32 = 60;
const DOCUMENTS: usize = 8;
const TRACED_SHARE: f64 = 0.1;
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// As variants are called.
const ALONE: &str = "left alone";
const WATCHED: &str = "watched";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let windows = words.iter().find(|word| !word.starts_with('-'));
    let windows: u32 =
        windows.map_or(Ok(WINDOWS), |word| word.parse()).context("WINDOWS is a number")?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let collector = Collector::start().await;
    let server = serve(&path("server.toml"), &collector.url()).await?;

    let load = "kind = 'closed'\nclients = 4";
    let record = run(&path("capacity"), &workload(&server, ALONE, load, 10)).await?;
    let capacity = record.measured.pairs_per_second().context("nothing was answered")?;
    println!("capacity: {capacity:.1} pairs/s");

    let per_second = capacity * LOAD / DOCUMENTS as f64;
    let load = format!("kind = 'fixed'\nrequests_per_second = {per_second}");
    let (mut records, mut beside) = (Vec::new(), Vec::new());
    for pair in 0..windows {
        let mut states = [ALONE, WATCHED];
        if pair % 2 == 1 {
            states.reverse();
        }
        let mut costs = HashMap::new();
        for state in states {
            let watching = match state {
                WATCHED => Some(Watching([scrape(&server), look(&server).await?])),
                _ => None,
            };
            let before = Cost::of(&server).await?;
            let record = run(&path("window"), &workload(&server, state, &load, 3)).await?;
            costs.insert(state, Cost::of(&server).await?.since(before)?);
            records.push(Record { repeat: pair as usize, ..record });
            drop(watching);
        }
        let (alone, watched) = (&costs[ALONE], &costs[WATCHED]);
        beside.push((watched.beside - alone.beside) / (alone.replicas + alone.beside));
    }
    println!("{}", comparison(&diff::compare(&records, &records, Some((ALONE, WATCHED)))?));
    let spans = server.metric("maitred_spans_exported_total").await;
    ensure!(spans > 0.0, "no span was sent");
    println!("{spans} spans were sent");
    let interval = of_mean(&beside).context("there are fewer windows than an interval needs")?;
    println!(
        "beside the replicas: {:+.2} % of the CPU time a pair (95 % interval {:.2} to {:.2}), \
         {windows} pairs of windows",
        mean(&beside).context("there is no window")? * 100.0,
        interval.low * 100.0,
        interval.high * 100.0,
    );
    Ok(())
}

/// CPU time of a server's threads so far, or that of a pair, in nanoseconds.
struct Cost {
    replicas: f64,
    /// Of all other threads.
    beside: f64,
    pairs: f64,
}

impl Cost {
    async fn of(server: &Served) -> anyhow::Result<Cost> {
        let pairs = server.metric("maitred_pairs_total{model=\"default\"}").await;
        let mut cost = Cost { replicas: 0.0, beside: 0.0, pairs };
        for thread in std::fs::read_dir(format!("/proc/{}/task", server.pid()))? {
            let thread = thread?.path();
            // One that ended meanwhile took its time with it, in all windows alike.
            let read = |name: &str| std::fs::read_to_string(thread.join(name));
            let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
            let on_cpu = times.split_whitespace().next().context("schedstat is empty")?;
            let is_replica = name
                .trim()
                .strip_prefix("default ")
                .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
            *(if is_replica { &mut cost.replicas } else { &mut cost.beside }) +=
                on_cpu.parse::<f64>()?;
        }
        Ok(cost)
    }

    /// Of each pair since then.
    fn since(self, before: Cost) -> anyhow::Result<Cost> {
        let pairs = self.pairs - before.pairs;
        ensure!(pairs > 0.0 && self.replicas > before.replicas, "no replica scored anything");
        Ok(Cost {
            replicas: (self.replicas - before.replicas) / pairs,
            beside: (self.beside - before.beside) / pairs,
            pairs,
        })
    }
}

/// Whoever watches a server, until it is dropped.
struct Watching([JoinHandle<()>; 2]);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Traces what its callers trace, and nothing else.
async fn serve(file: &Path, collector: &str) -> anyhow::Result<Served> {
    let telemetry = format!("[telemetry]\notlp_endpoint = '{collector}'\nsample_ratio = 0.0");
    std::fs::write(file, format!("{telemetry}\n[models.default]\nsource = '{MODEL}'\n"))?;
    Ok(Served::start(&["--config", file.to_str().context("a folder's name is no text")?]).await)
}

/// One as `maitred bench` takes it.
fn workload(server: &Served, state: &str, load: &str, seconds: u32) -> String {
    let traced_share = if state == WATCHED { TRACED_SHARE } else { 0.0 };
    format!(
        "[target]\nurl = 'http://{}'\nmetrics = 'http://{}/metrics'\n\
         [request]\ndocuments = {DOCUMENTS}\ntraced_share = {traced_share:?}\n\
         [load]\n{load}\n\
         [window]\nwarmup_seconds = 1\nseconds = {seconds}\ninterval_ms = 1000\n\
         [[variant]]\nname = '{state}'\n",
        server.public, server.operations
    )
}

async fn run(name: &Path, workload: &str) -> anyhow::Result<Record> {
    let file = name.with_extension("toml");
    std::fs::write(&file, workload)?;
    let variants = sweep::read(&file, &[])?;
    let (_keep, stop) = watch::channel(false);
    let records = name.with_extension("jsonl");
    let session = Session { variants: &variants, records, watcher: &Progress, stop };
    let mut outcomes = session.run().await?;
    ensure!(outcomes.problems.is_empty(), "{}", outcomes.problems.join("; "));
    outcomes.records.pop().context("no window was measured")
}

struct Progress;

impl Watcher for Progress {
    fn prepares(&self, _: &str) {}

    fn begins(&self, _: &Planned<'_>, _: Arc<Live>) {}

    fn ended(&self, record: &Record) {
        let cpu = record.server.cpu_s.map(|cpu| cpu * 1e3 / record.measured.pairs as f64);
        println!("{} {}: {cpu:.4?} ms a pair", record.repeat, record.variant);
    }
}

/// As Prometheus does it.
fn scrape(server: &Served) -> JoinHandle<()> {
    let (client, url) = (server.client.clone(), format!("http://{}/metrics", server.operations));
    tokio::spawn(async move {
        let mut ticks = interval(SCRAPE_EVERY);
        loop {
            ticks.tick().await;
            let text = client.get(&url).send().await.expect("it serves").text().await;
            assert!(text.is_ok_and(|text| text.ends_with("# EOF\n")));
        }
    })
}

/// As an open page does it.
async fn look(server: &Served) -> anyhow::Result<JoinHandle<()>> {
    let url = format!("http://{}/events", server.operations);
    let mut stream = server.client.get(url).send().await?.error_for_status()?;
    Ok(tokio::spawn(async move { while let Ok(Some(_)) = stream.chunk().await {} }))
}
