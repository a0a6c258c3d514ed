//! Whether the files of a model's weights are whole: one whose download or copy broke
//! off has a header that speaks of more than there is. Only headers are read, where a
//! start reads everything.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use safetensors::tensor::Metadata;

use crate::checkpoint::Checkpoint;

/// Bytes of a header; the format's own library stops there too.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// What is wrong with the first file that is not whole.
pub fn fault(checkpoint: &Checkpoint) -> Option<String> {
    let whole = |path: &Path| check(path).with_context(|| path.display().to_string());
    let broken = checkpoint.weights.iter().find_map(|path| whole(path).err());
    broken.map(|error| format!("{error:#}"))
}

fn check(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    let mut length = [0; size_of::<u64>()];
    file.read_exact(&mut length).context("the file ends before its header")?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        bail!("the file is no safetensors: its header would have {length} bytes");
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    if (header.len() as u64) < length {
        bail!("the file ends within its header");
    }
    let header: Metadata = serde_json::from_slice(&header).context("the header is broken")?;
    let expected = size_of::<u64>() as u64 + length + header.data_len() as u64;
    if found != expected {
        bail!("the file has {found} bytes, and by its header it must have {expected}");
    }
    Ok(())
}
