//! The model hub and its cache on this machine, laid out as every other tool
//! does it, so that a model is downloaded once.
//!
//! Files come in the order in which they can disqualify a model: a
//! configuration that no engine runs is refused before its weights are fetched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hf_hub::api::tokio::{Api, ApiBuilder, ApiRepo, Progress};
use hf_hub::{Cache, Repo, RepoType};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::locate::ModelId;
use super::{
    CONFIG, Checkpoint, CheckpointError, ModelConfig, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS,
    WEIGHTS_INDEX, shards,
};

/// Where models come from. Read from the environment once; tests make their own.
#[derive(Clone)]
pub struct Hub {
    /// Where the hub is; `None` is its usual address.
    pub endpoint: Option<String>,
    /// The hub's cache.
    pub cache: PathBuf,
    /// Opens gated and private models.
    pub token: Option<String>,
    /// Whether the network is off limits.
    pub offline: bool,
    /// Folders `owner--name` of imported models.
    pub imported: PathBuf,
    /// Time in which the hub must answer the first question.
    pub connect_ms_max: Duration,
    /// Time without a byte after which a download is given up.
    pub stall_ms_max: Duration,
}

/// The token is nobody's to see.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("imported", &self.imported)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The settings that the hub's other tools read: `HF_ENDPOINT`, `HF_HOME`,
    /// `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_settings(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Self {
        let caches = dirs::cache_dir().unwrap_or_else(std::env::temp_dir);
        let home = setting("HF_HOME").map_or_else(
            || {
                // `~/.cache` on every platform, as the other tools have it.
                dirs::home_dir()
                    .map_or_else(|| caches.clone(), |home| home.join(".cache"))
                    .join("huggingface")
            },
            PathBuf::from,
        );
        let token_path = setting("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let offline = setting("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&&*value.to_lowercase()));
        Hub {
            endpoint: setting("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned()),
            cache: setting("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: setting("HF_TOKEN")
                .or_else(|| std::fs::read_to_string(token_path).ok())
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline,
            imported: caches.join("maitred").join("models"),
            connect_ms_max: Duration::from_secs(10),
            stall_ms_max: Duration::from_secs(60),
        }
    }

    /// The model's checkpoint, from the cache if it is complete there.
    pub(super) async fn checkpoint(
        &self,
        name: &str,
        id: &ModelId,
    ) -> Result<Checkpoint, CheckpointError> {
        let missing = match self.snapshot(id) {
            Some(folder) => match Checkpoint::open(name, &folder) {
                Err(CheckpointError::Missing { file, .. }) => file,
                other => return other,
            },
            None => "all of it".to_owned(),
        };
        if self.offline {
            return Err(CheckpointError::Offline {
                name: name.to_owned(),
                missing,
                setting: "HF_HUB_OFFLINE",
            });
        }
        let download = Download::start(self, name, id)?;
        let folder = download.run().await?;
        Checkpoint::open(name, &folder)
    }

    fn repo(&self, id: &ModelId) -> Repo {
        let revision = id.revision.clone().unwrap_or_else(|| "main".to_owned());
        Repo::with_revision(id.repository(), RepoType::Model, revision)
    }

    /// The folder of the revision in the cache: by the commit that a branch or
    /// tag pointed to when it was last asked for, or by the commit itself.
    fn snapshot(&self, id: &ModelId) -> Option<PathBuf> {
        let repo = self.repo(id);
        let folder = self.cache.join(repo.folder_name());
        let commit = std::fs::read_to_string(folder.join("refs").join(repo.revision()))
            .unwrap_or_else(|_| repo.revision().to_owned());
        let snapshot = folder.join("snapshots").join(commit.trim());
        snapshot.is_dir().then_some(snapshot)
    }
}

/// One model on its way from the hub to the cache.
struct Download<'a> {
    hub: &'a Hub,
    name: &'a str,
    id: ModelId,
    repo: ApiRepo,
}

impl<'a> Download<'a> {
    fn start(hub: &'a Hub, name: &'a str, id: &ModelId) -> Result<Self, CheckpointError> {
        let failed = |reason: String| CheckpointError::Hub {
            name: name.to_owned(),
            what: "anything".to_owned(),
            reason,
        };
        let mut builder = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
            .with_progress(false)
            .with_token(hub.token.clone())
            .with_user_agent("maitred", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &hub.endpoint {
            if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
                return Err(failed(format!(
                    "`HF_ENDPOINT` is \"{endpoint}\"; it must begin with http:// or https://"
                )));
            }
            builder = builder.with_endpoint(endpoint.clone());
        }
        let api: Api = builder.build().map_err(|error| failed(error.to_string()))?;
        Ok(Download { hub, name, id: id.clone(), repo: api.repo(hub.repo(id)) })
    }

    /// Fetches what is missing and returns the folder.
    async fn run(&self) -> Result<PathBuf, CheckpointError> {
        let files = self.files().await?;
        let has = |file: &str| files.iter().any(|name| name == file);
        let config = self.fetch(CONFIG).await?;
        let folder = config.parent().unwrap_or(Path::new("")).to_owned();
        ModelConfig::read(&folder)?;
        for file in [TOKENIZER, TOKENIZER_CONFIG] {
            if has(file) {
                self.fetch(file).await?;
            }
        }
        if has(WEIGHTS) {
            self.fetch(WEIGHTS).await?;
        } else if has(WEIGHTS_INDEX) {
            self.fetch(WEIGHTS_INDEX).await?;
            for shard in shards(&folder)? {
                self.fetch(&shard).await?;
            }
        }
        Ok(folder)
    }

    /// The names of the model's files on the hub.
    async fn files(&self) -> Result<Vec<String>, CheckpointError> {
        match timeout(self.hub.connect_ms_max, self.repo.info()).await {
            Ok(Ok(info)) => Ok(info.siblings.into_iter().map(|file| file.rfilename).collect()),
            Ok(Err(error)) => Err(self.failed("the list of files", &error)),
            Err(_) => Err(CheckpointError::Hub {
                name: self.name.to_owned(),
                what: "the list of files".to_owned(),
                reason: format!("no answer within {} ms", self.hub.connect_ms_max.as_millis()),
            }),
        }
    }

    /// One file, from the cache or from the hub.
    async fn fetch(&self, file: &str) -> Result<PathBuf, CheckpointError> {
        let cache = Cache::new(self.hub.cache.clone());
        if let Some(path) = cache.repo(self.hub.repo(&self.id)).get(file) {
            return Ok(path);
        }
        tracing::info!(model = self.name, file, "downloading");
        let beat = Beat(Arc::new(Notify::new()));
        let mut download = std::pin::pin!(self.repo.download_with_progress(file, beat.clone()));
        loop {
            tokio::select! {
                biased;
                done = &mut download => return done.map_err(|error| self.failed(file, &error)),
                moved = timeout(self.hub.stall_ms_max, beat.0.notified()) => {
                    if moved.is_err() {
                        return Err(CheckpointError::Hub {
                            name: self.name.to_owned(),
                            what: file.to_owned(),
                            reason: format!(
                                "no byte within {} ms",
                                self.hub.stall_ms_max.as_millis()
                            ),
                        });
                    }
                }
            }
        }
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) -> CheckpointError {
        // The cause of a failed request is the last of the chain.
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            source = cause.source();
        }
        CheckpointError::Hub { name: self.name.to_owned(), what: what.to_owned(), reason }
    }
}

/// Tells that a download moves.
#[derive(Clone)]
struct Beat(Arc<Notify>);

impl Progress for Beat {
    async fn init(&mut self, _size: usize, _filename: &str) {
        self.0.notify_one();
    }

    async fn update(&mut self, _size: usize) {
        self.0.notify_one();
    }

    async fn finish(&mut self) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests;
