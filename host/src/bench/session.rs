//! A benchmark from beginning to end: every variant of a workload, so often and
//! in such an order as it says, each window written down when it is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch as channel};
use tokio::time::Instant;

use super::machine::{self, Machine};
use super::measure::{Measured, Outcome};
use super::opened::{Opened, Ready};
use super::record::{Record, Text, VERSION, Writer};
use super::run::{Live, Run};
use super::sweep::Variant;
use super::verify::{self, Verifier};
use super::watching::watch;
use super::workload::{Load, Order, Workload};

/// What people see while it runs.
pub trait Watcher: Send + Sync {
    /// A server starts or a model loads, for this variant.
    fn prepares(&self, variant: &str);
    /// A window begins; `live` counts until it is over.
    fn begins(&self, window: &Planned<'_>, live: Arc<Live>);
    fn ended(&self, record: &Record);
}

/// One window, before it runs.
pub struct Planned<'a> {
    pub number: usize,
    pub of: usize,
    pub variant: &'a Variant,
    pub repeat: usize,
}

/// What came of a benchmark.
pub struct Outcomes {
    pub records: Vec<Record>,
    /// Why it counts as failed; empty if it does not.
    pub problems: Vec<String>,
    pub interrupted: bool,
}

/// Where a benchmark runs.
struct Here {
    machine: Machine,
    commit: Option<String>,
}

pub struct Session<'a> {
    pub variants: &'a [Variant],
    /// Where records are written.
    pub records: PathBuf,
    pub watcher: &'a dyn Watcher,
    /// Becomes true when somebody wants it to end early.
    pub stop: channel::Receiver<bool>,
}

impl Session<'_> {
    /// Runs everything. An error means that nothing more could be measured; what
    /// was measured before is in the file.
    pub async fn run(self) -> anyhow::Result<Outcomes> {
        let mut outcomes =
            Outcomes { records: Vec::new(), problems: Vec::new(), interrupted: false };
        let mut writer = Writer::create(&self.records)?;
        let here = Here { machine: Machine::this(), commit: machine::commit() };
        let runs = self.variants.iter().map(|variant| variant.workload.runs);
        let servers_max = runs.clone().map(|runs| runs.servers_max).max().unwrap_or(1);
        let mut open = Opened::new(servers_max);
        let plan = plan(self.variants);
        for (number, (place, repeat)) in plan.iter().enumerate() {
            if *self.stop.borrow() {
                outcomes.interrupted = true;
                break;
            }
            let variant = &self.variants[*place];
            let window = Planned { number, of: plan.len(), variant, repeat: *repeat };
            let asked = match open.subject(variant, self.watcher).await {
                Ok(asked) => asked,
                Err(error) => {
                    outcomes.problems.push(format!("{}{error:#}", prefix(variant)));
                    break;
                }
            };
            let measured = self.window(&window, asked, &here).await;
            let record = match measured {
                Ok(record) => record,
                Err(error) => {
                    outcomes.problems.push(format!("{}{error:#}", prefix(variant)));
                    break;
                }
            };
            writer.write(&record)?;
            self.watcher.ended(&record);
            outcomes.problems.extend(problems(&record, &variant.workload));
            let died = asked.lives();
            outcomes.interrupted |= record.interrupted;
            outcomes.records.push(record);
            if let Err(error) = died {
                outcomes.problems.push(format!("{}{error:#}", prefix(variant)));
                break;
            }
        }
        open.close().await;
        outcomes.interrupted |= *self.stop.borrow();
        Ok(outcomes)
    }

    async fn window(
        &self,
        planned: &Planned<'_>,
        ready: &Ready,
        here: &Here,
    ) -> anyhow::Result<Record> {
        let workload = Arc::new(planned.variant.workload.clone());
        let (live, load_before) = (Arc::new(Live::default()), machine::load());
        let verifier = verifier(&workload, ready)?.map(Arc::new);
        let started = now();
        let began = Instant::now();
        self.watcher.begins(planned, live.clone());
        let run = Run {
            subject: ready.subject(&workload)?,
            corpus: ready.corpus.clone(),
            workload: workload.clone(),
            verifier: verifier.clone(),
            live,
            stop: self.stop.clone(),
        };
        let (over, ended) = oneshot::channel();
        let watching = watch(ready, &workload, began, ended);
        let driving = async {
            let driven = run.drive(began).await;
            // Who watches may have had nothing to watch.
            let _ = over.send(driven.window.to);
            driven
        };
        let (watched, driven) = tokio::join!(watching, driving);
        let interval = workload.window.interval_ms;
        let corpus = &ready.corpus;
        Ok(Record {
            record: VERSION,
            number: planned.number,
            title: workload.title.clone(),
            about: workload.about.clone(),
            variant: planned.variant.name.clone(),
            repeat: planned.repeat,
            started,
            commit: here.commit.clone(),
            version: version(),
            machine: here.machine.clone(),
            load_before,
            workload: planned.variant.table.clone(),
            stage: workload.stage.name().into(),
            load: workload.load.to_string(),
            closed: matches!(workload.load, Load::Closed { .. }),
            documents: workload.request.documents,
            text: Text {
                name: corpus.name.clone(),
                digest: corpus.digest.clone(),
                passages: corpus.passages.len(),
                queries: corpus.queries.len(),
                equal_length: corpus.equal_length,
            },
            target: ready.about.clone(),
            measured: Measured::of(&driven.observations, driven.window, interval),
            server: watched.whole,
            series: watched.series,
            harness_cpu_s: watched.harness_cpu_s,
            verification: verifier.map(|verifier| verifier.found()),
            failures: driven.failures,
            interrupted: driven.interrupted,
        })
    }
}

/// Looks at scores, if there is a sample of them.
fn verifier(workload: &Workload, ready: &Ready) -> anyhow::Result<Option<Verifier>> {
    let Some(verify) = &workload.verify else { return Ok(None) };
    let model = ready.about.model.as_deref();
    match verify::choose(&verify.samples, &ready.corpus, model) {
        Ok(sample) => Ok(Some(Verifier::new(sample, verify.tolerance))),
        Err(error) if verify.required => Err(error),
        Err(error) => {
            tracing::warn!("scores are not verified: {error}");
            Ok(None)
        }
    }
}

/// Which variant, which repeat; in the order in which they run.
fn plan(variants: &[Variant]) -> Vec<(usize, usize)> {
    let mut windows: Vec<_> = variants
        .iter()
        .enumerate()
        .flat_map(|(place, variant)| {
            (0..variant.workload.runs.repeats).map(move |repeat| (place, repeat))
        })
        .collect();
    if variants.iter().all(|variant| variant.workload.runs.order == Order::Interleaved) {
        // Every other round runs backwards, so that no variant always comes
        // after the same one.
        let last = variants.len();
        windows.sort_by_key(|(place, repeat)| match repeat % 2 {
            0 => (*repeat, *place),
            _ => (*repeat, last - place),
        });
    }
    windows
}

/// What makes the benchmark fail, whatever its figures are.
fn problems(record: &Record, workload: &Workload) -> Vec<String> {
    let measured = &record.measured;
    let mut problems = Vec::new();
    let name = match record.variant.as_str() {
        "" => String::new(),
        name => format!("{name}: "),
    };
    if let Some(found) = &record.verification {
        if found.wrong > 0 {
            let first = found.first_wrong.as_deref().unwrap_or_default();
            problems.push(format!(
                "{name}{} of {} scores are wrong ({first})",
                found.wrong, found.pairs
            ));
        } else if found.pairs == 0 && measured.count(Outcome::Answered) > 0 {
            problems.push(format!("{name}no score was verified"));
        }
    }
    let words = || record.failures.iter().map(|text| format!("; {text}")).collect::<String>();
    if measured.count(Outcome::Answered) == 0 && !record.interrupted {
        problems.push(format!("{name}no request was answered{}", words()));
    } else if let Some(share) = measured.error_share()
        && share > workload.errors_max
    {
        problems.push(format!(
            "{name}{} of {} requests ended in an error, over `errors_max` of {}{}",
            measured.errors(),
            measured.requests,
            workload.errors_max,
            words()
        ));
    }
    problems
}

/// A program that was not built for speed should not pass for one that was.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(debug_assertions) { format!("{version} (debug build)") } else { version.into() }
}

fn prefix(variant: &Variant) -> String {
    if variant.name.is_empty() { String::new() } else { format!("{}: ", variant.name) }
}

fn now() -> String {
    rfc3339(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Civil date of a day since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, rest) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everyone_does() {
        let check = |seconds, expected: &str| {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_645_625, "2026-11-25T22:27:05Z");
    }
}
