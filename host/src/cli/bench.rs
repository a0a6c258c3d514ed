//! `maitred bench …`: runs a workload, makes reports of what was measured, and
//! says what is different between two measurements.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::sync::watch;

use super::progress::Bar;
use crate::bench::record::{self, Record};
use crate::bench::report::{Report, comparison};
use crate::bench::session::Session;
use crate::bench::sweep::Variant;
use crate::bench::{diff, models, sample, sweep};

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure: apply a workload to a server, write a record of each window and
    /// a report. The exit code is not 0 if the target fails, if more requests
    /// end in errors than `errors_max` allows, or if scores are wrong.
    Run {
        #[command(flatten)]
        workload: WorkloadArguments,
        /// Where records, report and charts go: FOLDER/NAME.jsonl, NAME.md and
        /// NAME-*.svg, with the workload's name.
        #[arg(long, value_name = "FOLDER", default_value = "bench-results")]
        out: PathBuf,
    },
    /// Make a report of records.
    Report {
        /// What `run` wrote, a record a line.
        #[arg(value_name = "RECORDS.jsonl")]
        records: PathBuf,
        /// The report; beside the records if absent.
        #[arg(long, value_name = "FILE.md")]
        out: Option<PathBuf>,
    },
    /// Say what is different between two measurements, or two variants of one,
    /// with its 95 % interval.
    Diff {
        /// Records of the measurement that the other is compared with.
        #[arg(value_name = "A.jsonl")]
        a: PathBuf,
        /// The same file as A if absent.
        #[arg(value_name = "B.jsonl")]
        b: Option<PathBuf>,
        /// Which variant of each to compare, A's and then B's; all of the same
        /// name if absent.
        #[arg(long, num_args = 2, value_names = ["A", "B"])]
        variants: Option<Vec<String>>,
    },
    /// Store the scores that a workload's answers are to be compared with. Let
    /// another engine than the measured one compute them.
    Sample {
        #[command(flatten)]
        workload: WorkloadArguments,
        /// Where the scores go; workloads name it among their `samples`.
        #[arg(long, value_name = "FILE.jsonl")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct WorkloadArguments {
    /// What is sent, to which server, and how long.
    #[arg(value_name = "WORKLOAD.toml")]
    workload: PathBuf,
    /// Set a key of the workload, whatever the file says; the key is not swept
    /// then. `--set load.clients=8`; repeat it for more.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl WorkloadArguments {
    async fn variants(&self) -> anyhow::Result<Vec<Variant>> {
        let mut variants = sweep::read(&self.workload, &self.set)?;
        models::settle(&mut variants).await?;
        Ok(variants)
    }
}

pub async fn run(command: BenchCommand) -> anyhow::Result<()> {
    match command {
        BenchCommand::Run { workload, out } => measure(&workload, &out).await,
        BenchCommand::Report { records, out } => {
            let out = out.unwrap_or_else(|| records.with_extension("md"));
            write_report(&record::read(&records)?, &out)
        }
        BenchCommand::Diff { a, b, variants } => {
            let of_a = record::read(&a)?;
            let of_b = match &b {
                Some(b) => record::read(b)?,
                None if variants.is_some() => of_a.clone(),
                None => bail!("with one file, --variants says what is compared"),
            };
            let named = variants.as_deref().and_then(|names| match names {
                [a, b] => Some((a.as_str(), b.as_str())),
                _ => None,
            });
            print!("{}", comparison(&diff::compare(&of_a, &of_b, named)?));
            Ok(())
        }
        BenchCommand::Sample { workload, out } => {
            let variants = workload.variants().await?;
            let [variant] = variants.as_slice() else {
                bail!(
                    "a sample is made with one variant, and this workload has {}",
                    variants.len()
                );
            };
            let pairs = sample::make(variant, &out, &Bar::new()).await?;
            println!("{} has the scores of {pairs} pairs", out.display());
            Ok(())
        }
    }
}

async fn measure(arguments: &WorkloadArguments, out: &Path) -> anyhow::Result<()> {
    let variants = arguments.variants().await?;
    std::fs::create_dir_all(out)
        .with_context(|| format!("failed to make the folder {}", out.display()))?;
    let name = arguments.workload.file_stem().context("the workload has no name")?;
    let records = out.join(name).with_extension("jsonl");
    let (end, stop) = watch::channel(false);
    tokio::spawn(async move {
        // The first one ends the window and writes the report, the second ends
        // everything.
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("maitred: ending early; ctrl-c again ends without a report");
            end.send_replace(true);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let bar = Bar::new();
    let session = Session { variants: &variants, records: records.clone(), watcher: &bar, stop };
    let outcomes = session.run().await?;
    bar.finish();
    let report = records.with_extension("md");
    if !outcomes.records.is_empty() {
        write_report(&outcomes.records, &report)?;
    }
    let mut problems = outcomes.problems;
    if outcomes.interrupted {
        problems.push(format!("it was ended early, after {} windows", outcomes.records.len()));
    }
    if !problems.is_empty() {
        let problems: String = problems.iter().map(|text| format!("\n  - {text}")).collect();
        bail!("the benchmark failed:{problems}");
    }
    Ok(())
}

fn write_report(records: &[Record], path: &Path) -> anyhow::Result<()> {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Report::of(records, &name.unwrap_or_default()).write(path)?;
    println!("{}", path.display());
    Ok(())
}
