//! The program itself, as a user starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

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

/// A running `maitred serve`; it is killed if the test ends before it does.
pub struct Served {
    pub child: Child,
    pub public: SocketAddr,
    /// What it says on standard error after its first lines.
    pub log: Lines<BufReader<ChildStderr>>,
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
        let mut log = BufReader::new(stderr).lines();
        let mut said = String::new();
        while let Some(line) = log.next_line().await.expect("the log is UTF-8") {
            said += &line;
            if let Some((_, rest)) = line.split_once("clients: http") {
                let (_, rest) = rest.split_once("://").expect("it is a URL");
                let address = rest.split_whitespace().next().expect("an address follows");
                let public = address.parse().expect("it is an address");
                return Served { child, public, log };
            }
        }
        panic!("the server ended before it listened: {said}");
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.expect("there is a kill").success());
    }
}
