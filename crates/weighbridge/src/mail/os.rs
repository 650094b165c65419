//! `weighbridge os`: what system a client has, of a running `weighbridge watch`.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mail::answer::UNKNOWN;
use mail::connection::Peer;
use mail::text::words;
use serde_json::Value;

use super::ask::{ask, complaint, strange};
use super::settings::OS_SOCKET;
use crate::output::{Output, with_process_output};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Tell the operating system of a client, as its TCP handshake showed it.

Asks a running `weighbridge watch` by its text socket ([text] in mail.toml). With the client's
port the answer is of that connection; without one, or when it was not seen, it is of the newest
connection of the address, which behind NAT may be another host's.

Examples:
  weighbridge os 192.0.2.1                Linux 3.11 and newer
  weighbridge os 192.0.2.1 4711 --json    everything that is known of the connection

Exit status: 0 the system is known; 1 it is not (`Unknown` is printed); 2 nobody could be asked,
which takes a second at most.";

const KNOWN: u8 = 0;
const NOT_KNOWN: u8 = 1;
const NOT_ASKED: u8 = 2;

/// `weighbridge os`.
#[derive(Clone, Debug, Args)]
pub struct OsArguments {
    /// The client's address
    pub address: IpAddr,
    /// The client's port
    pub port: Option<u16>,
    /// Everything that is known, as JSON
    #[arg(long)]
    pub json: bool,
    /// Text socket of `weighbridge watch`
    #[arg(long, value_name = "PATH", env = "WEIGHBRIDGE_OS_SOCKET", default_value = OS_SOCKET)]
    pub socket: PathBuf,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &OsArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &OsArguments, output: &mut Output<'_>) -> u8 {
    let peer = Peer {
        port: arguments.port,
        ..Peer::address(arguments.address)
    };
    let question = format!("json {}\n", words(&peer));
    let answer = match ask_in_json(&arguments.socket, &question) {
        Ok(answer) => answer,
        Err(error) => {
            output.message(&complaint("os", &arguments.socket, &error));
            return NOT_ASKED;
        }
    };
    let os = os_of(&answer);
    let line = if arguments.json { answer } else { os.clone() };
    // A reader that has gone does not change what is known.
    let _ = output.text(&format!("{line}\n"));
    if os == UNKNOWN { NOT_KNOWN } else { KNOWN }
}

fn os_of(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let os = answer.get("os").and_then(Value::as_str);
    os.unwrap_or(UNKNOWN).to_owned()
}

fn ask_in_json(socket: &Path, question: &str) -> io::Result<String> {
    let answer = ask(socket, question)?;
    if answer.starts_with('{') {
        Ok(answer)
    } else {
        Err(strange(&answer))
    }
}
