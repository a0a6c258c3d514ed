//! Files that are looked at now and then: a change is told when it has settled.
//!
//! Looking beats being notified here: it works the same for a file that is
//! written in place, renamed over, reached through symbolic links that are
//! exchanged (as orchestrators mount configuration), or on a network's file
//! system, and costs a handful of system calls a second. A file that is being
//! written is let alone until two looks find the same.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

/// What tells a file's contents apart without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// The file itself, and when anything about it last changed: a file that is
    /// exchanged for an older one has another number, and one that is written
    /// twice within the clock's grain another size or, on its second look, time.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Stamp {
    /// `None` for a file that cannot be looked at; most often it is not there.
    async fn of(path: &Path) -> Option<Stamp> {
        let about = tokio::fs::metadata(path).await.ok()?;
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt as _;
            (about.ino(), about.ctime(), about.ctime_nsec())
        };
        Some(Stamp {
            bytes: about.len(),
            modified: about.modified().ok(),
            #[cfg(unix)]
            inode,
        })
    }
}

type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

#[derive(Default)]
pub struct Watch {
    /// What was told, or was there at the beginning.
    told: Stamps,
    /// What the last look found, if it differs.
    unsettled: Option<Stamps>,
}

impl Watch {
    /// Watches these files, and no others, from how they are now; call it before
    /// they are read, so that no change falls between reading and looking.
    pub async fn only(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut told = Stamps::new();
        for path in paths {
            let stamp = Stamp::of(&path).await;
            told.insert(path, stamp);
        }
        self.told = told;
        self.unsettled = None;
    }

    /// Watches these files, too; those that are watched keep what was told.
    pub async fn also(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            if let Entry::Vacant(place) = self.told.entry(path) {
                let stamp = Stamp::of(place.key()).await;
                place.insert(stamp);
            }
        }
    }

    /// Watches of its files only these on.
    pub fn keep(&mut self, paths: BTreeSet<PathBuf>) {
        self.told.retain(|path, _| paths.contains(path));
        self.unsettled = None;
    }

    /// Looks every so often for a change that has settled, and names the files.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self, every: Duration) -> Vec<PathBuf> {
        loop {
            sleep(every).await;
            if let Some(changed) = self.look().await {
                return changed;
            }
        }
    }

    async fn look(&mut self) -> Option<Vec<PathBuf>> {
        let mut found = Stamps::new();
        for path in self.told.keys() {
            found.insert(path.clone(), Stamp::of(path).await);
        }
        if found == self.told {
            self.unsettled = None;
        } else if self.unsettled.as_ref() == Some(&found) {
            let changed = found.iter().filter(|(path, stamp)| self.told[*path] != **stamp);
            let changed = changed.map(|(path, _)| path.clone()).collect();
            (self.told, self.unsettled) = (found, None);
            return Some(changed);
        } else {
            self.unsettled = Some(found);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{remove_file, rename, write};

    use super::*;

    #[tokio::test]
    async fn changes_are_told_once_and_when_they_have_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (file, other, new) = (path("file"), path("other"), path("new"));
        write(&file, "one").unwrap();
        let mut watch = Watch::default();
        watch.only([file.clone(), other.clone()]).await;
        assert_eq!(watch.look().await, None);
        assert_eq!(watch.look().await, None, "nothing has changed");

        let mut told_once = async |change: &dyn Fn(), expected: &[&PathBuf]| {
            change();
            assert_eq!(watch.look().await, None, "it may be being written");
            let told = watch.look().await.expect("it has settled");
            assert!(told.iter().eq(expected.iter().copied()), "{told:?} not {expected:?}");
            assert_eq!(watch.look().await, None, "it was told");
        };
        told_once(&|| write(&file, "longer").unwrap(), &[&file]).await;
        let exchange = || {
            write(&new, "shorte").unwrap();
            rename(&new, &file).unwrap();
        };
        told_once(&exchange, &[&file]).await;
        told_once(&|| write(&other, "").unwrap(), &[&other]).await;
        told_once(&|| remove_file(&file).unwrap(), &[&file]).await;
        let both = || {
            write(&file, "back").unwrap();
            remove_file(&other).unwrap();
        };
        told_once(&both, &[&file, &other]).await;
    }

    #[tokio::test]
    async fn a_file_that_is_still_written_is_let_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut watch = Watch::default();
        watch.only([file.clone()]).await;
        for bytes in 1..5 {
            write(&file, "x".repeat(bytes)).unwrap();
            assert_eq!(watch.look().await, None);
        }
        assert_eq!(watch.changed(Duration::from_millis(1)).await, [file]);
    }
}
