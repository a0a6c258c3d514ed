//! One window: the load is applied to a subject, and what happens to each request
//! is noted. Warm-up and window are one uninterrupted load; only what belongs to
//! the window is measured.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::corpus::Corpus;
use super::load::arrivals;
use super::measure::{Observation, Outcome, Window};
use super::subject::{Answer, Failure, Subject};
use super::verify::Verifier;
use super::workload::{Extent, Load, Workload};

/// Failures that are told in words; the rest is counted.
const FAILURES_TOLD_MAX: usize = 5;
/// How long the thread that keeps the times sleeps before it looks whether it is
/// still wanted.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What a client waits when it finds nobody, instead of asking as fast as it can.
const BROKEN_PAUSE: Duration = Duration::from_millis(50);

/// What is seen of a window while it runs.
#[derive(Debug, Default)]
pub struct Live {
    pub answered: AtomicU64,
    pub pairs: AtomicU64,
    pub lost: AtomicU64,
}

/// Everything that a window needs.
pub struct Run {
    pub subject: Arc<dyn Subject>,
    pub corpus: Arc<Corpus>,
    pub workload: Arc<Workload>,
    pub verifier: Option<Arc<Verifier>>,
    pub live: Arc<Live>,
    /// Becomes true when somebody wants it to end early.
    pub stop: watch::Receiver<bool>,
}

/// What happened.
pub struct Driven {
    pub observations: Vec<Observation>,
    pub window: Window,
    /// The first failures, in words.
    pub failures: Vec<String>,
    pub interrupted: bool,
}

impl Run {
    /// Applies the load from `began` on.
    pub async fn drive(self, began: Instant) -> Driven {
        let warmup = self.workload.window.warmup_ms;
        let (end, requests_max) = match self.workload.window.extent {
            Extent::Time(length) => (Some(warmup + length), u64::MAX),
            Extent::Requests(requests) => (None, requests),
        };
        let stop = self.stop.clone();
        let shared = Arc::new(Shared {
            run: self,
            began,
            end,
            requests_max,
            sent: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            noted: Mutex::default(),
        });
        match shared.run.workload.load {
            Load::Closed { clients } => shared.closed(clients).await,
            Load::Fixed { in_flight_max, .. } | Load::Poisson { in_flight_max, .. } => {
                shared.open(in_flight_max).await;
            }
        }
        let interrupted = *stop.borrow();
        let noted = std::mem::take(&mut *shared.noted());
        let observations = noted.observations;
        let window = window(&observations, warmup, end, interrupted.then(|| began.elapsed()));
        Driven { observations, window, failures: noted.failures, interrupted }
    }
}

/// Where the window lies. One of so many requests ends with the last answer.
fn window(
    observations: &[Observation],
    warmup: Duration,
    end: Option<Duration>,
    interrupted: Option<Duration>,
) -> Window {
    let last = || observations.iter().map(|one| one.ended).max().unwrap_or(warmup);
    // The last answer is in the window, whose end is not.
    let to = match (end, interrupted) {
        (Some(end), Some(now)) => end.min(now),
        (Some(end), None) => end,
        (None, _) => last() + Duration::from_nanos(1),
    };
    let first = observations.iter().map(|one| one.intended).filter(|at| *at >= warmup).min();
    let from = match end {
        Some(_) => warmup,
        None => first.unwrap_or(warmup),
    };
    Window { from: from.min(to), to }
}

struct Shared {
    run: Run,
    began: Instant,
    end: Option<Duration>,
    requests_max: u64,
    sent: AtomicU64,
    measured: AtomicU64,
    in_flight: AtomicUsize,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    observations: Vec<Observation>,
    failures: Vec<String>,
}

impl Shared {
    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// Whether a request that is meant for this time is to be sent.
    fn admits(&self, intended: Duration) -> bool {
        if *self.run.stop.borrow() || self.end.is_some_and(|end| intended >= end) {
            return false;
        }
        if intended < self.run.workload.window.warmup_ms {
            return true;
        }
        self.measured.fetch_add(1, Ordering::Relaxed) < self.requests_max
    }

    /// Each client sends when it has its answer, and stays away as long as a server
    /// asks that refused it.
    async fn closed(self: &Arc<Self>, clients: usize) {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let shared = self.clone();
            tasks.spawn(async move {
                loop {
                    let now = shared.began.elapsed();
                    if !shared.admits(now) {
                        break;
                    }
                    let pause = shared.send(now).await;
                    let rest = shared.end.map(|end| end.saturating_sub(shared.began.elapsed()));
                    let pause = rest.map_or(pause, |rest| pause.min(rest));
                    // A timer of no time still has the resolution of timers.
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
            });
        }
        self.finish(tasks).await;
    }

    /// Requests go out at their times, whatever becomes of those before.
    async fn open(self: &Arc<Self>, in_flight_max: usize) {
        let (due, mut times) = mpsc::unbounded_channel();
        let keeper = self.clone();
        // A thread, because it wakes within tens of microseconds, where the
        // runtime's timers have whole milliseconds.
        let keeper = std::thread::spawn(move || keeper.keep_time(&due));
        let mut tasks = JoinSet::new();
        while let Some(intended) = times.recv().await {
            while tasks.try_join_next().is_some() {}
            if self.in_flight.load(Ordering::Relaxed) >= in_flight_max {
                let now = self.began.elapsed();
                let pairs = self.run.workload.request.documents as u64;
                let (sent, ended, outcome) = (now, now, Outcome::Unsent);
                self.note(Observation { intended, sent, ended, outcome, pairs }, None);
                continue;
            }
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            let shared = self.clone();
            tasks.spawn(async move {
                shared.send(intended).await;
                shared.in_flight.fetch_sub(1, Ordering::Relaxed);
            });
        }
        self.finish(tasks).await;
        // It has ended, or the channel would still be open.
        let _ = keeper.join();
    }

    /// Waits for those who are on their way, unless somebody wants the end now.
    async fn finish(&self, tasks: JoinSet<()>) {
        let mut stop = self.run.stop.clone();
        let stopped = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                // Nobody is left who could want it.
                std::future::pending::<()>().await;
            }
        };
        // Tasks end with their set, and what they wait for is not counted.
        tokio::select! {
            _ = tasks.join_all() => {}
            () = stopped => {}
        }
    }

    /// Says each request's time when it has come.
    fn keep_time(&self, due: &mpsc::UnboundedSender<Duration>) {
        let times = arrivals(self.run.workload.load, self.run.workload.seed);
        for intended in times.into_iter().flatten() {
            while let Some(wait) = intended.checked_sub(self.began.elapsed())
                && !wait.is_zero()
                && !*self.run.stop.borrow()
            {
                std::thread::sleep(wait.min(SLEEP_MAX));
            }
            if !self.admits(intended) || due.send(intended).is_err() {
                return;
            }
        }
    }

    /// `meant` is when it was decided that a request is sent. That is its
    /// intended time in an open loop; in a closed one, its client could do no
    /// more than begin. Returns how long a client should wait before its next one.
    async fn send(&self, meant: Duration) -> Duration {
        let run = &self.run;
        let documents = run.workload.request.documents;
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let asked = run.corpus.request(run.workload.seed, number, documents);
        let reply = run.subject.ask(&asked).await;
        let ended = self.began.elapsed();
        let sent = reply.sent.saturating_duration_since(self.began);
        let warmup = run.workload.window.warmup_ms;
        let intended = match run.workload.load {
            // What was sent as warm-up stays warm-up.
            Load::Closed { .. } if meant < warmup => meant,
            Load::Closed { .. } => sent,
            Load::Fixed { .. } | Load::Poisson { .. } => meant,
        };
        let (outcome, failure) = match reply.answer {
            Ok(Answer::Scores(scores)) => match &run.verifier {
                Some(verifier) if !verifier.right(&asked, &scores) => (Outcome::Wrong, None),
                _ => (Outcome::Answered, None),
            },
            Ok(Answer::Done) => (Outcome::Answered, None),
            Err(failure) => (Outcome::from(&failure), Some(failure)),
        };
        let pairs = documents as u64;
        let pause = match &failure {
            Some(Failure::Connection(_)) => BROKEN_PAUSE,
            Some(Failure::Refused { retry_after }) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        self.note(Observation { intended, sent, ended, outcome, pairs }, failure);
        pause
    }

    fn note(&self, one: Observation, failure: Option<Failure>) {
        let live = &self.run.live;
        if one.outcome == Outcome::Answered {
            live.answered.fetch_add(1, Ordering::Relaxed);
            live.pairs.fetch_add(one.pairs, Ordering::Relaxed);
        } else {
            live.lost.fetch_add(1, Ordering::Relaxed);
        }
        let mut noted = self.noted();
        noted.observations.push(one);
        if let Some(failure) = failure
            && noted.failures.len() < FAILURES_TOLD_MAX
        {
            let text = failure.to_string();
            if !noted.failures.contains(&text) {
                noted.failures.push(text);
            }
        }
    }
}
