//! `weighbridge outcome`: any mail server tells what became of a message.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mail::connection::Peer;
use mail::outcome::{Outcome, Stage, Verdict};
use mail::text::report;

use super::ask::{NOT_TOLD, ask, complaint, strange};
use super::clock;
use super::settings::OS_SOCKET;
use crate::output::{Output, with_process_output};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Tell what became of a message, so that it is counted by the system that sent it.

For mail servers without a way of their own. Tells a running `weighbridge watch` by its text socket
([text] in mail.toml). VERDICT is accept, reject or defer; STAGE says at which command: connect,
helo, mail, rcpt, data or eom (the end of the text). With --message a message that is told twice
counts once.

Examples:
  weighbridge outcome accept eom 192.0.2.1 4711 --message 1pQxyz-0001
  weighbridge outcome reject rcpt 192.0.2.1 4711

Exit status: 0 told; 1 not understood by who was there; 2 a wrong command line; 3 not told, because
nobody was there, which takes a second at most, or this user may not tell it. In a mail
server's hook ignore it (`|| true`): no message depends on being counted.";

/// Who reports; the daemon knows it as the text socket.
const REPORTER: &str = "outcome";
const TOLD: u8 = 0;
const REFUSED: u8 = 1;

/// `weighbridge outcome`.
#[derive(Clone, Debug, Args)]
pub struct OutcomeArguments {
    /// accept, reject or defer
    #[arg(value_parser = verdict)]
    pub verdict: Verdict,
    /// connect, helo, mail, rcpt, data or eom
    #[arg(value_parser = stage)]
    pub stage: Stage,
    /// The client's address
    pub address: IpAddr,
    /// The client's port
    pub port: Option<u16>,
    /// The message's name in the mail server
    #[arg(long, value_name = "ID")]
    pub message: Option<String>,
    /// Text socket of `weighbridge watch`
    #[arg(long, value_name = "PATH", env = "WEIGHBRIDGE_OS_SOCKET", default_value = OS_SOCKET)]
    pub socket: PathBuf,
}

fn verdict(word: &str) -> Result<Verdict, &'static str> {
    Verdict::parse(word).ok_or("expected accept, reject or defer")
}

fn stage(word: &str) -> Result<Stage, &'static str> {
    Stage::parse(word).ok_or("expected connect, helo, mail, rcpt, data or eom")
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &OutcomeArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &OutcomeArguments, output: &mut Output<'_>) -> u8 {
    let outcome = Outcome {
        at: clock::now(),
        peer: Peer {
            port: arguments.port,
            ..Peer::address(arguments.address)
        },
        verdict: arguments.verdict,
        stage: Some(arguments.stage),
        message: arguments.message.clone(),
        reporter: REPORTER,
    };
    match ask(&arguments.socket, &report(&outcome)) {
        Ok(answer) if answer == "ok" => TOLD,
        Ok(answer) => {
            let error = strange(&answer);
            output.message(&complaint("outcome", &arguments.socket, &error));
            REFUSED
        }
        Err(error) => {
            output.message(&complaint("outcome", &arguments.socket, &error));
            NOT_TOLD
        }
    }
}
