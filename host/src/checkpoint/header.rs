//! What a safetensors file says of itself, read without its tensors. (The format's own
//! library reads headers only of files that are wholly in memory.)

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use safetensors::tensor::Metadata;

use super::{Checkpoint, CheckpointError};

/// Bytes of a header; the format's own library stops there too.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The tensors of a file, which has the length that its header speaks of: one whose
/// download or copy broke off has less.
pub fn read(path: &Path) -> Result<Metadata, CheckpointError> {
    let io = |error| CheckpointError::io(path, error);
    let broken = |reason: String| CheckpointError::broken(path, reason);
    let mut file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?.len();
    let prefix = size_of::<u64>() as u64;
    if found < prefix {
        return Err(broken("the file ends before its header".to_owned()));
    }
    let mut length = [0; size_of::<u64>()];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        let what = "the file is no safetensors: the size of its header in bytes";
        return Err(CheckpointError::TooLarge {
            path: path.to_owned(),
            what,
            value: length,
            limit: HEADER_BYTES_MAX,
        });
    }
    if found - prefix < length {
        return Err(broken("the file ends within its header".to_owned()));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(io)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| broken(format!("the header is broken: {error}")))?;
    let expected = prefix + length + header.data_len() as u64;
    if found != expected {
        return Err(broken(format!(
            "the file has {found} bytes, and by its header it must have {expected}"
        )));
    }
    Ok(header)
}

/// Whether all of a checkpoint's weights are whole; the first file that is not is the error.
pub fn check(checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
    checkpoint.weights.iter().try_for_each(|path| read(path).map(drop))
}

#[cfg(test)]
mod tests {
    use super::super::WEIGHTS;
    use super::*;

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WEIGHTS);
        for bytes in [&[][..], &[0; 8], &[255; 64], &[9, 0, 0, 0, 0, 0, 0, 0, b'{']] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains(WEIGHTS), "{error}");
        }
    }
}
