//! From what an operator writes as a model's source to its checkpoint.
//!
//! The first of these that exists is taken:
//!
//! 1. a folder;
//! 2. a model that `maitred model import` put under the id `owner/name` (only
//!    without a revision: an import has none);
//! 3. the hub's cache, if the checkpoint in it is complete;
//! 4. the hub itself, which is asked for nothing that 1 to 3 could answer.

use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError, Hub};

/// A model on the hub: `owner/name`, with `@revision` for a branch, tag or
/// commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelId {
    pub owner: String,
    pub name: String,
    pub revision: Option<String>,
}

impl ModelId {
    /// `None` for what cannot be an id. Each part goes into paths and URLs, so
    /// it is held to the hub's own alphabet.
    pub fn parse(source: &str) -> Option<Self> {
        fn plain(part: &str) -> bool {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        }
        let (id, revision) = match source.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (source, None),
        };
        let (owner, name) = id.split_once('/')?;
        let sound = plain(owner)
            && plain(name)
            && revision.is_none_or(|revision| revision.split('/').all(plain));
        sound.then(|| ModelId {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }

    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The name of the folder of an imported model.
    pub fn folder(&self) -> String {
        format!("{}--{}", self.owner, self.name)
    }
}

/// Finds the model that `source` names, downloading it if need be.
pub async fn locate(source: &str, hub: &Hub) -> Result<Checkpoint, CheckpointError> {
    let folder = Path::new(source);
    if folder.is_dir() {
        return Checkpoint::open(source, folder);
    }
    let Some(id) = ModelId::parse(source) else {
        return Err(CheckpointError::NotFound {
            name: source.to_owned(),
            reason: "it is neither a folder nor an id of the form owner/name[@revision]".to_owned(),
        });
    };
    if let Some(folder) = imported(&id, hub) {
        return Checkpoint::open(source, &folder);
    }
    hub.checkpoint(source, &id).await
}

/// Where an imported model of that name is kept, whether it is there or not.
pub fn imported_folder(name: &str, hub: &Hub) -> Result<PathBuf, CheckpointError> {
    match ModelId::parse(name) {
        Some(id) if id.revision.is_none() => Ok(hub.imported.join(id.folder())),
        _ => Err(CheckpointError::NotFound {
            name: name.to_owned(),
            reason: "a name for an import has the form owner/name".to_owned(),
        }),
    }
}

fn imported(id: &ModelId, hub: &Hub) -> Option<PathBuf> {
    let folder = hub.imported.join(id.folder());
    (id.revision.is_none() && folder.is_dir()).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_held_to_the_hubs_alphabet() {
        for (source, expected) in [
            ("cross-encoder/ms-marco-MiniLM-L-6-v2", Some(None)),
            ("BAAI/bge-reranker-base@main", Some(Some("main"))),
            ("owner/name@refs/pr/1", Some(Some("refs/pr/1"))),
            ("bert", None),
            ("a/b/c", None),
            ("../secret", None),
            ("owner/..", None),
            ("owner/name@", None),
            ("owner/name@../../x", None),
            ("owner/na me", None),
            ("/etc", None),
            ("", None),
        ] {
            assert_eq!(
                ModelId::parse(source).map(|id| id.revision),
                expected.map(|revision| revision.map(str::to_owned)),
                "{source}"
            );
        }
    }
}
