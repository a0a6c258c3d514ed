//! The CPU engine allocates nothing for a batch once it has seen one as large: memory
//! does not move while it serves.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use maitred::checkpoint::Checkpoint;
use maitred::config::{ModelSettings, Raw, RawModel, check};
use maitred::engine::{self, Batch, Pair};
use maitred_kernels::Isa;
use maitred_tests::fixtures::checkpoint;

/// The system's allocator, which counts the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn settings(precision: &str) -> ModelSettings {
    let mut raw = Raw::default();
    let model =
        RawModel { engine: "packed".into(), precision: precision.into(), ..RawModel::default() };
    raw.models.insert("m".into(), model);
    check(&mut raw).unwrap().models["m"].clone()
}

#[test]
fn a_batch_allocates_nothing() {
    let model = Checkpoint::open("tiny", &checkpoint("tiny-bert")).unwrap();
    let pair = |tokens: u32| {
        let ids = (0..tokens).map(|at| 7 + at * 31 % 1000).collect();
        Arc::new(Pair { ids, second_from: tokens / 2 })
    };
    let bf16 = Isa::detect().has_bf16().then_some("bf16");
    for precision in ["f32", "int8"].into_iter().chain(bf16) {
        let factory = engine::factory(&model, &settings(precision)).unwrap();
        let mut engine = factory().unwrap();
        // The largest first, as a replica warms up.
        let sizes: [&[u32]; 4] = [&[128, 128, 128, 128], &[1], &[3, 90, 17], &[128; 4]];
        let batches = sizes.map(|sizes| Batch { pairs: sizes.iter().map(|n| pair(*n)).collect() });
        let mut logits = [0.0; 4];
        engine.score(&batches[0], &mut logits).unwrap();
        let before = CALLS.get();
        for batch in &batches {
            for _ in 0..3 {
                engine.score(batch, &mut logits[..batch.pairs.len()]).unwrap();
            }
        }
        assert_eq!(CALLS.get() - before, 0, "allocations in {precision}");
    }
}
