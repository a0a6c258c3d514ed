//! Documents and their fields, read as typed values.

use crate::{Document, Error, Field, Result, Value};

/// What a policy still knows of a document when its score comes back: all but
/// the text, which has moved on to the next stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The position that the document had in the client's request.
    pub index: u32,
    /// 0, or the number of a window that a policy cut out of the document.
    pub part: u32,
    /// As the client sent them.
    pub fields: Vec<Field>,
}

impl From<&Document> for Metadata {
    fn from(document: &Document) -> Self {
        Metadata { index: document.index, part: document.part, fields: document.fields.clone() }
    }
}

/// A type that the value of a field can be read as: `&str`, `i64`, `f64` (an
/// integer, too), `bool`, `&[String]` (a single text, too).
pub trait FieldValue<'a>: Sized {
    /// What the value must be. Completes "field `f` is not …".
    const WHAT: &'static str;

    /// The value, or `None` if it is of another type.
    fn of(value: &'a Value) -> Option<Self>;
}

/// A text.
impl<'a> FieldValue<'a> for &'a str {
    const WHAT: &'static str = "a text";

    fn of(value: &'a Value) -> Option<Self> {
        value.as_text()
    }
}

/// A number without a point.
impl FieldValue<'_> for i64 {
    const WHAT: &'static str = "a whole number";

    fn of(value: &Value) -> Option<Self> {
        value.as_integer()
    }
}

/// A number, be it written with a point or without.
impl FieldValue<'_> for f64 {
    const WHAT: &'static str = "a number";

    fn of(value: &Value) -> Option<Self> {
        value.as_number()
    }
}

/// `true` or `false`.
impl FieldValue<'_> for bool {
    const WHAT: &'static str = "true or false";

    fn of(value: &Value) -> Option<Self> {
        value.as_boolean()
    }
}

/// A list of texts; a single text is a list of one.
impl<'a> FieldValue<'a> for &'a [String] {
    const WHAT: &'static str = "a list of texts";

    fn of(value: &'a Value) -> Option<Self> {
        value.as_texts()
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it was written without a point.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The number, be it written with a point or without.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Integer(integer) => Some(*integer as f64),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Boolean(is) => Some(*is),
            _ => None,
        }
    }

    /// The texts of a list; a single text is a list of one.
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Value::Texts(texts) => Some(texts),
            Value::Text(text) => Some(std::slice::from_ref(text)),
            _ => None,
        }
    }
}

/// Values from what Rust calls them, for [`Document::with`].
macro_rules! values {
    ($($type:ty => |$it:ident| $value:expr,)*) => {$(
        impl From<$type> for Value {
            fn from($it: $type) -> Self {
                $value
            }
        }
    )*};
}

values! {
    &str => |text| Value::Text(text.into()),
    String => |text| Value::Text(text),
    i32 => |integer| Value::Integer(integer.into()),
    i64 => |integer| Value::Integer(integer),
    f64 => |number| Value::Number(number),
    bool => |is| Value::Boolean(is),
    &[&str] => |texts| Value::Texts(texts.iter().map(|text| text.to_string()).collect()),
    Vec<String> => |texts| Value::Texts(texts),
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(texts: [&str; N]) -> Self {
        texts.as_slice().into()
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

            /// A field as a `T`: `document.get::<f64>("price")?`. `None` if it
            /// is not there.
            ///
            /// # Errors
            ///
            /// [`Error::Invalid`] if it is there with another type; the client
            /// reads which field of which document must be what.
            pub fn get<'a, T: FieldValue<'a>>(&'a self, name: &str) -> Result<Option<T>> {
                let Some(value) = self.field(name) else {
                    return Ok(None);
                };
                let wrong =
                    || format!("field `{name}` of document {} is not {}", self.index, T::WHAT);
                T::of(value).map(Some).ok_or_else(|| Error::invalid(wrong()))
            }

            /// A field as a `T`.
            ///
            /// # Errors
            ///
            /// [`Error::Invalid`] if it is not there or has another type; the
            /// client reads which field of which document must be what.
            pub fn require<'a, T: FieldValue<'a>>(&'a self, name: &str) -> Result<T> {
                let absent = || format!("document {} has no field `{name}`", self.index);
                self.get(name)?.ok_or_else(|| Error::invalid(absent()))
            }

            /// A field, if it is there and a text.
            pub fn text_field(&self, name: &str) -> Option<&str> {
                self.field(name)?.as_text()
            }

            /// A field, if it is there and a number without a point.
            pub fn integer_field(&self, name: &str) -> Option<i64> {
                self.field(name)?.as_integer()
            }

            /// A field, if it is there and a number.
            pub fn number_field(&self, name: &str) -> Option<f64> {
                self.field(name)?.as_number()
            }

            /// A field, if it is there and `true` or `false`.
            pub fn boolean_field(&self, name: &str) -> Option<bool> {
                self.field(name)?.as_boolean()
            }

            /// A field, if it is there and a list of texts, or a single one.
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

    /// The document with one field more: `document.with("in_stock", true)`.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.fields.push(Field { name, value });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name_and_type() {
        let document =
            Document::new(0, "t").with("a", 1).with("b", "x").with("a", 2).with("list", ["y", "z"]);
        assert_eq!(document.integer_field("a"), Some(2));
        assert_eq!(document.number_field("a"), Some(2.0));
        assert_eq!(document.text_field("a"), None);
        assert_eq!(document.texts_field("b"), Some(&["x".to_string()][..]));
        assert_eq!(Metadata::from(&document).text_field("b"), Some("x"));
        assert_eq!(document.texts_field("list").map(<[_]>::len), Some(2));
        assert_eq!(document.boolean_field("c"), None);
    }

    #[test]
    fn a_field_that_must_be_something_else_is_named() {
        let document = Document::new(7, "t").with("price", "cheap").with("stock", 3);
        assert_eq!(document.require::<f64>("stock"), Ok(3.0));
        assert_eq!(document.get::<bool>("draft"), Ok(None));
        let absent = "document 7 has no field `draft`";
        assert_eq!(document.require::<bool>("draft"), Err(Error::invalid(absent)));
        let wrong = "field `price` of document 7 is not a number";
        assert_eq!(document.get::<f64>("price"), Err(Error::invalid(wrong)));
        assert_eq!(document.require::<f64>("price"), Err(Error::invalid(wrong)));
    }
}
