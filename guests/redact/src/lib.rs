//! Shaping: e-mail addresses, phone numbers and card numbers in the query and in
//! the documents become `[EMAIL]`, `[PHONE]` and `[CARD]` before any policy
//! behind and the model see them. The model still reads that a number stood
//! there; nobody can read which.
//!
//! What is found is what is certain: a date, a price, a version or an order
//! number that lost its digits would be as bad for a search as a phone number
//! that kept them is for its owner. So
//!
//! - a *card* has 13 to 19 digits, begins and is as long as an issuer's numbers
//!   are, and passes the Luhn check (ISO/IEC 7812-1, annex B);
//! - a *phone number* is written as one: with a country code (`+49 30 123456`),
//!   an area code in parentheses, the 3-3-4 of North America, a leading zero and
//!   groups as elsewhere, or after a word such as `tel`. Ten digits in a row are
//!   not enough;
//! - an *e-mail address* has a name, a domain, and a top-level domain of letters.
//!
//! Metadata fields are left alone: the model does not see them, and filters need
//! them. The client gets its own documents back, as it sent them. The policy is
//! `required`: no route may answer without it.
//!
//! Every text is read once, and each number at most once more per kind, whatever
//! stands there; texts without an `@` and without digits are not copied.

mod number;
mod scan;

use maitred_sdk::{Params, Policy, Request, Result};
use scan::{Kind, redacted};

#[derive(Debug, PartialEq)]
struct Redact {
    kinds: Vec<Kind>,
}

impl Policy for Redact {
    fn new(params: &Params) -> Result<Self> {
        let kinds = [("email", Kind::Email), ("phone", Kind::Phone), ("card", Kind::Card)];
        Ok(Redact { kinds: params.some_of("kinds", &kinds)? })
    }

    fn shape(&self, mut request: Request) -> Result<Request> {
        let texts = request.documents.iter_mut().map(|document| &mut document.text);
        for text in texts.chain([&mut request.query]) {
            if let Some(redacted) = redacted(text, &self.kinds) {
                *text = redacted;
            }
        }
        Ok(request)
    }
}

maitred_sdk::export!(Redact);

#[cfg(test)]
mod tests {
    use maitred_sdk::Error;
    use maitred_sdk::test::{Kit, assert_manifest_fits, request};

    use super::*;

    const MANIFEST: &str = include_str!("../redact.toml");

    #[test]
    fn query_and_documents_are_redacted_and_fields_are_not() {
        let mut asked = request("who is a@b.org?", ["call +49 30 1234567", "nothing here"]);
        asked.documents[0] = asked.documents[0].clone().with("owner", "a@b.org");
        let run = Kit::new().manifest(MANIFEST).watch::<Redact>(asked);
        let sent = &run.calls[0];
        assert_eq!(sent.query, "who is [EMAIL]?");
        let texts: Vec<_> = sent.documents.iter().map(|document| &*document.text).collect();
        assert_eq!(texts, ["call [PHONE]", "nothing here"]);
        assert_eq!(sent.documents[0].text_field("owner"), Some("a@b.org"));
    }

    #[test]
    fn only_the_kinds_asked_for() {
        let text = "a@b.org, +49 30 1234567, 4111 1111 1111 1111";
        let check = |kinds: &str, expected: &str| {
            let kit = Kit::new().manifest(MANIFEST).param("kinds", kinds);
            assert_eq!(kit.watch::<Redact>(request(text, [])).calls[0].query, expected);
        };
        check("email", "[EMAIL], +49 30 1234567, 4111 1111 1111 1111");
        check("phone,card", "a@b.org, [PHONE], [CARD]");
        let wrong = Kit::new().param("kinds", "iban").make::<Redact>();
        let expected = "parameter `kinds` is `iban`, not one of `email`, `phone`, `card`";
        assert_eq!(wrong, Err(Error::internal(expected)));
        assert_manifest_fits::<Redact>(&Kit::new(), MANIFEST);
    }
}
