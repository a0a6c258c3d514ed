use std::path::Path;

use super::*;
use crate::checkpoint::import::import;
use crate::checkpoint::quantise::Quantiser;
use crate::config::EngineKind;
use crate::engine::tests::{
    TINY, TOLERANCE, difference, engine, fixture, goldens, score, settings,
};
use crate::engine::{self, Pair};

/// In int8, of logits that spread over seven: 48 numbers a token average little of the
/// rounding out. What int8 is worth is measured on the real model (`tests/parity.rs`).
const INT8_TOLERANCE: f32 = 0.3;
const BF16_TOLERANCE: f32 = 0.1;

/// One replica on the given instruction set.
fn on(isa: Isa, format: Format, folder: &Path) -> Box<dyn CrossEncoder> {
    let checkpoint = Checkpoint::open("tiny", folder).unwrap();
    let weights = Weights::read(&checkpoint.weights).unwrap();
    let config = checkpoint.config;
    let encoder = Arc::new(load::encoder(&weights, &config, isa, format).unwrap());
    let traits = EngineTraits {
        ragged: true,
        length_max: config.length_max,
        batch_tokens_max: 1,
        batch_tokens_min: 1,
        precision: super::name(format),
    };
    let workspace = encoder.workspace();
    Box::new(Engine { encoder, config, traits, workspace })
}

fn alone(engine: &mut dyn CrossEncoder, pairs: &[Arc<Pair>]) -> Vec<f32> {
    pairs.iter().flat_map(|pair| score(engine, std::slice::from_ref(pair))).collect()
}

#[test]
fn scores_are_the_references_on_every_instruction_set() {
    for name in TINY {
        let dir = fixture(name);
        let (pairs, expected) = goldens(&dir.join("goldens.json"), &dir.join("tokenizer.json"));
        for isa in Isa::available() {
            for (format, tolerance) in [
                (Format::F32, TOLERANCE),
                (Format::Bf16, BF16_TOLERANCE),
                (Format::Int8, INT8_TOLERANCE),
            ] {
                let mut engine = on(isa, format, &dir);
                let far = difference(&alone(&mut *engine, &pairs), &expected);
                assert!(far < tolerance, "{name} {} {format:?}: off by {far}", isa.name());
            }
        }
    }
}

#[test]
fn a_pair_scores_the_very_same_in_any_batch() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for name in TINY {
        let dir = fixture(name);
        let (pairs, _) = goldens(&dir.join("goldens.json"), &dir.join("tokenizer.json"));
        for isa in Isa::available() {
            for format in [Format::F32, Format::Bf16, Format::Int8] {
                let mut engine = on(isa, format, &dir);
                let expected = alone(&mut *engine, &pairs);
                for _ in 0..20 {
                    let chosen: Vec<usize> =
                        (0..random.usize(1..12)).map(|_| random.usize(..pairs.len())).collect();
                    let batch: Vec<_> = chosen.iter().map(|at| pairs[*at].clone()).collect();
                    let expected: Vec<_> = chosen.iter().map(|at| expected[*at]).collect();
                    let found = score(&mut *engine, &batch);
                    assert_eq!(found, expected, "seed {seed}: {name} {} {chosen:?}", isa.name());
                }
            }
        }
    }
}

#[test]
fn an_imported_model_is_scored_in_int8_unless_f32_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny");
    let tokenizer = fixture("tiny-bert").join("tokenizer.json");
    import(&fixture("tiny-quantised.onnx"), Some(&tokenizer), None, &out).unwrap();
    let (pairs, expected) = goldens(&fixture("tiny-quantised.json"), &tokenizer);
    let checkpoint = Checkpoint::open("tiny", &out).unwrap();
    for (precision, expected_name, tolerance) in [
        (Precision::Auto, "int8", INT8_TOLERANCE),
        (Precision::Int8, "int8", INT8_TOLERANCE),
        (Precision::F32, "f32", TOLERANCE),
    ] {
        let mut settings = settings(EngineKind::Auto);
        settings.precision = precision;
        let mut engine = engine::factory(&checkpoint, &settings).unwrap()().unwrap();
        assert_eq!(engine.traits().precision, expected_name);
        let far = difference(&score(&mut *engine, &pairs), &expected);
        assert!(far < tolerance, "{expected_name}: {far}");
    }
}

#[test]
fn a_quantised_model_scores_as_its_original() {
    for name in TINY {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("int8");
        let (pairs, expected) =
            goldens(&fixture(name).join("goldens.json"), &fixture(name).join("tokenizer.json"));
        let original = Checkpoint::open(name, &fixture(name)).unwrap();
        let made = Quantiser::read(&original).unwrap().write(&out).unwrap();
        assert!(made.bytes_after < made.bytes_before, "{made:?}");
        let checkpoint = Checkpoint::open(name, &out).unwrap();
        let mut engine =
            engine::factory(&checkpoint, &settings(EngineKind::Auto)).unwrap()().unwrap();
        assert_eq!(engine.traits().precision, "int8");
        let far = difference(&score(&mut *engine, &pairs), &expected);
        assert!(far < INT8_TOLERANCE, "{name}: {far}");
        let error = Quantiser::read(&checkpoint).err().unwrap();
        assert!(error.to_string().contains("int8 already"), "{error}");
    }
}

/// The clamps of the kernels would make a score of it.
#[test]
fn weights_that_are_no_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixture("tiny-bert").join(file), dir.path().join(file)).unwrap();
    }
    let file = dir.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    // The keys' bias of the last layer is never computed with.
    for (name, tensor) in tensors.tensors() {
        let at = tensor.data().as_ptr() as usize - whole.as_ptr() as usize;
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&file, bytes).unwrap();
        let checkpoint = Checkpoint::open("broken", dir.path()).unwrap();
        let error = engine::factory(&checkpoint, &settings(EngineKind::Packed)).err();
        let error = error.unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(error.contains("holds NaN"), "{name}: {error}");
    }
}

/// Sums of finite weights that overflow: the kernels' clamps would make a score of them, too.
#[test]
fn states_that_are_no_numbers_are_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixture("tiny-bert").join(file), dir.path().join(file)).unwrap();
    }
    let whole = std::fs::read(fixture("tiny-bert").join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let pair = Arc::new(Pair { second_from: 2, ids: [2, 7, 3].into() });
    for layer in [0, 2] {
        let name = format!("bert.encoder.layer.{layer}.output.dense.weight");
        let data = tensors.tensor(&name).unwrap().data();
        let at = data.as_ptr() as usize - whole.as_ptr() as usize;
        let mut bytes = whole.clone();
        for number in bytes[at..at + data.len()].chunks_exact_mut(4) {
            number.copy_from_slice(&f32::MAX.to_le_bytes());
        }
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        for isa in Isa::available() {
            for format in [Format::F32, Format::Int8] {
                let mut engine = on(isa, format, dir.path());
                let batch = Batch { pairs: vec![pair.clone()] };
                let error = engine.score(&batch, &mut [0.0]).unwrap_err().to_string();
                assert!(error.contains("not finite"), "{} {format:?}: {error}", isa.name());
            }
        }
    }
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let mut engine = engine(&fixture("tiny-bert"), EngineKind::Packed);
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
    // A refused batch leaves nothing behind.
    let pair = [Arc::new(Pair { second_from: 1, ids: [2, 3].into() })];
    let mut fresh = self::engine(&fixture("tiny-bert"), EngineKind::Packed);
    assert_eq!(alone(&mut *engine, &pair), alone(&mut *fresh, &pair));
}

#[test]
fn what_is_not_done_is_refused_by_name_and_left_to_candle_by_auto() {
    type Change = fn(&mut ModelSettings);
    let checkpoint = Checkpoint::open("bert", &fixture("tiny-bert")).unwrap();
    let with = |engine: EngineKind, change: Change| {
        let mut settings = settings(engine);
        change(&mut settings);
        engine::factory(&checkpoint, &settings)
    };
    let changes: [(Change, &str); 3] = [
        (|s| s.precision = Precision::F16, "precision f16 with engine packed"),
        (|s| s.replica_threads = 2, "2 threads of a replica with engine packed"),
        (|s| s.device = DeviceKind::Metal, "a GPU with engine packed"),
    ];
    for (change, expected) in changes {
        let error = with(EngineKind::Packed, change).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (change, ragged) in [(changes[0].0, false), (changes[1].0, false)] {
        let engine = with(EngineKind::Auto, change).unwrap()().unwrap();
        assert_eq!(engine.traits().ragged, ragged);
    }
    assert!(with(EngineKind::Auto, |_| ()).unwrap()().unwrap().traits().ragged);
    assert!(with(EngineKind::Candle, |s| s.precision = Precision::Int8).is_err());
}
