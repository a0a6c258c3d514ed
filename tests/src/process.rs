//! The program itself, as a user starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
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

/// What a command finds around it; by default what the test itself has, and
/// nothing on standard input.
#[derive(Clone, Copy, Default)]
pub struct Around<'a> {
    pub folder: Option<&'a Path>,
    /// Beside those that the test has. An empty one counts as absent.
    pub variables: &'a [(&'a str, &'a str)],
    pub input: &'a str,
}

impl Around<'_> {
    /// Runs a command to its end: its exit code, standard output and error.
    pub async fn run(self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(program());
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(arguments)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(self.input.as_bytes()).await.expect("the program reads");
        drop(stdin);
        let output = child.wait_with_output().await.expect("the program ends");
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

/// Runs a command to its end: its exit code, standard output and error.
pub async fn run(arguments: &[&str]) -> (i32, String, String) {
    Around::default().run(arguments).await
}

/// The same, with something on standard input.
pub async fn run_with(arguments: &[&str], input: &str) -> (i32, String, String) {
    Around { input, ..Around::default() }.run(arguments).await
}

/// Memory that a process has, where there is a `ps`.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let pid = pid.to_string();
    let output = std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid]).output().ok()?;
    let kib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A `maitred serve` that may not have got as far as serving; it is killed if the
/// test ends before it does.
pub struct Started {
    pub child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Started {
    /// Starts a server on ports that are free.
    pub fn new(arguments: &[&str], variables: &[(&str, &str)]) -> Started {
        let mut child = Command::new(program())
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(arguments)
            .envs(variables.iter().copied())
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
        Started { child, log }
    }

    /// Waits until a line of the log contains `text`.
    pub async fn says(&self, text: &str) -> String {
        let mut log = self.log.clone();
        let find = |said: &Vec<String>| said.iter().find(|line| line.contains(text)).cloned();
        let said = log.wait_for(|said| find(said).is_some());
        // At the end of the program, or of patience, what was said decides.
        let _ = timeout(PATIENCE, said).await;
        let said = log.borrow();
        find(&said).unwrap_or_else(|| panic!("no `{text}` in\n{}", said.join("\n")))
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// The events of its log so far.
    ///
    /// # Panics
    ///
    /// If a line is no event: it would be lost to whoever reads the log.
    pub fn events(&self) -> Vec<Value> {
        let event = |line: &String| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            assert!(event["fields"].is_object(), "no event is in the line {line}");
            event
        };
        self.log.borrow().iter().map(event).collect()
    }

    pub async fn signal(&self, signal: Signal) {
        let (pid, signal) = (self.pid().to_string(), signal.option());
        let sent = Command::new("kill").args([signal, &pid]).status().await;
        assert!(sent.expect("there is a kill").success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Where one of its lines says that it listens.
    async fn address(&self, before: &str) -> SocketAddr {
        let line = self.says(before).await;
        let (_, rest) = line.split_once(before).expect("it is in the line");
        let (_, rest) = rest.split_once("://").expect("it is a URL");
        let address = rest.split_whitespace().next().expect("an address follows");
        address.parse().expect("it is an address")
    }
}

/// What the system sends to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT, which is ctrl-c on a terminal.
    Interrupt,
    /// SIGHUP.
    HangUp,
}

impl Signal {
    fn option(self) -> &'static str {
        match self {
            Signal::Terminate => "-TERM",
            Signal::Interrupt => "-INT",
            Signal::HangUp => "-HUP",
        }
    }
}

/// A running `maitred serve`; it is killed if the test ends before it does.
pub struct Served {
    pub started: Started,
    pub public: SocketAddr,
    pub operations: SocketAddr,
    pub client: reqwest::Client,
}

impl Served {
    /// Starts a server on ports that are free, and waits until it says where.
    pub async fn start(arguments: &[&str]) -> Served {
        let started = Started::new(arguments, &[]);
        let public = started.address("clients: http").await;
        let operations = started.address("operators: http").await;
        let client = reqwest::Client::new();
        Served { started, public, operations, client }
    }

    /// Waits until a line of the log contains `text`.
    pub async fn says(&self, text: &str) -> String {
        self.started.says(text).await
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.started.said()
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        self.started.signal(Signal::Terminate).await;
    }

    /// Sends SIGHUP.
    pub async fn hang_up(&self) {
        self.started.signal(Signal::HangUp).await;
    }

    pub fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// What Prometheus would read.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.operations);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The value of one line of the metrics, by its beginning; 0 if it is not
    /// there yet.
    pub async fn metric(&self, line: &str) -> f64 {
        value(&self.metrics().await, line)
    }
}

/// The value of one line of what Prometheus reads, by its beginning; 0 if it is not
/// there.
pub fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0.0)
}

/// How long a test waits for a word of the program before it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
