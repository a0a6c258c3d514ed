//! Every hostile guest, with what becomes of its requests: the right error,
//! within its budget, while good requests beside it notice nothing.

use super::*;

/// What becomes of a hostile guest's request.
enum Expected {
    /// `PolicyFailed` with these words, counted under this reason.
    Fails(&'static str, &'static str),
    /// The time runs out.
    Late,
    /// The guest did no harm, and its ranking is right.
    Answers,
    /// The guest did no harm, and its ranking is its own affair.
    AnswersAnything,
    /// An error that a guest may return.
    Refuses(Error),
    /// It does not get as far as a request.
    NotLoaded(&'static str),
}
use Expected::{Answers, AnswersAnything, Fails, Late, NotLoaded, Refuses};

/// A test for each guest. Of a guest without one, the list that the build script
/// makes (of what is in the folders) says that it cannot be found.
macro_rules! hostile {
    ($($guest:ident => $expected:expr,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $guest() {
            attack(stringify!($guest), $expected).await;
        }
    )*};
}
include!(concat!(env!("OUT_DIR"), "/every_hostile_guest.rs"));

const OVER_CPU: Expected = Fails("cpu", "ms of CPU time, over the limit of 60 ms");
const OVER_MEMORY: Expected =
    Fails("memory", "needed more memory than the limit of 16777216 bytes");
const OVER_BYTES: Expected = Fails("contract", "sent more than 16777216 bytes");
const OVER_CALLS: Expected = Fails("contract", "called the next stage more than 8 times");

hostile! {
    answers_outside => Fails("trap", "out of bounds"),
    answers_then_loops => OVER_CPU,
    asks_for_more => NotLoaded("strange:power/rockets"),
    broken_text => Fails("trap", "trapped: "),
    calls_10000 => OVER_CALLS,
    calls_10000_at_once => OVER_CALLS,
    control_text => Refuses(Error::Denied(
        r"no\r\nINFO all is well \u{1b}[32m\u{0}\u{202e}".into(),
    )),
    copies_memory => OVER_CPU,
    // Every fourth byte of splitmix64 from 0, and SipHash-1-3 of 0 with keys of 0.
    draws_random => Refuses(Error::Denied("f87206806ea1e27b cc2247b79ac48af0".into())),
    endless_loop => OVER_CPU,
    exhausts_handles => Fails("trap", "store handle limit exceeded"),
    exhausts_waitables => Fails("trap", "resource table has no free keys"),
    exits => Fails("trap", "exited with status 0"),
    fans_out => Answers,
    fills_several_memories => OVER_MEMORY,
    fills_tables => OVER_MEMORY,
    flood_stdout => Answers,
    forgets_calls => AnswersAnything,
    grows_forever => OVER_CPU,
    huge_list => OVER_MEMORY,
    huge_query => OVER_BYTES,
    huge_refusal => Refuses(Error::Denied("x".repeat(997) + "…")),
    infinity => Fails("contract", "the score inf"),
    lies_about_length => Fails("trap", "out of bounds"),
    lies_about_overload => Refuses(Error::Overloaded { retry_after: Duration::from_secs(60) }),
    loops_at_start => NotLoaded("ms of CPU time, over the limit of 60 ms"),
    memory_bomb => OVER_MEMORY,
    multiplies_memory => OVER_BYTES,
    nan => Fails("contract", "the score NaN"),
    needs_too_much_at_start => NotLoaded("needs_too_much_at_start"),
    never_awaits => AnswersAnything,
    never_returns => OVER_CPU,
    no_component => NotLoaded("compile policy `no_component`"),
    opens_file_and_socket => Answers,
    overconfident => Fails("contract", "gave document 1 (part 0) the probability 2, which is not between 0 and 1"),
    overflows_stack => Fails("trap", "call stack exhausted"),
    passes_on => Answers,
    prints_lines => Answers,
    receives_outside => Fails("trap", "beyond end of memory"),
    remembers => Answers,
    repeated_index => Fails("contract", "twice"),
    rounds => Answers,
    sends_nan => Fails("contract", r"sent field `\n\n"),
    sends_repeated_index => Fails("contract", "named document 0 (part 0) twice"),
    sends_wrong_index => Fails("contract", "named document 999 (part 0), which it did not receive"),
    sleeps => Late,
    takes_all_stacks => OVER_CPU,
    too_many_memories => NotLoaded("too_many_memories"),
    too_many_results => Fails("contract", "answered with 100000 results, over the limit"),
    trap => Fails("trap", "trapped: wasm trap: wasm `unreachable` instruction executed"),
    unreachable => Fails("trap", "trapped: wasm trap: wasm `unreachable` instruction executed"),
    waits_forever => Fails("trap", "wasm `unreachable` instruction executed"),
    writes_1_gb => OVER_CPU,
    wrong_index => Fails("contract", "named document 999 (part 0), which it did not receive"),
    wrong_type => NotLoaded("it could not be run: expected `record` found `u32`"),
    wrong_world => NotLoaded("it does not export maitred:rerank/rerank@0.1.0"),
    yields_forever => OVER_CPU,
}

const ATTACKS: u32 = 4;
/// How late the clock of guests may be: its thread shares the machine with
/// everything else that runs there, and the system lets others go first.
const CLOCK_LATE_MS: Duration = Duration::from_millis(40);

/// Both are sums over calls; attacks come one after the other, so the difference is
/// the last one's.
const CPU_SECONDS: &str = "maitred_policy_cpu_seconds_total";
const MEMORY_BYTES: &str = "maitred_policy_memory_peak_bytes_sum";

async fn attack(guest: &'static str, expected: Expected) {
    let lab = Lab::new(32);
    let hostile = match (lab.try_policy(guest, &[]).await, &expected) {
        (Err(error), NotLoaded(words)) => {
            let error = error.to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(lab.instances(), 0.0);
            return;
        }
        (hostile, _) => hostile.unwrap(),
    };
    let good = lab.chain(vec![lab.link("passes_on").await], OnFailure::Fail);
    let bad = lab.chain(vec![link(hostile)], OnFailure::Fail);

    // One attack after the other, among a steady flow of good requests.
    let used = |metric| lab.metric(metric, &[("policy", guest)]);
    let attacks = async {
        for _ in 0..ATTACKS {
            let before = (used(CPU_SECONDS), used(MEMORY_BYTES));
            let begin = Instant::now();
            let answer = ask(&bad, request(), DEADLINE).await;
            check(guest, &expected, answer, begin.elapsed());
            let cpu_seconds = used(CPU_SECONDS) - before.0;
            let budget = CPU_MS_MAX + TICK_MS + CLOCK_LATE_MS;
            assert!(cpu_seconds > 0.0, "{guest}'s CPU time is not measured");
            assert!(cpu_seconds < budget.as_secs_f64(), "{guest} used {cpu_seconds} s");
            let memory_bytes = used(MEMORY_BYTES) - before.1;
            assert!(memory_bytes > 0.0, "{guest}'s memory is not measured");
            assert!(memory_bytes <= MEMORY_BYTES_MAX as f64, "{guest} used {memory_bytes} bytes");
        }
    };
    let bystanders = join_all((0..4).map(|_| async {
        for _ in 0..25 {
            let answer = ask(&good, request(), HUNG).await;
            assert_eq!(answer, Ok(ranked_by_words()), "beside {guest}");
        }
    }));
    tokio::join!(attacks, bystanders);

    let counted = |reason| {
        let labels = [("policy", guest), ("reason", reason)];
        lab.metric("maitred_policy_failures_total", &labels)
    };
    match expected {
        Fails(reason, _) => assert_eq!(counted(reason), f64::from(ATTACKS)),
        Late => assert_eq!(counted("deadline"), f64::from(ATTACKS)),
        _ => {}
    }
    assert_eq!((lab.instances(), lab.model.running()), (0.0, 0), "something outlived its call");
}

fn check(guest: &str, expected: &Expected, answer: Result<Ranking, Error>, took: Duration) {
    match (expected, answer) {
        (Fails(_, words), Err(Error::PolicyFailed { policy, reason })) => {
            assert_eq!(&*policy, guest);
            assert!(reason.contains(words), "{guest} {reason}");
            assert!(reason.len() < 1200, "{guest} {reason}");
        }
        (Late, Err(Error::DeadlineExceeded)) => {
            let latest = DEADLINE + TICK_MS + CLOCK_LATE_MS;
            assert!((DEADLINE..latest).contains(&took), "{guest} was stopped after {took:?}");
        }
        (Answers, answer) => assert_eq!(answer, Ok(ranked_by_words())),
        (AnswersAnything, Ok(_)) => {}
        (Refuses(expected), Err(error)) => assert_eq!(error, *expected),
        (_, answer) => panic!("{guest} got {answer:?}"),
    }
}
