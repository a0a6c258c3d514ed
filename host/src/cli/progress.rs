//! How far a benchmark is: a bar for people, and a line a window where nobody
//! watches.

use std::io::IsTerminal as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::measure::Outcome;
use crate::bench::record::Record;
use crate::bench::run::Live;
use crate::bench::session::{Planned, Watcher};
use crate::bench::workload::Extent;

pub struct Bar {
    bar: ProgressBar,
    /// Whoever moves the bar of the present window.
    moving: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Bar {
    pub fn new() -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(1000),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{wide_bar} {prefix} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar { bar, moving: Mutex::new(None) }
    }

    fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    fn stop_moving(&self) {
        let mut moving = self.moving.lock().unwrap_or_else(|error| error.into_inner());
        if let Some(task) = moving.take() {
            task.abort();
        }
    }

    pub fn finish(&self) {
        self.stop_moving();
        self.bar.finish_and_clear();
    }
}

impl Watcher for Bar {
    fn prepares(&self, variant: &str) {
        self.bar.set_prefix(variant.to_owned());
        self.bar.set_message("starting");
    }

    fn begins(&self, window: &Planned<'_>, live: Arc<Live>) {
        self.stop_moving();
        let Planned { number, of, variant, .. } = window;
        self.bar.set_prefix(format!("{}/{of} {}", number + 1, variant.name));
        if self.bar.is_hidden() {
            return;
        }
        let settings = variant.workload.window;
        let (bar, began) = (self.bar.clone(), Instant::now());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let answered = live.answered.load(Ordering::Relaxed);
                let share = match settings.extent {
                    Extent::Time(length) => {
                        began.elapsed().as_secs_f64() / (settings.warmup_ms + length).as_secs_f64()
                    }
                    Extent::Requests(requests) => answered as f64 / requests as f64,
                };
                bar.set_position((share * 1000.0).min(1000.0) as u64);
                let lost = live.lost.load(Ordering::Relaxed);
                let pairs = live.pairs.load(Ordering::Relaxed);
                let rate = pairs as f64 / began.elapsed().as_secs_f64();
                bar.set_message(format!("{rate:.0} pairs/s, {lost} lost"));
            }
        });
        *self.moving.lock().unwrap_or_else(|error| error.into_inner()) = Some(task);
    }

    fn ended(&self, record: &Record) {
        self.stop_moving();
        let measured = &record.measured;
        let figure = |value: Option<f64>, unit: &str| {
            value.map_or("n/a".into(), |value| format!("{value:.1}{unit}"))
        };
        let ms = |share| measured.latency.at(share).map(|time| time.as_secs_f64() * 1e3);
        let name = match record.variant.as_str() {
            "" => record.title.as_str(),
            name => name,
        };
        self.say(&format!(
            "{name}, window {}: {}, p50 {}, p99 {}, {} refused, {} errors of {} requests",
            record.repeat + 1,
            figure(measured.pairs_per_second(), " pairs/s"),
            figure(ms(0.5), " ms"),
            figure(ms(0.99), " ms"),
            measured.count(Outcome::Refused),
            measured.errors(),
            measured.requests
        ));
    }
}
