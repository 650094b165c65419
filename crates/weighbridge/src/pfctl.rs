//! The command `pfctl`: options, words and exit statuses as PF's own.

pub mod arguments;
pub mod commands;
pub mod help;
pub mod hosts;
pub mod kill;
pub mod load;
pub mod names;
pub mod options;
pub mod show;
pub mod tables;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use self::arguments::{ArgumentError, Arguments};
use crate::control::client::ClientError;
use crate::output::{Output, with_process_output};
use crate::text::reason;

/// Why a command ends early.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// With this message (without the program's name) and exit status 1.
    Message(String),
    /// With exit status 1: why has been said.
    Told,
    /// With this message and the usage, and exit status 1.
    Usage(String),
    /// The reader of our output has seen enough.
    OutputClosed,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Message(format!("cannot write: {}", reason(&error)))
        }
    }
}

impl From<ArgumentError> for Failure {
    fn from(error: ArgumentError) -> Self {
        match error {
            ArgumentError::Refused(message) => Self::Message(message),
            ArgumentError::Usage(message) => Self::Usage(message.unwrap_or_default()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        if let ClientError::Output(error) = error {
            return error.into();
        }
        Self::Message(error.to_string())
    }
}

/// Runs `pfctl` with `arguments` (without the program's name) on the process's own output.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let parsed = arguments::parse(arguments);
    let plain = parsed.as_ref().is_ok_and(|arguments| arguments.plain);
    with_process_output(plain, |output| ExitCode::from(obey(parsed, output)))
}

/// Runs `pfctl` with `arguments` (without the program's name); returns the exit status.
pub fn execute(arguments: &[OsString], output: &mut Output<'_>) -> u8 {
    obey(arguments::parse(arguments), output)
}

fn obey(parsed: Result<Arguments, ArgumentError>, output: &mut Output<'_>) -> u8 {
    let done = match parsed {
        Ok(arguments) if arguments.help => {
            output.text(help::HELP).map(|()| 0).map_err(Failure::from)
        }
        Ok(arguments) => commands::perform(arguments, output),
        Err(ArgumentError::Refused(message)) => Err(Failure::Message(message)),
        Err(ArgumentError::Usage(message)) => {
            if let Some(message) = message {
                output.message(&format!("pfctl: {message}"));
            }
            output.message(help::USAGE);
            return 1;
        }
    };
    match done {
        Ok(status) => status,
        Err(Failure::OutputClosed) => 0,
        Err(Failure::Told) => 1,
        Err(Failure::Usage(message)) => {
            output.message(&format!("pfctl: {message}"));
            output.message(help::USAGE);
            1
        }
        Err(Failure::Message(message)) => {
            output.message(&format!("pfctl: {message}"));
            1
        }
    }
}
