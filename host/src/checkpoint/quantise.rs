//! Makes an int8 checkpoint of one in floats: symmetric, with one scale for each output
//! of a matrix. The encoder's matrices and the word embedding become a quarter; norms,
//! biases and the head stay as they are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

/// What the largest number of a row may be of a grid that the row lies on.
const GRID: RangeInclusive<u16> = 16..=126;
/// What the largest number becomes in a row that lies on none.
const LARGEST: f32 = 127.0;
/// How far off a grid a number may be, as a share of the row's largest: what f32 rounds off.
const GRID_SHARE_MAX: f32 = 1e-6;

/// The rows of a matrix as integers, and the scale of each.
pub fn rows(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let scales: Vec<f32> = values.chunks_exact(width).map(scale).collect();
    let integers = values.chunks_exact(width).zip(&scales).flat_map(|(row, scale)| {
        let steps = reciprocal(*scale);
        row.iter().map(move |x| (x * steps).round_ties_even() as i8)
    });
    (integers.collect(), scales)
}

/// Of a scale; a row of zeros has scale 0, and stays one.
fn reciprocal(scale: f32) -> f32 {
    if scale > 0.0 { scale.recip() } else { 0.0 }
}

/// Weights that have been int8 before lie on a grid, and get its step back.
fn scale(row: &[f32]) -> f32 {
    let most = row.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let lies_on = |step: &f32| {
        let steps = reciprocal(*step);
        let far = |x: &f32| (x - (x * steps).round_ties_even() * step).abs();
        row.iter().all(|x| far(x) <= GRID_SHARE_MAX * most)
    };
    let grid = GRID.map(|largest| most / f32::from(largest)).find(lies_on);
    nearest_scale(row, grid.unwrap_or(most / LARGEST))
}

/// The scale that leaves the least error with the integers that this one makes.
fn nearest_scale(row: &[f32], scale: f32) -> f32 {
    let steps = reciprocal(scale);
    let (mut products, mut squares) = (0.0, 0.0);
    for x in row {
        let integer = f64::from((x * steps).round_ties_even());
        products += f64::from(*x) * integer;
        squares += integer * integer;
    }
    if squares > 0.0 { (products / squares) as f32 } else { scale }
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

    #[test]
    fn what_was_int8_before_comes_back() {
        let mut random = fastrand::Rng::with_seed(7);
        let before: Vec<i8> = (0..8 * 96).map(|_| random.i8(-90..=90)).collect();
        let values: Vec<f32> = before.iter().map(|value| f32::from(*value) * 0.003).collect();
        let (integers, scales) = rows(&values, 96);
        assert_eq!(integers, before);
        assert_eq!(scales, [0.003; 8]);
    }
}
