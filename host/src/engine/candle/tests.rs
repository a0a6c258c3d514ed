use super::*;
use crate::checkpoint::import::import;
use crate::engine;
use crate::engine::Pair;
use crate::engine::tests::{
    TINY, TOLERANCE, difference, engine, fixture, goldens, score, settings,
};

#[test]
fn scores_are_the_references() {
    for name in TINY {
        let dir = fixture(name);
        let (pairs, expected) = goldens(&dir.join("goldens.json"), &dir.join("tokenizer.json"));
        for kind in [EngineKind::Candle, EngineKind::CandleStock] {
            if kind == EngineKind::CandleStock && name == "tiny-xlm-roberta" {
                continue;
            }
            let mut engine = engine(&dir, kind);
            let alone: Vec<f32> = pairs
                .iter()
                .flat_map(|pair| score(&mut *engine, std::slice::from_ref(pair)))
                .collect();
            let far = difference(&alone, &expected);
            assert!(far < TOLERANCE, "{name} {kind:?}: alone off by {far}");
            let far = difference(&score(&mut *engine, &pairs), &expected);
            assert!(far < TOLERANCE, "{name} {kind:?}: together off by {far}");
        }
    }
}

#[test]
fn a_pair_scores_the_same_in_any_batch() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for name in TINY {
        let dir = fixture(name);
        let (pairs, expected) = goldens(&dir.join("goldens.json"), &dir.join("tokenizer.json"));
        let mut engine = engine(&dir, EngineKind::Candle);
        for _ in 0..20 {
            let chosen: Vec<usize> =
                (0..random.usize(1..12)).map(|_| random.usize(..pairs.len())).collect();
            let batch: Vec<_> = chosen.iter().map(|at| pairs[*at].clone()).collect();
            let expected: Vec<_> = chosen.iter().map(|at| expected[*at]).collect();
            let far = difference(&score(&mut *engine, &batch), &expected);
            assert!(far < TOLERANCE, "seed {seed}: {name} {chosen:?}: {far}");
        }
    }
}

/// What Metal computes, but for the kernels: fused attention, lengths in steps,
/// and f16.
#[test]
fn a_gpus_shapes_and_numbers_give_the_same_scores() {
    for (name, dtype, tolerance) in [
        ("tiny-bert", DType::F32, TOLERANCE),
        ("tiny-xlm-roberta", DType::F32, TOLERANCE),
        ("tiny-bert", DType::F16, 0.05),
        ("tiny-xlm-roberta", DType::F16, 0.05),
    ] {
        let dir = fixture(name);
        let checkpoint = Checkpoint::open(name, &dir).unwrap();
        let (pairs, expected) = goldens(&dir.join("goldens.json"), &dir.join("tokenizer.json"));
        let graph = gpu_like(&checkpoint, dtype);
        let batch = Batch { pairs };
        let padded = Padded::new(&batch, &checkpoint.config, GPU_LENGTH_STEP).unwrap();
        assert_eq!(padded.length, 128);
        let far = difference(&graph.forward(&padded).unwrap(), &expected);
        assert!(far < tolerance, "{name} {dtype:?}: {far}");
    }
}

fn gpu_like(checkpoint: &Checkpoint, dtype: DType) -> Graph {
    let weights = Weights::read(&checkpoint.weights).unwrap();
    let placement = Placement { device: Device::Cpu, dtype, attention: Attention::Fused };
    Graph::load(&weights, &checkpoint.config, placement).unwrap()
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let mut engine = engine(&fixture("tiny-bert"), EngineKind::Candle);
    for (ids, expected) in [
        (vec![], "0 tokens"),
        (vec![5; 129], "129 tokens, the model takes 1 to 128"),
        (vec![2, 1200], "id 1200, the model knows 1200"),
    ] {
        let pair = Pair { second_from: 0, ids: ids.into() };
        let batch = Batch { pairs: vec![Arc::new(pair)] };
        let error = engine.score(&batch, &mut [0.0]).unwrap_err();
        assert!(matches!(error, EngineError::Batch(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    engine.score(&Batch::default(), &mut []).unwrap();
}

#[test]
fn what_an_engine_cannot_do_is_refused_by_name() {
    let bert = Checkpoint::open("bert", &fixture("tiny-bert")).unwrap();
    let roberta = Checkpoint::open("roberta", &fixture("tiny-xlm-roberta")).unwrap();
    let mut narrow = bert.clone();
    narrow.config.hidden = 64;
    let mut deep = bert.clone();
    deep.config.layers = 4;
    let candle = settings(EngineKind::Candle);
    let with = |change: fn(&mut ModelSettings)| {
        let mut settings = candle.clone();
        change(&mut settings);
        settings
    };
    for (checkpoint, settings, expected) in [
        (&roberta, settings(EngineKind::CandleStock), "family Roberta"),
        (
            &bert,
            ModelSettings { precision: Precision::F16, ..settings(EngineKind::CandleStock) },
            "precision f16 with candle's stock models",
        ),
        (&bert, with(|s| s.precision = Precision::Bf16), "bf16 on the CPU"),
        (&narrow, candle.clone(), "has shape [1200, 48], expected [1200, 64]"),
        (&deep, candle.clone(), "`bert.encoder.layer.3.attention.self.query.weight`"),
        #[cfg(not(feature = "metal"))]
        (&bert, with(|s| s.device = DeviceKind::Metal), "--features metal"),
        #[cfg(not(feature = "cuda"))]
        (&bert, with(|s| s.device = DeviceKind::Cuda), "--features cuda"),
    ] {
        let error = engine::factory(checkpoint, &settings).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn settings_can_shorten_a_pair_but_not_lengthen_it() {
    let checkpoint = Checkpoint::open("bert", &fixture("tiny-bert")).unwrap();
    for (setting, expected) in [(None, 128), (Some(64), 64), (Some(4096), 128)] {
        let mut settings = settings(EngineKind::Candle);
        settings.length_max = setting;
        let engine = engine::factory(&checkpoint, &settings).unwrap()().unwrap();
        assert_eq!(engine.traits().length_max, expected);
        assert_eq!(engine.traits().precision, "f32");
    }
}

#[test]
fn an_imported_model_scores_as_its_dequantised_weights() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny");
    let tokenizer = fixture("tiny-bert").join("tokenizer.json");
    let onnx = fixture("tiny-quantised.onnx");
    import(&onnx, Some(&tokenizer), None, &out).unwrap();
    let (pairs, expected) = goldens(&fixture("tiny-quantised.json"), &tokenizer);
    for kind in [EngineKind::Candle, EngineKind::CandleStock] {
        let far = difference(&score(&mut *engine(&out, kind), &pairs), &expected);
        assert!(far < TOLERANCE, "{kind:?}: {far}");
    }
}
