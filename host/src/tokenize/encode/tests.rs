//! The encoder against the reference: its recorded answers, and the library's
//! own pair encoding.

use std::path::PathBuf;

use fastrand::Rng;
use serde_json::{Value, json};
use tokenizers::{TruncationParams, TruncationStrategy};

use super::*;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests")).join(path)
}

fn tokenizer(model: &str) -> PathBuf {
    repository(&format!("fixtures/{model}/tokenizer.json"))
}

const BERT: (&str, bool) = ("tiny-bert", true);
const XLM_ROBERTA: (&str, bool) = ("tiny-xlm-roberta", false);

fn encoder(
    (model, token_types): (&str, bool),
    length_max: usize,
    truncation: Truncation,
) -> PairEncoder {
    PairEncoder::load(&tokenizer(model), token_types, length_max, truncation).unwrap()
}

fn encode(
    encoder: &PairEncoder,
    query: &str,
    document: &str,
) -> Result<EncodedPair, TokenizeError> {
    let query = encoder.query(query).unwrap();
    encoder.pair(&query, document, 0, encoder.truncation(None))
}

#[test]
fn pairs_are_what_the_reference_recorded() {
    let goldens = std::fs::read(repository("goldens/pairs-xlm-roberta.json")).unwrap();
    let goldens: Value = serde_json::from_slice(&goldens).unwrap();
    let text = |index: &Value| {
        let index = index.as_u64().unwrap() as usize;
        goldens["texts"][index].as_str().unwrap()
    };
    let mut encoder = encoder(XLM_ROBERTA, 512, Truncation::LongestFirst);
    for case in goldens["cases"].as_array().unwrap() {
        encoder.length_max = case["max_length"].as_u64().unwrap() as usize;
        encoder.truncation = match case["strategy"].as_str().unwrap() {
            "longest_first" => Truncation::LongestFirst,
            "only_second" => Truncation::DocumentOnly,
            other => panic!("{other}"),
        };
        let found = encode(&encoder, text(&case["query"]), text(&case["document"]));
        if case["error"] == true {
            assert!(matches!(found, Err(TokenizeError::QueryTooLong { .. })), "{case}");
            continue;
        }
        let pair = found.unwrap().pair;
        assert_eq!(json!(pair.ids), case["ids"], "{case}");
        assert_eq!(pair.second_from as usize, pair.tokens());
    }
}

/// Words, and what breaks tokenizers: accents apart from their letters, CJK,
/// runs of spaces of several kinds, format characters, special tokens in the
/// text.
fn random_text(rng: &mut Rng, words: usize) -> String {
    const PIECES: [&str; 30] = [
        "bread",
        "rise",
        "Tide",
        "winter",
        "unbelievably",
        "a",
        "of",
        "e\u{301}",
        "\u{301}",
        "ﬁ",
        "ß",
        "İ",
        "Σ",
        "語",
        "日本",
        "한국어",
        "\u{200d}",
        "\u{600}",
        "\u{ad}",
        "\u{a8}",
        ".",
        "n't",
        "[SEP]",
        "</s>",
        "<mask>",
        "\u{1f469}\u{200d}\u{1f52c}",
        "٣",
        "\0",
        "\u{fffd}",
        "x",
    ];
    const SPACES: [&str; 8] = [" ", " ", " ", "  ", "\n", "\u{a0}", "", "\u{3000}"];
    let mut text = String::new();
    for _ in 0..words {
        text.push_str(rng.choice(PIECES).unwrap());
        text.push_str(rng.choice(SPACES).unwrap());
    }
    text
}

#[test]
fn pairs_are_what_the_library_makes_of_them() {
    let seed = 3;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for model in [BERT, XLM_ROBERTA] {
        for (ours, theirs) in [
            (Truncation::LongestFirst, TruncationStrategy::LongestFirst),
            (Truncation::DocumentOnly, TruncationStrategy::OnlySecond),
        ] {
            let length_max = 24;
            let encoder = encoder(model, length_max, ours);
            let mut reference = Tokenizer::from_file(tokenizer(model.0)).unwrap();
            let params = TruncationParams {
                max_length: length_max,
                strategy: theirs,
                ..TruncationParams::default()
            };
            reference.with_truncation(Some(params)).unwrap();
            for _ in 0..500 {
                let (query, document) = (rng.usize(0..12), rng.usize(0..20));
                let query = random_text(&mut rng, query);
                let document = random_text(&mut rng, document);
                let found = encode(&encoder, &query, &document);
                let Ok(expected) = reference.encode((&*query, &*document), true) else {
                    assert!(matches!(found, Err(TokenizeError::QueryTooLong { .. })));
                    continue;
                };
                let found = found.unwrap();
                assert_eq!(*found.pair.ids, *expected.get_ids(), "{query:?} {document:?}");
                if model.1 {
                    let second = expected.get_type_ids().iter().filter(|kind| **kind == 1);
                    let first = found.pair.tokens() - second.count();
                    assert_eq!(found.pair.second_from as usize, first);
                }
            }
        }
    }
}

#[test]
fn long_texts_are_cut_only_where_it_changes_nothing() {
    let seed = 5;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for model in [BERT, XLM_ROBERTA] {
        for truncation in [Truncation::LongestFirst, Truncation::DocumentOnly] {
            let cuts = encoder(model, 16, truncation);
            assert!(cuts.cuts, "{model:?}");
            let mut whole = encoder(model, 16, truncation);
            whole.cuts = false;
            for _ in 0..200 {
                let query = rng.usize(0..12);
                let query = random_text(&mut rng, query);
                let document = random_text(&mut rng, 400);
                let found = encode(&cuts, &query, &document);
                assert_eq!(found, encode(&whole, &query, &document), "{query:?} {document:?}");
            }
        }
    }
}

#[test]
fn a_megabyte_is_not_read_to_keep_a_few_words() {
    let encoder = encoder(BERT, 64, Truncation::LongestFirst);
    let read = |text: &str| encoder.first_ids(text, 64).unwrap();
    let long = read(&"bread and tides ".repeat(100_000));
    assert!(!long.whole && long.ids.len() < 500, "{}", long.ids.len());
    // A long word is one unknown token: the next prefix is longer.
    let words = format!("{} ", "x".repeat(101)).repeat(2_000);
    let sparse = read(&words);
    assert!(!sparse.whole && sparse.ids.len() >= 64, "{}", sparse.ids.len());
    // Nowhere to cut.
    assert!(read(&"語".repeat(2000)).whole);
    assert!(read(&"bread and tides ".repeat(20)).whole);
}

/// Nowhere to cut, or not soon, and more bytes than anyone should read.
#[test]
fn no_text_is_read_without_end() {
    let encoder = encoder(BERT, 64, Truncation::LongestFirst);
    let read_max = encoder.text_bytes_max();
    let cut_late = "a.".repeat(1_000_000) + "a " + &"a.".repeat(3_000_000);
    for text in ["a.", "語", "a", "\u{300}", " ", "a\n", &cut_late] {
        let long = text.repeat((16 * 1024 * 1024 / text.len()).max(1));
        let document = encoder.first_ids(&long, 64).unwrap();
        let query = encoder.query(&long).unwrap();
        for ids in [&document.ids, &query.ids] {
            assert!(ids.len() <= read_max, "{text:?}: {} tokens", ids.len());
        }
        assert!(!document.whole && query.cut, "{text:?}");
        let enough = document.ids.len() >= 64;
        assert_ne!(document.unread.is_some(), enough, "{text:?}");
        let pair = encoder.pair(&query, &long, 0, Truncation::LongestFirst).unwrap();
        assert!(pair.truncated, "{text:?}");
    }
    // What is not truncated is not cut either.
    let strict = |query: &str, document: &str| {
        let query = encoder.query(query).unwrap();
        encoder.pair(&query, document, 7, Truncation::Error).unwrap_err().to_string()
    };
    let blank = " ".repeat(100_000);
    let limit = "over the limit of 8192 for a text that is not truncated";
    assert_eq!(strict(&blank, "a"), format!("the query has 100000 bytes, {limit}"));
    assert_eq!(strict("a", &blank), format!("document 7 has 100000 bytes, {limit}"));
}

#[test]
fn a_files_own_padding_and_truncation_are_switched_off() {
    let plain = encoder(BERT, 100, Truncation::LongestFirst);
    // This one pads to 128 tokens and truncates to 64.
    let fixed = encoder(("tiny-bert-f16", true), 100, Truncation::LongestFirst);
    for document in ["short".to_string(), "long ".repeat(80)] {
        let expected = encode(&plain, "a query", &document);
        assert_eq!(encode(&fixed, "a query", &document), expected);
    }
}

#[test]
fn what_happens_to_long_pairs_is_configured_and_can_be_asked() {
    use Truncation::{DocumentOnly, Error, LongestFirst};
    for (configured, asked, expected) in [
        (LongestFirst, None, LongestFirst),
        (LongestFirst, Some(true), LongestFirst),
        (LongestFirst, Some(false), Error),
        (DocumentOnly, Some(true), DocumentOnly),
        (Error, None, Error),
        (Error, Some(true), LongestFirst),
        (Error, Some(false), Error),
    ] {
        assert_eq!(encoder(BERT, 16, configured).truncation(asked), expected);
    }
}

#[test]
fn pairs_that_do_not_fit_are_refused_with_their_numbers() {
    let check = |truncation, query: &str, document: &str, expected: &str| {
        let encoder = encoder(BERT, 8, truncation);
        let error = encode(&encoder, query, document).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        Truncation::Error,
        "a a",
        "a a a a",
        "document 0 and the query have 9 tokens, over the limit of 8",
    );
    check(
        Truncation::DocumentOnly,
        "a a a a a",
        "a",
        "the query has 8 tokens, special ones included, and leaves no room for document 0 within the limit of 8",
    );
    let encoder = encoder(BERT, 8, Truncation::Error);
    let error = encode(&encoder, "a a", &"a ".repeat(10_000)).unwrap_err();
    let TokenizeError::PairTooLong { tokens, at_least, .. } = error else {
        panic!("{error}");
    };
    assert!(at_least && (9..1000).contains(&tokens), "{tokens}");
}

/// Every word of these texts is one token of its own.
#[test]
fn the_clients_own_limits_are_applied() {
    use Truncation::{DocumentOnly, Error, LongestFirst};
    let ids = |text: &str| -> Vec<u32> {
        let encoder = encoder(BERT, 64, LongestFirst);
        encoder.query(text).unwrap().ids
    };
    // Limits of query, document and pair; 0 is none.
    let check = |length_max,
                 truncation,
                 limits: [u32; 3],
                 texts: [&str; 2],
                 expected: [&str; 2]| {
        let encoder = encoder(BERT, length_max, truncation);
        let [query_max, document_max, pair_max] = limits.map(NonZeroU32::new);
        let lengths = Lengths { query_max, document_max, pair_max };
        let [query, document] = texts;
        let query = encoder.query(query).unwrap().within(lengths);
        let found = encoder.pair(&query, document, 0, truncation).unwrap();
        let [query, document] = expected.map(ids);
        assert_eq!(found.pair, encoder.frame.pair(&query, &document), "{limits:?} of {texts:?}");
        assert_eq!(found.truncated, texts != expected, "{limits:?} of {texts:?}");
    };
    let texts = ["a b c d", "e f g h i j"];
    assert_eq!(ids(texts[0]).len() + ids(texts[1]).len(), 10);
    for truncation in [LongestFirst, DocumentOnly, Error] {
        let check = |limits, expected| check(64, truncation, limits, texts, expected);
        check([0, 0, 0], texts);
        check([0, 3, 0], ["a b c d", "e f g"]);
        check([0, 6, 0], texts);
        check([0, 1000, 0], texts);
        check([2, 0, 0], ["a b", "e f g h i j"]);
        check([2, 1, 0], ["a b", "e"]);
        check([4, 6, 64], texts);
        // Three special tokens are counted with the pair; what the limits of the
        // texts leave may fit without more.
        check([0, 0, 13], texts);
        check([2, 1, 6], ["a b", "e"]);
    }
    check(64, LongestFirst, [0, 0, 9], texts, ["a b c", "e f g"]);
    check(64, DocumentOnly, [0, 0, 9], texts, ["a b c d", "e f"]);
    check(64, LongestFirst, [0, 3, 9], texts, ["a b c", "e f g"]);
    check(64, LongestFirst, [1, 0, 9], texts, ["a", "e f g h i"]);
    check(64, LongestFirst, [0, 2, 8], texts, ["a b c", "e f"]);
    // The model's own limit holds, whatever a client says.
    check(9, LongestFirst, [0, 0, 64], texts, ["a b c", "e f g"]);
    check(9, LongestFirst, [0, 5, 0], texts, ["a b c", "e f g"]);
}

#[test]
fn limits_that_leave_nothing_are_refused_and_others_named() {
    let check = |truncation, limits: [u32; 3], expected: &str| {
        let encoder = encoder(BERT, 64, truncation);
        let [query_max, document_max, pair_max] = limits.map(NonZeroU32::new);
        let lengths = Lengths { query_max, document_max, pair_max };
        let query = encoder.query("a b c d").unwrap().within(lengths);
        let error = encoder.pair(&query, "e f g h i j", 5, truncation).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    use Truncation::{DocumentOnly, Error, LongestFirst};
    let nothing = |limit: u32| {
        format!(
            "a query and a document may have {limit} tokens together, and 3 special ones leave no room for them"
        )
    };
    check(LongestFirst, [0, 0, 1], &nothing(1));
    check(LongestFirst, [0, 0, 3], &nothing(3));
    check(Error, [0, 5, 11], "document 5 and the query have 12 tokens, over the limit of 11");
    check(
        DocumentOnly,
        [0, 0, 7],
        "the query has 7 tokens, special ones included, and leaves no room for document 5 within the limit of 7",
    );
}

#[test]
fn a_limit_of_the_clients_reads_no_more_of_a_long_text_than_the_whole_would_give() {
    for model in [BERT, XLM_ROBERTA] {
        let mut whole = encoder(model, 64, Truncation::LongestFirst);
        whole.cuts = false;
        let cuts = encoder(model, 64, Truncation::LongestFirst);
        let long = "bread and tides of winter ".repeat(2_000);
        for document_max in [1, 2, 7, 50, 61, 62, 1000] {
            let document_max = NonZeroU32::new(document_max);
            let lengths = Lengths { document_max, ..Lengths::default() };
            let pair = |encoder: &PairEncoder| {
                let query = encoder.query("what rises").unwrap().within(lengths);
                encoder.pair(&query, &long, 0, Truncation::LongestFirst).unwrap()
            };
            assert_eq!(pair(&cuts), pair(&whole), "{document_max:?}");
            assert!(pair(&cuts).truncated);
        }
    }
}

#[test]
fn tokenizers_that_cannot_be_trusted_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Value), length_max, expected: &str| {
        let mut file: Value =
            serde_json::from_slice(&std::fs::read(tokenizer("tiny-bert")).unwrap()).unwrap();
        change(&mut file);
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, file.to_string()).unwrap();
        let loaded = PairEncoder::load(&path, true, length_max, Truncation::LongestFirst);
        let error = loaded.map(drop).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check(&|_| (), 3, "a length of 3 tokens leaves no room beside 3 special ones");
    check(&|file| file["model"] = json!(null), 16, "is not supported");
    check(
        &|file| {
            file["truncation"] = json!({
                "direction": "Left", "max_length": 16, "strategy": "LongestFirst", "stride": 0
            });
        },
        16,
        "it truncates on the left",
    );
    check(
        &|file| {
            let pair = file["post_processor"]["pair"].as_array_mut().unwrap();
            pair.swap(1, 3);
        },
        16,
        "it does not put the query before the document",
    );
    check(
        &|file| file["post_processor"]["pair"][1]["Sequence"]["type_id"] = json!(1),
        16,
        "the second token type begins within the query",
    );
    check(
        &|file| file["post_processor"]["pair"][4]["SpecialToken"]["type_id"] = json!(0),
        16,
        "is not its two texts in a fixed frame",
    );
}
