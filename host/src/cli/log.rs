//! What the process says on standard error: `tracing` events for people or, as
//! JSON lines, for machines.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Form of the log lines on standard error.
    #[arg(long, global = true, env = "MAITRED_LOG_FORMAT", value_enum, default_value = "human")]
    log_format: LogFormat,
    /// What is logged: a level, or a filter such as `info,maitred::policy=debug`.
    #[arg(long, global = true, env = "MAITRED_LOG", default_value = "info")]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

pub fn start(arguments: &LogArguments) {
    let filter = EnvFilter::try_new(&arguments.log).unwrap_or_else(|error| {
        eprintln!("maitred: --log \"{}\" is not a filter ({error}); using info", arguments.log);
        EnvFilter::new("info")
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match arguments.log_format {
        LogFormat::Human => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
