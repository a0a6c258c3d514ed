//! Drops drafts, and moves what is in stock up.

use maitred_sdk::{Document, Metadata, Params, Policy, Ranked, Result, Scale};

struct Shop {
    bonus: f32,
}

impl Policy for Shop {
    fn new(params: &Params) -> Result<Self> {
        Ok(Shop { bonus: params.or("bonus", 0.5)? })
    }

    fn keep(&self, _query: &str, document: &Document) -> bool {
        document.text_field("state") != Some("draft")
    }

    fn score(&self, document: &Metadata, result: &Ranked, _scale: Scale) -> f32 {
        match document.boolean_field("in_stock") {
            Some(true) => result.score + self.bonus,
            _ => result.score,
        }
    }
}

maitred_sdk::export!(Shop);

#[cfg(test)]
mod tests {
    use maitred_sdk::test::{Kit, request, scores};

    use super::*;

    /// What the host reads; with it, parameters have their defaults.
    const MANIFEST: &str = include_str!("../shop.toml");

    #[test]
    fn drafts_are_dropped_and_stock_moves_up() {
        // The model's stand-in counts the words of the query in a document.
        let mut request = request("red shoe", ["a red shoe", "a red hat", "a shoe"]);
        request.documents[1] = request.documents[1].clone().with("in_stock", true);
        request.documents[2] = request.documents[2].clone().with("state", "draft");

        let kit = Kit::new().manifest(MANIFEST);
        let ranking = kit.clone().run::<Shop>(request.clone()).unwrap();
        assert_eq!(scores(&ranking), [(0, 0, 2.0), (1, 0, 1.5)]);

        let ranking = kit.param("bonus", 3).run::<Shop>(request).unwrap();
        assert_eq!(scores(&ranking), [(0, 0, 2.0), (1, 0, 4.0)]);
    }
}
