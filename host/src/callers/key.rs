//! API keys: `maitred_ID_SECRET`, in hexadecimal digits. The id says which key
//! it is, in configurations and logs; only the whole is worth anything, and it
//! is shown once.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::config::{KEY_ID_DIGITS, KEY_PREFIX, KeyHash};

/// Random bytes of a secret: far too many to guess, and few enough for a line.
const SECRET_BYTES: usize = 24;

/// A whole key. It has no `Debug`, so that it cannot end up in a log.
pub struct Key {
    text: String,
}

impl Key {
    /// A new key, from the system's randomness.
    pub fn random() -> Result<Key, getrandom::Error> {
        let mut bytes = [0; KEY_ID_DIGITS / 2 + SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        let (id, secret) = bytes.split_at(KEY_ID_DIGITS / 2);
        Ok(Key { text: format!("{KEY_PREFIX}{}_{}", hex(id), hex(secret)) })
    }

    /// A key that somebody has; `None` if it was not made here. Keys of one's own
    /// invention are refused: their hash would be as easy to guess as they are.
    pub fn parse(text: &str) -> Option<Key> {
        id(text.as_bytes()).map(|_| Key { text: text.to_owned() })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn hash(&self) -> KeyHash {
        let text = self.text.as_bytes();
        let id = id(text).expect("every key has an id");
        KeyHash { id: id.into(), sha256: sha256(text) }
    }
}

/// The id of a key; `None` if the text has not the form of one.
pub fn id(key: &[u8]) -> Option<&str> {
    let rest = key.strip_prefix(KEY_PREFIX.as_bytes())?;
    let (id, secret) = rest.split_at_checked(KEY_ID_DIGITS)?;
    let secret = secret.strip_prefix(b"_")?;
    let hex = |digits: &[u8]| digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if secret.len() != 2 * SECRET_BYTES || !hex(id) || !hex(secret) {
        return None;
    }
    std::str::from_utf8(id).ok()
}

pub fn sha256(text: &[u8]) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
