//! Makes an int8 checkpoint of one in floats: symmetric, with one scale for each output
//! of a matrix. The encoder's matrices and the word embedding become a quarter; norms,
//! biases and the head stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::folder::Target;
use super::{
    CONFIG, Checkpoint, CheckpointError, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, read_bounded,
};

/// Bytes of one file of weights.
const WEIGHT_BYTES_MAX: u64 = 16 << 30;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantised {
    pub dir: PathBuf,
    /// Matrices that are int8 now.
    pub matrices: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// The folder was there, with this very content.
    pub already_there: bool,
}

/// Writes the folder `out` for the model of `checkpoint`.
pub fn quantise(checkpoint: &Checkpoint, out: &Path) -> Result<Quantised, CheckpointError> {
    let mut stored = BTreeMap::new();
    let (mut matrices, mut bytes_before) = (0, 0);
    for path in &checkpoint.weights {
        let bytes = read_bounded(path, WEIGHT_BYTES_MAX)?;
        bytes_before += bytes.len() as u64;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| CheckpointError::broken(path, error))?;
        for (name, tensor) in file.iter() {
            match integers(name, &tensor) {
                Some((values, scales)) => {
                    matrices += 1;
                    let values = values.into_iter().map(|value| value as u8).collect();
                    let shape = tensor.shape().to_vec();
                    let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                    let scales = Stored { dtype: Dtype::F32, shape: vec![shape[0]], bytes };
                    stored.insert(format!("{name}_scale"), scales);
                    stored
                        .insert(name.to_owned(), Stored { dtype: Dtype::I8, shape, bytes: values });
                }
                None => {
                    let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
                    stored.insert(
                        name.to_owned(),
                        Stored { dtype, shape, bytes: tensor.data().to_vec() },
                    );
                }
            }
        }
    }
    if matrices == 0 {
        return Err(CheckpointError::broken(
            &checkpoint.dir,
            "it has no matrices in floats; is it int8 already?",
        ));
    }
    let views = stored.iter().map(|(name, Stored { dtype, shape, bytes })| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (name, view.expect("a tensor has as many bytes as its shape says"))
    });
    let weights = safetensors::serialize(views, None)
        .map_err(|error| CheckpointError::broken(&checkpoint.dir, error))?;

    let target = Target::new(out)?;
    for name in [CONFIG, TOKENIZER, TOKENIZER_CONFIG] {
        let file = checkpoint.dir.join(name);
        if file.is_file() {
            target.copy(&file, name)?;
        }
    }
    target.write(WEIGHTS, &weights)?;
    let already_there = target.finish()?;
    let bytes_after = weights.len() as u64;
    Ok(Quantised { dir: out.to_owned(), matrices, bytes_before, bytes_after, already_there })
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The tensor in int8, if it is a matrix of those that are to be.
fn integers(name: &str, tensor: &TensorView<'_>) -> Option<(Vec<i8>, Vec<f32>)> {
    let [_, width] = tensor.shape() else {
        return None;
    };
    let layers = name.contains("encoder.layer.") && name.ends_with(".weight");
    if *width == 0 || !(layers || name.ends_with("word_embeddings.weight")) {
        return None;
    }
    let data = tensor.data();
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
        }
        _ => return None,
    };
    Some(rows(&values, *width))
}

/// The rows of a matrix as integers, and the scale of each: its largest number is 127
/// times that.
pub fn rows(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> = values
        .chunks_exact(width)
        .map(|row| row.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 127.0)
        .collect();
    let integers = values.chunks_exact(width).zip(&scales).flat_map(|(row, scale)| {
        // A row of zeros has scale 0, and stays one.
        let steps = if *scale > 0.0 { scale.recip() } else { 0.0 };
        row.iter().map(move |x| (x * steps).round_ties_even() as i8)
    });
    (integers.collect(), scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_scale() {
        let (integers, scales) = rows(&[1.27, -0.5, 0.0, 0.0, -254.0, 1.0], 2);
        assert_eq!(integers, [127, -50, 0, 0, -127, 0]);
        assert!((scales[0] - 0.01).abs() < 1e-8);
        assert_eq!(scales[1..], [0.0, 2.0]);
    }
}
