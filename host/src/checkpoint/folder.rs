//! The folder of a checkpoint that is being made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CheckpointError, WEIGHTS};

/// Refuses what [`Target::finish`] would refuse whatever is written: a place that cannot be
/// written to, and one where something else is than a model.
pub fn check(out: &Path) -> Result<(), CheckpointError> {
    if out.exists() && !out.join(WEIGHTS).is_file() {
        return Err(CheckpointError::Exists { path: out.to_owned() });
    }
    Target::new(out).map(drop)
}

/// A folder that appears whole or not at all.
pub struct Target {
    out: PathBuf,
    temporary: PathBuf,
}

impl Target {
    pub fn new(out: &Path) -> Result<Self, CheckpointError> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let temporary = out.with_file_name(format!(".{name}.{}", std::process::id()));
        std::fs::create_dir_all(&temporary)
            .map_err(|error| CheckpointError::io(&temporary, error))?;
        Ok(Target { out: out.to_owned(), temporary })
    }

    /// Puts a file into it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        std::fs::write(self.temporary.join(name), bytes).map_err(|error| self.io(error))
    }

    /// Puts a copy of a file into it.
    pub fn copy(&self, from: &Path, name: &str) -> Result<(), CheckpointError> {
        let copied = std::fs::copy(from, self.temporary.join(name));
        copied.map(drop).map_err(|error| self.io(error))
    }

    fn io(&self, error: std::io::Error) -> CheckpointError {
        CheckpointError::io(&self.temporary, error)
    }

    /// Puts the folder in place; true if the same was there.
    pub fn finish(self) -> Result<bool, CheckpointError> {
        let differs = || CheckpointError::Exists { path: self.out.clone() };
        let io = |error| CheckpointError::io(&self.out, error);
        if !self.out.exists() {
            match std::fs::rename(&self.temporary, &self.out) {
                Ok(()) => return Ok(false),
                // Somebody else was quicker.
                Err(_) if self.out.exists() => {}
                Err(error) => return Err(io(error)),
            }
        }
        let same = contents(&self.out).map_err(io)? == contents(&self.temporary).map_err(io)?;
        if same { Ok(true) } else { Err(differs()) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Nothing is left of it after a rename; else nobody needs it.
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

/// File names and digests of a folder of files.
fn contents(dir: &Path) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let digest = match entry.file_type()?.is_file() {
            true => Sha256::digest(std::fs::read(entry.path())?).to_vec(),
            false => Vec::new(),
        };
        contents.insert(entry.file_name().into(), digest);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_where_no_model_can_go_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        for folder in ["other", "model"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("other/letter"), "x").unwrap();
        std::fs::write(at("model").join(WEIGHTS), "x").unwrap();
        let before = contents(dir.path()).unwrap();
        for (out, refused) in [
            ("new", None),
            ("model", None),
            ("other", Some("exists and differs")),
            ("file", Some("exists and differs")),
            ("file/model", Some("os error")),
        ] {
            let error = check(&at(out)).err().map(|error| error.to_string());
            match (&error, refused) {
                (None, None) => {}
                (Some(error), Some(refused)) => assert!(error.contains(refused), "{out}: {error}"),
                _ => panic!("{out}: {error:?}"),
            }
        }
        assert!(contents(dir.path()).unwrap() == before, "something is left");
    }
}
