//! `weighbridge unhook`: the way out when a daemon has died and does not come back.

use std::process::ExitCode;

use clap::Args;
use datapath::netlink::Netlink;

use crate::links::{Claim, claim_path, remove_claim};
use crate::output::with_process_output;
use crate::text::reason;

/// What `weighbridge unhook --help` says.
pub const LONG_ABOUT: &str = "\
Let packets pass again where a daemon has died.

When the daemon dies (kill -9, a crash) with fail-policy = \"block\", which is the default, no IP
packet crosses a managed interface until a daemon runs again. This takes the hooks off that the
dead daemon has left, and has `weighbridge links run` open the laggs and VLANs that are shut until
it has hooks on them: packets then pass unfiltered. It needs root but no daemon. Interfaces that a
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
    let unhooked = datapath::unhook(&arguments.interfaces).map_err(|error| error.to_string());
    match unhooked.and_then(|unhooked| Ok((unhooked, unclaim(&arguments.interfaces)?))) {
        Ok((mut unhooked, unclaimed)) => {
            unhooked.freed.extend(unclaimed);
            unhooked.freed.sort_unstable();
            unhooked.freed.dedup();
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

/// Gives up what a dead daemon claims of the links that `weighbridge links run` makes: one of them that was
/// made since has no hooks, but passes nothing either.
fn unclaim(names: &[String]) -> Result<Vec<String>, String> {
    let netlink = Netlink::open().map_err(|error| error.to_string())?;
    let Some(mut claim) = Claim::read()?.filter(|claim| !claim.is_alive(&netlink)) else {
        return Ok(Vec::new());
    };
    let (given_up, more) = claim.give_up(names);
    let written = if more { claim.write() } else { remove_claim() };
    written.map_err(|error| format!("{}: {}", claim_path().display(), reason(&error)))?;
    Ok(given_up)
}

fn say(line: &str) {
    with_process_output(true, |output| output.message(line));
}
