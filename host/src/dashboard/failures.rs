//! The last requests that got no ranking. What a client or a guest wrote is never
//! among it: whoever may look at the page need not be who may read the queries.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

/// One that went wrong, as often as it has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The last time, in milliseconds since 1970.
    pub at_ms: u64,
    pub times: u64,
    /// Finds the last one in the log.
    pub request_id: Arc<str>,
    #[serde(flatten)]
    pub what: What,
}

/// What tells failures apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct What {
    pub status: u16,
    /// A word or two: `invalid`, `overloaded`, `policy failed`, …
    pub kind: &'static str,
    pub message: Cow<'static, str>,
    /// `None` if no route was known yet.
    pub route: Option<Arc<str>>,
    pub caller: Option<Arc<str>>,
}

/// The latest different ones. A flood of one kind takes one place, so that it
/// does not hide the others.
#[derive(Debug)]
pub struct Failures {
    /// Latest first.
    list: VecDeque<Failure>,
    max: usize,
}

impl Failures {
    pub fn new(max: usize) -> Self {
        Failures { list: VecDeque::with_capacity(max), max }
    }

    pub fn note(&mut self, at_ms: u64, request_id: Arc<str>, what: What) {
        let known = self.list.iter().position(|failure| failure.what == what);
        let times = match known.and_then(|place| self.list.remove(place)) {
            Some(failure) => failure.times + 1,
            None => 1,
        };
        self.list.truncate(self.max.saturating_sub(1));
        self.list.push_front(Failure { at_ms, times, request_id, what });
    }

    /// Latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stand_first_and_a_flood_takes_one_place() {
        let mut failures = Failures::new(2);
        let mut note = |at_ms: u64, status: u16| {
            let what =
                What { status, kind: "kind", message: "message".into(), route: None, caller: None };
            failures.note(at_ms, at_ms.to_string().into(), what);
            let told = |failure: &Failure| (failure.at_ms, failure.what.status, failure.times);
            failures.iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(note(1, 502), [(1, 502, 1)]);
        assert_eq!(note(2, 429), [(2, 429, 1), (1, 502, 1)]);
        note(3, 429);
        assert_eq!(note(4, 429), [(4, 429, 3), (1, 502, 1)]);
        assert_eq!(note(5, 502), [(5, 502, 2), (4, 429, 3)]);
        assert_eq!(note(6, 500), [(6, 500, 1), (5, 502, 2)]);
    }
}
