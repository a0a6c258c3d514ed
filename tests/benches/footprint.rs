//! What a server takes of its machine: time from its start to its first answer, and
//! memory, with nothing done and after so many requests.
//!
//! `cargo bench -p maitred-tests --bench footprint [-- REQUESTS] [--precision f32]`, with
//! the imported model (`cargo xtask model`), six layers of it: what serves most often.
//! The precision is int8 unless told otherwise, and the requests are 100,000.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use maitred_tests::fixtures::goldens;
use maitred_tests::process::{Served, resident_bytes};
use serde_json::{Value, json};

const MODEL: &str = "maitred/ms-marco-MiniLM-6-of-12-layers";
const REQUESTS: usize = 100_000;
/// Memory is looked at after each part.
const PARTS: usize = 10;
const CLIENTS: usize = 16;
/// Starts, of which the median counts.
const STARTS: usize = 9;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let precision = words.iter().position(|word| word == "--precision");
    let precision = match precision {
        Some(at) => words.get(at + 1).context("--precision has a value")?,
        None => "int8",
    };
    let requests = words.iter().find_map(|word| word.parse().ok()).unwrap_or(REQUESTS);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("maitred.toml");
    std::fs::write(
        &file,
        format!("[models.default]\nsource = '{MODEL}'\nprecision = '{precision}'\n"),
    )?;
    let arguments = ["--config", file.to_str().context("a folder's name is no text")?];

    let texts = goldens("tests/goldens/minilm-l12-dequantised.json");
    let texts: Vec<String> = texts.into_iter().map(|golden| golden.document).collect();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = Served::start(&arguments).await;
        send(&server, &texts, 0).await?;
        starts.push(began.elapsed());
        server.terminate().await;
    }
    starts.sort_unstable();
    println!("{precision}: {:?} from start to the first answer (median)", starts[STARTS / 2]);

    let server = Served::start(&arguments).await;
    println!("{precision}: {:.1} MiB when it listens", mib(&server)?);
    let next = AtomicUsize::new(0);
    let mut first = None;
    for part in 1..=PARTS {
        let until = requests * part / PARTS;
        let client = || async {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= until {
                    return anyhow::Ok(());
                }
                send(&server, &texts, nth).await?;
            }
        };
        try_join_all((0..CLIENTS).map(|_| client())).await?;
        next.store(until, Ordering::Relaxed);
        let now = mib(&server)?;
        let growth = 100.0 * (now / *first.get_or_insert(now) - 1.0);
        println!("{precision}: {now:.1} MiB after {until} requests ({growth:+.1} %)");
    }
    Ok(())
}

fn mib(server: &Served) -> anyhow::Result<f64> {
    let bytes = resident_bytes(server.pid()).context("the system does not say what it has")?;
    Ok(bytes as f64 / f64::from(1 << 20))
}

async fn send(server: &Served, texts: &[String], nth: usize) -> anyhow::Result<()> {
    let body =
        json!({"query": format!("what happened in {nth}?"), "texts": [texts[nth % texts.len()]]});
    let request = server.client.post(format!("http://{}/rerank", server.public)).json(&body);
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    ensure!(answer[0]["index"] == 0, "{answer}");
    Ok(())
}
