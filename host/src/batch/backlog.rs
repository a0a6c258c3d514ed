//! How much stands before a call that comes now, by priority and fair share.
//! Pure. The edge asks the published backlog before a request has cost anything;
//! the worker asks its own once more when the call arrives, since many may have
//! been let in at the same moment.

use std::sync::Arc;

use crate::rerank::Priority;

/// What is not scored yet, by who waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Tokens in batches and tokens to be retried: they go before everyone.
    pub first: u64,
    pub lanes: Vec<LaneBacklog>,
}

/// What a route has queued with one priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBacklog {
    pub route: Arc<str>,
    pub priority: Priority,
    pub weight: u32,
    pub tokens: u64,
}

/// A call that might come.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer<'a> {
    pub route: &'a str,
    pub priority: Priority,
    pub weight: u32,
    pub tokens: u64,
}

impl Backlog {
    /// Tokens that are scored before the newcomer is, its own included.
    ///
    /// While its route's tokens are served, other routes of its priority are
    /// served in proportion to their weights, until they have nothing left. What
    /// comes later with a higher priority is not foreseen.
    pub fn until_served(&self, call: Newcomer<'_>) -> u64 {
        let queued = |lane: &LaneBacklog| lane.tokens;
        let higher = self.lanes.iter().filter(|lane| lane.priority > call.priority);
        let (own, others): (Vec<&LaneBacklog>, Vec<_>) = (self.lanes.iter())
            .filter(|lane| lane.priority == call.priority)
            .partition(|lane| *lane.route == *call.route);
        let own = own.into_iter().map(queued).sum::<u64>() + call.tokens;
        let weight = u64::from(call.weight.max(1));
        let shared = |lane: &LaneBacklog| {
            lane.tokens.min(own.saturating_mul(u64::from(lane.weight)).div_ceil(weight))
        };
        self.first
            + higher.map(queued).sum::<u64>()
            + own
            + others.into_iter().map(shared).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_newcomer() {
        let lane = |route: &str, priority, weight, tokens| LaneBacklog {
            route: route.into(),
            priority,
            weight,
            tokens,
        };
        let backlog = Backlog {
            first: 100,
            lanes: vec![
                lane("busy", Priority::Normal, 1, 10_000),
                lane("heavy", Priority::Normal, 3, 10_000),
                lane("urgent", Priority::High, 1, 500),
                lane("later", Priority::Low, 1, 7_000),
            ],
        };
        let check = |route, priority, weight, expected| {
            let call = Newcomer { route, priority, weight, tokens: 50 };
            assert_eq!(backlog.until_served(call), expected, "{route}");
        };
        check("new", Priority::Normal, 1, 100 + 500 + 50 + 50 + 150);
        check("new", Priority::Normal, 2, 100 + 500 + 50 + 25 + 75);
        check("busy", Priority::Normal, 1, 100 + 500 + 10_050 + 10_000);
        check("urgent", Priority::High, 1, 100 + 500 + 50);
        check("other", Priority::High, 1, 100 + 50 + 50);
        check("later", Priority::Low, 1, 100 + 500 + 20_000 + 7_050);
        let call = Newcomer { route: "new", priority: Priority::Normal, weight: 1, tokens: 9 };
        assert_eq!(Backlog::default().until_served(call), 9);
    }
}
