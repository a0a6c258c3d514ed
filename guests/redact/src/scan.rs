//! Finds what is to be replaced, in one pass over the bytes of a text.

use crate::number::Number;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Email,
    Phone,
    Card,
}

impl Kind {
    fn placeholder(self) -> &'static str {
        match self {
            Kind::Email => "[EMAIL]",
            Kind::Phone => "[PHONE]",
            Kind::Card => "[CARD]",
        }
    }
}

/// The text with placeholders, or `None` if nothing is to be replaced.
pub fn redacted(text: &str, kinds: &[Kind]) -> Option<String> {
    let mut redacted = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(next) = text.as_bytes()[at..].iter().position(|byte| STARTS[usize::from(*byte)])
    {
        at += next;
        let found = match text.as_bytes()[at] {
            b'@' => email(text, copied, at),
            _ => number(text, at, kinds),
        };
        match found {
            Found::Is(kind, start, end) if kinds.contains(&kind) => {
                redacted.push_str(&text[copied..start]);
                redacted.push_str(kind.placeholder());
                (copied, at) = (end, end);
            }
            Found::Is(_, _, end) | Found::Not(end) => at = end,
        }
    }
    if copied == 0 {
        return None;
    }
    redacted.push_str(&text[copied..]);
    Some(redacted)
}

/// What stands where one of [`STARTS`] is.
enum Found {
    /// From byte to byte.
    Is(Kind, usize, usize),
    /// Nothing; look on from this byte, which is further on.
    Not(usize),
}

/// Bytes that are in all that is looked for: `@`, and what a number begins with.
const STARTS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'0';
    while byte <= b'9' {
        table[byte as usize] = true;
        byte += 1;
    }
    table[b'@' as usize] = true;
    table[b'+' as usize] = true;
    table[b'(' as usize] = true;
    table
};

/// Looks to both sides of an `@`, on the left not further than `from`. Neither
/// side can hold another `@`, so no byte is looked at for two of them.
fn email(text: &str, from: usize, at: usize) -> Found {
    let is_name = |c: char| is_letter(c) || c.is_ascii_digit() || "._%+-'".contains(c);
    let is_domain = |c: char| is_letter(c) || c.is_ascii_digit() || ".-".contains(c);
    let before = &text[from..at];
    let name = before.trim_end_matches(is_name).len();
    let name = before[name..].trim_start_matches(['.', '-', '\'', '+', '%']);
    let after = &text[at + 1..];
    let domain = &after[..after.find(|c| !is_domain(c)).unwrap_or(after.len())];
    let domain = domain.trim_end_matches(['.', '-']);
    let is_address = !name.is_empty()
        && !name.ends_with('.')
        && domain.rsplit_once('.').is_some_and(|(rest, top)| {
            let letters = top.chars().filter(|c| is_letter(*c)).count();
            let is_top = letters >= 2 && letters == top.chars().count() || top.starts_with("xn--");
            is_top && rest.split('.').all(|label| !label.is_empty())
        });
    match is_address {
        true => Found::Is(Kind::Email, at - name.len(), at + 1 + domain.len()),
        false => Found::Not(at + 1),
    }
}

/// Letters of addresses: those of scripts that write spaces, for elsewhere an
/// address stands between other characters.
fn is_letter(character: char) -> bool {
    character.is_alphabetic() && !maitred_sdk::words::is_unspaced(character)
}

/// What number begins at `at`, if one can begin there.
fn number(text: &str, at: usize, kinds: &[Kind]) -> Found {
    let number = match Number::read(text, at) {
        Some(number) => number,
        // A sign without a number, or digits that belong to what is before.
        None => return Found::Not(skip_digits(text, at)),
    };
    let card = kinds.contains(&Kind::Card).then(|| number.card_end()).flatten();
    let phone = || kinds.contains(&Kind::Phone).then(|| number.phone_end()).flatten();
    match (card, card.is_none().then(phone).flatten()) {
        (Some(end), _) => Found::Is(Kind::Card, number.digits_start(), end),
        (None, Some(end)) => Found::Is(Kind::Phone, at, end),
        (None, None) => Found::Not(number.first_group_end()),
    }
}

/// The first byte after `at` that is no digit.
fn skip_digits(text: &str, at: usize) -> usize {
    let digits = text.as_bytes()[at..].iter().position(|byte| !byte.is_ascii_digit());
    at + digits.unwrap_or(text.len() - at).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let kinds = [Kind::Email, Kind::Phone, Kind::Card];
        let redacted = redacted(text, &kinds);
        assert_eq!(redacted.as_deref().unwrap_or(text), expected);
    }

    /// Each is nothing but what stands in the placeholder.
    fn all(placeholder: &str, texts: &[&str]) {
        for text in texts {
            check(text, placeholder);
            check(&format!("It is {text}."), &format!("It is {placeholder}."));
            check(
                &format!("({text}), twice: {text}"),
                &format!("({placeholder}), twice: {placeholder}"),
            );
        }
    }

    fn none(texts: &[&str]) {
        for text in texts {
            check(text, text);
            let sentence = format!("It is {text}, they say; {text}.");
            check(&sentence, &sentence);
        }
    }

    #[test]
    fn addresses() {
        all(
            "[EMAIL]",
            &[
                "a@b.org",
                "first.last+tag@mail.example.co.uk",
                "o'neil_7%x@sub-domain.example.com",
                "Jörg@müller.example",
                "a@xn--mller-kva.xn--p1ai",
                "1234567890123456@example.com",
            ],
        );
        check("<a@b.org>;c@d.net", "<[EMAIL]>;[EMAIL]");
        check("mailto:a@b.org?subject=x", "mailto:[EMAIL]?subject=x");
        check("联系a@b.com谢谢", "联系[EMAIL]谢谢");
        check("...a@b.org...", "...[EMAIL]...");
        none(&[
            "@handle",
            "a @ b.org",
            "user@localhost",
            "a@b.c",
            "v1@2.3",
            "a@.org",
            "@@@",
            "a@b..org",
        ]);
    }

    #[test]
    fn telephones() {
        all(
            "[PHONE]",
            &[
                "+49 30 1234567",
                "+493012345678",
                "+1 (415) 555-2671",
                "+1-415-555-2671",
                "+49 (0)30 123 45 67",
                "+33\u{a0}6\u{a0}12\u{a0}34\u{a0}56\u{a0}78",
                "(415) 555-2671",
                "(030) 1234567",
                "415-555-2671",
                "415.555.2671",
                "415 555 2671",
                "1-800-555-0199",
                "1 (415) 555-2671",
                "020 7946 0958",
                "01632 960123",
                "0176/12345678",
                "030/123 45 67",
                "06 12 34 56 78",
                "06.12.34.56.78",
                "03-1234-5678",
                "0049 30 1234567",
            ],
        );
        check("tel: 5552671", "tel: [PHONE]");
        check("tel:+493012345678;phone=4155552671", "tel:[PHONE];phone=[PHONE]");
        check("Mobile 4155552671 or fax. 555 26 71", "Mobile [PHONE] or fax. [PHONE]");
        check("+49 30 1234567, +49 30 7654321", "[PHONE], [PHONE]");
        check("电话+8613812345678。", "电话[PHONE]。");
    }

    #[test]
    fn cards() {
        all(
            "[CARD]",
            &[
                "4111111111111111",
                "4111 1111 1111 1111",
                "4111-1111-1111-1111",
                "4222222222222",
                "5555 5555 5555 4444",
                "2223 0031 2200 3222",
                "3782 822463 10005",
                "378282246310005",
                "3056 930902 5904",
                "6011 1111 1111 1117",
                "3566 0020 2036 0505",
                "6200 0000 0000 0005",
            ],
        );
        check("card:4111 1111 1111 1111 12/27 737", "card:[CARD] 12/27 737");
        check("12 4111 1111 1111 1111", "12 [CARD]");
        // One digit off, no issuer's, mixed or odd groups, part of more.
        none(&[
            "4111 1111 1111 1112",
            "9111 1111 1111 1111",
            "0000000000000000",
            "4111-1111 1111-1111",
            "41 11 11 11 11 11 11 11",
            "#4111111111111111",
            "4111111111111111x",
            "id_4111111111111111",
            "41111111111111114111111111111111",
            "https://shop.example/4111111111111111/",
            "4111111111111111.5",
        ]);
    }

    #[test]
    fn what_only_looks_like_it() {
        none(&[
            // Dates and times.
            "2024-01-31",
            "31.01.2024",
            "01/31/2024",
            "01.02.2024 12:30",
            "2024-01-31T12:30:00+02:00",
            "20240131-123000",
            "1999-2004",
            "12:30:45.123456",
            // Prices and quantities.
            "$1,234,567.89",
            "€ 0123 456 789",
            "1.234.567,89 EUR",
            "10 000 000",
            "100 200 3000 4000",
            "+12345678.90",
            "+5",
            "3.14159265358979",
            "12345678 %",
            // Names of things.
            "1234567890",
            "07700900123",
            "A-415-555-2671",
            "978-3-16-148410-0",
            "192.168.100.200",
            "v10.20.3000",
            "RFC 2119",
            "order 4155552671",
            "#415-555-2671",
            "x+493012345678",
            "DE89 3704 0044 0532 0130 00",
            "52.520008, 13.404954",
            "Smith (2019) 123-4567",
            "iPhone 15 128 256",
            "§ 123 (4) 567",
            "0.123456789",
            "000 0000 0000",
        ]);
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        // Each would take minutes if what is read grew with the square.
        for piece in
            ["1 ", "12-", "1.", "+", "(", "(1)", "@", "a@", "a.b@", "@a.", "tel ", "41", "é@"]
        {
            let text = piece.repeat((4 << 20) / piece.len());
            let redacted = redacted(&text, &[Kind::Email, Kind::Phone, Kind::Card]);
            assert!(redacted.is_none_or(|redacted| redacted.len() <= text.len() * 4), "{piece}");
        }
    }
}
