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
