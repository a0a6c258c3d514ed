//! The operators' page: what the server does now and has done in the last minutes.
//!
//! Once a second a sampler reads all metrics and what is served
//! (`scene`); two such moments make a point (`sample`), points a history
//! (`history`), and the last seconds the tables (`view`). However many pages are
//! open, there is one sampler; a page follows it through a `stream`. `failures`
//! keeps the last requests that went wrong. The page itself is in `page/`: plain
//! files, compiled in, that load nothing from anywhere else.
//!
//! It knows no HTTP, and nothing of what happens to a request.

mod failures;
mod history;
mod page;
mod sample;
mod scene;
mod stream;
mod view;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use self::failures::Failures;
pub use self::failures::What;
use self::history::History;
pub use self::page::{File, INDEX, Media, file};
use self::sample::{Moment, Point, Stretch};
pub use self::scene::Scene;
pub use self::stream::Stream;
use self::view::View;
use crate::metrics::Metrics;
use crate::metrics::reading::Reading;

/// How often the server is looked at.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Points of the history: 15 minutes.
const POINTS_MAX: usize = 900;
/// Looks back that the tables are of: 10 seconds, in which a figure settles.
const WINDOW: usize = 10;
/// Pages that may follow at once.
pub const STREAMS_MAX: usize = 16;
/// Different failures that are kept.
const FAILURES_MAX: usize = 50;

#[derive(Debug)]
pub struct Dashboard {
    began: Instant,
    shown: Mutex<Shown>,
    failures: Mutex<Failures>,
    told: watch::Sender<Told>,
    streams: Arc<Semaphore>,
}

/// What pages are told.
#[derive(Debug)]
struct Shown {
    history: History<Point>,
    /// The present view as JSON, made once for all pages.
    view: Arc<str>,
}

/// What pages wait for.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// Points that have come.
    points: u64,
    /// There will be no more.
    ended: bool,
}

impl Dashboard {
    pub fn new() -> Arc<Self> {
        Arc::new(Dashboard {
            began: Instant::now(),
            shown: Mutex::new(Shown { history: History::new(POINTS_MAX), view: "null".into() }),
            failures: Mutex::new(Failures::new(FAILURES_MAX)),
            told: watch::Sender::new(Told::default()),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        })
    }

    /// Looks once a second until `stop` resolves, whoever watches; then every
    /// stream ends.
    pub async fn sample(
        &self,
        metrics: &Metrics,
        scene: impl Fn() -> Scene,
        stop: impl Future<Output = ()>,
    ) {
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looking = async {
            let mut moments = VecDeque::with_capacity(WINDOW + 1);
            loop {
                ticks.tick().await;
                let reading = Reading::parse(&metrics.render());
                let moment =
                    Moment { at: Instant::now(), at_ms: now_ms(), reading, scene: scene() };
                self.look(&mut moments, moment);
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = looking => {}
        }
        self.told.send_modify(|told| told.ended = true);
    }

    /// Adds a moment to those of the window, and shows what they say.
    fn look(&self, moments: &mut VecDeque<Moment>, moment: Moment) {
        if moments.len() > WINDOW {
            moments.pop_front();
        }
        if let (Some(first), Some(last)) = (moments.front(), moments.back()) {
            let point = Stretch { before: last, after: &moment }.point();
            let failures = locked(&self.failures).iter().cloned().collect();
            let window = Stretch { before: first, after: &moment };
            let view = View::of(&window, self.began.elapsed().as_secs(), failures);
            let mut shown = locked(&self.shown);
            shown.view = stream::json(&view).into();
            let points = shown.history.push(point);
            drop(shown);
            self.told.send_modify(|told| told.points = points);
        }
        moments.push_back(moment);
    }

    /// Notes a request that got no ranking.
    pub fn failed(&self, request_id: Arc<str>, what: What) {
        locked(&self.failures).note(now_ms(), request_id, what);
    }

    /// What a page follows; `None` if as many follow as may.
    pub fn follow(self: &Arc<Self>) -> Option<Stream> {
        let place = self.streams.clone().try_acquire_owned().ok()?;
        Some(Stream::new(self.clone(), self.told.subscribe(), place))
    }
}

/// A poisoned lock still holds whole values: nothing here is changed in steps that
/// could be left half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::sample::tests::moment;
    use super::*;

    fn app() -> (Arc<Dashboard>, Arc<Metrics>) {
        (Dashboard::new(), Metrics::new())
    }

    #[test]
    fn a_window_is_of_the_last_ten_looks() {
        let (dashboard, metrics) = app();
        let (began, mut moments) = (Instant::now(), VecDeque::new());
        for second in 0..=25 {
            let moment = moment(&metrics, began, Duration::from_secs(second), &["idle"]);
            dashboard.look(&mut moments, moment);
        }
        let shown = locked(&dashboard.shown);
        assert_eq!(shown.history.since(0).len(), 25);
        let view: serde_json::Value = serde_json::from_str(&shown.view).unwrap();
        assert_eq!(view["window_s"], 10.0);
        assert_eq!(view["all"]["at_ms"], 25_000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_sampler_serves_all_streams_and_ends_them() {
        let (dashboard, metrics) = app();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let sampler = tokio::spawn({
            let dashboard = dashboard.clone();
            async move {
                let stop = async { _ = stopped.await };
                dashboard.sample(&metrics, Scene::default, stop).await;
            }
        });
        let mut streams: Vec<_> =
            (0..STREAMS_MAX).map(|_| dashboard.follow().expect("there is room")).collect();
        assert!(dashboard.follow().is_none(), "one too many");
        for stream in &mut streams {
            let told = stream.next().await.expect("it goes on");
            assert!(told.starts_with("data: {") && told.ends_with("}\n\n"), "{told}");
        }
        streams.truncate(1);
        // It was away for a while, and is told all of it at once.
        tokio::time::sleep(7 * SAMPLE_EVERY / 2).await;
        let told = streams[0].next().await.expect("it goes on");
        let told: serde_json::Value =
            serde_json::from_str(told.strip_prefix("data: ").unwrap().trim()).unwrap();
        assert_eq!(told["points"].as_array().unwrap().len(), 3, "{told}");
        let mut late = dashboard.follow().expect("others have left");
        let told = late.next().await.expect("it goes on");
        assert!(told.matches("\"at_ms\"").count() > 4, "it is shown what was before: {told}");
        stop.send(()).expect("it samples");
        sampler.await.expect("it ends");
        assert_eq!(late.next().await, None);
        assert_eq!(dashboard.follow().expect("there is room").next().await, None);
    }
}
