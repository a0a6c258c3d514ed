//! All hostile guests at once, round after round, beside a thousand good
//! requests a round: nobody notices, and the process does not grow. It has a
//! process of its own, whose memory is its own.

// A panic is the report.
#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use maitred::config::OnFailure;
use maitred_tests::guests::HOSTILE;
use maitred_tests::lab::{DEADLINE, HUNG, Lab, ask, link, ranked_by_words, request};
use maitred_tests::process::resident_bytes;

const GOOD_CLIENTS: usize = 8;
const GOOD_REQUESTS: usize = 125;
/// Attacks at a time; the guests take turns.
const ATTACKERS: usize = 8;
/// How often each guest attacks in a round.
const ATTACKS: usize = 4;
/// Just enough for all of them.
const INSTANCES_MAX: u32 = 24;
/// What memory may grow by after the first two rounds, of which the first fills pools
/// and caches. That it shrinks is the system's doing, and nobody's fault.
const GROWTH_MAX: f64 = 0.03;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_good_requests_beside_all_attacks() {
    let rounds = if maitred_tests::slow() { 5 } else { 1 };
    let lab = Lab::new(INSTANCES_MAX);
    let mut hostile = Vec::new();
    for guest in HOSTILE {
        // The others are refused when they are loaded (`sandbox/hostile.rs`).
        if let Ok(policy) = lab.try_policy(guest, &[]).await {
            hostile.push(lab.chain(vec![link(policy)], OnFailure::Fail));
        }
    }
    assert!(hostile.len() > 40, "{} guests", hostile.len());
    let good = lab.chain(vec![lab.link("passes_on").await], OnFailure::Fail);
    let attacker = async |attacker: usize| {
        for turn in (attacker..hostile.len() * ATTACKS).step_by(ATTACKERS) {
            // What becomes of it is told elsewhere.
            let _ = ask(&hostile[turn % hostile.len()], request(), DEADLINE).await;
        }
    };
    let client = async || {
        for _ in 0..GOOD_REQUESTS {
            assert_eq!(ask(&good, request(), HUNG).await, Ok(ranked_by_words()));
        }
    };
    // Every place that was ever used keeps some of its memory warm. Without these
    // it takes fifty rounds until every place has been used by everyone.
    for eater in ["memory_bomb", "fills_several_memories", "memory_bomb"] {
        let eater = lab.chain(vec![lab.link(eater).await], OnFailure::Fail);
        join_all((0..INSTANCES_MAX).map(|_| ask(&eater, request(), HUNG))).await;
    }
    let mut resident = Vec::new();
    for _ in 0..rounds {
        let attacks = join_all((0..ATTACKERS).map(attacker));
        let clients = join_all((0..GOOD_CLIENTS).map(|_| client()));
        tokio::join!(attacks, clients);
        assert_eq!((lab.instances(), lab.model.running()), (0.0, 0));
        resident.extend(resident_bytes(std::process::id()));
    }
    println!("resident bytes after each round: {resident:?}");
    if let [_, before, later @ ..] = &resident[..]
        && let Some(most) = later.iter().max()
    {
        let growth = *most as f64 / *before as f64 - 1.0;
        assert!(growth <= GROWTH_MAX, "{resident:?} grew by {growth}");
    }
}
