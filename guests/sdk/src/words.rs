//! Pieces of text: words, shingles, and how alike two texts are.
//!
//! Policies compare texts by hashes of their words, so that no word is a string
//! of its own: a hundred documents of 400 characters have seven thousand. Equal
//! words have equal hashes, in every text and every call; whoever could make
//! different ones collide could as well copy a text.

/// Hashes of a text's words, in order, appended to `hashes`. A word is a run of
/// letters and digits, or one character of a script that writes no spaces (see
/// [`is_unspaced`]). Case does not matter.
pub fn word_hashes(text: &str, hashes: &mut Vec<u64>) {
    let mut word = Word::default();
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        match FOLDED[usize::from(byte)] {
            0 if byte < 0x80 => word.end(hashes),
            // The rest has to be read character by character.
            0 => return word_hashes_of_any_script(&text[at..], word, hashes),
            folded => word.push(folded),
        }
    }
    word.end(hashes);
}

/// The same, from a word that has begun; for texts that are not ASCII.
#[cold]
fn word_hashes_of_any_script(text: &str, mut word: Word, hashes: &mut Vec<u64>) {
    for character in text.chars() {
        if is_unspaced(character) {
            word.end(hashes);
        }
        if character.is_alphanumeric() {
            let mut bytes = [0; 4];
            for lower in character.to_lowercase() {
                lower.encode_utf8(&mut bytes).bytes().for_each(|byte| word.push(byte));
            }
        }
        if is_unspaced(character) || !character.is_alphanumeric() {
            word.end(hashes);
        }
    }
    word.end(hashes);
}

/// A character of a script that writes no spaces between words: Chinese
/// characters and Japanese kana, with their punctuation. Each counts as a word.
pub fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ff01}'..='\u{ff1f}' | '\u{20000}'..='\u{3134f}')
}

/// Hashes of all runs of `size` words, each once, ascending: the shingles of a
/// text (Broder 1997). A text of fewer words is one shingle; one without words
/// has none.
pub fn shingles(text: &str, size: usize) -> Vec<u64> {
    let (mut words, mut shingles) = (Vec::new(), Vec::new());
    word_hashes(text, &mut words);
    unsorted_shingles(&words, size, &mut shingles);
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// Hashes of all runs of `size` words, in order and with repetitions, appended
/// to `shingles`. For a policy that can do without the sorting of [`shingles`].
pub fn unsorted_shingles(words: &[u64], size: usize, shingles: &mut Vec<u64>) {
    let size = size.min(words.len()).max(1);
    // The rotation keeps the order of the words; they are mixed already.
    let shingle =
        |words: &[u64]| mixed(words.iter().fold(0, |hash: u64, &word| hash.rotate_left(21) ^ word));
    match size {
        1 => shingles.extend(words.iter().map(|&word| mixed(word))),
        // What most ask for, with the loop unrolled.
        3 => shingles.extend(words.array_windows().map(|three: &[u64; 3]| shingle(three))),
        _ => shingles.extend(words.windows(size).map(shingle)),
    }
}

/// How alike two texts are, 0 to 1: the share of the shingles of either that
/// both have, |A ∩ B| / |A ∪ B| (Jaccard), of two lists from [`shingles`]. Two
/// texts without words are not alike.
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        // Which is smaller cannot be foretold, so nothing branches on it.
        both += usize::from(a[i] == b[j]);
        let (step_a, step_b) = (a[i] <= b[j], b[j] <= a[i]);
        i += usize::from(step_a);
        j += usize::from(step_b);
    }
    let either = a.len() + b.len() - both;
    both as f64 / either.max(1) as f64
}

/// ASCII letters in lower case and digits as they are; 0 for all other bytes.
const FOLDED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// A word as it is read. Up to eight bytes are their own hash until the end.
#[derive(Default, Clone, Copy)]
struct Word {
    /// The last bytes, at most eight.
    bytes: u64,
    /// How many there are.
    count: u32,
    /// What came before them.
    hash: u64,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if self.count == 8 {
            self.hash = mixed(self.hash ^ self.bytes);
            (self.bytes, self.count) = (0, 0);
        }
        self.bytes = self.bytes << 8 | u64::from(byte);
        self.count += 1;
    }

    fn end(&mut self, hashes: &mut Vec<u64>) {
        if self.count > 0 {
            hashes.push(mixed(self.hash ^ self.bytes));
            *self = Word::default();
        }
    }
}

/// Spreads a number over all 64 bits: a product with an odd constant (the golden
/// ratio, as in Fibonacci hashing) carries upwards, the shift brings it down. No
/// two numbers become the same.
fn mixed(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let folded = (product ^ (product >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    folded ^ (folded >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut hashes = Vec::new();
        word_hashes(text, &mut hashes);
        hashes
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_whatever_their_case() {
        let same = |a: &str, b: &str| assert_eq!(hashes(a), hashes(b), "{a:?} {b:?}");
        same("", " .,-");
        same("Red shoe", "red,SHOE!");
        same("a-b c3", "A B C3");
        same("internationalisation rules", "Internationalisation, RULES");
        same("Ärger über Öl", "ärger ÜBER öl…");
        // The ASCII words of a text are the same whether all of it is ASCII.
        same("red shoe", "red – shoe");
        same("cafe\u{301}s", "cafe s");
        same("他们说", "他 们 说");
        same("a他b", "a 他 b");
        let other = |a: &str, b: &str| assert_ne!(hashes(a), hashes(b), "{a:?} {b:?}");
        other("ab c", "a bc");
        other("caf", "café");
        other("internationalisation", "internationalization");
        other("12345678", "123456789");
        assert_eq!(hashes("one two  three").len(), 3);
        assert_eq!(hashes("x12345678 ").len(), 1);
    }

    #[test]
    fn different_words_have_different_hashes() {
        let words = (0..200_000).map(|number| format!("{number:x} w{number} "));
        let text: String = words.collect();
        let mut distinct: Vec<&str> = text.split_whitespace().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut hashes = hashes(&text);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), distinct.len());
    }

    #[test]
    fn shingles_are_a_set() {
        assert_eq!(shingles("", 3).len(), 0);
        assert_eq!(shingles("a b", 3).len(), 1);
        assert_eq!(shingles("a b c", 3).len(), 1);
        assert_eq!(shingles("a b c a b c", 3).len(), 3);
        assert_eq!(shingles("a b a b", 1), shingles("B A", 1));
        assert_ne!(shingles("a b", 2), shingles("b a", 2));
        assert_eq!(shingles("a b c d e", 4).len(), 2);
        assert!(shingles("the quick brown fox jumps", 2).is_sorted());
    }

    #[test]
    fn likeness_is_the_share_in_common() {
        let check = |a: &str, b: &str, expected: f64| {
            assert_eq!(jaccard(&shingles(a, 1), &shingles(b, 1)), expected, "{a:?} {b:?}");
            assert_eq!(jaccard(&shingles(b, 1), &shingles(a, 1)), expected, "{b:?} {a:?}");
        };
        check("a b c", "C B A", 1.0);
        check("a b c", "b c d", 0.5);
        check("a b c", "d", 0.0);
        check("a", "", 0.0);
        check("", "", 0.0);
    }
}
