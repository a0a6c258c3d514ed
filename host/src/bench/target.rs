//! Who is asked: a server that runs somewhere, or one that is started for the
//! benchmark, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use toml::Table;

use super::client::{Client, Pages};
use super::process::Usage;
use super::subject::Subject;
use super::sweep::merge;
use super::workload::{Access, Place, TargetSettings, Workload};
use crate::config::{Raw, check};
use crate::metrics::reading::Reading;

/// How often a server that starts is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(50);
/// Grace of a server that was told to stop, beyond its own.
const STOP_MS_MAX: Duration = Duration::from_secs(25);
/// How long a server that closed its log may take to end.
const ENDS_MS_MAX: Duration = Duration::from_secs(1);
/// Lines of a server's log that are kept for when it fails.
const LOG_LINES_MAX: usize = 20;

pub struct Target {
    members: Vec<Member>,
    pages: Pages,
    access: Access,
    pub about: About,
}

/// One server; requests go to all of a target in turn.
struct Member {
    base: String,
    metrics: Option<String>,
    server: Option<Server>,
}

/// What the target says that it serves; `None` where it does not say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    pub version: Option<String>,
    pub model: Option<String>,
    pub precision: Option<String>,
    pub length_max: Option<u64>,
    pub replicas: Option<usize>,
    /// What computes answers of the route that is asked.
    pub chain: Option<String>,
}

/// A server that was started here; it is killed if it is dropped.
struct Server {
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Target {
    /// Connects to the server or starts one, and waits until it is ready.
    pub async fn open(workload: &Workload) -> anyhow::Result<Target> {
        let settings = &workload.target;
        let pages = Pages::new(&settings.access)?;
        let mut members = Vec::new();
        match &settings.place {
            Place::Url { base, metrics } => {
                let (base, metrics) = (base.clone(), metrics.clone());
                members.push(Member { base, metrics, server: None });
            }
            Place::Started { processes, .. } => {
                let raw = configuration(workload)?;
                for _ in 0..*processes {
                    let started = Server::start(raw.clone(), settings.ready_ms_max).await?;
                    let (server, base, operations) = started;
                    let metrics = Some(format!("{operations}/metrics"));
                    members.push(Member { base, metrics, server: Some(server) });
                }
            }
        };
        for member in &members {
            member.ready(&pages, settings).await?;
        }
        let about = members[0].says(&pages, workload.request.route.as_deref()).await;
        Ok(Target { members, pages, access: settings.access.clone(), about })
    }

    /// A client of it.
    pub fn subject(&self, workload: &Workload) -> anyhow::Result<Arc<dyn Subject>> {
        let bases = self.members.iter().map(|member| &*member.base);
        Ok(Arc::new(Client::new(bases, &workload.request, &self.access)?))
    }

    /// What `/metrics` says now; `None` if there is none or it does not answer.
    pub async fn reading(&self) -> Option<Reading> {
        let mut readings = Vec::new();
        for member in &self.members {
            let text = self.pages.get(member.metrics.as_ref()?).await.ok()?;
            readings.push(Reading::parse(&text));
        }
        Some(Reading::together(readings))
    }

    /// What the processes have used together; nothing is known of one elsewhere.
    pub fn usage(&self) -> Usage {
        let pid = |member: &Member| member.server.as_ref().and_then(|server| server.child.id());
        let each = self.members.iter().map(|member| pid(member).map(Usage::of).unwrap_or_default());
        each.reduce(Usage::plus).unwrap_or_default()
    }

    /// Whether all still run; a server of somebody else is taken to.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        for server in self.members.iter_mut().filter_map(|member| member.server.as_mut()) {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}{}", server.said());
            }
        }
        Ok(())
    }

    /// Tells servers that were started here to end, and waits for them.
    pub async fn close(self) {
        for server in self.members.into_iter().filter_map(|member| member.server) {
            server.stop().await;
        }
    }
}

impl Member {
    async fn ready(&self, pages: &Pages, settings: &TargetSettings) -> anyhow::Result<()> {
        let url = match &self.server {
            Some(_) => format!("{}/ready", self.base),
            // Servers of others have no `/ready`, but theirs is up or is not.
            None => format!("{}/health", self.base),
        };
        let mut why = String::new();
        let ready = async {
            loop {
                match pages.get(&url).await {
                    Ok(_) => return,
                    Err(error) if error.to_string().contains("status 404") => return,
                    Err(error) => {
                        why = format!(": {error:#}");
                        sleep(READY_POLL).await;
                    }
                }
            }
        };
        if timeout(settings.ready_ms_max, ready).await.is_ok() {
            return Ok(());
        }
        let ms = settings.ready_ms_max.as_millis();
        match &self.server {
            Some(server) => bail!("the server was not ready after {ms} ms{}", server.said()),
            None => bail!("{url} did not answer within {ms} ms{why}"),
        }
    }

    async fn says(&self, pages: &Pages, route: Option<&str>) -> About {
        let page = pages.get(&format!("{}/info", self.base)).await.unwrap_or_default();
        let Ok(info) = serde_json::from_str::<serde_json::Value>(&page) else {
            return About::default();
        };
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let route = route.or(info["default_route"].as_str()).unwrap_or_default();
        let route = &info["routes"][route];
        let model = &info["models"][route["model"].as_str().unwrap_or_default()];
        let source = text(&model["source"]).or_else(|| text(&info["model_id"]));
        About {
            version: text(&info["version"]),
            model: source.map(|source| without_folders(&source)),
            precision: text(&model["precision"]).or_else(|| text(&info["model_dtype"])),
            length_max: info["max_input_length"].as_u64(),
            replicas: model["replicas"].as_array().map(Vec::len),
            chain: text(&route["chain"]),
        }
    }
}

/// A model's folder by its own name: where it lies is this machine's business.
pub fn without_folders(source: &str) -> String {
    let path = Path::new(source);
    let folder = path.is_absolute() || source.starts_with('.');
    let name = path.file_name().filter(|_| folder);
    name.map_or_else(|| source.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The configuration of a server to be started. The file's paths are relative to
/// the file, those of what differs to the workload's folder.
pub fn configuration(workload: &Workload) -> anyhow::Result<Raw> {
    let Place::Started { config, settings, .. } = &workload.target.place else {
        bail!("`target.url` is somebody else's server");
    };
    let mut raw = merged(config.as_deref(), settings, &workload.folder)?;
    if let Some(source) = workload.target.models.first() {
        let name = raw.models.keys().next().cloned().unwrap_or_else(|| "default".into());
        raw.models.entry(name).or_default().source.clone_from(source);
    }
    check(&mut raw.clone())?;
    Ok(raw)
}

fn merged(config: Option<&Path>, changes: &Table, folder: &Path) -> anyhow::Result<Raw> {
    let mut table = match config {
        Some(path) => Table::try_from(Raw::read(path)?).context("failed to read it whole")?,
        None => Table::new(),
    };
    merge(&mut table, changes);
    let text = toml::to_string(&table).context("failed to write the configuration")?;
    let mut raw = Raw::parse(&text).map_err(|faults| {
        // Lines of a text that nobody sees help nobody.
        let faults = faults.faults.iter().map(|fault| match fault.split_once(": ") {
            Some((line, fault)) if line.starts_with("line ") => format!("\n  - {fault}"),
            _ => format!("\n  - {fault}"),
        });
        anyhow!("the server's settings are not usable:{}", faults.collect::<String>())
    })?;
    raw.resolve(folder);
    Ok(raw)
}

impl Server {
    /// Starts this very program as a server on ports that are free. Returns the
    /// addresses for clients and for operators.
    async fn start(mut raw: Raw, patience: Duration) -> anyhow::Result<(Server, String, String)> {
        // The file is gone when the server has read it.
        raw.server.reload = "off".into();
        let file = Written::new(&raw.to_toml())?;
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .args(["--log-format", "human", "--log", "info", "--config"])
            .arg(&file.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // What is measured is what the workload says, and nothing else.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MAITRED_")) {
            command.env_remove(name);
        }
        // ctrl-c is for the benchmark, which still has questions to the server.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("failed to start the server")?;
        let stderr = child.stderr.take().context("the server's log is not to be had")?;
        let (said, log) = watch::channel(Vec::new());
        // Read to the end: a full pipe would stop the server.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                said.send_modify(|said: &mut Vec<String>| {
                    if said.len() == LOG_LINES_MAX {
                        said.remove(0);
                    }
                    said.push(line);
                });
            }
        });
        let mut server = Server { child, log };
        let clients = server.address("clients: ", patience).await?;
        let operators = server.address("operators: ", patience).await?;
        Ok((server, clients, operators))
    }

    /// Waits until the log says where the server listens.
    async fn address(&mut self, before: &str, patience: Duration) -> anyhow::Result<String> {
        let find = |said: &Vec<String>| {
            let line = said.iter().find_map(|line| line.split_once(before))?;
            line.1.split_whitespace().next().map(str::to_owned)
        };
        let mut log = self.log.clone();
        let found = timeout(patience, log.wait_for(|said| find(said).is_some())).await;
        if let Ok(Ok(said)) = found {
            return find(&said).context("it was just there");
        }
        // The log of a server that ends is closed a moment before.
        match timeout(ENDS_MS_MAX, self.child.wait()).await {
            Ok(status) => bail!("the server ended with {}{}", status?, self.said()),
            Err(_) => bail!("the server did not start within {patience:?}{}", self.said()),
        }
    }

    /// What it said last, as the end of a message.
    fn said(&self) -> String {
        self.log.borrow().iter().map(|line| format!("\n    {line}")).collect()
    }

    async fn stop(mut self) {
        #[cfg(unix)]
        if let Some(pid) =
            self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = timeout(STOP_MS_MAX, self.child.wait()).await;
        }
        // What has not ended by itself ends by the drop.
    }
}

/// A file that is gone when this is.
struct Written(PathBuf);

impl Written {
    fn new(text: &str) -> anyhow::Result<Written> {
        let name = format!("maitred-bench-{}.toml", uuid::Uuid::now_v7());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Written(path))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_a_file_and_what_differs_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("base.toml");
        std::fs::write(&file, "[models.m]\nsource = './model'\nreplicas = 2\n[routes.default]")
            .unwrap();
        let changes = "models.m.batch.batch_wait_ms = 20".parse().unwrap();
        let raw = merged(Some(&file), &changes, Path::new("/w")).unwrap();
        let model = &raw.models["m"];
        assert_eq!((model.replicas, model.batch.batch_wait_ms), (Some(2), 20));
        assert_eq!(Path::new(&model.source), folder.path().join("./model"));

        let changes = "models.m.source = './here'".parse().unwrap();
        let raw = merged(None, &changes, Path::new("/w")).unwrap();
        assert_eq!(Path::new(&raw.models["m"].source), Path::new("/w/./here"));
    }

    #[test]
    fn wrong_settings_are_told_without_lines() {
        let check = |changes: &str, expected: &str| {
            let error = merged(None, &changes.parse().unwrap(), Path::new("/w"))
                .and_then(|mut raw| Ok(check(&mut raw)?));
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains(expected) && !error.contains("line 1"), "{error}");
        };
        check("models.m.replica = 2", "unknown key `replica`; did you mean `replicas`?");
        check("models.m.replicas = 0", "`models.m.replicas` is 0; it must be 1 to 1024 replicas");
    }
}
