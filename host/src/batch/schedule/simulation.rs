//! Random histories: whatever arrives, leaves, expires or fails, every pair is
//! answered once, batches keep their budgets, and nobody starves.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;

const HISTORIES: u64 = 10_000;

/// A fixed seed unless `MAITRED_SEED` names another.
fn seed() -> u64 {
    let seed = std::env::var("MAITRED_SEED").ok();
    let seed = seed.map_or(20260728, |text| text.parse().expect("a seed is a number"));
    println!("seed {seed}");
    seed
}

/// What happened to a ticket, as its caller sees it.
#[derive(Debug)]
struct Call {
    pairs: Vec<Pair>,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Scored,
    Expired,
    Cancelled,
    Failed,
}

#[derive(Debug, Clone, Copy)]
enum Pair {
    /// Since so many cuts, and may wait for so many more.
    Queued {
        since: u64,
        bound: u64,
    },
    Flying,
    Scored,
}

struct World {
    rng: Rng,
    now: Instant,
    schedule: Schedule,
    shape: Shape,
    queue_cuts_max: u64,
    calls: BTreeMap<TicketId, Call>,
    replicas: Vec<Option<Vec<Slot>>>,
    cuts: u64,
    /// The longest wait, with the bound it had.
    longest: (u64, u64),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let queue_cuts_max = rng.u32(1..20);
        let tokens_max = rng.usize(20..400);
        let shape = Shape {
            ragged: rng.bool(),
            tokens_min: rng.usize(1..2 * tokens_max),
            tokens_max,
            pairs_max: rng.usize(1..20),
            replicas: rng.usize(1..=4),
        };
        World {
            now: Instant::now(),
            schedule: Schedule::new(queue_cuts_max, Duration::ZERO),
            queue_cuts_max: queue_cuts_max.into(),
            calls: BTreeMap::new(),
            replicas: vec![None; shape.replicas],
            cuts: 0,
            longest: (0, 0),
            shape,
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..35 => self.arrive(),
            35..40 => self.cancel(),
            40..50 => self.expire(),
            50..80 => self.cut(),
            80..95 => self.finish(),
            _ => self.fail(),
        }
    }

    fn arrive(&mut self) {
        let pairs = self.rng.usize(1..12);
        let tokens: Vec<u32> = (0..pairs).map(|_| self.rng.u32(1..150)).collect();
        let route = ["a", "b", "c"][self.rng.usize(0..3)];
        let entry = Entry {
            route: route.into(),
            weight: self.rng.u32(1..5),
            priority: Priority::ALL[self.rng.usize(0..3)],
            deadline: self.now + Duration::from_millis(self.rng.u64(1..200)),
            tokens,
        };
        let older = self.unanswered_before(None);
        let queued = Pair::Queued {
            since: self.cuts,
            bound: self.queue_cuts_max + 2 * (older + pairs as u64),
        };
        let call = Call { pairs: vec![queued; pairs], answer: None };
        let id = self.schedule.push(entry, self.now);
        assert!(self.calls.insert(id, call).is_none());
    }

    /// Pairs of tickets older than `id` that may still be cut.
    fn unanswered_before(&self, id: Option<TicketId>) -> u64 {
        let older = self.calls.iter().take_while(|(other, _)| id != Some(**other));
        let alive = older.filter(|(_, call)| call.answer.is_none());
        alive.map(|(_, call)| call.pairs.len() as u64).sum()
    }

    fn answer(&mut self, left: Left, answer: Answer) {
        let call = self.calls.get_mut(&left.ticket).unwrap();
        assert_eq!(call.answer, None, "answered twice");
        let queued = |pair: &&Pair| matches!(pair, Pair::Queued { .. });
        assert_eq!(left.pairs, call.pairs.iter().filter(queued).count());
        call.answer = Some(answer);
    }

    fn cancel(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let nth = self.rng.usize(0..self.calls.len());
        let (&id, call) = self.calls.iter().nth(nth).unwrap();
        let answered = call.answer.is_some();
        let left = self.schedule.remove(id);
        assert_eq!(left.is_none(), answered, "only the living leave");
        if let Some(left) = left {
            self.answer(left, Answer::Cancelled);
        }
    }

    fn expire(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(0..30));
        for left in self.schedule.expire(self.now) {
            self.answer(left, Answer::Expired);
        }
        assert!(self.schedule.next_deadline().is_none_or(|at| at > self.now));
    }

    fn cut(&mut self) {
        let Some(idle) = self.replicas.iter().position(Option::is_none) else {
            return;
        };
        let (before, backlog) = (self.schedule.queued(), self.schedule.backlog());
        let due = self.schedule.due(&self.shape);
        assert_eq!(due.is_some(), before.pairs > 0);
        let slots = self.schedule.cut(&self.shape);
        self.cuts += 1;
        assert_eq!(slots.is_empty(), before.pairs == 0);
        if slots.is_empty() {
            return;
        }
        self.check_budget(&slots, before);
        for slot in &slots {
            let call = self.calls.get_mut(&slot.ticket).unwrap();
            assert_eq!(call.answer, None, "scored for nobody");
            let pair = &mut call.pairs[slot.pair as usize];
            let Pair::Queued { since, bound } = *pair else {
                panic!("{slot:?} was {pair:?}");
            };
            let waited = self.cuts - since;
            assert!(waited <= bound, "{slot:?} waited {waited} cuts of {bound}");
            self.longest = self.longest.max((waited, bound));
            *pair = Pair::Flying;
        }
        let after = self.schedule.queued();
        let tokens: usize = slots.iter().map(|slot| slot.tokens as usize).sum();
        assert_eq!(before.pairs - after.pairs, slots.len());
        assert_eq!(before.tokens - after.tokens, tokens);
        let (retries, fresh) = if slots[0].retry { (tokens, 0) } else { (0, tokens) };
        let left = self.schedule.backlog();
        assert_eq!(backlog.first - left.first, retries as u64);
        assert_eq!(in_lanes(&backlog) - in_lanes(&left), fresh as u64);
        self.replicas[idle] = Some(slots);
    }

    fn check_budget(&self, slots: &[Slot], before: Queued) {
        let retry = slots[0].retry;
        assert!(slots.iter().all(|slot| slot.retry == retry));
        if retry {
            assert!(slots.iter().all(|slot| slot.ticket == slots[0].ticket));
        }
        let tokens: usize = slots.iter().map(|slot| slot.tokens as usize).sum();
        let longest = slots.iter().map(|slot| slot.tokens as usize).max().unwrap();
        let cost = match self.shape.ragged {
            true => tokens,
            false => longest * slots.len(),
        };
        let share = self.shape.share(before.tokens);
        assert!(slots.len() == 1 || cost <= self.shape.tokens_max);
        assert!(slots.len() == 1 || retry || tokens <= share);
        assert!(slots.len() <= self.shape.pairs_max);
    }

    fn land(&mut self) -> Option<Vec<Slot>> {
        let busy: Vec<usize> =
            (0..self.replicas.len()).filter(|&replica| self.replicas[replica].is_some()).collect();
        let &replica = self.rng.choice(&busy)?;
        self.replicas[replica].take()
    }

    fn finish(&mut self) {
        for slot in self.land().unwrap_or_default() {
            let call = self.calls.get_mut(&slot.ticket).unwrap();
            let pair = &mut call.pairs[slot.pair as usize];
            assert!(matches!(pair, Pair::Flying), "scored twice");
            *pair = Pair::Scored;
            let done = call.pairs.iter().all(|pair| matches!(pair, Pair::Scored));
            if done && call.answer.is_none() {
                let left = self.schedule.remove(slot.ticket).unwrap();
                self.answer(left, Answer::Scored);
            }
        }
    }

    fn fail(&mut self) {
        let slots = self.land().unwrap_or_default();
        // A batch of fresh pairs loses nobody; one of retries loses its ticket.
        let again: Vec<_> = slots.iter().filter(|slot| !slot.retry).collect();
        for slot in again {
            let older = self.unanswered_before(Some(slot.ticket));
            let call = self.calls.get_mut(&slot.ticket).unwrap();
            let bound = self.queue_cuts_max + 2 * (older + call.pairs.len() as u64);
            let since = self.cuts;
            call.pairs[slot.pair as usize] = match call.answer {
                None => Pair::Queued { since, bound },
                Some(_) => Pair::Flying,
            };
        }
        for left in self.schedule.put_back(&slots) {
            self.answer(left, Answer::Failed);
        }
    }

    fn drain(&mut self) {
        while !self.schedule.is_empty() {
            self.finish();
            self.cut();
        }
        assert_eq!(self.schedule.queued(), Queued::default());
        assert!(self.calls.values().all(|call| call.answer.is_some()));
    }
}

fn in_lanes(backlog: &Backlog) -> u64 {
    backlog.lanes.iter().map(|lane| lane.tokens).sum()
}

#[test]
fn every_pair_is_answered_once_whatever_happens() {
    let seed = seed();
    let mut answers: BTreeMap<Answer, usize> = BTreeMap::new();
    let mut longest = (0, 0);
    for history in 0..HISTORIES {
        let mut world = World::new(seed.wrapping_add(history));
        for _ in 0..world.rng.usize(20..150) {
            world.step();
        }
        world.drain();
        longest = longest.max(world.longest);
        for call in world.calls.values() {
            *answers.entry(call.answer.unwrap()).or_default() += 1;
        }
    }
    let (waited, bound) = longest;
    println!("{HISTORIES} histories: {answers:?}; the longest wait was {waited} cuts of {bound}");
    assert_eq!(answers.len(), 4, "every kind of answer occurs");
}

/// Two routes that always have work: what each gets, over its weight, differs
/// from the other's by no more than one batch (ragged), or one look-ahead window
/// (padded: a batch takes similar lengths out of turn, and is charged for them).
#[test]
fn backlogged_routes_share_by_their_weights() {
    let seed = seed();
    let mut worst: f64 = 0.0;
    for history in 0..300 {
        let mut rng = Rng::with_seed(seed.wrapping_add(history));
        let ragged = rng.bool();
        let tokens_max = rng.usize(200..2000);
        let shape =
            Shape { ragged, tokens_min: 1, tokens_max, pairs_max: 100, replicas: rng.usize(1..=4) };
        let weights = [rng.u32(1..8), rng.u32(1..8)];
        let mut schedule = Schedule::new(u32::MAX, Duration::ZERO);
        let now = Instant::now();
        let mut routes = HashMap::new();
        let mut backlog = [0usize; 2];
        let mut served = [0usize; 2];
        for _ in 0..200 {
            for route in 0..2 {
                while backlog[route] < 20_000 {
                    let tokens: Vec<u32> = (0..rng.usize(1..60)).map(|_| rng.u32(1..150)).collect();
                    backlog[route] += tokens.iter().sum::<u32>() as usize;
                    let entry = Entry {
                        route: ["a", "b"][route].into(),
                        weight: weights[route],
                        priority: Priority::Normal,
                        deadline: now,
                        tokens,
                    };
                    routes.insert(schedule.push(entry, now), route);
                }
            }
            for slot in schedule.cut(&shape) {
                let route = routes[&slot.ticket];
                served[route] += slot.tokens as usize;
                backlog[route] -= slot.tokens as usize;
            }
            let [a, b] = [0, 1].map(|route| served[route] as f64 / f64::from(weights[route]));
            // Normalised by the smaller weight: the batch might have been all its.
            let batch = tokens_max as f64 / f64::from(weights[0].min(weights[1]));
            let batches = (a - b).abs() / batch;
            worst = worst.max(if ragged { batches } else { batches / 4.0 });
        }
    }
    println!("the routes' shares differ by at most {worst:.2} of the bound");
    assert!(worst <= 1.0);
}
