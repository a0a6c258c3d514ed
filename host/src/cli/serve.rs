//! `maitred serve`: listens, says in a few lines what it serves and where, and
//! stops at a signal.

use clap::Args;

use super::settings::ServerArguments;
use crate::checkpoint::Hub;
use crate::server::{self, Source};

#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Print the settings in force as a configuration file, and stop; `maitred
    /// config show` also says where they come from.
    #[arg(long)]
    print_config: bool,
}

pub async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    let mut server = arguments.server;
    // The file that was found at the start is the one that is read again: should
    // it vanish, that is an error, and not a wish for the defaults.
    let file = server.settings.file();
    server.settings.config = file.clone();
    if arguments.print_config {
        print!("{}", server.settings()?.0.to_toml());
        return Ok(());
    }
    let source = Source { file, read: Box::new(move || server.settings()) };
    server::run(source, &Hub::from_env()).await
}
