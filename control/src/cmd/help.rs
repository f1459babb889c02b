//! `ares help`: the help of the program, of a subcommand, and the table of exit codes.

use clap::CommandFactory as _;

use crate::error::{Failure, Kind, exit_code_table};
use crate::lowargs::{HelpArgs, LowArgs};
use crate::render;

pub(super) fn run(args: &HelpArgs) -> Result<(), Failure> {
    let mut program = LowArgs::command();
    program.build();
    let text = match args.topic.as_deref() {
        None => program.render_help().to_string(),
        Some("exit-codes") => exit_code_table(),
        Some("config") => config_table(),
        Some(name) => match program.find_subcommand_mut(name) {
            Some(command) => command.render_long_help().to_string(),
            None => {
                return Err(Failure::new(Kind::Usage, format!("no help on `{name}`"))
                    .help("name a subcommand, `config` or `exit-codes`; `ares help` lists them"));
            }
        },
    };
    render::stdout(text.as_bytes()).map(|_open| ())
}

fn config_table() -> String {
    let mut text = String::from(
        "Config file (TOML): --config FILE, ARES_CONFIG, ~/.config/ares/ares.toml or /etc/ares/ares.toml.\nFlags beat the environment, the environment beats the file.\n",
    );
    for (key, meaning) in crate::config::keys() {
        text.push_str(&format!("  {key:<26} {meaning}\n"));
    }
    text
}
