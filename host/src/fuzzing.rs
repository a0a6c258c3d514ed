//! What is fuzzed: functions of any bytes that must not panic, and whose results
//! must hold what their rooms promise. `fuzz/` runs them with coverage; the test
//! below runs the same functions over the seeds and over mutations of them.
//!
//! Compiled for tests and fuzzers only.

use std::time::Duration;

use tokio::time::Instant;

use crate::batch::schedule::{Entry, Schedule, Slot};
use crate::batch::shape::Shape;
use crate::config::{Raw, check};
use crate::policy::Manifest;
use crate::rerank::Priority;

pub use crate::checkpoint::import::fuzz as onnx_import;
pub use crate::http::fuzz as dialects;
pub use crate::policy::fuzz as guest_results;

/// A target and the folder of its seeds.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 6] = [
    ("dialects", dialects),
    ("configuration", configuration),
    ("manifest", manifest),
    ("onnx_import", onnx_import),
    ("guest_results", guest_results),
    ("schedule", schedule),
];

/// A configuration is taken, or refused with words.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Raw::parse(text) {
        Ok(mut raw) => {
            if let Err(faults) = check(&mut raw) {
                assert!(!faults.to_string().is_empty());
            }
        }
        Err(fault) => assert!(!fault.faults.is_empty()),
    }
}

/// A manifest is read, or refused with words; what it says it takes, it takes.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let names = manifest.params.iter().flat_map(|params| params.keys());
            let given = names.map(|name| (name.clone(), String::new())).collect();
            // A parameter may be of a type that the empty text is not.
            let _ = manifest.params(&given);
        }
        Err(fault) => assert!(!fault.is_empty()),
    }
}

/// Any history of arrivals, cuts, failures and deadlines: a pair is in no two
/// batches at once and in two at most, and in the end nothing is left.
pub fn schedule(data: &[u8]) {
    let mut data = Data(data);
    let start = Instant::now();
    let mut now = start;
    let wait = Duration::from_millis(data.byte().into());
    let mut schedule = Schedule::new(u32::from(data.byte()) + 1, wait);
    let shape = Shape {
        ragged: data.byte() % 2 == 0,
        tokens_min: data.byte().into(),
        tokens_max: usize::from(data.byte()) + 1,
        pairs_max: usize::from(data.byte() % 32) + 1,
        replicas: usize::from(data.byte() % 8) + 1,
    };
    let mut tickets = Vec::new();
    let mut batches: Vec<Vec<Slot>> = Vec::new();
    let mut cuts = std::collections::HashMap::new();
    while !data.0.is_empty() {
        match data.byte() % 6 {
            0 | 1 => {
                let route = ["a", "b", "c"][usize::from(data.byte() % 3)];
                let pairs = data.byte() % 16;
                let entry = Entry {
                    route: route.into(),
                    weight: u32::from(data.byte()) + 1,
                    priority: Priority::ALL[usize::from(data.byte() % 3)],
                    deadline: now + Duration::from_millis(data.byte().into()),
                    tokens: (0..pairs).map(|_| u32::from(data.byte()) + 1).collect(),
                };
                tickets.push(schedule.push(entry, now));
            }
            2 => {
                let queued = schedule.queued();
                let slots = schedule.cut(&shape);
                assert_eq!(slots.is_empty(), queued.pairs == 0);
                assert!(slots.len() <= shape.pairs_max);
                assert_eq!(schedule.queued().pairs, queued.pairs - slots.len());
                for slot in &slots {
                    let flying = batches.iter().flatten();
                    let is = |other: &&Slot| (other.ticket, other.pair) == (slot.ticket, slot.pair);
                    assert_eq!(flying.filter(is).count(), 0, "in two batches at once");
                    let times = cuts.entry((slot.ticket, slot.pair)).or_insert(0);
                    *times += 1;
                    assert!(*times <= 2, "tried three times");
                }
                batches.push(slots);
            }
            3 if !batches.is_empty() => {
                let failed = batches.swap_remove(usize::from(data.byte()) % batches.len());
                schedule.put_back(&failed);
            }
            4 if !tickets.is_empty() => {
                let ticket = tickets.swap_remove(usize::from(data.byte()) % tickets.len());
                schedule.remove(ticket);
            }
            _ => {
                now += Duration::from_millis(data.byte().into());
                schedule.expire(now);
                assert!(schedule.next_deadline().is_none_or(|deadline| deadline > now));
            }
        }
        let due = schedule.due(&shape);
        assert_eq!(due.is_some(), schedule.queued().pairs > 0);
        schedule.backlog();
    }
    schedule.clear();
    assert!(schedule.is_empty());
    assert_eq!(schedule.queued().pairs, 0);
    assert_eq!(schedule.queued().tokens, 0);
}

/// Bytes that a target takes as it needs them; zeros when they are used up.
pub(crate) struct Data<'a>(pub &'a [u8]);

impl Data<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes([(); 4].map(|()| self.byte()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fastrand::Rng;

    use super::*;

    /// Mutations of each seed that the fast tier tries.
    const MUTATIONS: usize = 20;
    /// How long the slow tier (`MAITRED_SLOW=1`) tries them, for each target.
    const SLOW: Duration = Duration::from_secs(10);

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");
        let folder = Path::new(folder).join(target);
        let files = std::fs::read_dir(folder).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        if target == "onnx_import" {
            // Too large to be there twice.
            let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
            paths.push(Path::new(fixtures).join("tiny-quantised.onnx"));
        }
        paths.sort();
        paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// A fixed seed unless `MAITRED_SEED` names another.
    fn rng() -> Rng {
        let seed = std::env::var("MAITRED_SEED").ok();
        let seed = seed.map_or(20261124, |text| text.parse().unwrap());
        println!("seed {seed}");
        Rng::with_seed(seed)
    }

    /// Some of one seed and some of another, with bytes changed, left out,
    /// doubled, or taken from what parsers find interesting.
    fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
        const INTERESTING: &[u8] = b"\0\x01\x7f\x80\xff\"\\{}[],:=.-e019\n\r ";
        let mut bytes = seeds[rng.usize(0..seeds.len())].clone();
        if rng.u8(0..4) == 0 {
            let other = &seeds[rng.usize(0..seeds.len())];
            bytes.truncate(rng.usize(0..=bytes.len()));
            bytes.extend_from_slice(&other[rng.usize(0..=other.len())..]);
        }
        for _ in 0..rng.usize(1..8) {
            if bytes.is_empty() {
                bytes.push(rng.u8(..));
            }
            let at = rng.usize(0..bytes.len());
            match rng.u8(0..6) {
                0 => bytes[at] ^= 1 << rng.u8(0..8),
                1 => bytes[at] = rng.u8(..),
                2 => bytes[at] = INTERESTING[rng.usize(0..INTERESTING.len())],
                3 => bytes.insert(at, INTERESTING[rng.usize(0..INTERESTING.len())]),
                4 => drop(bytes.drain(at..bytes.len().min(at + rng.usize(1..16)))),
                _ => {
                    let piece = bytes[at..bytes.len().min(at + rng.usize(1..64))].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }

    /// The panic of a target names the bytes.
    struct Shown<'a>(&'a str, &'a [u8]);

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("{} on {}", self.0, self.1.escape_ascii());
            }
        }
    }

    fn run((name, target): Target) {
        let slow = std::env::var_os("MAITRED_SLOW").is_some_and(|value| value == "1");
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            let _shown = Shown(name, seed);
            target(seed);
        }
        let (mut rng, began, mut runs) = (rng(), Instant::now(), 0);
        while runs < MUTATIONS * seeds.len() || (slow && began.elapsed() < SLOW) {
            let bytes = mutated(&mut rng, &seeds);
            let _shown = Shown(name, &bytes);
            target(&bytes);
            runs += 1;
        }
        println!("{name}: {runs} mutations of {} seeds in {:?}", seeds.len(), began.elapsed());
    }

    #[test]
    fn dialects_take_anything() {
        run(TARGETS[0]);
    }

    #[test]
    fn configurations_take_anything() {
        run(TARGETS[1]);
    }

    #[test]
    fn manifests_take_anything() {
        run(TARGETS[2]);
    }

    #[test]
    fn imports_take_anything() {
        run(TARGETS[3]);
    }

    #[test]
    fn contracts_take_anything() {
        run(TARGETS[4]);
    }

    #[test]
    fn schedules_take_anything() {
        run(TARGETS[5]);
    }
}
