//! The models on this machine, and what can be said of one without computing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::{Activation, Family, ScoreActivation};
use super::{Checkpoint, CheckpointError, Hub, header};

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What names it as a source: `owner/name`.
    pub id: String,
    pub kind: ListedKind,
    pub dir: PathBuf,
    /// Why it cannot be served; `None` if it can.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListedKind {
    /// Made by `maitred model import`.
    Imported,
    /// Downloaded, by us or by another tool.
    Cached,
}

/// Models of the import folder and of the hub's cache, by name. One that is in
/// both is listed twice; its id names the imported one.
pub fn list(hub: &Hub) -> Vec<Listed> {
    let imported = folders(&hub.imported).into_iter().filter_map(|(folder, dir)| {
        let (owner, name) = folder.split_once("--")?;
        Some((format!("{owner}/{name}"), ListedKind::Imported, dir))
    });
    let cached = folders(&hub.cache).into_iter().filter_map(|(folder, dir)| {
        let (owner, name) = folder.strip_prefix("models--")?.split_once("--")?;
        let commit = std::fs::read_to_string(dir.join("refs").join("main")).ok()?;
        let snapshot = dir.join("snapshots").join(commit.trim());
        Some((format!("{owner}/{name}"), ListedKind::Cached, snapshot))
    });
    let mut listed: Vec<Listed> = imported
        .chain(cached)
        .map(|(id, kind, dir)| Listed {
            refused: Checkpoint::open(&id, &dir).err().map(|error| error.to_string()),
            id,
            kind,
            dir,
        })
        .collect();
    listed.sort_by(|a, b| (&a.id, a.kind).cmp(&(&b.id, b.kind)));
    listed
}

/// The folders in a folder by name, but for hidden ones (an import under way); a
/// folder that is not there has none.
fn folders(dir: &Path) -> Vec<(String, PathBuf)> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            (path.is_dir() && !name.starts_with('.')).then_some((name, path))
        })
        .collect()
}

/// What a model is, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    pub family: Family,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    /// Numbers that were trained; scales and zero points of quantised tensors
    /// are not counted.
    pub parameters: u64,
    /// Bytes of the weights' files.
    pub bytes: u64,
    /// The types in which the parameters are stored, with how many are in each,
    /// most first.
    pub types: Vec<(String, u64)>,
    pub length_max: usize,
    pub activation: Activation,
    pub score: ScoreActivation,
    pub note: Option<String>,
}

/// Reads the headers of the weights' files, not the weights.
pub fn info(checkpoint: &Checkpoint) -> Result<Info, CheckpointError> {
    let mut bytes = 0;
    let mut types: BTreeMap<String, u64> = BTreeMap::new();
    for path in &checkpoint.weights {
        bytes += std::fs::metadata(path).map_err(|error| CheckpointError::io(path, error))?.len();
        for (name, tensor) in header::read(path)?.tensors() {
            if !name.ends_with("_scale") && !name.ends_with("_zero_point") {
                let count: usize = tensor.shape.iter().product();
                *types.entry(tensor.dtype.to_string()).or_default() += count as u64;
            }
        }
    }
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let config = &checkpoint.config;
    Ok(Info {
        family: config.family,
        layers: config.layers,
        hidden: config.hidden,
        heads: config.heads,
        parameters: types.iter().map(|(_, count)| count).sum(),
        bytes,
        types,
        length_max: config.length_max,
        activation: config.activation,
        score: config.score,
        note: config.note.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::import::import;
    use super::super::{CONFIG, TOKENIZER, WEIGHTS};
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

    fn fixture(name: &str) -> PathBuf {
        Path::new(FIXTURES).join(name)
    }

    #[test]
    fn models_of_both_places_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub {
            endpoint: None,
            cache: dir.path().join("hub"),
            token: None,
            offline: true,
            imported: dir.path().join("imported"),
            connect_ms_max: Duration::ZERO,
            stall_ms_max: Duration::ZERO,
        };
        assert_eq!(list(&hub), []);

        std::fs::create_dir_all(hub.imported.join(".under-way")).unwrap();
        let onnx = fixture("tiny-quantised.onnx");
        let tokenizer = fixture("tiny-bert").join(TOKENIZER);
        let target = hub.imported.join("owner--small");
        import(&onnx, Some(&tokenizer), None, &target).unwrap();
        for (folder, complete) in [("models--a--whole", true), ("models--b--half", false)] {
            let folder = hub.cache.join(folder);
            std::fs::create_dir_all(folder.join("refs")).unwrap();
            std::fs::write(folder.join("refs/main"), "abc").unwrap();
            let snapshot = folder.join("snapshots/abc");
            std::fs::create_dir_all(&snapshot).unwrap();
            for file in [CONFIG, TOKENIZER, WEIGHTS] {
                if complete || file != WEIGHTS {
                    std::fs::copy(fixture("tiny-bert").join(file), snapshot.join(file)).unwrap();
                }
            }
        }
        let listed: Vec<_> = list(&hub)
            .into_iter()
            .map(|model| (model.id, model.kind, model.refused.is_some()))
            .collect();
        assert_eq!(
            listed,
            [
                ("a/whole".to_owned(), ListedKind::Cached, false),
                ("b/half".to_owned(), ListedKind::Cached, true),
                ("owner/small".to_owned(), ListedKind::Imported, false),
            ]
        );
    }

    #[test]
    fn a_model_is_described_from_its_headers() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let onnx = fixture("tiny-quantised.onnx");
        let tokenizer = fixture("tiny-bert").join(TOKENIZER);
        let imported = import(&onnx, Some(&tokenizer), None, &out).unwrap();
        let describe = |dir: &Path| info(&Checkpoint::open("m", dir).unwrap()).unwrap();
        let original = describe(&fixture("tiny-bert"));
        assert_eq!(original.types, [("F32".to_owned(), original.parameters)]);
        let quantised = describe(&out);
        assert_eq!(quantised.parameters, original.parameters);
        assert_eq!(quantised.parameters, imported.parameters);
        let types: Vec<_> = quantised.types.iter().map(|(name, _)| &**name).collect();
        assert_eq!(types, ["U8", "I8", "F32"]);
        assert!(quantised.bytes < original.bytes / 3);
        let sharded = describe(&fixture("tiny-bert-bf16-sharded"));
        assert_eq!(sharded.types, [("BF16".to_owned(), original.parameters)]);
    }
}
