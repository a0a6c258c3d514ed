//! The README's first policy: its commands as they stand there, for a reader who has
//! the repository, the program on the path, and nothing else of ours.

use std::process::Stdio;

use maitred_tests::fixtures::{checkpoint, repository};
use maitred_tests::process::built_folder;
use tokio::process::Command;

/// What a user's environment has that these commands may need: where programs are, and
/// where Rust and its packages are.
const VARIABLES: [&str; 4] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"];
/// How the commands begin that build a policy.
const BUILD: &str = "cargo build";

/// The commands of the README's indented block that begins with a build of a guest,
/// each on a line.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let lines: Vec<_> = readme.lines().map(|line| line.strip_prefix("    ")).collect();
    let begins = |line: &Option<&str>| line.is_some_and(|line| line.starts_with(BUILD));
    let first = lines.iter().position(begins).expect("the README builds a policy");
    let block: Vec<_> = lines[first..].iter().map_while(|line| *line).collect();
    let whole = block.join("\n").replace("\\\n", " ");
    whole.lines().map(String::from).collect()
}

/// Runs it in the repository, and returns what it says.
async fn shell(command: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(repository("")).env_clear().stdin(Stdio::null());
    for name in VARIABLES {
        shell.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(built_folder()).chain(std::env::split_paths(&path));
    // The default model is on the hub, which not every machine reaches.
    let output = shell
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("MAITRED_MODEL", checkpoint("tiny-bert"))
        .output()
        .await
        .expect("there is a shell");
    let text = |bytes| String::from_utf8(bytes).expect("programs print UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "`{command}` failed:\n{out}{err}");
    out
}

#[tokio::test]
async fn the_first_policy_is_built_checked_and_tried() {
    let commands = commands();
    let mut said = String::new();
    let mut run = 0;
    for command in &commands {
        // It would serve on; that servers take policies is tested elsewhere.
        if command.starts_with("maitred serve") {
            assert!(command.contains("--policy"), "{command}");
            continue;
        }
        said += &shell(command).await;
        run += 1;
    }
    assert!(run >= 3, "{commands:?}");
    assert!(said.contains("it loads, and exports and imports what it should"), "{said}");
    // Of four documents one is a draft, which the policy drops.
    assert!(said.contains("Garden gate of oak") && !said.contains("larch"), "{said}");
    assert!(said.contains("1 documents not shown"), "{said}");
}
