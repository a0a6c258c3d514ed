//! The operations that the graph asks of a device, recorded from runs, each with
//! its place in candle's Metal backend. `docs/metal-operations.md` is the table;
//! the test here fails when it is stale or an operation has no place.
//!
//! The runs happen on the CPU, in the types and with the attention that Metal is
//! given, so the table can be kept true on any machine. That the kernels then
//! compute the right thing only a Mac can show.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use super::Forward;
use super::graph::{Attention, Graph, Placement};
use super::input::Padded;
use super::ops::{self, OpUse};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Activation;
use crate::engine::weights::Weights;
use crate::engine::{Batch, Pair};

/// Runs a batch with padding and one without, and returns what was used.
fn record(checkpoint: &Checkpoint, dtype: DType, attention: Attention) -> BTreeSet<OpUse> {
    let weights = Weights::read(&checkpoint.weights).unwrap();
    let placement = Placement { device: Device::Cpu, dtype, attention };
    let graph = Graph::load(&weights, &checkpoint.config, placement).unwrap();
    let pair =
        |tokens: u32| Arc::new(Pair { ids: (2..2 + tokens).collect(), second_from: tokens / 2 });
    let mut used = BTreeSet::new();
    for pairs in [vec![pair(7), pair(32)], vec![pair(32), pair(32)]] {
        let batch = Batch { pairs };
        let padded = Padded::new(&batch, &checkpoint.config, 32).unwrap();
        let (logits, ops) = ops::record(|| graph.forward(&padded));
        assert_eq!(logits.unwrap().len(), 2);
        used.extend(ops);
    }
    used
}

/// Where candle 0.11.1 (crates `candle-core`, `candle-nn`,
/// `candle-metal-kernels`) has an operation: the code that dispatches it on
/// Metal, and the kernel.
struct Place {
    name: &'static str,
    dispatch: &'static str,
    kernel: &'static str,
    /// Types of the first input that both know.
    types: &'static [&'static str],
}

const FLOATS: &[&str] = &["f16", "f32"];
const CORE: &str = "candle-core/src/metal_backend/mod.rs";

const PLACES: [Place; 15] = [
    place("add", "mod.rs:1920 binary", "binary.metal:200 badd", FLOATS),
    place("copy_strided", "mod.rs:1837 copy_strided_src", "unary.metal:233 copy", FLOATS),
    place("download", "mod.rs:104 to_cpu_storage", "none: a copy by the host", &["f32"]),
    place("gelu", "mod.rs:668 unary_impl", "unary.metal:235 ugelu", FLOATS),
    place("gelu_erf", "mod.rs:668 unary_impl", "unary.metal:228 ugelu_erf", FLOATS),
    place(
        "index_select",
        "mod.rs:1604 index_select",
        "indexing.metal:272 is_u32_f32, :273 is_u32_f16",
        FLOATS,
    ),
    place(
        "layer_norm",
        "candle-nn/src/ops.rs:856 LayerNorm::metal_fwd",
        "reduce.metal:1492 layernorm_f32, :1493 layernorm_f16",
        FLOATS,
    ),
    place("matmul", "mod.rs:1729 matmul", "mlx_gemm.metal:1439 gemm f32, :1440 gemm f16", FLOATS),
    place("relu", "mod.rs:668 unary_impl", "unary.metal:236 urelu", FLOATS),
    place(
        "sdpa",
        "candle-nn/src/ops.rs:1033 Sdpa::metal_fwd",
        "scaled_dot_product_attention.metal:2309 steel_attention, masks of the query's type",
        FLOATS,
    ),
    place("silu", "mod.rs:668 unary_impl", "unary.metal:234 usilu", FLOATS),
    place(
        "softmax_last_dim",
        "candle-nn/src/ops.rs:390 SoftmaxLastDim::metal_fwd",
        "reduce.metal:1527 softmax_f32, :1528 softmax_f16",
        FLOATS,
    ),
    place("tanh", "mod.rs:668 unary_impl", "unary.metal:248 utanh", FLOATS),
    place("to_dtype", "mod.rs:547 to_dtype", "cast.metal:98 from f16, :97 from f32", FLOATS),
    place("upload", "mod.rs:2095 storage_from_slice", "none: a copy by the host", &["f32", "u32"]),
];

const fn place(
    name: &'static str,
    dispatch: &'static str,
    kernel: &'static str,
    types: &'static [&'static str],
) -> Place {
    Place { name, dispatch, kernel, types }
}

fn table(used: &BTreeSet<OpUse>) -> String {
    let mut text = format!(
        "# What our graph asks of Metal\n\n\
         Every tensor operation of the engine `candle`, recorded from runs of BERT and XLM-RoBERTa \
         in f16 (the default on Metal) and f32, with fused and plain attention, with padding and \
         without, in every activation that checkpoints may name. Views (reshape, narrow, \
         transpose) run nothing and are not listed.\n\n\
         Places are those of candle 0.11.1: `mod.rs` is `{CORE}`, kernels are in \
         `candle-metal-kernels/src/metal_src/`. Made by the test \
         `engine::candle::operations`; `MAITRED_BLESS=1 cargo test -p maitred operations` \
         writes it anew.\n\n\
         The fused attention is asked for only where all rows are queries. With one query \
         (the last layer) candle chooses a kernel that is handed no mask \
         (`candle-nn/src/ops.rs`, `supports_sdpa_vector`), so that layer multiplies and \
         normalises in steps.\n\n\
         | operation | types of the inputs | dispatched in | kernel |\n|---|---|---|---|\n"
    );
    for OpUse { name, inputs } in used {
        let place = PLACES.iter().find(|place| place.name == *name);
        let place = place.unwrap_or_else(|| panic!("`{name}` has no place on Metal"));
        assert!(place.types.contains(&inputs[0]), "`{name}` has no place on Metal for {inputs:?}");
        writeln!(
            text,
            "| {name} | {} | {} | {} |",
            inputs.join(", "),
            place.dispatch,
            place.kernel
        )
        .unwrap();
    }
    text
}

#[test]
fn every_operation_has_a_place_on_metal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut used = BTreeSet::new();
    for name in ["tiny-bert", "tiny-xlm-roberta"] {
        let folder = root.join("tests/fixtures").join(name);
        let mut checkpoint = Checkpoint::open(name, &folder).unwrap();
        for activation in Activation::ALL {
            checkpoint.config.activation = activation;
            for dtype in [DType::F16, DType::F32] {
                for attention in [Attention::Plain, Attention::Fused] {
                    used.extend(record(&checkpoint, dtype, attention));
                }
            }
        }
    }
    for place in &PLACES {
        let asked = used.iter().any(|op| op.name == place.name);
        assert!(asked, "`{}` is in the table but never asked for", place.name);
    }
    let path = root.join("docs/metal-operations.md");
    let expected = table(&used);
    if std::env::var_os("MAITRED_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/metal-operations.md is stale; MAITRED_BLESS=1 writes it anew");
}
