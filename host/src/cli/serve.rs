//! `maitred serve`: listens, says in a few lines what it serves and where, and
//! stops at a signal.

use clap::Args;

use super::settings::SettingsArguments;
use crate::checkpoint::Hub;
use crate::server;

#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Address for clients.
    #[arg(long, env = "MAITRED_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Address for operators: metrics and health.
    #[arg(long, env = "MAITRED_OPS_LISTEN", value_name = "ADDR")]
    ops_listen: Option<String>,
    /// Let everyone call who reaches the server, without a key.
    #[arg(long, env = "MAITRED_ANONYMOUS")]
    anonymous: bool,
    /// Print the settings in force as a configuration file, and stop.
    #[arg(long)]
    print_config: bool,
}

pub async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    let (raw, settings) = arguments.settings.settings_with(|raw| {
        if let Some(listen) = arguments.listen {
            raw.server.listen = listen;
        }
        if let Some(listen) = arguments.ops_listen {
            raw.server.ops_listen = listen;
        }
        raw.server.anonymous |= arguments.anonymous;
    })?;
    if arguments.print_config {
        print!("{}", raw.to_toml());
        return Ok(());
    }
    server::run(settings, &Hub::from_env()).await
}
