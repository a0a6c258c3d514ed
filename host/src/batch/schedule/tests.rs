//! The rules of the order, one by one.

use super::*;

/// What to push: a ticket of pairs with these lengths.
struct Push {
    route: &'static str,
    weight: u32,
    priority: Priority,
    tokens: Vec<u32>,
}

fn push(route: &'static str, tokens: &[u32]) -> Push {
    Push { route, weight: 1, priority: Priority::Normal, tokens: tokens.to_vec() }
}

impl Push {
    fn weight(self, weight: u32) -> Self {
        Push { weight, ..self }
    }

    fn priority(self, priority: Priority) -> Self {
        Push { priority, ..self }
    }
}

fn shape(tokens_max: usize) -> Shape {
    Shape { ragged: true, tokens_min: 1, tokens_max, pairs_max: 100, replicas: 1 }
}

fn padded(tokens_max: usize) -> Shape {
    Shape { ragged: false, ..shape(tokens_max) }
}

fn add(schedule: &mut Schedule, push: Push, now: Instant) -> TicketId {
    let entry = Entry {
        route: push.route.into(),
        weight: push.weight,
        priority: push.priority,
        deadline: now + Duration::from_secs(10),
        tokens: push.tokens,
    };
    schedule.push(entry, now)
}

/// The batch as (ticket, pair), sorted.
fn cut(schedule: &mut Schedule, shape: &Shape) -> Vec<(u64, u32)> {
    named(&schedule.cut(shape))
}

fn named(slots: &[Slot]) -> Vec<(u64, u32)> {
    let mut names: Vec<_> = slots.iter().map(|slot| (slot.ticket.0, slot.pair)).collect();
    names.sort_unstable();
    names
}

/// Pushes in order, then cuts until the queue is empty.
fn check(what: &str, pushes: Vec<Push>, shape: Shape, expected: &[&[(u64, u32)]]) {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let now = Instant::now();
    for push in pushes {
        add(&mut schedule, push, now);
    }
    let mut batches = Vec::new();
    while schedule.queued().pairs > 0 {
        batches.push(cut(&mut schedule, &shape));
    }
    assert_eq!(batches, expected, "{what}");
    assert_eq!(schedule.queued(), Queued::default(), "{what}");
}

#[test]
fn batches_are_cut_in_order_and_to_size() {
    use Priority::{High, Low, Normal};
    check("nothing", vec![], shape(100), &[]);
    check(
        "arrival within a route",
        vec![push("a", &[10, 10]), push("a", &[10]), push("a", &[10])],
        shape(20),
        &[&[(0, 0), (0, 1)], &[(1, 0), (2, 0)]],
    );
    check(
        "priority before arrival",
        vec![
            push("a", &[10]).priority(Low),
            push("a", &[10]).priority(Normal),
            push("a", &[10]).priority(High),
        ],
        shape(10),
        &[&[(2, 0)], &[(1, 0)], &[(0, 0)]],
    );
    check(
        "a batch is filled from the next priority",
        vec![push("a", &[10]).priority(Low), push("b", &[10])],
        shape(20),
        &[&[(0, 0), (1, 0)]],
    );
    check(
        "routes take turns",
        vec![push("a", &[10, 10, 10]), push("b", &[10, 10])],
        shape(20),
        &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)], &[(0, 2)]],
    );
    check(
        "turns are weighed by tokens",
        vec![push("a", &[30, 30]), push("b", &[10, 10, 10])],
        shape(60),
        &[&[(0, 0), (1, 0), (1, 1), (1, 2)], &[(0, 1)]],
    );
    check(
        "weights divide the tokens",
        vec![push("a", &[10; 6]).weight(3), push("b", &[10; 2]).weight(1)],
        shape(40),
        &[&[(0, 0), (0, 1), (0, 2), (1, 0)], &[(0, 3), (0, 4), (0, 5), (1, 1)]],
    );
    check(
        "a pair longer than the budget goes alone",
        vec![push("a", &[5, 500, 5])],
        shape(100),
        &[&[(0, 1)], &[(0, 0), (0, 2)]],
    );
    check(
        "of a ticket the longest pairs first",
        vec![push("a", &[10, 40, 20, 30]), push("a", &[50])],
        shape(50),
        &[&[(0, 1)], &[(0, 2), (0, 3)], &[(0, 0)], &[(1, 0)]],
    );
    check(
        "pairs are bounded, too",
        vec![push("a", &[1; 5])],
        Shape { pairs_max: 2, ..shape(100) },
        &[&[(0, 0), (0, 1)], &[(0, 2), (0, 3)], &[(0, 4)]],
    );
    check(
        "a small request is spread over the replicas",
        vec![push("a", &[10; 4])],
        Shape { replicas: 4, ..shape(100) },
        &[&[(0, 0)], &[(0, 1)], &[(0, 2)], &[(0, 3)]],
    );
    check(
        "but not into batches too small for the engine",
        vec![push("a", &[10; 4])],
        Shape { replicas: 4, tokens_min: 20, ..shape(100) },
        &[&[(0, 0), (0, 1)], &[(0, 2), (0, 3)]],
    );
}

#[test]
fn padded_batches_hold_pairs_of_similar_length() {
    use Priority::Low;
    check(
        "the nearest lengths around the first pair",
        vec![push("a", &[10, 50, 11, 49, 12])],
        padded(110),
        &[&[(0, 1), (0, 3)], &[(0, 0), (0, 2), (0, 4)]],
    );
    check(
        "the budget counts padding",
        vec![push("a", &[10, 10, 12, 12])],
        padded(40),
        &[&[(0, 0), (0, 2), (0, 3)], &[(0, 1)]],
    );
    check(
        "over tickets and routes",
        vec![push("a", &[10, 90]), push("b", &[88, 11])],
        padded(200),
        &[&[(0, 1), (1, 0)], &[(0, 0), (1, 1)]],
    );
    check(
        "what would be mostly padding waits for its own batch",
        vec![push("a", &[40, 5, 5])],
        padded(200),
        &[&[(0, 0)], &[(0, 1), (0, 2)]],
    );
    check(
        "unless the engine would be starved",
        vec![push("a", &[40, 5, 5])],
        Shape { tokens_min: 80, ..padded(200) },
        &[&[(0, 0), (0, 1)], &[(0, 2)]],
    );
    check(
        "a lower priority never goes before a higher one for its length",
        vec![push("a", &[90]).priority(Low), push("b", &[90, 10])],
        padded(200),
        &[&[(1, 0)], &[(1, 1)], &[(0, 0)]],
    );
    check(
        "but fills up behind it",
        vec![push("a", &[10]).priority(Low), push("b", &[10, 12])],
        padded(40),
        &[&[(0, 0), (1, 0), (1, 1)]],
    );
}

/// As long as the longest of them, or as an even part of all: within a tenth.
#[test]
fn replicas_that_share_a_request_end_together() {
    let lengths: Vec<u32> = (0..96).map(|pair| 30 + pair * 37 % 121).collect();
    let longest = lengths.iter().max().copied().unwrap_or(0);
    for replicas in [2, 4, 16, 32, 64, 128] {
        let shape = Shape { replicas, tokens_min: 48, ..shape(384) };
        let mut schedule = Schedule::new(1000, Duration::ZERO);
        add(&mut schedule, push("a", &lengths), Instant::now());
        let mut ends = vec![0; replicas];
        while schedule.queued().pairs > 0 {
            // Whoever is idle first, for as long as the batch has tokens.
            let end = ends.iter_mut().min().expect("there are replicas");
            *end += schedule.cut(&shape).iter().map(|slot| slot.tokens).sum::<u32>();
        }
        let even = lengths.iter().sum::<u32>().div_ceil(replicas as u32).max(longest);
        let last = ends.into_iter().max().unwrap_or(0);
        assert!(10 * last <= 11 * even, "{replicas} replicas end at {last}, not near {even}");
    }
}

#[test]
fn whoever_was_idle_has_saved_up_nothing() {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let now = Instant::now();
    add(&mut schedule, push("a", &[10; 20]), now);
    for _ in 0..5 {
        cut(&mut schedule, &shape(20));
    }
    add(&mut schedule, push("b", &[10; 20]), now);
    for _ in 0..5 {
        let batch = cut(&mut schedule, &shape(20));
        let of_b = batch.iter().filter(|&&(ticket, _)| ticket == 1).count();
        assert_eq!(of_b, 1, "{batch:?}");
    }
}

#[test]
fn nobody_starves() {
    let mut schedule = Schedule::new(3, Duration::ZERO);
    let now = Instant::now();
    add(&mut schedule, push("a", &[10]).priority(Priority::Low), now);
    let mut batches = Vec::new();
    for _ in 0..5 {
        add(&mut schedule, push("b", &[10]).priority(Priority::High), now);
        batches.push(cut(&mut schedule, &shape(10)));
    }
    // Overdue before the fourth cut.
    let expected = [(1, 0), (2, 0), (3, 0), (0, 0), (4, 0)].map(|pair| vec![pair]);
    assert_eq!(batches, expected);
}

#[test]
fn what_leaves_is_gone_at_once() {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let now = Instant::now();
    let first = add(&mut schedule, push("a", &[10, 10, 10]), now);
    add(&mut schedule, push("a", &[7]), now);
    assert_eq!(cut(&mut schedule, &shape(10)), [(0, 0)]);
    let left = schedule.remove(first).unwrap();
    assert_eq!(left.pairs, 2, "one is in a batch");
    assert_eq!(schedule.remove(first), None);
    assert_eq!(schedule.queued(), Queued { pairs: 1, tokens: 7 });
    assert_eq!(cut(&mut schedule, &shape(10)), [(1, 0)]);
    assert_eq!(schedule.cut(&shape(10)), []);
}

#[test]
fn deadlines_only_expire() {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let now = Instant::now();
    let add = |schedule: &mut Schedule, seconds| {
        let entry = Entry {
            route: "a".into(),
            weight: 1,
            priority: Priority::Normal,
            deadline: now + Duration::from_secs(seconds),
            tokens: vec![10, 10],
        };
        schedule.push(entry, now)
    };
    let late = add(&mut schedule, 9);
    let soon = add(&mut schedule, 5);
    assert_eq!(schedule.next_deadline(), Some(now + Duration::from_secs(5)));
    assert_eq!(cut(&mut schedule, &shape(20)), [(0, 0), (0, 1)], "arrival first");
    assert_eq!(schedule.expire(now + Duration::from_millis(4_999)), []);
    let left = |ticket, pairs| Left { ticket, pairs };
    assert_eq!(schedule.expire(now + Duration::from_secs(5)), [left(soon, 2)]);
    let expired = schedule.expire(now + Duration::from_secs(60));
    assert_eq!(expired, [left(late, 0)], "also when all is in a batch");
    assert!(schedule.is_empty());
    assert_eq!(schedule.next_deadline(), None);
}

#[test]
fn failed_pairs_are_tried_once_more_each_ticket_by_itself() {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let now = Instant::now();
    for _ in 0..2 {
        add(&mut schedule, push("a", &[10, 10]), now);
    }
    let batch = schedule.cut(&shape(40));
    assert_eq!(batch.len(), 4);
    add(&mut schedule, push("a", &[10]).priority(Priority::High), now);
    assert_eq!(schedule.put_back(&batch), []);
    assert_eq!(schedule.queued().pairs, 5);
    let again = schedule.cut(&shape(40));
    assert_eq!(named(&again), [(0, 0), (0, 1)], "at the front, alone");
    let lost = schedule.put_back(&again);
    assert_eq!(lost.iter().map(|left| left.ticket.0).collect::<Vec<_>>(), [0]);
    assert_eq!(cut(&mut schedule, &shape(40)), [(1, 0), (1, 1)]);
    assert_eq!(cut(&mut schedule, &shape(40)), [(2, 0)]);
}

#[test]
fn pairs_put_back_after_their_ticket_ended_are_forgotten() {
    let mut schedule = Schedule::new(1000, Duration::ZERO);
    let ticket = add(&mut schedule, push("a", &[10]), Instant::now());
    let batch = schedule.cut(&shape(40));
    schedule.remove(ticket);
    assert_eq!(schedule.put_back(&batch), []);
    assert_eq!(schedule.queued(), Queued::default());
    assert!(schedule.is_empty());
}

#[test]
fn an_idle_replica_waits_only_if_told_to() {
    let wait = Duration::from_millis(5);
    let now = Instant::now();
    let mut at_once = Schedule::new(1000, Duration::ZERO);
    assert_eq!(at_once.due(&shape(100)), None);
    add(&mut at_once, push("a", &[10]), now);
    assert_eq!(at_once.due(&shape(100)), Some(now));

    let mut waits = Schedule::new(1000, wait);
    add(&mut waits, push("a", &[10]), now);
    add(&mut waits, push("a", &[10]), now + wait / 2);
    assert_eq!(waits.due(&shape(100)), Some(now + wait), "from the oldest");
    assert_eq!(waits.due(&shape(20)), Some(now), "full");
    let batch = waits.cut(&shape(10));
    waits.put_back(&batch);
    assert_eq!(waits.due(&shape(100)), Some(now), "retries do not wait");
}
