//! The fair order within one priority: a lane for each route, served by
//! virtual time.
//!
//! Taking `n` tokens from a lane moves its time by `n / weight`; the lane with
//! the least time is next. A lane that was empty enters at the clock, which is
//! the least time of those that are not: it saves up no credit, and keeps what
//! it owes until everyone is empty. (Start-time fair queueing, Goyal, Vin and
//! Cheng 1996, with the least time as the clock.)
//!
//! A lane holds tickets in order of arrival, each with its pairs, one or more. The
//! pairs stand here and not with the rest of their ticket so that a walk over
//! the queue reads them in sequence. This file knows no clock.

use std::cmp::Ordering;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::collections::btree_map::{BTreeMap, Range};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::schedule::TicketId;

/// Tokens over weight, in units of 2^-32.
type VirtualTime = u128;

/// The lanes of one priority.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Vec<Lane>,
    by_route: HashMap<Arc<str>, LaneId>,
    /// Lanes that are not empty: next first. The oldest ticket breaks ties.
    order: BTreeSet<(VirtualTime, TicketId, LaneId)>,
    clock: VirtualTime,
    /// Lanes that are not where they belong in `order`.
    moved: Vec<LaneId>,
}

pub type LaneId = usize;

/// A pair that no batch has held yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Position in its ticket.
    pub pair: u32,
    pub tokens: u32,
}

#[derive(Debug)]
struct Lane {
    weight: u32,
    /// Of all its pairs.
    tokens: u64,
    time: VirtualTime,
    tickets: BTreeMap<TicketId, VecDeque<Waiting>>,
    /// Where `order` has this lane.
    place: Option<(VirtualTime, TicketId)>,
    /// Changed since it was placed.
    moved: bool,
}

impl Lane {
    fn cost(&self, tokens: u32) -> VirtualTime {
        (VirtualTime::from(tokens) << 32) / VirtualTime::from(self.weight.max(1))
    }
}

impl Lanes {
    /// Puts a ticket, younger than all others, into its route's lane. The lane's
    /// name holds until the ticket leaves.
    pub fn enter(
        &mut self,
        route: &Arc<str>,
        weight: u32,
        ticket: TicketId,
        pairs: VecDeque<Waiting>,
    ) -> LaneId {
        let id = *self.by_route.entry(route.clone()).or_insert_with(|| {
            self.lanes.push(Lane {
                weight,
                tokens: 0,
                time: 0,
                tickets: BTreeMap::new(),
                place: None,
                moved: false,
            });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[id];
        lane.weight = weight;
        if lane.tickets.is_empty() {
            lane.time = lane.time.max(self.clock);
        }
        lane.tokens += tokens(&pairs);
        lane.tickets.insert(ticket, pairs);
        self.moved(id);
        self.settle();
        id
    }

    /// A ticket that is in the lane.
    pub fn pairs(&self, id: LaneId, ticket: TicketId) -> &VecDeque<Waiting> {
        &self.lanes[id].tickets[&ticket]
    }

    /// Removes a ticket that is in the lane, uncharged. [`Lanes::settle`] must
    /// follow.
    pub fn leave(&mut self, id: LaneId, ticket: TicketId) -> VecDeque<Waiting> {
        self.moved(id);
        let lane = &mut self.lanes[id];
        let pairs = lane.tickets.remove(&ticket).expect("the ticket is in the lane");
        lane.tokens -= tokens(&pairs);
        pairs
    }

    /// Takes pairs from a ticket that is in the lane, at these places (ascending
    /// and at least one), and charges the lane; a ticket without pairs leaves.
    /// [`Lanes::settle`] must follow.
    pub fn take(&mut self, id: LaneId, ticket: TicketId, places: &[usize]) -> Taken {
        self.moved(id);
        let lane = &mut self.lanes[id];
        let left = lane.tickets.get_mut(&ticket);
        let left = left.expect("the ticket is in the lane");
        let pairs: Vec<Waiting> = places.iter().map(|&place| left[place]).collect();
        // The pairs between those taken move up to close the gaps; those behind
        // the last one need not move.
        let mut gone = places.iter().rev().peekable();
        let mut free = places.last().map_or(0, |last| last + 1);
        for place in (0..free).rev() {
            if gone.next_if_eq(&&place).is_none() {
                free -= 1;
                left[free] = left[place];
            }
        }
        left.drain(..places.len());
        let emptied = left.is_empty();
        if emptied {
            lane.tickets.remove(&ticket);
        }
        let taken = pairs.iter().map(|pair| pair.tokens).sum();
        lane.time += lane.cost(taken);
        lane.tokens -= u64::from(taken);
        Taken { pairs, emptied }
    }

    fn moved(&mut self, id: LaneId) {
        if !std::mem::replace(&mut self.lanes[id].moved, true) {
            self.moved.push(id);
        }
    }

    /// Brings the order and the clock in line with the lanes that changed.
    pub fn settle(&mut self) {
        for id in self.moved.drain(..) {
            let lane = &mut self.lanes[id];
            lane.moved = false;
            if let Some((time, oldest)) = lane.place.take() {
                self.order.remove(&(time, oldest, id));
            }
            lane.place = lane.tickets.keys().next().map(|&oldest| (lane.time, oldest));
            if let Some((time, oldest)) = lane.place {
                self.order.insert((time, oldest, id));
            }
        }
        match self.order.first() {
            Some(&(least, ..)) => self.clock = self.clock.max(least),
            // Nobody waits, so nobody is owed anything; the names go too, so
            // that routes of the past cost nothing.
            None => *self = Lanes::default(),
        }
    }

    /// The routes that wait, with their weights and tokens.
    pub fn backlog(&self) -> impl Iterator<Item = (&Arc<str>, u32, u64)> {
        let lanes = self.by_route.iter().map(|(route, &id)| (route, &self.lanes[id]));
        let waiting = lanes.filter(|(_, lane)| lane.tokens > 0);
        waiting.map(|(route, lane)| (route, lane.weight, lane.tokens))
    }

    /// Walks over the tickets younger than `after` in the order in which their
    /// pairs would be taken, changing nothing.
    pub fn walk(&self, after: Option<TicketId>) -> Walk<'_> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let heads = self.order.iter().filter_map(|&(time, _, lane)| {
            let mut younger = self.lanes[lane].tickets.range((from, Bound::Unbounded));
            let (&ticket, pairs) = younger.next()?;
            Some(Head { time, ticket, pairs, place: 0, lane: &self.lanes[lane], younger })
        });
        Walk { heads: heads.collect() }
    }
}

fn tokens(pairs: &VecDeque<Waiting>) -> u64 {
    pairs.iter().map(|pair| u64::from(pair.tokens)).sum()
}

/// What [`Lanes::take`] took.
pub struct Taken {
    pub pairs: Vec<Waiting>,
    /// The ticket has no pairs left and is gone.
    pub emptied: bool,
}

/// A place in the fair order: who would be next, and after them whom.
pub struct Walk<'a> {
    heads: BinaryHeap<Head<'a>>,
}

/// The next pair of a lane, as the walk sees it.
struct Head<'a> {
    time: VirtualTime,
    ticket: TicketId,
    pairs: &'a VecDeque<Waiting>,
    place: usize,
    lane: &'a Lane,
    younger: Range<'a, TicketId, VecDeque<Waiting>>,
}

impl Head<'_> {
    fn key(&self) -> (VirtualTime, TicketId) {
        (self.time, self.ticket)
    }
}

/// The heap is one of greatest elements; the least time is the greatest head.
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head<'_> {}

impl Iterator for Walk<'_> {
    /// A ticket, a place among its pairs, and the pair there.
    type Item = (TicketId, usize, Waiting);

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let (ticket, place) = (head.ticket, head.place);
        let pair = head.pairs[place];
        head.time += head.lane.cost(pair.tokens);
        head.place += 1;
        if head.place == head.pairs.len() {
            match head.younger.next() {
                Some((&ticket, pairs)) => {
                    (head.ticket, head.pairs, head.place) = (ticket, pairs, 0);
                }
                None => drop(PeekMut::pop(head)),
            }
        }
        Some((ticket, place, pair))
    }
}
