//! Callers as people write them (`[callers.NAME]`) and as everyone else believes
//! them; `check/caller.rs` leads from the one to the other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Digits of a key's id.
pub const KEY_ID_DIGITS: usize = 8;
/// What every key begins with, so that people and scanners know one when they
/// see it where it should not be.
pub const KEY_PREFIX: &str = "maitred_";

/// Hexadecimal digits of a sha256.
const SHA256_DIGITS: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCaller {
    /// Hashes as `maitred key new` prints them. There may be several, so that a
    /// new key can be handed out before the old one is taken away; with none
    /// the caller is locked out.
    pub keys: Vec<String>,
    /// Routes that the caller may use; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// Pairs a second that the caller may ask for in the long run; no limit if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs_per_second: Option<u64>,
    /// Pairs that it may ask for at once after a pause. By default those of one
    /// second, and at least those of the largest request
    /// (`server.documents_max`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs_burst: Option<u64>,
    /// The highest priority that its requests get: low, normal or high.
    #[serde(default = "normal")]
    pub priority_max: String,
}

fn normal() -> String {
    "normal".into()
}

/// Whoever holds one of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerSettings {
    pub keys: Vec<KeyHash>,
    /// Routes that the caller may use, the one for requests that name none
    /// first unless the server's default route is among them; `None` is all.
    pub routes: Option<Vec<Arc<str>>>,
    pub rate: Option<RateSettings>,
    pub priority_max: PriorityMax,
}

/// How many pairs a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// In the long run.
    pub pairs_per_second: u64,
    /// At once, after a pause; a larger request never passes.
    pub pairs_burst: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityMax {
    Low,
    Normal,
    High,
}

/// What the configuration keeps of a key: `sha256:ID:DIGITS`. The id is a part
/// of the key that is no secret; logs name the key by it. The digits are the
/// sha256 of the whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHash {
    pub id: Arc<str>,
    /// In lower case.
    pub sha256: String,
}

impl KeyHash {
    /// Reads `sha256:ID:DIGITS`; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, digits) = text.strip_prefix("sha256:")?.split_once(':')?;
        let hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        (hex(id, KEY_ID_DIGITS) && hex(digits, SHA256_DIGITS)).then(|| KeyHash {
            id: Arc::from(id.to_ascii_lowercase()),
            sha256: digits.to_ascii_lowercase(),
        })
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}:{}", self.id, self.sha256)
    }
}
