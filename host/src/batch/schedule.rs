//! Which pairs are scored next: a pure state machine without clock, channel or
//! tensor. Whoever drives it says what time it is.
//!
//! A *ticket* is one call of the model: pairs with one route, priority and
//! deadline. A *cut* takes the pairs of one batch, in this order:
//!
//! 1. pairs whose batch failed, one ticket a batch, so that a poisonous pair
//!    takes nobody down with it twice (unless someone older has waited longer
//!    than rule 2 allows);
//! 2. pairs that have waited `queue_cuts_max` cuts, oldest first;
//! 3. by priority, then fair share between routes, then arrival, and of a ticket the
//!    longest pairs first: what replicas share then ends in small pieces, and on all of
//!    them at about the same time.
//!
//! Deadlines only expire; they do not jump the queue.
//!
//! How it is stored: the pairs stand with their ticket in the lane of its route
//! ([`lanes`](super::lanes)), and everything that must be found quickly (the
//! oldest ticket, the next deadline, the next lane) is the first of an ordered
//! set. So pushing and removing a ticket costs O(log tickets) besides its own
//! pairs, however long the queue; a cut costs O(log lanes) for each pair it
//! looks at, and it looks at those it takes or, for padded engines, at a window
//! of bounded size. Nothing is marked dead and skipped later: what a client
//! that left had queued is gone at once.
//!
//! Nobody starves: from the cut at which a pair is overdue, each cut takes a
//! pair of a ticket that is no younger, fresh or to be retried. So a pair waits
//! at most `queue_cuts_max` cuts and two for each pair of those tickets; two,
//! because a pair is tried at most twice.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::backlog::{Backlog, LaneBacklog};
use super::lanes::{LaneId, Lanes, Waiting, Walk};
use super::shape::{Load, Shape};
use crate::rerank::Priority;

/// Pairs that a cut looks at, at most, for similar lengths.
const LOOK_AHEAD_PAIRS_MAX: usize = 1024;

/// Names a ticket; grows in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId(u64);

/// What a ticket is pushed with.
#[derive(Debug, Clone)]
pub struct Entry {
    pub route: Arc<str>,
    /// The route's share among routes of the same priority.
    pub weight: u32,
    pub priority: Priority,
    pub deadline: Instant,
    /// The length of each pair.
    pub tokens: Vec<u32>,
}

/// One pair of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub ticket: TicketId,
    /// Position in the ticket.
    pub pair: u32,
    pub tokens: u32,
    /// The pair was in a batch that failed.
    retry: bool,
}

/// A ticket that ended before all its pairs were scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub ticket: TicketId,
    /// Its pairs that left the queue.
    pub pairs: usize,
}

/// What waits for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queued {
    pub pairs: usize,
    pub tokens: usize,
}

#[derive(Debug)]
pub struct Schedule {
    queue_cuts_max: u64,
    batch_wait: Duration,
    /// Every ticket that has not ended, its pairs queued or in a batch.
    tickets: HashMap<TicketId, Ticket>,
    /// Tickets with fresh pairs.
    waiting: BTreeSet<TicketId>,
    /// Tickets with pairs to retry.
    retrying: BTreeSet<TicketId>,
    deadlines: BTreeSet<(Instant, TicketId)>,
    /// By priority.
    lanes: [Lanes; Priority::ALL.len()],
    queued: Queued,
    pushed: u64,
    cuts: u64,
}

#[derive(Debug)]
struct Ticket {
    priority: Priority,
    /// Holds while there are fresh pairs.
    lane: LaneId,
    deadline: Instant,
    arrived: Instant,
    /// Cuts before it arrived.
    arrived_cuts: u64,
    retries: VecDeque<Waiting>,
}

impl Slot {
    fn new(ticket: TicketId, Waiting { pair, tokens }: Waiting, retry: bool) -> Slot {
        Slot { ticket, pair, tokens, retry }
    }
}

impl Schedule {
    /// `batch_wait` is how long an idle replica waits for a full batch.
    pub fn new(queue_cuts_max: u32, batch_wait: Duration) -> Self {
        Schedule {
            queue_cuts_max: queue_cuts_max.into(),
            batch_wait,
            tickets: HashMap::new(),
            waiting: BTreeSet::new(),
            retrying: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            lanes: Default::default(),
            queued: Queued::default(),
            pushed: 0,
            cuts: 0,
        }
    }

    pub fn push(&mut self, entry: Entry, now: Instant) -> TicketId {
        let id = TicketId(self.pushed);
        self.pushed += 1;
        let mut fresh: Vec<Waiting> =
            (0..).zip(entry.tokens).map(|(pair, tokens)| Waiting { pair, tokens }).collect();
        fresh.sort_unstable_by_key(|waiting| (Reverse(waiting.tokens), waiting.pair));
        let mut lane = 0;
        if !fresh.is_empty() {
            self.queued.pairs += fresh.len();
            self.queued.tokens += fresh.iter().map(|pair| pair.tokens as usize).sum::<usize>();
            self.waiting.insert(id);
            let lanes = &mut self.lanes[entry.priority as usize];
            lane = lanes.enter(&entry.route, entry.weight, id, fresh.into());
        }
        self.deadlines.insert((entry.deadline, id));
        let ticket = Ticket {
            priority: entry.priority,
            lane,
            deadline: entry.deadline,
            arrived: now,
            arrived_cuts: self.cuts,
            retries: VecDeque::new(),
        };
        self.tickets.insert(id, ticket);
        id
    }

    /// Ends a ticket, whatever the reason; `None` if it had ended before. Its
    /// pairs in batches are scored for nobody.
    pub fn remove(&mut self, id: TicketId) -> Option<Left> {
        let ticket = self.tickets.remove(&id)?;
        self.deadlines.remove(&(ticket.deadline, id));
        let mut pairs = ticket.retries;
        if self.waiting.remove(&id) {
            let lanes = &mut self.lanes[ticket.priority as usize];
            pairs.append(&mut lanes.leave(ticket.lane, id));
            lanes.settle();
        }
        self.retrying.remove(&id);
        self.queued.pairs -= pairs.len();
        self.queued.tokens -= pairs.iter().map(|pair| pair.tokens as usize).sum::<usize>();
        Some(Left { ticket: id, pairs: pairs.len() })
    }

    /// Ends the tickets whose deadline passed, also those whose pairs are all in
    /// batches.
    pub fn expire(&mut self, now: Instant) -> Vec<Left> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            expired.extend(self.remove(id));
        }
        expired
    }

    /// Ends every ticket.
    pub fn clear(&mut self) -> Vec<Left> {
        let ids: Vec<TicketId> = self.tickets.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// When the ticket came that has waited longest; `None` if none waits.
    pub fn oldest(&self) -> Option<Instant> {
        let first = self.waiting.first().into_iter().chain(self.retrying.first()).min()?;
        Some(self.tickets[first].arrived)
    }

    pub fn queued(&self) -> Queued {
        self.queued
    }

    /// What waits, by who waits for it; what is in batches the caller knows.
    pub fn backlog(&self) -> Backlog {
        let lanes = Priority::ALL.into_iter().flat_map(|priority| {
            let lanes = self.lanes[priority as usize].backlog();
            lanes.map(move |(route, weight, tokens)| LaneBacklog {
                route: route.clone(),
                priority,
                weight,
                tokens,
            })
        });
        let lanes: Vec<_> = lanes.collect();
        let fresh: u64 = lanes.iter().map(|lane| lane.tokens).sum();
        Backlog { first: self.queued.tokens as u64 - fresh, lanes }
    }

    /// No ticket waits or is in a batch.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// From when on an idle replica should cut a batch; `None` if nothing is
    /// queued.
    pub fn due(&self, shape: &Shape) -> Option<Instant> {
        let oldest = self.retrying.first().or(self.waiting.first())?;
        let arrived = self.tickets[oldest].arrived;
        let full = self.queued.tokens >= shape.tokens_max || self.queued.pairs >= shape.pairs_max;
        match full || !self.retrying.is_empty() {
            true => Some(arrived),
            false => Some(arrived + self.batch_wait),
        }
    }

    /// Takes the pairs of the next batch: at least one if any is queued, and no
    /// more than one if it alone exceeds the budget.
    pub fn cut(&mut self, shape: &Shape) -> Vec<Slot> {
        let slots = match self.next_retry() {
            Some(id) => self.cut_retries(id, shape),
            None => self.cut_fresh(shape),
        };
        for slot in &slots {
            self.queued.pairs -= 1;
            self.queued.tokens -= slot.tokens as usize;
        }
        self.cuts += 1;
        slots
    }

    /// The pairs of a batch that failed. They are tried once more before anyone
    /// else; tickets with a pair that had failed before end.
    pub fn put_back(&mut self, slots: &[Slot]) -> Vec<Left> {
        let mut lost = Vec::new();
        for slot in slots {
            if slot.retry {
                lost.extend(self.remove(slot.ticket));
            } else if let Some(ticket) = self.tickets.get_mut(&slot.ticket) {
                let Slot { pair, tokens, .. } = *slot;
                ticket.retries.push_back(Waiting { pair, tokens });
                self.retrying.insert(slot.ticket);
                self.queued.pairs += 1;
                self.queued.tokens += tokens as usize;
            }
        }
        lost
    }

    fn is_overdue(&self, id: TicketId) -> bool {
        self.cuts - self.tickets[&id].arrived_cuts >= self.queue_cuts_max
    }

    /// The oldest ticket younger than `after`, if it has waited too long.
    fn overdue_after(&self, after: Option<TicketId>) -> Option<TicketId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let &oldest = self.waiting.range((from, Bound::Unbounded)).next()?;
        self.is_overdue(oldest).then_some(oldest)
    }

    fn next_retry(&self) -> Option<TicketId> {
        let retry = *self.retrying.first()?;
        match self.overdue_after(None) {
            Some(overdue) if overdue < retry => None,
            _ => Some(retry),
        }
    }

    fn cut_retries(&mut self, id: TicketId, shape: &Shape) -> Vec<Slot> {
        let ticket = self.tickets.get_mut(&id).expect("a retrying ticket has not ended");
        let mut load = Load::default();
        for pair in &ticket.retries {
            let more = load.with(pair.tokens);
            if !more.fits(shape, shape.tokens_max) {
                break;
            }
            load = more;
        }
        let taken = ticket.retries.drain(..load.pairs);
        let slots = taken.map(|pair| Slot::new(id, pair, true)).collect();
        if ticket.retries.is_empty() {
            self.retrying.remove(&id);
        }
        slots
    }

    fn cut_fresh(&mut self, shape: &Shape) -> Vec<Slot> {
        let share = shape.share(self.queued.tokens);
        let picks = match shape.ragged {
            true => self.pick_in_order(shape, share),
            false => self.pick_similar(shape, share),
        };
        self.take(picks)
    }

    /// Pairs in their order; for engines to which it does not matter what else is in a
    /// batch.
    fn pick_in_order(&self, shape: &Shape, share: usize) -> Vec<Pick> {
        let mut load = Load::default();
        let fitting = InOrder::new(self).take_while(|pick| {
            load = load.with(pick.tokens);
            load.fits(shape, share)
        });
        fitting.collect()
    }

    /// The first pair, and around it those of the nearest lengths within a
    /// window, as long as they fit. A lower rank has its turn only when the
    /// ranks above are all in the batch. A pair shorter than half of the longest
    /// would be more padding than work and stays, unless the engine would be
    /// starved without it.
    fn pick_similar(&self, shape: &Shape, share: usize) -> Vec<Pick> {
        let mut order = InOrder::new(self).peekable();
        let Some(first) = order.next() else {
            return Vec::new();
        };
        let fitting = (share / first.tokens.max(1) as usize).clamp(1, shape.pairs_max.max(1));
        let mut window = (4 * fitting).min(LOOK_AHEAD_PAIRS_MAX);
        let mut load = Load::default().with(first.tokens);
        let mut picks = vec![first];
        while window > 0
            && let Some(rank) = order.peek().map(|pick| pick.rank)
        {
            let mut candidates = Vec::new();
            while candidates.len() < window
                && let Some(pick) = order.next_if(|pick| pick.rank == rank)
            {
                candidates.push(pick);
            }
            window -= candidates.len();
            candidates.sort_by_key(|pick| pick.tokens.abs_diff(first.tokens));
            let before = picks.len();
            for pick in &candidates {
                let more = load.with(pick.tokens);
                let similar = 2 * more.shortest >= more.longest;
                let starved = more.cost(shape) <= shape.tokens_min;
                if more.fits(shape, share) && (similar || starved) {
                    load = more;
                    picks.push(*pick);
                }
            }
            if picks.len() < before + candidates.len() {
                break;
            }
        }
        picks
    }

    /// Removes the picked pairs from the queue and charges their lanes.
    fn take(&mut self, mut picks: Vec<Pick>) -> Vec<Slot> {
        picks.sort_unstable_by_key(|pick| (pick.ticket, pick.place));
        let mut slots = Vec::with_capacity(picks.len());
        let mut places = Vec::new();
        for picks in picks.chunk_by(|a, b| a.ticket == b.ticket) {
            let id = picks[0].ticket;
            let ticket = &self.tickets[&id];
            let lanes = &mut self.lanes[ticket.priority as usize];
            places.clear();
            places.extend(picks.iter().map(|pick| pick.place));
            let taken = lanes.take(ticket.lane, id, &places);
            slots.extend(taken.pairs.into_iter().map(|pair| Slot::new(id, pair, false)));
            if taken.emptied {
                self.waiting.remove(&id);
            }
        }
        for lanes in &mut self.lanes {
            lanes.settle();
        }
        slots
    }
}

/// A fresh pair, by where it is.
#[derive(Debug, Clone, Copy)]
struct Pick {
    rank: Rank,
    ticket: TicketId,
    place: usize,
    tokens: u32,
}

/// Pairs of a higher rank go first, whatever their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Overdue,
    Priority(Priority),
}

/// Fresh pairs in the order in which they would be taken one by one.
struct InOrder<'a> {
    schedule: &'a Schedule,
    /// The next pair that has waited too long, by its place.
    overdue: Option<(TicketId, usize)>,
    /// The youngest ticket of those that have.
    passed: Option<TicketId>,
    walk: Option<(Priority, Walk<'a>)>,
    /// Those still to be walked, lowest first.
    priorities: &'static [Priority],
}

impl<'a> InOrder<'a> {
    fn new(schedule: &'a Schedule) -> Self {
        InOrder {
            schedule,
            overdue: schedule.overdue_after(None).map(|id| (id, 0)),
            passed: None,
            walk: None,
            priorities: &Priority::ALL,
        }
    }

    fn next_overdue(&mut self) -> Option<Pick> {
        let (id, place) = self.overdue?;
        let ticket = &self.schedule.tickets[&id];
        let pairs = self.schedule.lanes[ticket.priority as usize].pairs(ticket.lane, id);
        self.overdue = Some((id, place + 1));
        if place + 1 == pairs.len() {
            self.passed = Some(id);
            let next = self.schedule.overdue_after(self.passed);
            self.overdue = next.map(|id| (id, 0));
        }
        Some(Pick { rank: Rank::Overdue, ticket: id, place, tokens: pairs[place].tokens })
    }
}

impl Iterator for InOrder<'_> {
    type Item = Pick;

    fn next(&mut self) -> Option<Pick> {
        if let Some(pick) = self.next_overdue() {
            return Some(pick);
        }
        loop {
            if let Some((priority, walk)) = &mut self.walk
                && let Some((ticket, place, pair)) = walk.next()
            {
                return Some(Pick {
                    rank: Rank::Priority(*priority),
                    ticket,
                    place,
                    tokens: pair.tokens,
                });
            }
            let (&priority, lower) = self.priorities.split_last()?;
            self.priorities = lower;
            let lanes = &self.schedule.lanes[priority as usize];
            self.walk = Some((priority, lanes.walk(self.passed)));
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
