//! Element-wise steps on the CPU: in place, on the threads of the replica that
//! asks.
//!
//! candle's own run on one pool of spinning threads for the whole process
//! (`candle_core::utils::barrier_pool`, from 64 Ki elements), of as many threads
//! as the machine has cores. Replicas would wait for each other there, and each
//! step would burn the other cores. Other devices and types use candle's.

use std::sync::LazyLock;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, bail};
use maitred_kernels::{self as kernels, Isa};
use rayon::prelude::*;

use crate::checkpoint::config::Activation;

/// a = activation(a + b). b has the rows of a or fewer, each for as many rows of
/// a in turn: one (a bias), one a pair (a mask), or all (a residual).
pub struct AddInPlace {
    pub activation: Option<Activation>,
}

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add-in-place"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(a), CpuStorage::F32(b)) = (a, b) else {
            bail!("add-in-place is for f32");
        };
        let (Some((a_from, a_to)), Some((b_from, b_to))) =
            (a_layout.contiguous_offsets(), b_layout.contiguous_offsets())
        else {
            bail!("add-in-place is for contiguous tensors");
        };
        let (a, b) = (&mut a[a_from..a_to], &b[b_from..b_to]);
        let columns = a_layout.dims().last().copied().unwrap_or(1);
        if b_layout.dims().last() != Some(&columns) || !a.len().is_multiple_of(b.len().max(1)) {
            bail!("add-in-place of {:?} to {:?}", b_layout.dims(), a_layout.dims());
        }
        let rows_each = a.len() / b.len();
        a.par_chunks_mut(columns)
            .enumerate()
            // A row is a microsecond's work: not one task each.
            .with_min_len(ROWS_MIN)
            .for_each(|(row, a)| {
                let b = &b[row / rows_each * columns..][..columns];
                self.row(a, b);
            });
        Ok(())
    }
}

/// Rows that one task takes at least.
const ROWS_MIN: usize = 16;

impl AddInPlace {
    fn row(&self, a: &mut [f32], b: &[f32]) {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        if let Some(activation) = self.activation {
            kernels::Activation::from(activation).apply_all(*ISA, a);
        }
    }
}

static ISA: LazyLock<Isa> = LazyLock::new(Isa::detect);

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    /// candle's own operations, in f64.
    fn reference(a: &Tensor, b: &Tensor, activation: Option<Activation>) -> Tensor {
        let a = a.to_dtype(DType::F64).unwrap();
        let sum = a.broadcast_add(&b.to_dtype(DType::F64).unwrap()).unwrap();
        match activation {
            None => sum,
            Some(Activation::Gelu) => sum.gelu_erf().unwrap(),
            Some(Activation::GeluTanh) => sum.gelu().unwrap(),
            Some(Activation::Relu) => sum.relu().unwrap(),
            Some(Activation::Silu) => sum.silu().unwrap(),
        }
    }

    #[test]
    fn it_agrees_with_candle() {
        let kinds = Activation::ALL.map(Some);
        for activation in kinds.into_iter().chain([None]) {
            for (a_shape, b_shape) in [
                (&[70, 33][..], &[33][..]),
                (&[70, 33], &[70, 33]),
                (&[3, 4, 5, 33], &[3, 1, 1, 33]),
                (&[1, 1], &[1]),
            ] {
                let a = Tensor::randn(0f32, 3.0, a_shape, &Device::Cpu).unwrap();
                let b = Tensor::randn(0f32, 3.0, b_shape, &Device::Cpu).unwrap();
                let expected = reference(&a, &b, activation);
                a.inplace_op2(&b, &AddInPlace { activation }).unwrap();
                let far = (a.to_dtype(DType::F64).unwrap() - expected)
                    .and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>())
                    .unwrap();
                assert!(far < 3e-6, "{activation:?} {a_shape:?} {b_shape:?}: {far}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let a = Tensor::zeros((4, 6), DType::F32, &Device::Cpu).unwrap();
        let op = AddInPlace { activation: None };
        for b in [
            Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap(),
            Tensor::zeros((3, 6), DType::F32, &Device::Cpu).unwrap(),
            Tensor::zeros(6, DType::F16, &Device::Cpu).unwrap(),
        ] {
            assert!(a.inplace_op2(&b, &op).is_err(), "{b:?}");
        }
    }
}
