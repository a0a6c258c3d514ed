//! What the process says on standard error: `tracing` events for people or, as
//! JSON lines, for machines.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[derive(Debug, Args)]
pub struct LogArguments {
    /// Form of the log lines on standard error.
    #[arg(long, global = true, env = "MAITRED_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,
    /// What is logged: a level, or a filter such as `info,maitred::policy=debug`.
    #[arg(
        long,
        global = true,
        env = "MAITRED_LOG",
        default_value = "info",
        value_name = "FILTER",
        value_parser = filter
    )]
    log: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

/// A text that is a filter. A word alone would be the name of a target, of which there
/// is none: whoever mistypes a level would hear nothing any more.
fn filter(text: &str) -> Result<String, String> {
    let word = |part: &&str| !part.is_empty() && !part.contains(['=', '[', ':']);
    let mut words = text.split(',').map(str::trim).filter(word);
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!(
            "`{word}` is no level; there are trace, debug, info, warn, error and off (of one target: `{word}=debug`)"
        ));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub fn start(arguments: &LogArguments) {
    let filter = EnvFilter::new(&arguments.log);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match arguments.log_format {
        LogFormat::Human => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Says with what the process ends: as a line of the log where machines read it, and
/// else as commands do.
pub fn failure(format: LogFormat, error: &anyhow::Error) {
    match format {
        LogFormat::Json if tracing::enabled!(tracing::Level::ERROR) => {
            tracing::error!("{error:#}");
        }
        _ => eprintln!("maitred: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for text in ["info", "WARN", "off", "", "info,maitred::policy=debug", "maitred::http"] {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in ["inof", "verbose", "info, maitred", "maitred=loud"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
