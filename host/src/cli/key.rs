//! `maitred key …`: makes keys. A key itself goes to standard output and nowhere
//! else; files get its hash.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::callers::Key;
use crate::config::{KeyHash, Raw, check};

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, this once, and the lines of the configuration
    /// that make it known.
    New {
        /// Who will hold it.
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// Add the caller to this configuration file instead of printing the
        /// lines; only the key is printed then.
        #[arg(long, value_name = "FILE", requires = "caller")]
        append: Option<PathBuf>,
    },
    /// Read keys from standard input, one a line, and print their hashes.
    Hash,
}

/// Bytes of standard input; a key has 65.
const INPUT_BYTES_MAX: u64 = 1 << 20;

pub fn run(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::New { caller, append } => new(caller.as_deref(), append.as_deref()),
        KeyCommand::Hash => hash(),
    }
}

fn new(caller: Option<&str>, append: Option<&Path>) -> anyhow::Result<()> {
    let key = Key::random().context("failed to get random bytes from the system")?;
    let lines = match caller {
        Some(name) => caller_lines(name, &key.hash())?,
        None => format!("keys = [\"{}\"]\n", key.hash()),
    };
    if let (Some(name), Some(file)) = (caller, append) {
        add_caller(file, name, &lines)?;
        println!("{}", key.text());
        eprintln!(
            "maitred: {} knows the caller `{name}` by the hash of this key, which is shown only now",
            file.display()
        );
        return Ok(());
    }
    println!("{}", key.text());
    let place = match caller {
        Some(_) => "the configuration",
        None => "the configuration below `[callers.NAME]`",
    };
    eprintln!("maitred: the key is shown only now; these lines in {place} make it known:");
    print!("\n{lines}");
    Ok(())
}

/// A table of the configuration, checked as the server will check it.
fn caller_lines(name: &str, hash: &KeyHash) -> anyhow::Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let table = match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => toml::Value::from(name).to_string(),
    };
    let lines = format!("[callers.{table}]\nkeys = [\"{hash}\"]\n");
    let mut raw = Raw::parse(&lines).map_err(anyhow::Error::msg)?;
    check(&mut raw)?;
    Ok(lines)
}

/// Adds a table at the end, where TOML allows one after anything. A caller that
/// is there already is its owner's to edit: its keys may have comments.
fn add_caller(file: &Path, name: &str, lines: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let before = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to read {shown}")),
    };
    let parse = |text: &str| {
        Raw::parse(text).map_err(|error| anyhow::anyhow!("{shown} stays as it is: {error}"))
    };
    if parse(&before)?.callers.contains_key(name) {
        bail!(
            "{shown} has a caller `{name}` already; run `maitred key new` and add the hash to its `keys`"
        );
    }
    let gap = match before.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let added = format!("{gap}{lines}");
    parse(&format!("{before}{added}"))?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .with_context(|| format!("failed to open {shown}"))?;
    file.write_all(added.as_bytes()).with_context(|| format!("failed to write to {shown}"))
}

fn hash() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .context("failed to read standard input")?;
    if text.trim().is_empty() {
        bail!("standard input has no key; give one a line");
    }
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let key = Key::parse(line.trim()).with_context(|| {
            format!(
                "line {} is no key of the form that `maitred key new` makes; others would be too easy to guess",
                index + 1
            )
        })?;
        println!("{}", key.hash());
    }
    Ok(())
}
