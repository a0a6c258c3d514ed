//! What a policy costs: wall time of a whole request through chains of none to
//! two guests, in front of a model that answers at once. `fuse` asks it twice.
//!
//! `cargo bench -p maitred-tests --bench policy_cost` (add `--profile dev` to
//! measure without building the world again). Chains take turns in
//! short windows, so that a noisy machine is noisy for all of them; the tables
//! have the median and the best window, and the last one is for a text in Markdown.
//! It cannot show what many requests at once cost each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maitred::admission::{Admission, Work};
use maitred::bench::stage::Echo;
use maitred::config::{Grant, OnFailure, PolicyLimits, PolicySettings, SandboxSettings};
use maitred::metrics::Metrics;
use maitred::policy::{Chain, Link, ModelInfo, Policy, Sandbox};
use maitred::rerank::{
    Context, Document, DocumentId, Field, Lengths, Priority, Request, Rerank, Value,
};
use maitred::telemetry::Trace;
use maitred_tests::guests;

const DOCUMENTS: [u32; 3] = [1, 100, 1000];
/// The column that the Markdown table has.
const TYPICAL: usize = 1;
const CHARACTERS: usize = 400;
const WINDOWS: usize = 31;
const WINDOW: Duration = Duration::from_millis(25);
const MEMORY_BYTES_MAX: usize = 64 << 20;

/// A policy with the parameters that make it work on the documents below.
type Place = (&'static str, &'static [(&'static str, &'static str)]);

const CHAINS: [&[Place]; 14] = [
    &[],
    &[("passes_on", &[])],
    &[("passes_on", &[]), ("passes_on", &[])],
    &[("passages", &[])],
    &[("passages", &[("words", "30"), ("overlap", "0")])],
    &[("dedupe", &[])],
    &[("dedupe", &[]), ("passages", &[])],
    &[("fresh", &[])],
    &[("redact", &[])],
    &[("allow", &[])],
    &[("threshold", &[("min", "0")])],
    &[("diversify", &[])],
    &[("cascade", &[("rest", "follow")])],
    &[("fuse", &[])],
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let metrics = Metrics::new();
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let settings = SandboxSettings {
        component_bytes_max: 64 << 20,
        instances_max: 8,
        tick_ms: Duration::from_millis(1),
        cache_dir: Some(cache),
    };
    let sandbox = Sandbox::new(&settings, MEMORY_BYTES_MAX, metrics.clone())?;
    let mut chains = Vec::new();
    for names in CHAINS {
        let mut links = Vec::new();
        for (name, params) in names {
            let policy = load(&sandbox, name).await?;
            let params = params.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            links.push(Link { policy, params: params.collect() });
        }
        let about = ModelInfo { name: "echo".into(), tokens_max: 512, precision: "f32".into() };
        let (model, on_failure) = (Arc::new(Echo), OnFailure::Fail);
        chains.push(Chain::new(links, model, about, on_failure, metrics.clone())?);
    }

    let mut columns = Vec::new();
    for count in DOCUMENTS {
        columns.push(measure(&chains, count).await?);
    }
    println!("documents of {CHARACTERS} characters, {WINDOWS} windows of {WINDOW:?}");
    table("median, µs a request", &columns, |times| times[times.len() / 2]);
    table("best, µs a request", &columns, |times| times[0]);
    markdown(&columns[TYPICAL]);
    Ok(())
}

/// One row a chain, one column a number of documents.
fn table(title: &str, columns: &[Vec<Vec<f64>>], pick: impl Fn(&[f64]) -> f64) {
    print!("{title:>32}");
    DOCUMENTS.iter().for_each(|count| print!("{count:>10}"));
    println!();
    for (row, names) in CHAINS.iter().enumerate() {
        let names: Vec<_> = names.iter().map(place).collect();
        let name = match names.is_empty() {
            true => "the model".into(),
            false => names.join(" > "),
        };
        print!("{name:>32}");
        columns.iter().for_each(|column| print!("{:>10.1}", pick(&column[row])));
        println!();
    }
}

/// One row a policy that stands alone; what the model and the chain take without one
/// is in every row.
fn markdown(column: &[Vec<f64>]) {
    println!("\n{} documents of {CHARACTERS} characters, µs a request\n", DOCUMENTS[TYPICAL]);
    println!("| policy | median | best |\n|---|---:|---:|");
    for (places, times) in CHAINS.iter().zip(column) {
        let name = match places {
            [] => "none".into(),
            [one] => format!("`{}`", place(one)),
            _ => continue,
        };
        println!("| {name} | {:.0} | {:.0} |", times[times.len() / 2], times[0]);
    }
}

/// A policy as its row names it.
fn place((name, params): &Place) -> String {
    match params {
        [] => name.to_string(),
        params => {
            let params = params.iter().map(|(name, value)| format!("{name} {value}"));
            format!("{name} ({})", params.collect::<Vec<_>>().join(", "))
        }
    }
}

async fn load(sandbox: &Sandbox, name: &str) -> anyhow::Result<Arc<Policy>> {
    let begin = Instant::now();
    let settings = PolicySettings {
        component: guests::component(name),
        required: None,
        // Of all of them, one asks for a power.
        grants: if name == "fresh" { vec![Grant::Clock] } else { Vec::new() },
        limits: PolicyLimits {
            cpu_ms_max: Duration::from_secs(1),
            memory_bytes_max: MEMORY_BYTES_MAX,
            calls_max: 8,
            log_bytes_max: 4096,
        },
    };
    let policy = sandbox.load(name, &settings).await?;
    eprintln!("loaded {name} in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    Ok(policy)
}

/// µs a request, for each chain its windows, fastest first.
async fn measure(chains: &[Chain], count: u32) -> anyhow::Result<Vec<Vec<f64>>> {
    let plain = request(count, Arc::default());
    let owned = request(count, fields("tenant", "bench"));
    let dated = request(count, fields("date", "2001-01-01"));
    let mut windows = vec![Vec::new(); chains.len()];
    // The first window warms the pool.
    for window in 0..=WINDOWS {
        for ((chain, names), times) in chains.iter().zip(CHAINS).zip(&mut windows) {
            let request = match names {
                [("allow", _)] => &owned,
                [("fresh", _)] => &dated,
                _ => &plain,
            };
            let begin = Instant::now();
            let mut requests = 0;
            while begin.elapsed() < WINDOW || requests == 0 {
                let context = context();
                let ranking = chain.rerank(request.clone(), &context).await?;
                // A benchmark that answers wrongly measures nothing.
                anyhow::ensure!(ranking.results.len() == request.documents.len());
                requests += 1;
            }
            if window > 0 {
                times.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(requests));
            }
        }
    }
    windows.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    Ok(windows)
}

/// What some policies look at.
fn fields(name: &str, value: &str) -> Arc<[Field]> {
    Arc::new([Field { name: name.into(), value: Value::Text(value.into()) }])
}

/// Documents of words that are all different, so that none is a duplicate.
fn request(count: u32, fields: Arc<[Field]>) -> Request {
    let document = |index: u32| {
        let mut text = String::new();
        let mut word = 0;
        while text.len() < CHARACTERS {
            text += &format!("word{} ", index * 1000 + word);
            word += 1;
        }
        text.truncate(CHARACTERS);
        Document { id: DocumentId { index, part: 0 }, text: text.into(), fields: fields.clone() }
    };
    Request {
        query: "what a policy costs | word1".into(),
        documents: (0..count).map(document).collect(),
    }
}

fn context() -> Context {
    let much = Work { pairs: 1 << 20, tokens: 1 << 30 };
    let door = Admission::new(much);
    Context {
        request_id: "bench".into(),
        route: "bench".into(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
        priority: Priority::Normal,
        weight: 1,
        caller: Some("bench".into()),
        wanted: Some(10),
        truncate: None,
        lengths: Lengths::default(),
        allowance: Arc::new(door.admit(much, Duration::ZERO).expect("an empty door")),
        report: Arc::default(),
        trace: Trace::default(),
    }
}
