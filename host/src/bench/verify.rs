//! Whether answers are right: a benchmark of wrong answers is worth nothing.
//!
//! A sample has the logits of some pairs of a corpus under one model, computed
//! once and stored. Which pairs those are is the corpus's business
//! (`FIXED_CANDIDATES`); every request has some of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::corpus::{Asked, Corpus, FIXED_CANDIDATES};
use super::dialect::LOGIT_MAX;
use super::subject::{Answer, Subject};

/// The first line of a sample's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    /// Of the text it was made of.
    corpus: String,
    model: String,
    /// What computed it.
    made_by: String,
}

/// The lines after it, one a query.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    query: usize,
    /// Of its first candidates.
    logits: Vec<f64>,
}

#[derive(Debug, Clone)]
pub struct Sample {
    head: Head,
    path: PathBuf,
    /// By query.
    logits: Vec<Vec<f64>>,
}

impl Sample {
    pub fn read(path: &Path) -> anyhow::Result<Sample> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the sample {shown}"))?;
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let head = serde_json::from_str(head)
            .with_context(|| format!("{shown} does not begin with a sample's head"))?;
        let mut logits = Vec::new();
        for (number, line) in lines.enumerate() {
            let line: Line = serde_json::from_str(line).with_context(|| {
                format!("line {} of {shown} is no line of a sample", number + 2)
            })?;
            ensure!(line.query == number, "{shown} lacks the query {number}");
            logits.push(line.logits);
        }
        Ok(Sample { head, path: path.into(), logits })
    }

    /// Asks for the scores of every query's first candidates.
    pub async fn make(
        subject: &dyn Subject,
        corpus: &Corpus,
        model: String,
        made_by: String,
    ) -> anyhow::Result<Sample> {
        let mut logits = Vec::new();
        for query in 0..corpus.queries.len() {
            let asked = corpus.request(0, query as u64, FIXED_CANDIDATES);
            let scores = match subject.ask(&asked).await.answer {
                Ok(Answer::Scores(scores)) => scores,
                other => bail!("query {query} got no scores: {other:?}"),
            };
            let all: Option<Vec<f64>> = scores.into_iter().collect();
            logits.push(all.with_context(|| format!("query {query} lacks scores"))?);
        }
        let head = Head { corpus: corpus.digest.clone(), model, made_by };
        Ok(Sample { head, path: PathBuf::new(), logits })
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = std::fs::File::create(path)
            .with_context(|| format!("failed to write {}", path.display()))?;
        writeln!(file, "{}", serde_json::to_string(&self.head)?)?;
        for (query, logits) in self.logits.iter().enumerate() {
            let logits = logits.iter().map(|logit| (logit * 1e5).round() / 1e5).collect();
            writeln!(file, "{}", serde_json::to_string(&Line { query, logits })?)?;
        }
        Ok(())
    }
}

/// The sample that is of this corpus and model. A server that does not say what
/// it serves is taken to serve the model of the only one.
pub fn choose(samples: &[PathBuf], corpus: &Corpus, model: Option<&str>) -> anyhow::Result<Sample> {
    let mut seen = Vec::new();
    for path in samples {
        let sample = Sample::read(path)?;
        let right_model = model.is_none_or(|model| sample.head.model == model);
        if right_model && sample.head.corpus == corpus.digest {
            return Ok(sample);
        }
        seen.push(format!(
            "{} is of {} and the text {}",
            sample.path.display(),
            sample.head.model,
            sample.head.corpus
        ));
    }
    bail!(
        "no sample has scores of {} for the text {} ({}): {}; `maitred bench sample` makes one, \
         and `--set verify.samples=[]` does without",
        model.unwrap_or("an unknown model"),
        corpus.digest,
        corpus.name,
        seen.join("; ")
    )
}

/// What was found when scores were looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verification {
    pub pairs: u64,
    pub wrong: u64,
    /// Of a logit and the sample's.
    pub difference_max: f64,
    pub tolerance: f64,
    /// The first wrong one, in words.
    pub first_wrong: Option<String>,
}

pub struct Verifier {
    sample: Sample,
    found: Mutex<Verification>,
}

impl Verifier {
    pub fn new(sample: Sample, tolerance: f64) -> Self {
        Verifier {
            sample,
            found: Mutex::new(Verification { tolerance, ..Verification::default() }),
        }
    }

    /// Whether the scores that the sample has are the sample's.
    pub fn right(&self, asked: &Asked, scores: &[Option<f64>]) -> bool {
        let mut found = self.found.lock().unwrap_or_else(|error| error.into_inner());
        let (before, tolerance) = (found.wrong, found.tolerance);
        let Some(stored) = self.sample.logits.get(asked.query) else {
            return true;
        };
        for (place, (expected, score)) in stored.iter().zip(scores).enumerate() {
            let expected = expected.min(LOGIT_MAX);
            let difference = score.map_or(f64::INFINITY, |score| (score - expected).abs());
            found.pairs += 1;
            // A score that is missing or NaN is not within any tolerance.
            if difference <= tolerance {
                found.difference_max = found.difference_max.max(difference);
                continue;
            }
            found.wrong += 1;
            if difference.is_finite() {
                found.difference_max = found.difference_max.max(difference);
            }
            found.first_wrong.get_or_insert_with(|| {
                let said = score.map_or("no score".into(), |score| format!("the logit {score:.5}"));
                let query = asked.query;
                format!("query {query}, document {place}: {said}, and not {expected:.5}")
            });
        }
        found.wrong == before
    }

    pub fn found(&self) -> Verification {
        self.found.lock().unwrap_or_else(|error| error.into_inner()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let head = Head { corpus: "c".into(), model: "m".into(), made_by: "a test".into() };
        Sample { head, path: PathBuf::new(), logits: vec![vec![-3.0, 11.5, 0.25]] }
    }

    fn asked() -> Asked {
        let documents = vec!["a".into(), "b".into(), "c".into(), "d".into()];
        Asked { query: 0, passages: vec![0, 1, 2, 3], query_text: "q".into(), documents }
    }

    #[test]
    fn scores_are_compared_as_logits() {
        let check = |scores: [Option<f64>; 4], right: bool, wrong: u64| {
            let verifier = Verifier::new(sample(), 0.01);
            assert_eq!(verifier.right(&asked(), &scores), right, "{scores:?}");
            assert_eq!(verifier.found().wrong, wrong, "{scores:?}");
            assert_eq!(verifier.found().pairs, 3);
        };
        check([Some(-3.005), Some(LOGIT_MAX), Some(0.25), Some(4.0)], true, 0);
        // Two documents exchanged: nothing else would notice.
        check([Some(0.25), Some(LOGIT_MAX), Some(-3.0), Some(4.0)], false, 2);
        check([None, Some(LOGIT_MAX), Some(f64::NAN), None], false, 2);
    }

    #[test]
    fn a_sample_survives_being_written_and_is_chosen_by_what_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.jsonl");
        sample().write(&path).unwrap();
        let read = Sample::read(&path).unwrap();
        assert_eq!((read.head.clone(), read.logits), (sample().head, sample().logits));
        let corpus = Corpus {
            name: "text".into(),
            equal_length: false,
            queries: Vec::new(),
            passages: Vec::new(),
            digest: "c".into(),
        };
        let paths = [path];
        assert!(choose(&paths, &corpus, Some("m")).is_ok());
        assert!(choose(&paths, &corpus, None).is_ok());
        let other = choose(&paths, &corpus, Some("n")).unwrap_err();
        assert!(other.to_string().contains("no sample has scores of n"), "{other}");
        let changed = Corpus { digest: "d".into(), ..corpus };
        assert!(choose(&paths, &changed, Some("m")).is_err());
    }
}
