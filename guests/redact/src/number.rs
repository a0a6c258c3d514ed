//! Numbers as people write them, and whether one is a card's or a telephone's.

use std::ops::Range;

/// Groups and digits of the longest number that is looked at; no card and no
/// telephone has more. They bound what is read again for each group.
const GROUPS_MAX: usize = 8;
const DIGITS_MAX: usize = 24;

/// Words after which any seven digits are a telephone number.
const HINTS: [&str; 8] =
    ["tel", "phone", "telephone", "telefon", "fax", "mobile", "mobil", "whatsapp"];

/// Groups of digits with single separators between them.
pub struct Number<'a> {
    text: &'a str,
    has_plus: bool,
    groups: Vec<Group>,
    /// Whether it comes right after another number, which it may belong to.
    follows_digits: bool,
    is_announced: bool,
}

struct Group {
    at: Range<usize>,
    /// What stands between it and the group before.
    separator: char,
    in_parentheses: bool,
}

impl<'a> Number<'a> {
    /// The number that begins at a byte, which is a digit, `+` or `(`. `None` if
    /// none does, or what is there belongs to what stands before it.
    pub fn read(text: &'a str, start: usize) -> Option<Self> {
        let before = &text[..start];
        if before.chars().next_back().is_some_and(|c| binds_to_the_right(c, before)) {
            return None;
        }
        let has_plus = text[start..].starts_with('+');
        let mut at = start + usize::from(has_plus);
        let mut groups: Vec<Group> = Vec::new();
        let mut separator = '\0';
        let mut digits_total = 0;
        while groups.len() < GROUPS_MAX {
            let in_parentheses = text[at..].starts_with('(');
            let first = at + usize::from(in_parentheses);
            let digits = text.as_bytes()[first..].iter().take_while(|b| b.is_ascii_digit()).count();
            let end = first + digits;
            let is_area = digits < 6 && text[end..].starts_with(')');
            digits_total += digits;
            if digits == 0 || digits_total > DIGITS_MAX || in_parentheses && !is_area {
                break;
            }
            groups.push(Group { at: first..end, separator, in_parentheses });
            at = end + usize::from(in_parentheses);
            let Some(next) = text[at..].chars().next() else { break };
            separator = match next {
                ' ' | '\u{a0}' | '\u{202f}' => ' ',
                '-' | '\u{2010}' | '\u{2011}' => '-',
                '.' | '/' => next,
                _ if in_parentheses => ')',
                _ => break,
            };
            if separator != ')' {
                at += next.len_utf8();
            }
        }
        let first = groups.first()?;
        // Digits that go on beyond the limit are no group.
        if text.as_bytes().get(first.at.end).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let follows_digits =
            before.trim_end_matches([' ', '\u{a0}']).ends_with(|c: char| c.is_ascii_digit());
        Some(Number { text, has_plus, groups, follows_digits, is_announced: is_announced(before) })
    }

    pub fn digits_start(&self) -> usize {
        self.groups[0].at.start
    }

    /// Where to look on if it is nothing: another number may begin with the next
    /// group.
    pub fn first_group_end(&self) -> usize {
        self.groups[0].at.end
    }

    /// Where the card number ends that it begins with.
    pub fn card_end(&self) -> Option<usize> {
        if self.has_plus || self.groups[0].in_parentheses {
            return None;
        }
        let separator = self.groups.get(1).map_or(' ', |group| group.separator);
        (1..=self.groups.len()).rev().find_map(|count| {
            let groups = &self.groups[..count];
            let digits = || groups.iter().flat_map(|g| self.text[g.at.clone()].bytes());
            let is_card = is_card_grouping(&sizes(groups))
                && matches!(separator, ' ' | '-')
                && groups[1..].iter().all(|group| group.separator == separator)
                && is_of_an_issuer(&digits().map(|d| d - b'0').collect::<Vec<u8>>())
                && passes_luhn(digits());
            self.end_of(groups).filter(|_| is_card)
        })
    }

    /// Where the telephone number ends that it begins with.
    pub fn phone_end(&self) -> Option<usize> {
        (1..=self.groups.len()).rev().find_map(|count| {
            let groups = &self.groups[..count];
            self.end_of(groups).filter(|_| self.is_phone(groups))
        })
    }

    fn is_phone(&self, groups: &[Group]) -> bool {
        let sizes = sizes(groups);
        let total: usize = sizes.iter().sum();
        let first = &self.text[groups[0].at.clone()];
        if self.has_plus {
            // ITU-T E.164: a country code, at most 15 digits. An amount with two
            // decimals is none.
            let is_amount = groups.len() == 2 && groups[1].separator == '.' && sizes[1] < 3;
            return (8..=15).contains(&total) && !first.starts_with('0') && !is_amount;
        }
        // An area code in parentheses, perhaps after North America's 1; a year
        // there is that of a publication.
        let national = &groups[usize::from(first == "1" && groups.len() > 1)..];
        if national[0].in_parentheses {
            let area = &self.text[national[0].at.clone()];
            let is_year = area.len() == 4 && (area.starts_with("19") || area.starts_with("20"));
            return (2..=5).contains(&area.len())
                && !is_year
                && (9..=12).contains(&total)
                && national[1..].iter().all(|group| group.at.len() > 1);
        }
        if self.follows_digits || groups.iter().any(|group| group.in_parentheses) {
            return false;
        }
        let is_uniform =
            |of: &[Group]| of.windows(2).all(|two| two[0].separator == two[1].separator);
        if matches!(sizes[..], [4, 2, 2] | [2, 2, 4]) {
            return false; // a date
        }
        if self.is_announced && sizes[0] > 2 && (7..=15).contains(&total) {
            return true;
        }
        if matches!(sizes[..], [3, 3, 4] | [1, 3, 3, 4]) && is_uniform(&groups[1..]) {
            // With spaces only as the North American plan allocates them, or any
            // three numbers in a row would do.
            let starts_high = |group: &Group| self.text.as_bytes()[group.at.start] >= b'2';
            let [.., area, exchange, _] = groups else { return false };
            let is_allocated = starts_high(area) && starts_high(exchange);
            return (sizes.len() == 3 || first == "1")
                && match groups[1].separator {
                    ' ' => is_allocated && self.groups.len() == groups.len(),
                    separator => separator != '/',
                };
        }
        if let Some(country) = first.strip_prefix("00") {
            // The way to dial abroad.
            return country.starts_with(|c| c > '0')
                && groups.len() > 2
                && (10..=15).contains(&total);
        }
        if !first.starts_with('0') || groups.len() < 2 {
            return false;
        }
        match sizes[..] {
            // France and its neighbours; Japan, Australia.
            [2, 2, 2, 2, 2] => is_uniform(&groups[1..]),
            [2, 4, 4] => groups[1].separator != '/' && is_uniform(&groups[1..]),
            [3..=5, ref rest @ ..] => {
                let has_points = groups[1..].iter().any(|group| group.separator == '.');
                (9..=12).contains(&total)
                    && rest.len() < 5
                    && rest.iter().all(|size| (2..=8).contains(size))
                    && is_uniform(&groups[if has_points { 1 } else { 2 }..])
            }
            _ => false,
        }
    }

    /// Where some groups end, if what comes then is not more of the same.
    fn end_of(&self, groups: &[Group]) -> Option<usize> {
        let last = groups.last()?;
        let end = last.at.end + usize::from(last.in_parentheses);
        let mut after = self.text[end..].chars();
        let binds = match after.next() {
            None => false,
            Some('.' | ',' | ':' | '-' | '/') => after.next().is_some_and(|c| c.is_ascii_digit()),
            Some(c) => {
                let is_of_word = c.is_alphanumeric() && !maitred_sdk::words::is_unspaced(c);
                is_of_word || matches!(c, '_' | '@' | '%') || is_currency(c)
            }
        };
        (!binds).then_some(end)
    }
}

fn sizes(groups: &[Group]) -> Vec<usize> {
    groups.iter().map(|group| group.at.len()).collect()
}

/// Whether a character makes digits after it a part of something else: a word, a
/// decimal, a version, a price, a path. `before` ends with it.
fn binds_to_the_right(character: char, before: &str) -> bool {
    let mut earlier = before.chars().rev().skip(1);
    match character {
        // A time, but not what `tel:` announces.
        ':' => earlier.next().is_some_and(|c| c.is_ascii_digit()),
        ' ' | '\u{a0}' => earlier.next().is_some_and(is_currency),
        '_' | '.' | ',' | '-' | '/' | '#' | '%' | '&' | '\\' | '+' | '@' => true,
        _ => {
            is_currency(character)
                || character.is_alphanumeric() && !maitred_sdk::words::is_unspaced(character)
        }
    }
}

fn is_currency(character: char) -> bool {
    matches!(character, '$' | '£' | '¥' | '\u{20a0}'..='\u{20cf}')
}

/// Whether a text ends with a word that announces a telephone number.
fn is_announced(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\u{a0}', '.', ':', '=']);
    let start =
        before.len() - before.bytes().rev().take(12).take_while(u8::is_ascii_alphabetic).count();
    let word = &before[start..];
    HINTS.iter().any(|hint| hint.eq_ignore_ascii_case(word))
        && !before[..start].ends_with(char::is_alphanumeric)
}

/// All together, in fours, or as American Express and Diners write theirs.
fn is_card_grouping(sizes: &[usize]) -> bool {
    match sizes {
        [_] | [4, 6, 5] | [4, 6, 4] => true,
        [fours @ .., last] => fours.iter().all(|size| *size == 4) && *last <= 4,
        [] => false,
    }
}

/// Whether an issuer's numbers begin with these digits and are as long (the
/// ranges of ISO/IEC 7812 that the networks publish).
fn is_of_an_issuer(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let first = |count: usize| digits[..count].iter().fold(0u32, |n, d| n * 10 + u32::from(*d));
    match (digits.len(), first(4)) {
        (13 | 16 | 19, 4000..=4999) => true,                   // Visa
        (16, 5100..=5599 | 2221..=2720) => true,               // Mastercard
        (15, 3400..=3499 | 3700..=3799) => true,               // American Express
        (14, 3000..=3059 | 3600..=3699 | 3800..=3999) => true, // Diners Club
        (16..=19, 6011 | 6440..=6599) => true,                 // Discover
        (16..=19, 3528..=3589) => true,                        // JCB
        (16..=19, 6200..=6299) => true,                        // UnionPay
        _ => false,
    }
}

/// Luhn's sum over ASCII digits: from the right, every second digit doubled and
/// its digits added; the whole must end in 0.
fn passes_luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let values = digits.rev().zip([1, 2].into_iter().cycle());
    let sum: u32 = values
        .map(|(digit, times)| u32::from(digit - b'0') * times)
        .map(|value| value / 10 + value % 10)
        .sum();
    sum.is_multiple_of(10)
}
