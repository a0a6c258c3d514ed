//! Rankings and what their scores mean.

use crate::{Document, Ranked, Ranking, Scale};

impl Ranked {
    /// A document's score.
    pub fn new(document: &Document, score: f32) -> Self {
        Ranked { index: document.index, part: document.part, score }
    }
}

impl Ranking {
    /// Sorts by score, best first; equal scores stay in the client's order. The
    /// host does not ask for any order.
    pub fn sort(&mut self) {
        self.results.sort_by(|a, b| {
            b.score.total_cmp(&a.score).then((a.index, a.part).cmp(&(b.index, b.part)))
        });
    }

    /// Keeps the best result of each document, with the part that it is from.
    /// The host does the same at the edge; a policy that cut documents into
    /// parts does it for the policies in front.
    pub fn keep_best_parts(&mut self) {
        let order =
            |a: &Ranked, b: &Ranked| (a.index.cmp(&b.index)).then(b.score.total_cmp(&a.score));
        self.results.sort_by(order);
        self.results.dedup_by_key(|result| result.index);
    }
}

impl Scale {
    /// A score as the probability, 0 to 1, that the document answers the query:
    /// σ(x) = 1 / (1 + e^-x) of a logit. `None` where only the order means
    /// something.
    pub fn probability(self, score: f32) -> Option<f64> {
        match self {
            Scale::Logit => Some(1.0 / (1.0 + (-f64::from(score)).exp())),
            Scale::Probability => Some(score.into()),
            Scale::Order => None,
        }
    }

    /// The score that a probability, 0 to 1, has on this scale: ln(p / (1 - p))
    /// for logits, infinite at the ends. `None` where only the order means
    /// something.
    pub fn score(self, probability: f64) -> Option<f64> {
        match self {
            Scale::Logit => Some((probability / (1.0 - probability)).ln()),
            Scale::Probability => Some(probability),
            Scale::Order => None,
        }
    }
}

/// What a policy keeps of each document until the document's score comes back,
/// by `(index, part)`.
///
/// ```
/// use maitred_sdk::{Document, Ranked, Sent};
///
/// let documents = [Document::new(3, "a"), Document::new(1, "b c")];
/// let lengths = Sent::new(&documents, |document| document.text.len());
/// let window = Ranked { index: 1, part: 2, score: 0.5 };
/// assert_eq!(lengths.of(&window), Some(&3));
/// ```
#[derive(Debug, Clone)]
pub struct Sent<T> {
    /// Ascending by index and part.
    kept: Vec<((u32, u32), T)>,
}

impl<T> Sent<T> {
    /// Keeps what `keep` says of each document.
    pub fn new<'a>(documents: &'a [Document], mut keep: impl FnMut(&'a Document) -> T) -> Self {
        let mut kept: Vec<_> = documents.iter().map(|d| ((d.index, d.part), keep(d))).collect();
        kept.sort_by_key(|(id, _)| *id);
        Sent { kept }
    }

    /// What was kept of the document that a result is about. A stage behind may
    /// have cut it into parts that were never sent: they are the document's, and
    /// get what its nearest part that was sent has.
    pub fn of(&self, result: &Ranked) -> Option<&T> {
        let at = self.place_of(result)?;
        Some(&self.kept[at].1)
    }

    /// The same as a number below [`Sent::len`], for tables beside this one.
    pub fn place_of(&self, result: &Ranked) -> Option<usize> {
        let id = (result.index, result.part);
        let at = match self.kept.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => return Some(at),
            Err(at) => at,
        };
        let of_document =
            |at: &usize| self.kept.get(*at).is_some_and(|(id, _)| id.0 == result.index);
        at.checked_sub(1).filter(of_document).or(Some(at).filter(of_document))
    }

    /// How many documents were sent.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no document was sent.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked((index, part, score): (u32, u32, f32)) -> Ranked {
        Ranked { index, part, score }
    }

    #[test]
    fn the_best_part_speaks_for_its_document() {
        let results = [(1, 0, 0.5), (0, 0, -1.0), (1, 2, 0.75), (1, 1, 0.25), (0, 1, -2.0)];
        let mut ranking = Ranking { results: results.map(ranked).into(), scale: Scale::Logit };
        ranking.keep_best_parts();
        assert_eq!(ranking.results, [(0, 0, -1.0), (1, 2, 0.75)].map(ranked));
    }

    #[test]
    fn equal_scores_stay_in_the_clients_order() {
        let results = [(2, 0, 0.5), (0, 0, -1.0), (1, 1, 0.5), (1, 0, 0.5)];
        let mut ranking = Ranking { results: results.map(ranked).into(), scale: Scale::Logit };
        ranking.sort();
        let expected = [(1, 0, 0.5), (1, 1, 0.5), (2, 0, 0.5), (0, 0, -1.0)];
        assert_eq!(ranking.results, expected.map(ranked));
    }

    #[test]
    fn probabilities_and_logits_say_the_same() {
        for logit in [-8.0f32, -0.5, 0.0, 3.0] {
            let probability = Scale::Logit.probability(logit).unwrap();
            let back = Scale::Logit.score(probability).unwrap();
            assert!((back - f64::from(logit)).abs() < 1e-9, "{logit} {back}");
        }
        assert_eq!(Scale::Logit.probability(0.0), Some(0.5));
        assert_eq!(Scale::Probability.probability(0.25), Some(0.25));
        assert_eq!(Scale::Order.probability(0.25), None);
    }

    #[test]
    fn parts_that_were_never_sent_are_their_documents() {
        let mut documents = [4, 2, 2].map(|index| Document::new(index, "t"));
        documents[2].part = 5;
        let sent = Sent::new(&documents, |document| (document.index, document.part));
        let of = |index, part| sent.of(&ranked((index, part, 0.0))).copied();
        assert_eq!(of(4, 0), Some((4, 0)));
        assert_eq!(of(4, 9), Some((4, 0)));
        assert_eq!(of(2, 5), Some((2, 5)));
        assert_eq!(of(2, 3), Some((2, 0)));
        assert_eq!(of(3, 0), None);
        assert_eq!(of(9, 0), None);
    }
}
