//! `weighbridge unhook`: the way out when a daemon has died and does not come back.

use std::process::ExitCode;

use clap::Args;

use crate::output::with_process_output;

/// What `weighbridge unhook --help` says.
pub const LONG_ABOUT: &str = "\
Let packets pass again where a daemon has died.

When the daemon dies (kill -9, a crash) with fail-policy = \"block\", which is the default, no IP
packet crosses a managed interface until a daemon runs again. This takes the hooks off that the
dead daemon has left: packets then pass unfiltered. It needs root but no daemon. Interfaces that a
living daemon filters are left alone; stop that one with SIGTERM.";

/// `weighbridge unhook`.
#[derive(Clone, Debug, Args)]
pub struct UnhookArguments {
    /// Interfaces; without one all of this network namespace
    #[arg(value_name = "INTERFACE")]
    pub interfaces: Vec<String>,
}

/// Takes the hooks off.
#[must_use]
pub fn run(arguments: &UnhookArguments) -> ExitCode {
    match datapath::unhook(&arguments.interfaces) {
        Ok(unhooked) => {
            for name in &unhooked.freed {
                say(&format!("{name}: packets pass unfiltered"));
            }
            for (name, tap) in &unhooked.filtered {
                say(&format!(
                    "{name}: left alone, a running weighbridge (TAP {tap}) filters it"
                ));
            }
            if unhooked.freed.is_empty() && unhooked.filtered.is_empty() {
                say("no hooks: nothing is blocked by weighbridge");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("weighbridge: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    with_process_output(true, |output| output.message(line));
}
