//! English text that the project owns, in the lengths of MS MARCO's passages.
//!
//! `topics.jsonl` has questions and passages written for this project. A
//! generated passage is a handful of sentences about one topic, and about the
//! topics after it where it has to be long. So sentences come back in several
//! passages; what a tokenizer and a model have to do does not change by that, and
//! nothing here remembers sentences.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::{Corpus, Query};
use crate::bench::random::Random;

const TOPICS: &str = include_str!("topics.jsonl");
/// Part of the text: another seed is another corpus.
const SEED: u64 = 20_260_101;

/// Words of a passage are spread as exp(normal) with this median and deviation:
/// WordPiece makes 1.2 tokens of a word here, so 75 tokens on average and at most
/// 250, as MS MARCO's passages have.
const WORDS_MEDIAN: f64 = 54.0;
const WORDS_DEVIATION: f64 = 0.44;
const WORDS_MAX: f64 = 185.0;

#[derive(Deserialize)]
struct Topic {
    question: String,
    keywords: String,
    passages: Vec<String>,
}

fn topics() -> Vec<Topic> {
    let topic = |line| serde_json::from_str(line).expect("every line of the file is a topic");
    TOPICS.lines().map(topic).collect()
}

/// Passages about the project's topics, no two alike, and two queries a topic.
pub fn passages(count: usize) -> Corpus {
    let topics = topics();
    let sentences: Vec<Vec<&str>> = topics.iter().map(sentences).collect();
    let mut random = Random::new(SEED);
    let mut made = HashSet::new();
    let (mut texts, mut about) = (Vec::new(), vec![Vec::new(); topics.len()]);
    while texts.len() < count {
        let topic = random.below(topics.len());
        let wanted = (WORDS_MEDIAN.ln() + WORDS_DEVIATION * random.normal()).exp();
        // A whole number, so that the last digits of a machine's logarithm do not
        // decide about the text.
        let wanted = wanted.min(WORDS_MAX).round();
        let text = passage(&sentences, topic, wanted, &mut random);
        if made.insert(text.clone()) {
            about[topic].push(texts.len());
            texts.push(text.into());
        }
    }
    let mut queries = Vec::new();
    for (topic, relevant) in topics.into_iter().zip(about) {
        for text in [topic.question, topic.keywords] {
            queries.push(Query { text: text.into(), relevant: relevant.clone() });
        }
    }
    Corpus::new("generated English passages".into(), queries, texts)
}

fn sentences(topic: &Topic) -> Vec<&str> {
    let ends = ['.', '?', '!'];
    topic
        .passages
        .iter()
        .flat_map(|text| text.split_inclusive(ends))
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

/// Sentences of the topic in any order, until the next one would lead further from
/// the wanted length than it is now.
fn passage(topics: &[Vec<&str>], topic: usize, wanted: f64, random: &mut Random) -> String {
    let (mut topic, mut text, mut words) = (topic, String::new(), 0);
    loop {
        let mut left = topics[topic].clone();
        while !left.is_empty() {
            let sentence = left.swap_remove(random.below(left.len()));
            let more = sentence.split_whitespace().count();
            if words > 0 && words as f64 + more as f64 / 2.0 > wanted {
                return text;
            }
            if words > 0 {
                text.push(' ');
            }
            text.push_str(sentence);
            words += more;
        }
        topic = (topic + 1) % topics.len();
    }
}

/// Jumbled short words, each passage as long as every other. Nothing that real
/// traffic does to padding or batching can be seen with it.
pub fn equal_length(count: usize, words: usize) -> Corpus {
    let topics = topics();
    let text = topics.iter().flat_map(|topic| &topic.passages);
    let plain = |word: &&str| {
        (2..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let mut known: Vec<&str> = text.flat_map(|text| text.split(' ')).filter(plain).collect();
    known.sort_unstable();
    known.dedup();
    let mut random = Random::new(SEED);
    let mut jumble = |words: usize| -> Arc<str> {
        let words: Vec<_> = (0..words).map(|_| known[random.below(known.len())]).collect();
        words.join(" ").into()
    };
    let queries = (0..topics.len()).map(|_| Query { text: jumble(6), relevant: Vec::new() });
    let queries = queries.collect();
    let passages = (0..count).map(|_| jumble(words)).collect();
    let name = format!("synthetic text of equal length ({words} words)");
    Corpus { equal_length: true, ..Corpus::new(name, queries, passages) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_spread_as_in_ms_marco() {
        let corpus = passages(2048);
        let mut words: Vec<usize> =
            corpus.passages.iter().map(|text| text.split_whitespace().count()).collect();
        words.sort_unstable();
        let mean = words.iter().sum::<usize>() as f64 / words.len() as f64;
        assert!((60.0..65.0).contains(&mean), "mean {mean}");
        assert!(words[2047] <= 200 && words[2047] > 180, "longest {}", words[2047]);
        let of_twenty = words[2047 * 19 / 20] as f64;
        assert!((105.0..123.0).contains(&of_twenty), "95th of 100 has {of_twenty}");
        let different: HashSet<_> = corpus.passages.iter().collect();
        assert_eq!(different.len(), 2048);
    }

    /// A change of the text would make every stored sample useless.
    #[test]
    fn the_text_never_changes() {
        assert_eq!(passages(2048).digest, "a82d3cc0f8bc");
    }

    #[test]
    fn equal_length_is_equal() {
        let corpus = equal_length(50, 12);
        assert!(corpus.equal_length);
        assert!(corpus.passages.iter().all(|text| text.split(' ').count() == 12));
    }
}
