//! Tensors of an ONNX file, checked, and as they will be written.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use super::Refusal;
use crate::checkpoint::onnx::{self, FLOAT, INT8, INT64, UINT8};

/// A tensor as it will be written.
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub struct Embedding<'a> {
    pub name: String,
    pub table: &'a onnx::Tensor,
    pub scale: f32,
    pub zero_point: &'a onnx::Tensor,
}

/// Tensors to be written.
#[derive(Default)]
pub struct Tensors {
    pub stored: BTreeMap<String, Stored>,
    pub parameters: u64,
}

impl Tensors {
    pub fn embed(
        &mut self,
        embedding: Embedding<'_>,
        hidden: usize,
    ) -> Result<(usize, usize), Refusal> {
        let (rows, columns) = matrix(embedding.table)?;
        if columns != hidden {
            return Err(Refusal::Broken(format!(
                "`{}` has rows of {columns}, expected {hidden}",
                embedding.name
            )));
        }
        let (dtype, bytes) = quantised(embedding.table)?;
        let zero_point = zero_point(embedding.zero_point, dtype)?;
        let table = Stored { dtype, shape: vec![rows, columns], bytes };
        self.quantised(&embedding.name, table, embedding.scale, zero_point);
        Ok((rows, columns))
    }

    pub fn quantised(&mut self, name: &str, tensor: Stored, scale: f32, zero_point: u8) {
        if zero_point != 0 {
            let zero_point = Stored { dtype: tensor.dtype, shape: vec![], bytes: vec![zero_point] };
            self.stored.insert(format!("{name}_zero_point"), zero_point);
        }
        self.parameters += tensor.bytes.len() as u64;
        self.stored.insert(name.to_owned(), tensor);
        self.stored.insert(
            format!("{name}_scale"),
            Stored { dtype: Dtype::F32, shape: vec![], bytes: scale.to_le_bytes().to_vec() },
        );
    }

    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.parameters += values.len() as u64;
        self.stored.insert(
            name.to_owned(),
            Stored {
                dtype: Dtype::F32,
                shape: shape.to_vec(),
                bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            },
        );
    }
}

/// Elements that the dimensions say.
fn elements(tensor: &onnx::Tensor) -> Result<usize, Refusal> {
    tensor
        .dims
        .iter()
        .try_fold(1usize, |product, dim| product.checked_mul(usize::try_from(*dim).ok()?))
        .ok_or_else(|| {
            Refusal::Broken(format!("initialiser `{}` has shape {:?}", tensor.name, tensor.dims))
        })
}

pub fn matrix(tensor: &onnx::Tensor) -> Result<(usize, usize), Refusal> {
    elements(tensor)?;
    match tensor.dims[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows as usize, columns as usize)),
        _ => Err(Refusal::Broken(format!(
            "initialiser `{}` has shape {:?}, expected a matrix",
            tensor.name, tensor.dims
        ))),
    }
}

fn wrong_length(tensor: &onnx::Tensor) -> Refusal {
    Refusal::Broken(format!(
        "initialiser `{}` of type {} and shape {:?} has {} bytes of values",
        tensor.name,
        tensor.kind,
        tensor.dims,
        tensor.raw.len()
    ))
}

pub fn floats(tensor: &onnx::Tensor) -> Result<Vec<f32>, Refusal> {
    let values: Vec<f32> = match (tensor.kind, tensor.raw.is_empty()) {
        (FLOAT, true) => tensor.floats.clone(),
        (FLOAT, false) => {
            let (chunks, []) = tensor.raw.as_chunks() else {
                return Err(wrong_length(tensor));
            };
            chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        _ => return Err(wrong_length(tensor)),
    };
    match elements(tensor)? == values.len() {
        true => Ok(values),
        false => Err(wrong_length(tensor)),
    }
}

/// One f32, of a tensor with one element. More are one scale a channel.
pub fn scalar(tensor: &onnx::Tensor) -> Result<f32, Refusal> {
    match floats(tensor)?[..] {
        [value] if value.is_finite() && value > 0.0 => Ok(value),
        [value] => Err(Refusal::Broken(format!("`{}` is {value}", tensor.name))),
        _ => Err(Refusal::Unsupported("quantisation per channel of", tensor.name.clone())),
    }
}

pub fn quantised(tensor: &onnx::Tensor) -> Result<(Dtype, Vec<u8>), Refusal> {
    let dtype = match tensor.kind {
        UINT8 => Dtype::U8,
        INT8 => Dtype::I8,
        kind => {
            return Err(Refusal::Unsupported(
                "type of weight",
                format!("{} (TensorProto.DataType {kind})", tensor.name),
            ));
        }
    };
    let bytes = match tensor.raw.is_empty() {
        false => tensor.raw.to_vec(),
        // Both types keep their bits in the low byte.
        true => tensor.ints.iter().map(|value| *value as u8).collect(),
    };
    match elements(tensor)? == bytes.len() {
        true => Ok((dtype, bytes)),
        false => Err(wrong_length(tensor)),
    }
}

/// The zero point's bits. Encoders may leave out a zero.
pub fn zero_point(tensor: &onnx::Tensor, dtype: Dtype) -> Result<u8, Refusal> {
    if tensor.raw.is_empty() && tensor.ints.is_empty() {
        return Ok(0);
    }
    match quantised(tensor)? {
        (found, bytes) if found == dtype && bytes.len() == 1 => Ok(bytes[0]),
        _ => Err(wrong_length(tensor)),
    }
}

pub fn last_long(tensor: &onnx::Tensor) -> Option<i64> {
    match (tensor.kind, tensor.raw.is_empty()) {
        (INT64, true) => tensor.longs.last().copied(),
        (INT64, false) => Some(i64::from_le_bytes(*tensor.raw.as_chunks().0.last()?)),
        _ => None,
    }
}
