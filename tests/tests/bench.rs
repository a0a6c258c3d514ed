//! `maitred bench` as a user runs it: held to the books of a server that does as
//! it is told, and run against real ones. What depends on time is asserted only
//! from the side that a busy machine cannot break.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use maitred::bench::corpus::Corpus;
use maitred::bench::sweep;
use maitred::bench::workload::{CorpusSettings, TextSource};
use maitred::checkpoint::{self, Hub};
use maitred::config::Truncation;
use maitred::tokenize::PairEncoder;
use maitred_tests::fake::{Fake, Fate};
use maitred_tests::fixtures;
use maitred_tests::guests::component;
use maitred_tests::process::{Served, program, run};
use maitred_tests::tls;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

const TAKES: Duration = Duration::from_millis(10);

/// A folder with a workload in it, and what comes of it.
struct Bench {
    folder: TempDir,
    file: PathBuf,
}

struct Ran {
    code: i32,
    said: String,
    records: Vec<Value>,
    report: String,
}

impl Bench {
    fn new(workload: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.toml");
        std::fs::write(&file, workload).unwrap();
        Bench { folder, file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, set: &[&str]) -> Vec<String> {
        let out = self.path("out");
        let words = ["bench", "run", text(&self.file), "--out", text(&out)];
        let set = set.iter().flat_map(|setting| ["--set", *setting]);
        words.into_iter().chain(set).map(str::to_owned).collect()
    }

    async fn run(&self, set: &[&str]) -> Ran {
        let arguments = self.arguments(set);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, _, said) = run(&arguments).await;
        self.ran(code, said)
    }

    fn ran(&self, code: i32, said: String) -> Ran {
        let read = |name: &str| std::fs::read_to_string(self.path("out").join(name));
        let records = read("w.jsonl").unwrap_or_default();
        let records = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Ran { code, said, records, report: read("w.md").unwrap_or_default() }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A workload of so many requests by some clients, of which each counts.
fn requests(fake: &Fake, requests: usize, clients: usize) -> String {
    format!(
        "[target]\nurl = '{}'\n[request]\ndocuments = 6\n[load]\nclients = {clients}\n\
         [window]\nwarmup_seconds = 0\nrequests = {requests}\n",
        fake.url()
    )
}

/// The time below which that share of a record's latencies lies, by its own
/// steps.
fn at(record: &Value, share: f64) -> Duration {
    let steps = record["measured"]["latency"].as_array().unwrap();
    let count = |step: &Value| step[1].as_u64().unwrap();
    let all: u64 = steps.iter().map(count).sum();
    let (mut rank, mut sum) = (0, 0);
    for (place, step) in steps.iter().enumerate() {
        sum += count(step);
        rank = place;
        if sum as f64 >= all as f64 * share {
            break;
        }
    }
    Duration::from_micros(steps[rank][0].as_u64().unwrap())
}

fn outcome(record: &Value, outcome: &str) -> u64 {
    record["measured"]["outcomes"][outcome].as_u64().unwrap()
}

/// The text is as long as MS MARCO's passages are, by the real tokenizer.
#[tokio::test]
async fn generated_text_has_the_lengths_of_ms_marco() {
    let hub = Hub { offline: true, ..Hub::from_env() };
    let model = checkpoint::locate("cross-encoder/ms-marco-MiniLM-L-12-v2", &hub).await;
    let model = model.expect("`cargo xtask model` imports the model of this test");
    let encoder = PairEncoder::load(&model.tokenizer, true, 512, Truncation::LongestFirst).unwrap();
    let query = encoder.query("a").unwrap();
    let settings = CorpusSettings { source: TextSource::Generated, passages: 2048 };
    let passages = Corpus::load(&settings).unwrap().passages;
    let tokens = |text: &str| {
        let encoded = encoder.pair(&query, text, 0, Truncation::LongestFirst).unwrap();
        // Three special ones, and the query's.
        encoded.pair.tokens() - 4
    };
    let mut tokens: Vec<usize> = passages.iter().map(|text| tokens(text)).collect();
    tokens.sort_unstable();
    let mean = tokens.iter().sum::<usize>() as f64 / 2048.0;
    assert!((73.0..77.0).contains(&mean), "{mean}");
    assert!((220..=260).contains(&tokens[2047]), "{}", tokens[2047]);
}

/// By the server's books: clients see at least the time that it took.
#[tokio::test]
async fn percentiles_are_the_servers_own() {
    let slow = Duration::from_millis(150);
    let fake =
        Fake::start(move |number| Fate::Answer(if number % 10 == 9 { slow } else { TAKES })).await;
    let ran = Bench::new(&requests(&fake, 200, 4)).run(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    let (record, books) = (&ran.records[0], fake.answered());
    assert_eq!(outcome(record, "answered"), 200);
    assert_eq!(record["measured"]["pairs"], 1200);
    assert_eq!(books.len(), 200);
    for share in [0.5, 0.9, 0.95, 0.99] {
        let rank = (200.0 * share) as usize - 1;
        // To the three digits that a histogram keeps.
        let (seen, took) = (at(record, share), books[rank].mul_f64(0.999));
        assert!(seen >= took, "{share}: {seen:?} is less than the server's {took:?}");
    }
    assert!(at(record, 0.95) >= slow);
    assert_eq!(record["target"]["model"], "fake-model");
    assert!(ran.report.contains("| GPU Memory (MB) | n/a |"), "{}", ran.report);
}

#[tokio::test]
async fn errors_are_counted_exactly_and_fail_the_benchmark() {
    let fate =
        |number: usize| if number % 20 == 7 { Fate::Fail } else { Fate::Answer(Duration::ZERO) };
    let fake = Fake::start(fate).await;
    let bench = Bench::new(&requests(&fake, 200, 3));
    let ran = bench.run(&["errors_max=0.05"]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!((outcome(&ran.records[0], "failed"), fake.failed()), (10, 10));
    assert_eq!(outcome(&ran.records[0], "answered"), 190);
    assert!(ran.report.contains("500: "), "{}", ran.report);
    let ran = bench.run(&["errors_max=0.04"]).await;
    assert_ne!(ran.code, 0);
    assert!(ran.said.contains("10 of 200 requests ended in an error"), "{}", ran.said);
    assert!(ran.report.contains("| 200 | 190 |"), "the report is written: {}", ran.report);
}

#[tokio::test]
async fn a_share_of_the_requests_is_traced() {
    let fake = Fake::start(|_| Fate::Answer(Duration::ZERO)).await;
    let ran = Bench::new(&requests(&fake, 40, 2)).run(&["request.traced_share=0.1"]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    let mut traces = fake.traces();
    assert!(traces.iter().all(|trace| trace.len() == 55 && trace.ends_with("-01")), "{traces:?}");
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 4, "each is another one");
}

#[tokio::test]
async fn refusals_are_no_errors_and_no_answers() {
    let fake =
        Fake::start(|n| if n % 2 == 0 { Fate::Refuse } else { Fate::Answer(Duration::ZERO) }).await;
    let ran = Bench::new(&requests(&fake, 50, 1)).run(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!((outcome(&ran.records[0], "refused"), fake.refused()), (25, 25));
    assert_eq!(ran.records[0]["measured"]["pairs"], 25 * 6);
    let full = Fake::start(|_| Fate::Refuse).await;
    let ran = Bench::new(&requests(&full, 5, 1)).run(&[]).await;
    assert_ne!(ran.code, 0);
    assert!(ran.said.contains("no request was answered"), "{}", ran.said);
}

#[tokio::test]
async fn wrong_scores_fail_the_benchmark() {
    let honest = Fake::start(|_| Fate::Answer(Duration::ZERO)).await;
    let bench = Bench::new(&requests(&honest, 60, 2));
    let sample = bench.path("fake.jsonl");
    let make = ["bench", "sample", text(&bench.file), "--out", text(&sample)];
    let (code, out, said) = run(&make).await;
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("scores of 208 pairs"), "{out}");

    let verify = format!("verify.samples=['{}']", text(&sample));
    let ran = bench.run(&[&verify]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    let found = &ran.records[0]["verification"];
    assert_eq!((&found["pairs"], &found["wrong"]), (&240.into(), &0.into()));

    let liar =
        Fake::start(|n| if n == 30 { Fate::Lie } else { Fate::Answer(Duration::ZERO) }).await;
    let ran = bench.run(&[&verify, &format!("target.url={}", liar.url())]).await;
    assert_ne!(ran.code, 0);
    assert!(ran.said.contains("2 of 240 scores are wrong"), "{}", ran.said);
    assert_eq!(outcome(&ran.records[0], "wrong"), 1);
    assert_eq!(ran.records[0]["measured"]["pairs"], 59 * 6);

    let ran = bench.run(&[&verify, "corpus.passages=100"]).await;
    assert!(ran.code != 0 && ran.said.contains("no sample has scores"), "{}", ran.said);
}

#[tokio::test]
async fn an_open_loop_shows_a_stall() {
    let stall = Duration::from_secs(2);
    let fate =
        move |n: usize| if n == 20 { Fate::Stall(stall) } else { Fate::Answer(Duration::ZERO) };
    let fake = Fake::start(fate).await;
    let set = ["load.kind=fixed", "load.requests_per_second=50", "window.requests=200"];
    let bench = Bench::new(&requests(&fake, 200, 1).replace("clients = 1", ""));
    let ran = bench.run(&set).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    // A hundred requests, half of all, were meant for those two seconds: a quarter
    // of all waited for a second at least.
    let (p80, p99) = (at(&ran.records[0], 0.8), at(&ran.records[0], 0.99));
    assert!(p80 >= Duration::from_millis(900), "{p80:?}");
    assert!(p99 >= Duration::from_millis(1800), "{p99:?}");
}

#[tokio::test]
async fn a_closed_loop_says_what_it_hides() {
    let fate =
        |n: usize| if n == 70 { Fate::Stall(Duration::from_secs(2)) } else { Fate::Answer(TAKES) };
    let fake = Fake::start(fate).await;
    let ran = Bench::new(&requests(&fake, 150, 1)).run(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(at(&ran.records[0], 1.0) >= Duration::from_secs(2));
    assert!(ran.report.contains("**This closed loop hides waiting:**"), "{}", ran.report);
}

#[tokio::test]
async fn an_open_loop_sends_no_more_than_it_may() {
    let fake = Fake::start(|_| Fate::Stall(Duration::from_secs(3))).await;
    let bench = Bench::new(&requests(&fake, 40, 1).replace("clients = 1", ""));
    let set = ["load.kind=poisson", "load.requests_per_second=100", "load.in_flight_max=5"];
    let ran = bench.run(&set).await;
    let record = &ran.records[0];
    assert_eq!(outcome(record, "answered") + outcome(record, "unsent"), 40);
    assert!(outcome(record, "unsent") > 0 && ran.code != 0, "{}", ran.said);
}

/// One whose certificate is trusted because the workload says so, and not otherwise.
#[tokio::test]
async fn a_server_over_tls_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("maitred.toml");
    std::fs::write(&file, tls::configured(folder.path())).unwrap();
    let model = fixtures::checkpoint("tiny-bert");
    let server = Served::start(&["--config", text(&file), "--model", text(&model)]).await;
    let workload = format!(
        "[target]\nurl = 'https://{}'\nca_file = '{}'\nready_ms_max = 300\n\
         [window]\nrequests = 3\nwarmup_seconds = 0\n",
        server.public,
        folder.path().join("cert.pem").display(),
    );
    let ran = Bench::new(&workload).run(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!(ran.records[0]["measured"]["pairs"], 3 * 32);
    let public = workload.lines().filter(|line| !line.starts_with("ca_file"));
    let ran = Bench::new(&public.collect::<Vec<_>>().join("\n")).run(&[]).await;
    assert!(ran.code != 0 && ran.said.contains("invalid peer certificate"), "{}", ran.said);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_an_error() {
    let fake = Fake::start(|_| Fate::Fail).await;
    let workload = requests(&fake, 5, 1);
    let set = ["target.url=http://127.0.0.1:9", "target.ready_ms_max=300"];
    let ran = Bench::new(&workload).run(&set).await;
    assert_ne!(ran.code, 0);
    assert!(ran.said.contains("did not answer within 300 ms"), "{}", ran.said);
    let ran = Bench::new("[target.settings]\nmodels.default.source = './nowhere'").run(&[]).await;
    assert!(ran.code != 0 && ran.said.contains("the server ended with"), "{}", ran.said);
    let ran = Bench::new("[load]\nclient = 2").run(&[]).await;
    assert!(ran.code != 0 && ran.said.contains("did you mean `load.clients`?"), "{}", ran.said);
}

#[tokio::test]
async fn ctrl_c_still_writes_the_report() {
    let fake = Fake::start(|_| Fate::Answer(TAKES)).await;
    let workload = requests(&fake, 1_000_000, 1) + "[runs]\nrepeats = 3\n";
    let bench = Bench::new(&workload);
    let child = Command::new(program())
        .args(bench.arguments(&[]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    fake.has_got(5).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let ran = bench.ran(output.status.code().unwrap_or(-1), said);
    assert_eq!(ran.code, 1, "{}", ran.said);
    assert_eq!(ran.records.len(), 1);
    assert_eq!(ran.records[0]["interrupted"], true);
    assert!(ran.report.contains("**Interrupted:**"), "{}", ran.report);
    assert!(ran.said.contains("ended early, after 1 windows"), "{}", ran.said);
}

/// A server is started for each setting; its scores are those that another
/// engine gave, and what it says of itself is in the report.
#[tokio::test]
async fn real_servers_are_started_swept_and_compared() {
    let model = fixtures::checkpoint("tiny-bert");
    let workload = format!(
        "title = 'waiting'\n[target.settings]\nmodels.default.source = '{}'\n\
         models.default.replicas = 1\n[request]\ndocuments = 8\n[load]\nclients = 2\n\
         [window]\nwarmup_seconds = 0.2\nseconds = 0.6\ninterval_ms = 200\n\
         [runs]\nrepeats = 3\n[sweep]\n\
         target.settings.models.default.batch.batch_wait_ms = [0, 30]\n",
        model.display()
    );
    let bench = Bench::new(&workload);
    let sample = bench.path("tiny.jsonl");
    let stock = "target.settings.models.default.engine=candle-stock";
    let one = "target.settings.models.default.batch.batch_wait_ms=0";
    let make = ["bench", "sample", text(&bench.file), "--out", text(&sample)];
    let (code, _, said) = run(&[&make[..], &["--set", stock, "--set", one]].concat()).await;
    assert_eq!(code, 0, "{said}");
    let head = std::fs::read_to_string(&sample).unwrap();
    assert!(head.contains("the engine candle-stock") && head.contains("\"tiny-bert\""), "{head}");

    let verify = format!("verify.samples=['{}']", text(&sample));
    let ran = bench.run(&[&verify]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert_eq!(ran.records.len(), 6);
    for record in &ran.records {
        assert!(record["verification"]["pairs"].as_u64().unwrap() > 0, "{record}");
        for figure in ["tokenize_ms", "queue_ms", "inference_ms", "padding_share", "pairs"] {
            assert!(record["server"][figure].is_number(), "no {figure} in {record}");
        }
        assert_eq!(record["target"]["model"], "tiny-bert");
        assert_eq!(record["server"]["replicas"][0]["up"], true);
    }
    for line in ["batch_wait_ms=0", "batch_wait_ms=30", "## Stage Timing", "w-stages.svg"] {
        assert!(ran.report.contains(line), "no {line} in {}", ran.report);
    }
    assert!(!ran.report.contains(text(&model)), "no paths of this machine in {}", ran.report);
    let records = bench.path("out").join("w.jsonl");
    let variants = ["--variants", "batch_wait_ms=0", "batch_wait_ms=30"];
    let (code, table, said) =
        run(&[&["bench", "diff", text(&records)][..], &variants].concat()).await;
    assert_eq!(code, 0, "{said}");
    assert!(table.contains("| pairs/s |") && table.contains("| 3 |"), "{table}");
    let again = bench.path("again.md");
    let report = ["bench", "report", text(&records), "--out", text(&again)];
    let (code, _, said) = run(&report).await;
    assert_eq!(code, 0, "{said}");
    assert!(std::fs::read_to_string(&again).unwrap().contains("![load](again-load.svg)"));
}

#[test]
fn the_experiments_are_workloads() {
    let folder = std::fs::read_dir(fixtures::repository("bench/experiments")).unwrap();
    let files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    for file in &files {
        let variants = sweep::read(file, &[]);
        assert!(variants.is_ok_and(|variants| !variants.is_empty()), "{}", file.display());
    }
    assert!(files.len() > 10, "{files:?}");
}

#[tokio::test]
async fn stages_run_alone() {
    let workload = format!(
        "[target.settings]\nmodels.default.source = '{}'\npolicies.dedupe.component = '{}'\n\
         routes.default.policies = ['dedupe']\n[request]\ndocuments = 8\n\
         [window]\nwarmup_seconds = 0\nrequests = 20\n[sweep]\n\
         stage = ['tokenize-only', 'inference-only', 'policy-only']\n",
        fixtures::checkpoint("tiny-bert").display(),
        component("dedupe").display()
    );
    let ran = Bench::new(&workload).run(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.said);
    for (record, stage) in ran.records.iter().zip(["tokenize", "inference", "policy"]) {
        assert_eq!(outcome(record, "answered"), 20, "{stage}: {record}");
        assert_eq!(record["measured"]["pairs"], 160, "{stage}");
    }
    let pairs: Vec<_> = ran.records.iter().map(|record| &record["server"]["pairs"]).collect();
    assert_eq!(pairs[1], 160.0, "{pairs:?}");
    assert!(ran.records[2]["target"]["chain"].as_str().unwrap().starts_with("dedupe@"));
}
