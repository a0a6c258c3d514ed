//! Corpora of others: JSON lines, and folders as BEIR and TREC lay them out.
//! Only as much is read as the workload asks for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::{Corpus, Query, called};

/// Queries of a corpus that are used; MS MARCO has a million.
const QUERIES_MAX: usize = 100_000;

/// A passage or query as a JSON line: a string, or an object as BEIR has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Text(String),
    Object {
        #[serde(rename = "_id", default)]
        id: String,
        #[serde(default)]
        title: String,
        text: String,
    },
}

/// A text and what the corpus calls it.
struct Named {
    id: String,
    text: Arc<str>,
}

/// Two files of JSON lines: strings, or objects with `text`.
pub fn lines(passages: &Path, queries: &Path, passages_max: usize) -> anyhow::Result<Corpus> {
    let name = format!("{} and {}", called(passages), called(queries));
    let passages = json_lines(passages, passages_max)?;
    let queries = json_lines(queries, QUERIES_MAX)?;
    Ok(corpus(name, passages, queries, Vec::new()))
}

/// `corpus.jsonl`, `queries.jsonl`, and judgements in `qrels/` if there are some.
pub fn beir(folder: &Path, passages_max: usize) -> anyhow::Result<Corpus> {
    let passages = json_lines(&folder.join("corpus.jsonl"), passages_max)?;
    let queries = json_lines(&folder.join("queries.jsonl"), QUERIES_MAX)?;
    let qrels = ["test", "dev", "train"].map(|split| folder.join(format!("qrels/{split}.tsv")));
    let judged = match first_there(&qrels) {
        // query, passage, grade, below a head line
        Some(file) => columns(&file, '\t', usize::MAX)?
            .into_iter()
            .skip(1)
            .filter_map(|line| judgement(&line, 0, 1, 2))
            .collect(),
        None => Vec::new(),
    };
    Ok(corpus(format!("the BEIR folder {}", called(folder)), passages, queries, judged))
}

/// `collection.tsv`, `queries.tsv`, and judgements in `qrels.txt` or `qrels.tsv`
/// if there are some.
pub fn trec(folder: &Path, passages_max: usize) -> anyhow::Result<Corpus> {
    let named = |line: Vec<String>| {
        let mut line = line.into_iter();
        Some(Named { id: line.next()?, text: line.next()?.into() })
    };
    let read = |name: &str, max: usize| {
        let lines = columns(&folder.join(name), '\t', max)?;
        anyhow::Ok(lines.into_iter().filter_map(named).collect::<Vec<_>>())
    };
    let passages = read("collection.tsv", passages_max)?;
    let queries = read("queries.tsv", QUERIES_MAX)?;
    let judged = match first_there(&["qrels.txt", "qrels.tsv"].map(|name| folder.join(name))) {
        // query, iteration, passage, grade
        Some(file) => columns(&file, ' ', usize::MAX)?
            .iter()
            .filter_map(|line| judgement(line, 0, 2, 3))
            .collect(),
        None => Vec::new(),
    };
    Ok(corpus(format!("the TREC folder {}", called(folder)), passages, queries, judged))
}

/// A query and a passage that is relevant to it.
type Judged = (String, String);

fn judgement(line: &[String], query: usize, passage: usize, grade: usize) -> Option<Judged> {
    let relevant = line.get(grade)?.trim().parse::<f64>().ok()? > 0.0;
    relevant.then(|| Some((line.get(query)?.clone(), line.get(passage)?.clone()))).flatten()
}

/// With judgements, only queries that have one are asked.
fn corpus(name: String, passages: Vec<Named>, queries: Vec<Named>, judged: Vec<Judged>) -> Corpus {
    let places: HashMap<&str, usize> =
        passages.iter().enumerate().map(|(place, named)| (named.id.as_str(), place)).collect();
    let mut relevant: HashMap<&str, Vec<usize>> = HashMap::new();
    for (query, passage) in &judged {
        if let Some(place) = places.get(passage.as_str()) {
            relevant.entry(query).or_default().push(*place);
        }
    }
    let all = relevant.is_empty();
    let queries = queries
        .into_iter()
        .filter_map(|Named { id, text }| {
            let relevant = relevant.remove(id.as_str());
            (all || relevant.is_some())
                .then(|| Query { text, relevant: relevant.unwrap_or_default() })
        })
        .collect();
    let passages = passages.into_iter().map(|named| named.text).collect();
    Corpus::new(name, queries, passages)
}

fn first_there(files: &[PathBuf]) -> Option<PathBuf> {
    files.iter().find(|file| file.is_file()).cloned()
}

fn json_lines(path: &Path, max: usize) -> anyhow::Result<Vec<Named>> {
    let mut named = Vec::new();
    for (number, line) in read(path)?.enumerate() {
        if named.len() == max {
            break;
        }
        let line = line.with_context(|| format!("failed to read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line = serde_json::from_str(&line).with_context(|| {
            let shown = path.display();
            format!("line {} of {shown} is neither a string nor an object with `text`", number + 1)
        })?;
        named.push(match line {
            Line::Text(text) => Named { id: String::new(), text: text.into() },
            Line::Object { id, title, text } if title.is_empty() => Named { id, text: text.into() },
            Line::Object { id, title, text } => {
                Named { id, text: format!("{title} {text}").into() }
            }
        });
    }
    filled(path, named)
}

fn columns(path: &Path, separator: char, max: usize) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = Vec::new();
    for line in read(path)?.take(max) {
        let line = line.with_context(|| format!("failed to read {}", path.display()))?;
        // Judgements of TREC are separated by spaces or tabs.
        let columns = match separator {
            '\t' => line.split('\t').map(str::to_owned).collect(),
            _ => line.split_whitespace().map(str::to_owned).collect(),
        };
        lines.push(columns);
    }
    filled(path, lines)
}

fn filled<T>(path: &Path, lines: Vec<T>) -> anyhow::Result<Vec<T>> {
    if lines.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(lines)
}

fn read(path: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    Ok(BufReader::new(file).lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn folders_of_both_kinds_say_what_is_relevant() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(
            path,
            "corpus.jsonl",
            "{\"_id\":\"a\",\"title\":\"T\",\"text\":\"one\"}\n{\"_id\":\"b\",\"text\":\"two\"}\n",
        );
        write(
            path,
            "queries.jsonl",
            "{\"_id\":\"q\",\"text\":\"which?\"}\n{\"_id\":\"r\",\"text\":\"who?\"}\n",
        );
        write(path, "qrels/test.tsv", "query-id\tcorpus-id\tscore\nr\tb\t1\nr\ta\t0\n");
        write(path, "collection.tsv", "a\tT one\nb\ttwo\n");
        write(path, "queries.tsv", "q\twhich?\nr\twho?\n");
        write(path, "qrels.txt", "r 0 b 2\nq 0 a 0\n");
        for corpus in [beir(path, 10).unwrap(), trec(path, 10).unwrap()] {
            let texts: Vec<_> = corpus.passages.iter().map(|text| &**text).collect();
            assert_eq!(texts, ["T one", "two"]);
            assert_eq!(corpus.queries.len(), 1);
            assert_eq!(
                (&*corpus.queries[0].text, &corpus.queries[0].relevant[..]),
                ("who?", &[1][..])
            );
        }
        assert_eq!(beir(path, 1).unwrap().passages.len(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, "p.jsonl", "\"one\"\n{\"txt\": 1}\n");
        let error = lines(&path.join("p.jsonl"), &path.join("q.jsonl"), 10).err().unwrap();
        assert!(format!("{error:#}").contains("line 2 of"), "{error:#}");
        write(path, "p.jsonl", "\"one\"\n");
        let error = lines(&path.join("p.jsonl"), &path.join("q.jsonl"), 10).err().unwrap();
        assert!(format!("{error:#}").contains("q.jsonl"), "{error:#}");
    }
}
