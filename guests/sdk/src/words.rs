//! Reading documents and their fields.

use crate::{Document, Field, Ranked, Ranking, Value};

/// What a policy still knows of a document when its score comes back: all but
/// the text, which has moved on to the next stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub index: u32,
    pub part: u32,
    pub fields: Vec<Field>,
}

impl From<&Document> for Metadata {
    fn from(document: &Document) -> Self {
        Metadata { index: document.index, part: document.part, fields: document.fields.clone() }
    }
}

impl Value {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// A number, be it written with a point or without.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Integer(integer) => Some(*integer as f64),
            _ => None,
        }
    }

    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Boolean(is) => Some(*is),
            _ => None,
        }
    }

    /// A list of texts; a single text is a list of one.
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Value::Texts(texts) => Some(texts),
            Value::Text(text) => Some(std::slice::from_ref(text)),
            _ => None,
        }
    }
}

macro_rules! read_fields {
    ($type:ty) => {
        impl $type {
            /// The value of a field; the last one, if a client sent several of
            /// that name.
            pub fn field(&self, name: &str) -> Option<&Value> {
                let field = self.fields.iter().rfind(|field| field.name == name)?;
                Some(&field.value)
            }

            pub fn text_field(&self, name: &str) -> Option<&str> {
                self.field(name)?.as_text()
            }

            pub fn integer_field(&self, name: &str) -> Option<i64> {
                self.field(name)?.as_integer()
            }

            pub fn number_field(&self, name: &str) -> Option<f64> {
                self.field(name)?.as_number()
            }

            pub fn boolean_field(&self, name: &str) -> Option<bool> {
                self.field(name)?.as_boolean()
            }

            pub fn texts_field(&self, name: &str) -> Option<&[String]> {
                self.field(name)?.as_texts()
            }
        }
    };
}

read_fields!(Document);
read_fields!(Metadata);

impl Document {
    /// A document without fields; mostly for tests.
    pub fn new(index: u32, text: impl Into<String>) -> Self {
        Document { index, part: 0, text: text.into(), fields: Vec::new() }
    }

    /// The document with one field more.
    pub fn with(mut self, name: impl Into<String>, value: Value) -> Self {
        let name = name.into();
        self.fields.push(Field { name, value });
        self
    }
}

impl Ranking {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scale;

    #[test]
    fn fields_are_read_by_name_and_type() {
        let document = Document::new(0, "t")
            .with("a", Value::Integer(1))
            .with("b", Value::Text("x".into()))
            .with("a", Value::Integer(2));
        assert_eq!(document.integer_field("a"), Some(2));
        assert_eq!(document.number_field("a"), Some(2.0));
        assert_eq!(document.text_field("a"), None);
        assert_eq!(document.texts_field("b"), Some(&["x".to_string()][..]));
        assert_eq!(Metadata::from(&document).text_field("b"), Some("x"));
        assert_eq!(document.boolean_field("c"), None);
    }

    #[test]
    fn the_best_part_speaks_for_its_document() {
        let ranked = |(index, part, score)| Ranked { index, part, score };
        let results = [(1, 0, 0.5), (0, 0, -1.0), (1, 2, 0.75), (1, 1, 0.25), (0, 1, -2.0)];
        let mut ranking = Ranking { results: results.map(ranked).into(), scale: Scale::Logit };
        ranking.keep_best_parts();
        let expected = [(0, 0, -1.0), (1, 2, 0.75)];
        assert_eq!(ranking.results, expected.map(ranked));
    }
}
