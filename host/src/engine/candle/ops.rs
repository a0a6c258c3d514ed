//! The tensor operations of our graph: each calls candle, and notes what it was
//! called with while somebody records.
//!
//! The graph calls candle through this file alone (views of tensors apart, which
//! run nothing). So a recording is the whole list of kernels that a device must
//! have, and `docs/metal-operations.md` is made from one. Where candle keeps track for
//! gradients, operations that have none are made of ones that have.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{D, DType, Device, Result, Tensor};

use super::cpu::AddInPlace;
use crate::checkpoint::config::Activation;

/// One operation with the types of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpUse {
    pub name: &'static str,
    pub inputs: Vec<&'static str>,
}

thread_local! {
    static RECORDING: RefCell<Option<BTreeSet<OpUse>>> = const { RefCell::new(None) };
}

/// Runs `work` on this thread and returns the operations it used.
#[cfg(test)]
pub fn record<T>(work: impl FnOnce() -> T) -> (T, BTreeSet<OpUse>) {
    RECORDING.set(Some(BTreeSet::new()));
    let result = work();
    (result, RECORDING.take().unwrap_or_default())
}

/// Costs a thread-local read where nobody records.
fn note(name: &'static str, inputs: &[&Tensor]) {
    RECORDING.with_borrow_mut(|recording| {
        if let Some(uses) = recording {
            uses.insert(OpUse {
                name,
                inputs: inputs.iter().map(|t| t.dtype().as_str()).collect(),
            });
        }
    });
}

/// Rows of `table` by `ids`.
pub fn gather(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    note("index_select", &[table, ids]);
    table.index_select(ids, 0)
}

/// a + b, in place of a where we can; b is repeated along the dimensions that it
/// lacks.
pub fn add(a: Tensor, b: &Tensor) -> Result<Tensor> {
    if own(&a, b) {
        a.inplace_op2(b, &AddInPlace { activation: None })?;
        return Ok(a);
    }
    note("add", &[&a, b]);
    a.broadcast_add(b)
}

/// activation(a + b), likewise.
pub fn add_activate(a: Tensor, b: &Tensor, kind: Activation) -> Result<Tensor> {
    if own(&a, b) {
        let activation = Some(kind);
        a.inplace_op2(b, &AddInPlace { activation })?;
        return Ok(a);
    }
    activation(&add(a, b)?, kind)
}

/// Whether element-wise steps are ours. A recording is of what other devices
/// run, and steps in place have no gradients.
fn own(a: &Tensor, b: &Tensor) -> bool {
    let recording = RECORDING.with_borrow(Option::is_some);
    let tracked = a.track_op() || b.track_op();
    a.device().is_cpu() && a.dtype() == DType::F32 && !recording && !tracked
}

pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    note("matmul", &[a, b]);
    a.matmul(b)
}

/// Copies a strided view into order.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if !x.is_contiguous() {
        note("copy_strided", &[x]);
    }
    x.contiguous()
}

pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.track_op() {
        return candle_nn::ops::softmax(x, D::Minus1);
    }
    note("softmax_last_dim", &[x]);
    candle_nn::ops::softmax_last_dim(x)
}

/// Mean and variance are taken in f32 whatever the type of `x`, on the CPU and
/// in Metal's kernel alike.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    if x.track_op() {
        return candle_nn::ops::layer_norm_slow(x, weight, bias, eps);
    }
    note("layer_norm", &[x, weight, bias]);
    candle_nn::ops::layer_norm(x, weight, bias, eps)
}

fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    match kind {
        Activation::Gelu => {
            note("gelu_erf", &[x]);
            x.gelu_erf()
        }
        Activation::GeluTanh => {
            note("gelu", &[x]);
            x.gelu()
        }
        Activation::Relu => {
            note("relu", &[x]);
            x.relu()
        }
        Activation::Silu => {
            note("silu", &[x]);
            x.silu()
        }
    }
}

pub fn tanh(x: &Tensor) -> Result<Tensor> {
    note("tanh", &[x]);
    x.tanh()
}

pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() != dtype {
        note("to_dtype", &[x]);
    }
    x.to_dtype(dtype)
}

/// Softmax(q kᵀ + mask) v in one kernel, of which candle has one for Metal. On
/// other devices it is put together, so that what surrounds it can be tested
/// anywhere.
///
/// q, k, v: [pairs, heads, tokens, head size], contiguous; mask: of their type,
/// [pairs, heads, tokens, tokens], by strides if need be.
pub fn sdpa(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    match mask {
        Some(mask) => note("sdpa", &[q, k, v, mask]),
        None => note("sdpa", &[q, k, v]),
    }
    if q.device().is_metal() {
        return candle_nn::ops::sdpa(q, k, v, mask, false, 1.0, 1.0);
    }
    let scores = q.matmul(&k.t()?)?;
    let scores = match mask {
        Some(mask) => (scores + mask)?,
        None => scores,
    };
    candle_nn::ops::softmax_last_dim(&scores)?.matmul(v)
}

/// Numbers to the device.
pub fn upload<T: candle_core::WithDType>(
    values: &[T],
    shape: &[usize],
    device: &Device,
) -> Result<Tensor> {
    let tensor = Tensor::from_slice(values, shape, device)?;
    note("upload", &[&tensor]);
    Ok(tensor)
}

/// The only value of each row, back from the device.
pub fn download(x: &Tensor) -> Result<Vec<f32>> {
    note("download", &[x]);
    x.squeeze(D::Minus1)?.to_vec1()
}
