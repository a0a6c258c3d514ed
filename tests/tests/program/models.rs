//! Models that a user makes.

use std::path::Path;

use maitred_tests::fixtures::checkpoint;
use maitred_tests::process::run;
use serde_json::Value;

use super::tiny;

/// By which int8 moves a logit of models so small.
const TOLERANCE: f64 = 0.3;

/// A model's scores of two documents.
async fn scores(model: &str) -> Vec<f64> {
    let documents = ["the gate of the garden is green", "a red door"];
    let query = ["rerank", "--model", model, "-q", "garden gate", "--raw-scores", "--json"];
    let (code, out, err) = run(&[&query[..], &documents].concat()).await;
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let mut results: Vec<_> = answer["results"].as_array().unwrap().clone();
    results.sort_by_key(|result| result["index"].as_u64());
    results.iter().map(|result| result["score"].as_f64().unwrap()).collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < TOLERANCE, "{found}, expected {expected}");
    }
}

#[tokio::test]
async fn weights_are_rounded_for_the_text_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let requests = path("requests.jsonl");
    let line = r#"{"model": "m", "query": "garden gate", "documents": ["a green gate", {"text": "a red door", "date": "2020-01-01"}]}"#;
    std::fs::write(&requests, format!("{line}\n\n{line}\n")).unwrap();
    for model in ["tiny-bert", "tiny-xlm-roberta", "tiny-bert-bf16-sharded"] {
        let model = checkpoint(model).display().to_string();
        let expected = scores(&model).await;
        for (to, how, said) in [
            ("text", &["--text", &requests][..], "rounded for 4 pairs of text, "),
            ("nearest", &["--nearest"], "rounded nearest, "),
            ("english", &[], "rounded for 420 pairs of text, "),
        ] {
            let out = path(&format!("{to}-{}", Path::new(&model).file_name().unwrap().display()));
            let (code, said_out, err) =
                run(&[&["model", "quantize", &model, "--out", &out], how].concat()).await;
            assert_eq!(code, 0, "{err}");
            assert!(said_out.contains(said), "{said_out}");
            assert_near(&scores(&out).await, &expected);
            let (_, again, _) =
                run(&[&["model", "quantize", &model, "--out", &out], how].concat()).await;
            assert!(again.contains("was there already"), "{again}");
        }
    }
}

#[tokio::test]
async fn text_that_is_none_is_refused_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let requests = folder.path().join("requests.jsonl");
    let (file, model) = (requests.to_str().unwrap(), tiny());
    let quantize = ["model", "quantize", &model, "--out", "never-made", "--text", file];
    let (code, _, err) = run(&quantize).await;
    assert!(code != 0 && err.contains("failed to read"), "{err}");
    let good = r#"{"query": "q", "documents": ["d"]}"#;
    for (text, expected) in [
        ("", "has no documents"),
        (r#"{"query": "q", "documents": []}"#, "has no documents"),
        ("q\td", "line 1 is no request"),
        (&format!("{good}\n{{\"query\": \"q\"}}"), "line 2 is no request"),
        (&format!("{good}\n{{\"query\": \"q\", \"documents\": [5]}}"), "a document is a string"),
    ] {
        std::fs::write(&requests, text).unwrap();
        let (code, _, err) = run(&quantize).await;
        assert!(code != 0 && err.contains(expected), "{text}: {err}");
    }
    let (code, _, err) = run(&[&quantize[..], &["--nearest"]].concat()).await;
    assert!(code != 0 && err.contains("cannot be used with"), "{err}");
}
