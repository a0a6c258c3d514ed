//! What a policy is: a trait whose methods all have a default, except for how
//! it is made.

use crate::{Document, Metadata, Next, Params, Ranked, Ranking, Request, Result, Scale};

/// A policy is made for one request, runs once and is gone: it keeps no state.
pub trait Policy: Sized {
    /// Reads the route's parameters.
    fn new(params: &Params) -> Result<Self>;

    /// Shaping: changes the request before it goes on. Documents keep their
    /// `index`; `(index, part)` must stay unique.
    fn shape(&self, request: Request) -> Result<Request> {
        Ok(request)
    }

    /// Filtering: whether a document goes on. What does not is not in the
    /// answer.
    fn keep(&self, query: &str, document: &Document) -> bool {
        let _ = (query, document);
        true
    }

    /// Scoring: a result's new score, from what the next stage gave it and the
    /// document's fields. It must be finite, and mean what `scale` says.
    fn score(&self, document: &Metadata, result: &Ranked, scale: Scale) -> f32 {
        let _ = (document, scale);
        result.score
    }

    /// The whole of it. A policy that looks at all documents at once, or calls
    /// the next stage several times or not at all, writes this instead of the
    /// others. Never truncate to what the client wants: the host does.
    fn rerank(&self, request: Request, next: Next) -> impl Future<Output = Result<Ranking>> {
        async move {
            let mut request = self.shape(request)?;
            let query = &request.query;
            request.documents.retain(|document| self.keep(query, document));
            let mut sent: Vec<Metadata> = request.documents.iter().map(Metadata::from).collect();
            sent.sort_by_key(|document| (document.index, document.part));
            let mut ranking = next.rerank(request).await?;
            for result in &mut ranking.results {
                if let Some(document) = document_of(&sent, result) {
                    result.score = self.score(document, result, ranking.scale);
                }
            }
            Ok(ranking)
        }
    }
}

/// The document that a result is about. A stage behind may have cut it into
/// parts that were never sent: their fields are the document's.
fn document_of<'a>(sent: &'a [Metadata], result: &Ranked) -> Option<&'a Metadata> {
    let id = (result.index, result.part);
    let at = match sent.binary_search_by_key(&id, |document| (document.index, document.part)) {
        Ok(at) => return Some(&sent[at]),
        Err(at) => at,
    };
    let neighbours = [at.checked_sub(1).and_then(|at| sent.get(at)), sent.get(at)];
    (neighbours.into_iter().flatten()).find(|document| document.index == result.index)
}

/// Serves one request with a policy. [`export!`](crate::export) calls it.
pub async fn serve<P: Policy>(request: Request) -> Result<Ranking> {
    let policy = P::new(&Params::of_the_route())?;
    policy.rerank(request, Next::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Value, run};

    /// Removes drafts, adds a document's bonus to its score.
    struct Example;

    impl Policy for Example {
        fn new(_: &Params) -> Result<Self> {
            Ok(Example)
        }

        fn shape(&self, mut request: Request) -> Result<Request> {
            if request.query.is_empty() {
                return Err(Error::Invalid("the query is empty".into()));
            }
            request.query.make_ascii_lowercase();
            Ok(request)
        }

        fn keep(&self, _: &str, document: &Document) -> bool {
            document.boolean_field("draft") != Some(true)
        }

        fn score(&self, document: &Metadata, result: &Ranked, _: Scale) -> f32 {
            result.score + document.number_field("bonus").unwrap_or_default() as f32
        }
    }

    fn documents() -> Vec<Document> {
        vec![
            Document::new(4, "d").with("bonus", Value::Number(0.5)),
            Document::new(2, "b").with("draft", Value::Boolean(true)),
            Document::new(3, "c").with("bonus", Value::Integer(2)),
        ]
    }

    #[test]
    fn shapes_then_filters_then_scores() {
        let next = Next::from_fn(|request| {
            assert_eq!(request.query, "hello");
            assert_eq!(request.documents.len(), 2);
            // The stage behind cuts documents into two parts.
            let parts = |d: &Document| [0, 1].map(|part| (d.index, part));
            let ids = request.documents.iter().flat_map(parts);
            let results = ids.map(|(index, part)| Ranked { index, part, score: 1.0 });
            let results = results.collect();
            let scale = Scale::Logit;
            Ok(Ranking { results, scale })
        });
        let request = Request { query: "Hello".into(), documents: documents() };
        let ranking = run::<Example>(&Params::from_pairs([]), request, next).unwrap();
        let scores: Vec<_> = (ranking.results.iter()).map(|r| (r.index, r.part, r.score)).collect();
        assert_eq!(scores, [(4, 0, 1.5), (4, 1, 1.5), (3, 0, 3.0), (3, 1, 3.0)]);
    }

    #[test]
    fn errors_of_either_side_are_returned() {
        let request = |query: &str| Request { query: query.into(), documents: documents() };
        let late = || Next::from_fn(|_| Err(Error::DeadlineExceeded));
        let answer = |query| run::<Example>(&Params::from_pairs([]), request(query), late());
        assert_eq!(answer("q"), Err(Error::DeadlineExceeded));
        assert_eq!(answer(""), Err(Error::Invalid("the query is empty".into())));
    }
}
