//! From what happened to each request to figures: pure, no clock.
//!
//! Two views of one window, which answer different questions. Latency and
//! outcomes are those of the requests that were *meant* to be sent in the window,
//! however late their answers came. Throughput is what was *completed* in the
//! window, whenever it was sent, over the window's wall time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::latencies::Latencies;
use super::subject::Failure;

/// One request; times since the load began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// When it should have been sent. Its latency counts from here, so that a
    /// server that stalls cannot stop the clock by stopping the client.
    pub intended: Duration,
    pub sent: Duration,
    pub ended: Duration,
    pub outcome: Outcome,
    /// Documents that were asked about.
    pub pairs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// With scores that are right, as far as they were looked at.
    Answered,
    /// The server said that it is full.
    Refused,
    /// The server gave up at its deadline.
    Expired,
    /// The client gave up.
    TimedOut,
    /// No connection, or a broken one.
    Broken,
    /// Another status than 200.
    Failed,
    /// What came back is no ranking.
    Invalid,
    /// The scores are not those of the sample.
    Wrong,
    /// As many requests were in flight as may be, so it was never sent.
    Unsent,
}

impl Outcome {
    pub const ALL: [Outcome; 9] = [
        Outcome::Answered,
        Outcome::Refused,
        Outcome::Expired,
        Outcome::TimedOut,
        Outcome::Broken,
        Outcome::Failed,
        Outcome::Invalid,
        Outcome::Wrong,
        Outcome::Unsent,
    ];

    /// Neither an answer nor a refusal, which is a server's right.
    pub fn is_error(self) -> bool {
        !matches!(self, Outcome::Answered | Outcome::Refused)
    }
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused { .. } => Self::Refused,
            Failure::Expired => Self::Expired,
            Failure::TimedOut => Self::TimedOut,
            Failure::Connection(_) => Self::Broken,
            Failure::Status(_) => Self::Failed,
            Failure::Invalid(_) => Self::Invalid,
        }
    }
}

/// A stretch of time since the load began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub from: Duration,
    pub to: Duration,
}

impl Window {
    pub fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    fn holds(self, time: Duration) -> bool {
        (self.from..self.to).contains(&time)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub window_s: f64,
    /// Requests that were meant for the window.
    pub requests: u64,
    /// What became of them; every outcome is here, if only as 0.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Answers that came in the window, and their pairs.
    pub completed: u64,
    pub pairs: u64,
    /// Of answered requests, from the intended time.
    pub latency: Latencies,
    /// Of answered requests, from when they were really sent.
    pub service: Latencies,
    /// How much later than intended requests were sent.
    pub lag: Latencies,
    /// By interval; the last one may be shorter.
    pub series: Vec<Point>,
}

/// What was completed in an interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    /// When it ends, since the window began.
    pub at_s: f64,
    pub completed: u64,
    pub pairs: u64,
    /// Requests that ended without an answer, refusals included.
    pub lost: u64,
    /// Of the answers that came in it; `None` if none did.
    pub latency_ms_mean: Option<f64>,
    pub latency_ms_max: Option<f64>,
}

impl Measured {
    pub fn of(observations: &[Observation], window: Window, interval: Duration) -> Measured {
        let mut measured = Measured {
            window_s: window.length().as_secs_f64(),
            requests: 0,
            outcomes: Outcome::ALL.map(|outcome| (outcome, 0)).into(),
            completed: 0,
            pairs: 0,
            latency: Latencies::default(),
            service: Latencies::default(),
            lag: Latencies::default(),
            series: points(window, interval),
        };
        let mut sums = vec![Duration::ZERO; measured.series.len()];
        for one in observations {
            if window.holds(one.intended) {
                measured.meant(one);
            }
            if window.holds(one.ended) {
                let place = ((one.ended - window.from).as_nanos() / interval.as_nanos()) as usize;
                measured.ended(one, place, &mut sums);
            }
        }
        for (point, sum) in measured.series.iter_mut().zip(sums) {
            if point.completed > 0 {
                point.latency_ms_mean = Some(ms(sum) / point.completed as f64);
            }
        }
        measured
    }

    fn meant(&mut self, one: &Observation) {
        self.requests += 1;
        *self.outcomes.entry(one.outcome).or_default() += 1;
        if one.outcome != Outcome::Unsent {
            self.lag.record(one.sent.saturating_sub(one.intended));
        }
        if one.outcome == Outcome::Answered {
            self.latency.record(one.ended.saturating_sub(one.intended));
            self.service.record(one.ended.saturating_sub(one.sent));
        }
    }

    fn ended(&mut self, one: &Observation, place: usize, sums: &mut [Duration]) {
        let point = &mut self.series[place];
        if one.outcome != Outcome::Answered {
            point.lost += 1;
            return;
        }
        let latency = one.ended.saturating_sub(one.intended);
        point.completed += 1;
        point.pairs += one.pairs;
        point.latency_ms_max = Some(point.latency_ms_max.unwrap_or(0.0).max(ms(latency)));
        sums[place] += latency;
        self.completed += 1;
        self.pairs += one.pairs;
    }

    /// Completed pairs per wall time; `None` of an empty window.
    pub fn pairs_per_second(&self) -> Option<f64> {
        (self.window_s > 0.0).then(|| self.pairs as f64 / self.window_s)
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    pub fn errors(&self) -> u64 {
        Outcome::ALL.iter().filter(|one| one.is_error()).map(|one| self.count(*one)).sum()
    }

    /// Of the requests that were meant for the window; `None` if there were none.
    pub fn error_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors() as f64 / self.requests as f64)
    }
}

fn points(window: Window, interval: Duration) -> Vec<Point> {
    let length = window.length();
    let count = length.as_nanos().div_ceil(interval.as_nanos().max(1)) as u32;
    let end = |number: u32| (interval * (number + 1)).min(length).as_secs_f64();
    (0..count).map(|number| Point { at_s: end(number), ..Point::default() }).collect()
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::random::Random;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn at(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    fn seconds(from: u64, to: u64) -> Window {
        Window { from: Duration::from_secs(from), to: Duration::from_secs(to) }
    }

    fn answered(intended: f64, sent: f64, ended: f64) -> Observation {
        let (intended, sent, ended) = (at(intended), at(sent), at(ended));
        Observation { intended, sent, ended, outcome: Outcome::Answered, pairs: 4 }
    }

    /// The value below which that share of the sorted times lies, by definition.
    fn exactly(times: &mut [f64], share: f64) -> f64 {
        times.sort_by(f64::total_cmp);
        times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1]
    }

    fn agrees(latencies: &Latencies, times: &mut [f64]) {
        for share in [0.5, 0.9, 0.95, 0.99, 0.999] {
            let (found, true_one) = (ms(latencies.at(share).unwrap()), exactly(times, share));
            assert!((found / true_one - 1.0).abs() < 0.02, "{share}: {found} and not {true_one}");
        }
    }

    #[test]
    fn percentiles_are_true_for_a_bimodal_server() {
        let mut random = Random::new(7);
        let mut times = Vec::new();
        let mut observations = Vec::new();
        for number in 0..5000 {
            let slow = random.unit() < 0.1;
            let took = if slow { 180.0 } else { 12.0 } + random.exponential(3.0);
            let sent = f64::from(number) * 2.0;
            times.push(took);
            observations.push(answered(sent, sent, sent + took));
        }
        let measured = Measured::of(&observations, seconds(0, 10), INTERVAL);
        assert_eq!((measured.requests, measured.latency.count()), (5000, 5000));
        agrees(&measured.latency, &mut times);
    }

    /// One worker that takes 10 ms a request and stalls for 2 s once.
    fn stall(began: f64) -> f64 {
        const STALL: std::ops::Range<f64> = 5000.0..7000.0;
        let start = if STALL.contains(&began) { STALL.end } else { began };
        start + 10.0
    }

    #[test]
    fn an_open_loop_shows_a_stall_and_a_closed_loop_says_what_it_hides() {
        // Open: a request each 20 ms, whatever happens.
        let (mut free, mut open, mut times) = (0.0_f64, Vec::new(), Vec::new());
        for number in 0..1000 {
            let intended = f64::from(number) * 20.0;
            let ended = stall(free.max(intended));
            free = ended;
            times.push(ended - intended);
            open.push(answered(intended, intended, ended));
        }
        let open = Measured::of(&open, seconds(0, 20), INTERVAL);
        agrees(&open.latency, &mut times);
        let p95 = ms(open.latency.at(0.95).unwrap());
        assert!(p95 > 1000.0, "{p95}");

        // Closed: one client that waits for each answer.
        let (mut now, mut closed) = (0.0, Vec::new());
        while now < 20_000.0 {
            let ended = stall(now);
            closed.push(answered(now, now, ended));
            now = ended;
        }
        let closed = Measured::of(&closed, seconds(0, 20), INTERVAL);
        let p99 = ms(closed.latency.at(0.99).unwrap());
        assert!(p99 < 11.0, "a closed loop sees the stall once: {p99}");
        let median = closed.latency.at(0.5).unwrap();
        let hidden = closed.latency.as_if_every(median);
        let p95 = ms(hidden.at(0.95).unwrap());
        assert!(p95 > 900.0, "{p95}");
        // The second of the stall has no throughput, and says so.
        assert_eq!(closed.series[6].completed, 0);
        assert_eq!(closed.series[6].latency_ms_mean, None);
    }

    #[test]
    fn errors_are_counted_exactly_and_never_as_latency() {
        let mut observations = Vec::new();
        for number in 0..200 {
            let mut one = answered(f64::from(number), f64::from(number), f64::from(number) + 5.0);
            if number % 20 == 0 {
                one.outcome = Outcome::Failed;
            }
            if number % 20 == 1 {
                one.outcome = Outcome::Refused;
            }
            observations.push(one);
        }
        let measured = Measured::of(&observations, seconds(0, 1), INTERVAL);
        assert_eq!(measured.count(Outcome::Failed), 10);
        assert_eq!(measured.count(Outcome::Refused), 10);
        assert_eq!(measured.count(Outcome::Wrong), 0);
        assert_eq!(measured.error_share(), Some(0.05));
        assert_eq!((measured.latency.count(), measured.completed), (180, 180));
        assert_eq!(measured.series[0].lost, 20);
    }

    #[test]
    fn throughput_is_what_was_completed_in_the_window() {
        let observations = [
            answered(500.0, 500.0, 1500.0), // sent before it, answered in it
            answered(1200.0, 1300.0, 1900.0),
            answered(1900.0, 1900.0, 2500.0), // meant for it, answered after it
        ];
        let measured = Measured::of(&observations, seconds(1, 2), INTERVAL);
        assert_eq!((measured.completed, measured.pairs), (2, 8));
        assert_eq!(measured.pairs_per_second(), Some(8.0));
        assert_eq!(measured.requests, 2);
        assert_eq!(ms(measured.lag.max().unwrap()).round(), 100.0);
        // From the intended time, not from when it was sent.
        assert_eq!(ms(measured.latency.max().unwrap()).round(), 700.0);
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        let measured = Measured::of(&[], seconds(0, 0), INTERVAL);
        assert_eq!(measured.pairs_per_second(), None);
        assert_eq!(measured.error_share(), None);
        assert_eq!(measured.latency.mean(), None);
    }
}
