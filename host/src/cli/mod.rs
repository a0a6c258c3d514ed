//! The command line. A command reads its arguments, calls the rooms that do the
//! work, and prints; it knows how nothing works.

mod bench;
mod config;
mod documents;
mod key;
mod log;
mod model;
mod policy;
mod progress;
mod requests;
mod rerank;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "maitred", version, about = "A rerank server that can be programmed.")]
struct Arguments {
    #[command(flatten)]
    log: log::LogArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve rerank requests over HTTP.
    Serve(serve::ServeArguments),
    /// Rank documents here and now, without a server.
    Rerank(rerank::RerankArguments),
    /// Measure a server, and say what the figures mean.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Check, show and learn configurations.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Make API keys, and the hashes by which the server knows them.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Fetch, import and look at models.
    #[command(subcommand)]
    Model(model::ModelCommand),
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(&arguments.log);
    let fail = |error: &anyhow::Error| {
        log::failure(arguments.log.log_format, error);
        ExitCode::FAILURE
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("failed to start")),
    };
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Rerank(arguments) => rerank::run(arguments).await,
            Command::Bench(command) => bench::run(command).await,
            Command::Config(command) => config::run(command).await,
            Command::Policy(command) => policy::run(command).await,
            Command::Key(command) => key::run(command),
            Command::Model(command) => model::run(command).await,
        }
    });
    // Whoever has work to finish has done so; a thread that hangs is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
