use super::*;
use crate::config::{KEY_ID_DIGITS, KEY_PREFIX, KeyHash, Raw, check};

fn settings(toml: &str) -> BTreeMap<Arc<str>, CallerSettings> {
    let mut raw = Raw::parse(toml).unwrap();
    check(&mut raw).unwrap().callers
}

fn caller(name: &str, keys: &[&Key], more: &str) -> String {
    let hashes: Vec<_> = keys.iter().map(|key| format!("\"{}\"", key.hash())).collect();
    format!("[callers.{name}]\nkeys = [{}]\n{more}\n", hashes.join(", "))
}

#[test]
fn a_key_is_known_by_its_hash_alone() {
    let [old, new, other, unknown] = [(); 4].map(|()| Key::random().unwrap());
    let toml = caller("shop", &[&old, &new], "") + &caller("wiki", &[&other], "");
    let callers = Callers::new(&settings(&toml), None);
    assert!(!callers.open());
    let check = |presented: &str, expected: Option<&str>| {
        let holder = callers.holder(presented.as_bytes());
        assert_eq!(holder.map(|holder| &*holder.caller.name), expected, "{presented}");
    };
    check(old.text(), Some("shop"));
    check(new.text(), Some("shop"));
    check(other.text(), Some("wiki"));
    check(unknown.text(), None);
    check("", None);
    check(&old.text()[..old.text().len() - 1], None);
    check(&old.text().to_uppercase(), None);
    check(&old.hash().to_string(), None);
    // The id of one key with the secret of another.
    let id = KEY_PREFIX.len() + KEY_ID_DIGITS;
    check(&format!("{}{}", &old.text()[..id], &new.text()[id..]), None);
    assert_eq!(*callers.holder(new.text().as_bytes()).unwrap().key_id, *new.hash().id);
}

#[test]
fn nobody_is_known_where_nobody_is_configured() {
    let callers = Callers::default();
    assert!(callers.open());
    assert!(callers.holder(Key::random().unwrap().text().as_bytes()).is_none());
}

#[test]
fn keys_and_hashes_have_a_form() {
    let key = Key::random().unwrap();
    assert_eq!(key.text().len(), 65);
    assert!(Key::parse(key.text()).unwrap().hash() == key.hash());
    assert_eq!(KeyHash::parse(&key.hash().to_string()), Some(key.hash()));
    for text in ["", "maitred_", "maitred_0a1b2c3d_", "secret", &key.text()[1..]] {
        assert!(Key::parse(text).is_none(), "{text}");
    }
    let key =
        Key::parse("maitred_0a1b2c3d_0123456789abcdef0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(
        key.hash().to_string(),
        "sha256:0a1b2c3d:475b0ced7360bbe8f7bf673f14412c2a49806bef1d306b30d7298cea2bdf0335"
    );
}

/// One history of a bucket: after so many ms, so many pairs; and what is said.
#[test]
fn a_rate_is_kept() {
    let check = |per_second: u64, burst: u64, history: &[(u64, u64, Result<(), u64>)]| {
        let toml =
            caller("a", &[], &format!("pairs_per_second = {per_second}\npairs_burst = {burst}"));
        let callers = Callers::new(&settings(&toml), None);
        let caller = &callers.callers["a"];
        let began = Instant::now();
        for &(at_ms, pairs, expected) in history {
            let now = began + Duration::from_secs(1) + Duration::from_millis(at_ms);
            let taken = caller.take(pairs, now).map_err(|refusal| match refusal {
                Refusal::TooFast { retry_after, .. } => retry_after.as_millis() as u64,
                Refusal::TooMany { .. } => u64::MAX,
            });
            assert_eq!(taken, expected, "{pairs} at {at_ms} ms of {history:?}");
        }
    };
    // A burst, and then what flows in.
    check(10, 20, &[(0, 20, Ok(())), (0, 1, Err(100)), (99, 1, Err(1)), (100, 1, Ok(()))]);
    // A pause fills it, and never over its brim.
    check(10, 20, &[(0, 20, Ok(())), (60_000, 20, Ok(())), (60_000, 20, Err(2000))]);
    // What is refused takes nothing.
    check(10, 20, &[(0, 15, Ok(())), (0, 10, Err(500)), (0, 5, Ok(())), (500, 5, Ok(()))]);
    // Whoever waits as told finds room.
    check(3, 7, &[(0, 7, Ok(())), (0, 7, Err(2333)), (2334, 7, Ok(()))]);
    check(10, 20, &[(0, 21, Err(u64::MAX)), (0, 20, Ok(()))]);
    check(10_000_000, 1, &[(0, 1, Ok(())), (1, 1, Ok(()))]);
    check(1, 10_000_000, &[(0, 10_000_000, Ok(())), (0, 1, Err(1000))]);
}

#[test]
fn what_was_not_served_is_given_back() {
    let toml = caller("a", &[], "pairs_per_second = 1\npairs_burst = 10");
    let callers = Callers::new(&settings(&toml), None);
    let (caller, now) = (&callers.callers["a"], Instant::now());
    caller.take(8, now).unwrap();
    caller.give_back(8);
    caller.take(10, now).unwrap();
    assert!(caller.take(1, now).is_err());
}

#[test]
fn a_bucket_survives_a_reload_that_leaves_its_rate() {
    let key = Key::random().unwrap();
    let rate = "pairs_per_second = 1\npairs_burst = 10";
    let before = Callers::new(&settings(&caller("a", &[], rate)), None);
    let now = Instant::now();
    before.callers["a"].take(10, now).unwrap();
    let check = |toml: &str, empty: bool| {
        let after = Callers::new(&settings(toml), Some(&before));
        assert_eq!(after.callers.values().next().unwrap().take(1, now).is_err(), empty, "{toml}");
    };
    check(&caller("a", &[&key], &format!("{rate}\npriority_max = 'low'")), true);
    check(&caller("a", &[&key], &format!("{rate}0")), false);
    check(&caller("b", &[&key], rate), false);
    check(&caller("a", &[&key], ""), false);
}

#[test]
fn without_a_rate_there_is_no_limit() {
    let callers = Callers::new(&settings(&caller("a", &[], "")), None);
    let now = Instant::now();
    for _ in 0..100 {
        callers.callers["a"].take(1_000_000, now).unwrap();
    }
}
