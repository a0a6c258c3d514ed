//! What a policy is: a trait whose methods all have a default, except for how
//! it is made.

use crate::{Document, Metadata, Next, Params, Ranked, Ranking, Request, Result, Scale, Sent};

/// A policy is made for one request, runs once and is gone: it keeps no state.
pub trait Policy: Sized {
    /// Reads the route's parameters.
    ///
    /// # Errors
    ///
    /// What [`Params`] says of a value that is wrong. The host makes each policy
    /// once before it serves, and does not start with one that fails here.
    fn new(params: &Params) -> Result<Self>;

    /// Shaping: changes the request before it goes on. Documents keep their
    /// `index`; `(index, part)` must stay unique.
    ///
    /// # Errors
    ///
    /// Whatever ends the request here: [`Error::invalid`](crate::Error::invalid)
    /// or [`Error::denied`](crate::Error::denied), mostly.
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
    ///
    /// The answer may name any part of the documents in `request`, none twice,
    /// with finite scores; anything else fails the request.
    ///
    /// # Errors
    ///
    /// An error of the next stage, returned as it is, reaches the client as what
    /// it was.
    fn rerank(&self, request: Request, next: Next) -> impl Future<Output = Result<Ranking>> {
        async move {
            let mut request = self.shape(request)?;
            let query = &request.query;
            request.documents.retain(|document| self.keep(query, document));
            let sent = Sent::new(&request.documents, Metadata::from);
            let mut ranking = next.rerank(request).await?;
            for result in &mut ranking.results {
                if let Some(document) = sent.of(result) {
                    result.score = self.score(document, result, ranking.scale);
                }
            }
            Ok(ranking)
        }
    }
}

/// Serves one request with a policy. [`export!`](crate::export) calls it.
pub async fn serve<P: Policy>(request: Request) -> Result<Ranking> {
    let policy = P::new(&Params::of_the_route())?;
    policy.rerank(request, Next::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::test::{Kit, scores};

    /// Removes drafts, adds a document's bonus to its score.
    struct Example;

    impl Policy for Example {
        fn new(_: &Params) -> Result<Self> {
            Ok(Example)
        }

        fn shape(&self, mut request: Request) -> Result<Request> {
            if request.query.is_empty() {
                return Err(Error::invalid("the query is empty"));
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

    fn request(query: &str) -> Request {
        let documents = vec![
            Document::new(4, "d").with("bonus", 0.5),
            Document::new(2, "b").with("draft", true),
            Document::new(3, "c").with("bonus", 2),
        ];
        Request { query: query.into(), documents }
    }

    #[test]
    fn shapes_then_filters_then_scores() {
        let kit = Kit::new().next(|request| {
            assert_eq!(request.query, "hello");
            assert_eq!(request.documents.len(), 2);
            // The stage behind cuts documents into two parts.
            let parts = |d: &Document| [0, 1].map(|part| (d.index, part));
            let ids = request.documents.iter().flat_map(parts);
            let results = ids.map(|(index, part)| Ranked { index, part, score: 1.0 });
            Ok(Ranking { results: results.collect(), scale: Scale::Logit })
        });
        let ranking = kit.run::<Example>(request("Hello")).unwrap();
        let expected = [(4, 0, 1.5), (4, 1, 1.5), (3, 0, 3.0), (3, 1, 3.0)];
        assert_eq!(scores(&ranking), expected);
    }

    #[test]
    fn errors_of_either_side_are_returned() {
        let late = Kit::new().next(|_| Err(Error::DeadlineExceeded));
        assert_eq!(late.run::<Example>(request("q")), Err(Error::DeadlineExceeded));
        assert_eq!(late.run::<Example>(request("")), Err(Error::invalid("the query is empty")));
    }
}
