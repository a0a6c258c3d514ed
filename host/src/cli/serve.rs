//! `maitred serve`: listens, says in a few lines what it serves and where, and
//! stops at a signal.

use clap::Args;

use super::settings::SettingsArguments;
use crate::checkpoint::Hub;
use crate::server::{self, Source};

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
    /// Print the settings in force as a configuration file, and stop.
    #[arg(long)]
    print_config: bool,
}

pub async fn run(arguments: ServeArguments) -> anyhow::Result<()> {
    let ServeArguments { settings, listen, ops_listen, print_config } = arguments;
    let file = settings.file();
    let settings = SettingsArguments { config: file.clone(), ..settings };
    let read = move || {
        settings.settings_with(|raw| {
            if let Some(listen) = &listen {
                raw.server.listen = listen.clone();
            }
            if let Some(listen) = &ops_listen {
                raw.server.ops_listen = listen.clone();
            }
        })
    };
    let (raw, settings) = read()?;
    if print_config {
        print!("{}", raw.to_toml());
        return Ok(());
    }
    let source = Source { file, read: Box::new(read) };
    server::run(raw, settings, source, &Hub::from_env()).await
}
