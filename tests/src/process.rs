//! The program itself, as a user starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// Where cargo put what it built for this run.
pub fn built_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(|deps| deps.parent()).expect("tests are built in deps/").into()
}

/// The program that was built beside this test.
pub fn program() -> PathBuf {
    let program = built_folder().join("maitred");
    assert!(program.exists(), "{} is not built; `cargo xtask test` does", program.display());
    program
}

/// Runs a command to its end: its exit code, standard output and error.
pub async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program()).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// The same, with something on standard input.
pub async fn run_with(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("the program reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Memory that a process has, where there is a `ps`.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let pid = pid.to_string();
    let output = std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid]).output().ok()?;
    let kib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A running `maitred serve`; it is killed if the test ends before it does.
pub struct Served {
    pub child: Child,
    pub public: SocketAddr,
    pub operations: SocketAddr,
    pub client: reqwest::Client,
    log: watch::Receiver<Vec<String>>,
}

impl Served {
    /// Starts a server on ports that are free, and waits until it says where.
    pub async fn start(arguments: &[&str]) -> Served {
        let mut child = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(arguments)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (said, log) = watch::channel(Vec::new());
        // Read to the end, whether a test looks or not: a full pipe would stop
        // the server.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Some(line) = lines.next_line().await.expect("the log is UTF-8") {
                said.send_modify(|said| said.push(line));
            }
        });
        let public = address(&log, "clients: http").await;
        let operations = address(&log, "operators: http").await;
        let client = reqwest::Client::new();
        Served { child, public, operations, client, log }
    }

    /// Waits until a line of the log contains `text`.
    pub async fn says(&self, text: &str) -> String {
        says(&self.log, text).await
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Sends SIGHUP.
    pub async fn hang_up(&self) {
        self.signal("-HUP").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await;
        assert!(sent.expect("there is a kill").success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// What Prometheus would read.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.operations);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The value of one line of the metrics, by its beginning; 0 if it is not
    /// there yet.
    pub async fn metric(&self, line: &str) -> f64 {
        let metrics = self.metrics().await;
        let found = metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}

/// How long a test waits for a word of the program before it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

async fn address(log: &watch::Receiver<Vec<String>>, before: &str) -> SocketAddr {
    let line = says(log, before).await;
    let (_, rest) = line.split_once(before).expect("it is in the line");
    let (_, rest) = rest.split_once("://").expect("it is a URL");
    let address = rest.split_whitespace().next().expect("an address follows");
    address.parse().expect("it is an address")
}

async fn says(log: &watch::Receiver<Vec<String>>, text: &str) -> String {
    let mut log = log.clone();
    let find = |said: &Vec<String>| said.iter().find(|line| line.contains(text)).cloned();
    let said = log.wait_for(|said| find(said).is_some());
    // At the end of the program, or of patience, what was said decides.
    let _ = timeout(PATIENCE, said).await;
    let said = log.borrow();
    find(&said).unwrap_or_else(|| panic!("no `{text}` in\n{}", said.join("\n")))
}
