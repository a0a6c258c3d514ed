//! Weights: named tensors out of safetensors files, as f32 or, where they are stored
//! so, as int8.
//!
//! Files are read into memory and dropped after loading; mapping them would
//! need `unsafe`, and would save nothing since every tensor is converted or
//! copied to a device anyway. This file knows no graph.

use std::collections::HashMap;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};

use super::EngineError;
use crate::checkpoint::WEIGHT_BYTES_MAX;
use crate::checkpoint::floats::floats;

/// The tensors of a checkpoint.
pub struct Weights {
    files: Vec<File>,
    /// Where each tensor is.
    index: HashMap<String, (usize, TensorInfo)>,
}

/// A matrix in integers: those of row r times `scales[r]`.
#[derive(Debug, PartialEq)]
pub struct Quantised {
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
}

/// A tensor as it is stored.
struct Found<'a> {
    name: &'a str,
    bytes: &'a [u8],
    dtype: Dtype,
}

struct File {
    bytes: Vec<u8>,
    /// Where the tensors' bytes begin.
    data: usize,
}

impl Weights {
    pub fn read(paths: &[PathBuf]) -> Result<Self, EngineError> {
        let mut weights = Weights { files: Vec::new(), index: HashMap::new() };
        let mut total = 0;
        for path in paths {
            let failed = |error: &dyn std::fmt::Display| {
                EngineError::Files(format!("{}: {error}", path.display()))
            };
            total += std::fs::metadata(path).map_err(|e| failed(&e))?.len();
            if total > WEIGHT_BYTES_MAX {
                return Err(failed(&format!(
                    "the weights have {total} bytes, over the limit of {WEIGHT_BYTES_MAX}"
                )));
            }
            let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
            // This checks that each tensor lies in the file and has as many
            // bytes as its shape and type say.
            let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| failed(&e))?;
            let file = weights.files.len();
            for (name, info) in metadata.tensors() {
                weights.index.insert(name, (file, info.clone()));
            }
            weights.files.push(File { bytes, data: size_of::<u64>() + header });
        }
        Ok(weights)
    }

    /// The tensor of one of the names (the first that exists) as f32, in
    /// row-major order. A quantised tensor `X` is stored beside `X_scale`, of one
    /// number or one for each row, and maybe `X_zero_point`; its value is
    /// (q - zero point) * scale.
    pub fn get(&self, names: &[String], shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let Found { name, bytes, dtype } = self.find(names, shape)?;
        match dtype {
            Dtype::I8 | Dtype::U8 => {
                let (values, scales) = self.integers(name, bytes, dtype, shape)?;
                let row = values.len() / scales.len();
                Ok(values.iter().enumerate().map(|(at, q)| *q as f32 * scales[at / row]).collect())
            }
            other => floats(other, bytes).ok_or_else(|| EngineError::Unsupported(format!(
                "tensor `{name}` has type {other:?}; supported: F32, F16, BF16, I8 and U8 with scale"
            ))),
        }
    }

    /// The same tensor as it is stored, if that is in integers which fit an i8 once
    /// their zero is 0.
    pub fn get_int8(
        &self,
        names: &[String],
        shape: &[usize],
    ) -> Result<Option<Quantised>, EngineError> {
        let Found { name, bytes, dtype } = self.find(names, shape)?;
        if !matches!(dtype, Dtype::I8 | Dtype::U8) {
            return Ok(None);
        }
        let (integers, scales) = self.integers(name, bytes, dtype, shape)?;
        let values: Result<Vec<i8>, _> = integers.into_iter().map(i8::try_from).collect();
        let rows = shape.first().copied().unwrap_or(1);
        Ok(values.ok().map(|values| Quantised {
            values,
            scales: if scales.len() == 1 { vec![scales[0]; rows] } else { scales },
        }))
    }

    fn find(&self, names: &[String], shape: &[usize]) -> Result<Found<'_>, EngineError> {
        let Some((name, (file, info))) =
            names.iter().find_map(|name| self.index.get_key_value(name))
        else {
            return Err(EngineError::Files(format!(
                "tensor `{}` of shape {shape:?} is missing",
                names.join("` or `")
            )));
        };
        if info.shape != shape {
            return Err(EngineError::Files(format!(
                "tensor `{name}` has shape {:?}, expected {shape:?}",
                info.shape
            )));
        }
        Ok(Found { name, bytes: self.bytes(*file, info), dtype: info.dtype })
    }

    /// The integers of a quantised tensor less their zero, and its scales: one, or one
    /// for each row.
    fn integers(
        &self,
        name: &str,
        bytes: &[u8],
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<(Vec<i32>, Vec<f32>), EngineError> {
        let Some(scales) = self.scales(&format!("{name}_scale"), shape)? else {
            return Err(EngineError::Files(format!(
                "tensor `{name}` is quantised, but `{name}_scale` is missing"
            )));
        };
        let zero = self.scalar(&format!("{name}_zero_point"))?.unwrap_or_default() as i32;
        let values = match dtype {
            Dtype::I8 => each(bytes, |b| i32::from(i8::from_le_bytes(b)) - zero),
            _ => each(bytes, |b| i32::from(u8::from_le_bytes(b)) - zero),
        };
        Ok((values, scales))
    }

    fn scales(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, EngineError> {
        match self.index.get(name) {
            Some((file, info))
                if info.dtype == Dtype::F32
                    && shape.first().is_some_and(|rows| info.shape == [*rows]) =>
            {
                Ok(Some(each(self.bytes(*file, info), f32::from_le_bytes)))
            }
            _ => Ok(self.scalar(name)?.map(|scale| vec![scale])),
        }
    }

    /// A tensor of one element, as f32 (a zero point fits).
    fn scalar(&self, name: &str) -> Result<Option<f32>, EngineError> {
        let Some((file, info)) = self.index.get(name) else {
            return Ok(None);
        };
        let bytes = self.bytes(*file, info);
        let values = match info.dtype {
            Dtype::F32 => each(bytes, f32::from_le_bytes),
            Dtype::U8 => each(bytes, |b| f32::from(u8::from_le_bytes(b))),
            Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            _ => Vec::new(),
        };
        match values[..] {
            [value] => Ok(Some(value)),
            _ => Err(EngineError::Files(format!(
                "tensor `{name}` has type {:?} and shape {:?}, expected one F32, U8 or I8",
                info.dtype, info.shape
            ))),
        }
    }

    fn bytes(&self, file: usize, info: &TensorInfo) -> &[u8] {
        let file = &self.files[file];
        &file.bytes[file.data + info.data_offsets.0..file.data + info.data_offsets.1]
    }
}

fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use safetensors::tensor::TensorView;

    use super::*;

    fn written(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &path).unwrap();
        (dir, path)
    }

    #[test]
    fn every_type_becomes_f32() {
        let (_dir, path) = written(&[
            ("a", Dtype::F32, &[1, 2], &[0, 0, 128, 63, 0, 0, 0, 192]),
            ("b", Dtype::F16, &[1], &f16::from_f32(0.5).to_le_bytes()),
            ("c", Dtype::BF16, &[1], &bf16::from_f32(-3.0).to_le_bytes()),
            ("d", Dtype::I8, &[2], &[1, 255]),
            ("d_scale", Dtype::F32, &[], &0.5f32.to_le_bytes()),
            ("e", Dtype::U8, &[2], &[86, 0]),
            ("e_scale", Dtype::F32, &[], &2f32.to_le_bytes()),
            ("e_zero_point", Dtype::U8, &[], &[86]),
            ("f", Dtype::I8, &[1], &[1]),
            ("g", Dtype::I64, &[1], &[0; 8]),
            ("h", Dtype::I8, &[2, 2], &[1, 2, 3, 255]),
            ("h_scale", Dtype::F32, &[2], &[0, 0, 128, 63, 0, 0, 0, 64]),
            ("i", Dtype::U8, &[1, 2], &[0, 255]),
            ("i_scale", Dtype::F32, &[], &1f32.to_le_bytes()),
            ("i_zero_point", Dtype::U8, &[], &[128]),
            ("j", Dtype::U8, &[1], &[255]),
            ("j_scale", Dtype::F32, &[], &1f32.to_le_bytes()),
            ("j_zero_point", Dtype::U8, &[], &[86]),
        ]);
        let weights = Weights::read(&[path]).unwrap();
        let get = |name: &str, shape: &[usize]| {
            weights
                .get(&["absent".to_owned(), name.to_owned()], shape)
                .map_err(|error| error.to_string())
        };
        assert_eq!(get("a", &[1, 2]), Ok(vec![1.0, -2.0]));
        assert_eq!(get("b", &[1]), Ok(vec![0.5]));
        assert_eq!(get("c", &[1]), Ok(vec![-3.0]));
        assert_eq!(get("d", &[2]), Ok(vec![0.5, -0.5]));
        assert_eq!(get("e", &[2]), Ok(vec![0.0, -172.0]));
        assert_eq!(get("h", &[2, 2]), Ok(vec![1.0, 2.0, 6.0, -2.0]));
        let int8 = |name: &str, shape: &[usize]| {
            weights.get_int8(&[name.to_owned()], shape).map_err(|error| error.to_string())
        };
        let quantised = |values: &[i8], scales: &[f32]| {
            Ok(Some(Quantised { values: values.to_vec(), scales: scales.to_vec() }))
        };
        assert_eq!(int8("h", &[2, 2]), quantised(&[1, 2, 3, -1], &[1.0, 2.0]));
        assert_eq!(int8("i", &[1, 2]), quantised(&[-128, 127], &[1.0]));
        assert_eq!(int8("d", &[2]), quantised(&[1, -1], &[0.5, 0.5]));
        assert_eq!(int8("a", &[1, 2]), Ok(None), "not stored in integers");
        assert_eq!(int8("j", &[1]), Ok(None), "169 is no i8");
        for (name, shape, expected) in [
            ("a", &[2, 1][..], "has shape [1, 2], expected [2, 1]"),
            ("z", &[2], "`absent` or `z` of shape [2] is missing"),
            ("f", &[1], "`f_scale` is missing"),
            ("g", &[1], "has type I64"),
        ] {
            let error = get(name, shape).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let (dir, path) = written(&[("a", Dtype::F32, &[2], &[0; 8])]);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Weights::read(std::slice::from_ref(&path)).is_err(), "{length} bytes");
        }
        assert!(Weights::read(&[dir.path().join("none")]).is_err());
    }
}
