use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{Activation, Family, ScoreActivation};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

#[test]
fn a_folder_is_a_checkpoint() {
    let bert = Checkpoint::open("tiny", &fixture("tiny-bert")).unwrap();
    assert_eq!(
        bert.config,
        ModelConfig {
            family: Family::Bert,
            layers: 3,
            hidden: 48,
            heads: 4,
            intermediate: 100,
            vocab: 1200,
            positions: 128,
            type_vocab: 2,
            pad_id: 0,
            norm_eps: 1e-12,
            activation: Activation::Gelu,
            length_max: 128,
            score: ScoreActivation::Sigmoid,
            note: None,
        }
    );
    assert_eq!(bert.weights.len(), 1);
    assert_eq!(bert.warning, None);

    let roberta = Checkpoint::open("tiny", &fixture("tiny-xlm-roberta")).unwrap();
    assert_eq!(roberta.config.family, Family::Roberta);
    assert_eq!(roberta.config.length_max, 128, "130 positions, pad id 1");

    let sharded = Checkpoint::open("tiny", &fixture("tiny-bert-bf16-sharded")).unwrap();
    assert_eq!(sharded.weights.len(), 2);

    let half = Checkpoint::open("tiny", &fixture("tiny-bert-f16")).unwrap();
    assert_eq!(half.config.activation, Activation::GeluTanh);
    assert_eq!(half.config.score, ScoreActivation::Identity);
    assert_eq!(half.config.length_max, 128, "10^30 is no limit");
}

/// A copy of tiny-bert's configuration with some keys set (null removes one).
fn changed(changes: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let base = std::fs::read(fixture("tiny-bert").join(CONFIG)).unwrap();
    let mut config: Value = serde_json::from_slice(&base).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    dir
}

#[test]
fn what_would_change_the_scores_is_refused_by_name() {
    for (changes, expected) in [
        (json!({"model_type": "deberta-v2"}), "model_type `deberta-v2`"),
        (json!({"model_type": null}), "model_type `(none)`"),
        (json!({"num_hidden_layers": null}), "num_hidden_layers"),
        (json!({"is_decoder": true}), "is_decoder `true`"),
        (json!({"add_cross_attention": true}), "add_cross_attention `true`"),
        (
            json!({"position_embedding_type": "relative_key"}),
            "position_embedding_type `relative_key`",
        ),
        (json!({"architectures": ["BertForMaskedLM"]}), "architecture `BertForMaskedLM`"),
        (json!({"id2label": {"0": "NO", "1": "YES"}}), "number of labels `2`"),
        (json!({"id2label": null}), "number of labels `2`"),
        (json!({"hidden_act": "mish"}), "hidden_act `mish`"),
        (
            json!({"sentence_transformers": {"activation_fn": "torch.nn.Tanh"}}),
            "activation_fn `torch.nn.Tanh`",
        ),
        (json!({"num_attention_heads": 5}), "not a multiple of"),
        (json!({"num_attention_heads": 0}), "num_attention_heads is 0"),
        (json!({"layer_norm_eps": 0.0}), "layer_norm_eps is 0"),
        (json!({"max_position_embeddings": 0}), "usable positions is 0"),
        (json!({"hidden_size": -1}), "invalid value"),
    ] {
        let dir = changed(&changes);
        let error = ModelConfig::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{changes}: {error}");
    }
}

#[test]
fn refused_fixtures_name_what_is_wrong() {
    for (name, expected) in [
        ("deberta", "`deberta-v2`"),
        ("decoder", "`true`"),
        ("relative-positions", "`relative_key`"),
        ("two-labels", "`2`"),
    ] {
        let error = Checkpoint::open(name, &fixture("refused").join(name)).unwrap_err();
        assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("supported: "), "{error}");
    }
}

#[test]
fn harmless_variations_are_accepted() {
    for (changes, check) in [
        (
            json!({"id2label": null, "num_labels": 1}),
            (|c| c.layers == 3) as fn(&ModelConfig) -> bool,
        ),
        (
            json!({"sentence_transformers": null,
                "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
            |c| c.score == ScoreActivation::Identity,
        ),
        (json!({"sentence_transformers": null}), |c| c.score == ScoreActivation::Sigmoid),
        (json!({"position_embedding_type": "absolute"}), |c| c.length_max == 128),
        (json!({"maitred": {"note": "cut"}}), |c| c.note.as_deref() == Some("cut")),
        (json!({"model_type": "roberta", "pad_token_id": 1}), |c| c.length_max == 126),
    ] {
        let dir = changed(&changes);
        let config = ModelConfig::read(dir.path()).unwrap();
        assert!(check(&config), "{changes}: {config:?}");
    }
}

#[test]
fn what_is_missing_or_broken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Checkpoint::open("m", dir.path()).map(|_| ()).unwrap_err().to_string();
    let copy = |file: &str| {
        std::fs::copy(fixture("tiny-bert").join(file), dir.path().join(file)).unwrap();
    };
    let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    assert!(open().contains("has no config.json"), "{}", open());
    write(CONFIG, "{");
    assert!(open().contains("config.json: EOF"), "{}", open());
    copy(CONFIG);
    assert!(open().contains("has no tokenizer.json"), "{}", open());
    copy(TOKENIZER);
    assert!(open().contains("has no model.safetensors"), "{}", open());
    write("pytorch_model.bin", "");
    assert!(open().contains("can run code"), "{}", open());
    write(WEIGHTS_INDEX, r#"{"weight_map": {"a": "../x.safetensors"}}"#);
    assert!(open().contains("`../x.safetensors`"), "{}", open());
    write(WEIGHTS_INDEX, r#"{"weight_map": {}}"#);
    assert!(open().contains("no shards"), "{}", open());
    write(WEIGHTS_INDEX, r#"{"weight_map": {"a": "x.safetensors"}}"#);
    assert!(open().contains("has no x.safetensors"), "{}", open());
}
