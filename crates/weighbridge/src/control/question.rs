//! Subcommands that ask the daemon one thing and print the answer.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::client::{Client, NOT_UNDERSTOOD};
use super::protocol::{Outcome, Request};
use crate::output::Output;

/// What is asked, and how the answer is wanted.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The subcommand, for messages.
    pub(crate) command: &'static str,
    /// The daemon's control socket.
    pub(crate) socket: &'a Path,
    /// As JSON instead of a table.
    pub(crate) json: bool,
    /// What is asked.
    pub(crate) request: Request,
}

/// Asks, and prints what `of` finds in the outcome, as `table` lays it out. Returns the exit
/// status.
pub(crate) fn answer<T: Serialize>(
    question: &Question<'_>,
    of: impl FnOnce(Outcome) -> Option<T>,
    table: impl FnOnce(&T) -> String,
    output: &mut Output<'_>,
) -> u8 {
    let found = ask(question.socket, &question.request, of);
    let text = found.and_then(|found| rendered(&found, question.json, table));
    match text {
        Ok(text) => match output.text(&text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 1,
            Ok(()) | Err(_) => 0,
        },
        Err(message) => {
            output.message(&format!("weighbridge {}: {message}", question.command));
            1
        }
    }
}

/// Asks the daemon at `socket`, and takes what `of` finds in the outcome.
pub(crate) fn ask<T>(
    socket: &Path,
    request: &Request,
    of: impl FnOnce(Outcome) -> Option<T>,
) -> Result<T, String> {
    let mut client = Client::connect(socket).map_err(|error| error.to_string())?;
    let outcome = client.call(request, &mut |_| Ok(()));
    of(outcome.map_err(|error| error.to_string())?).ok_or_else(|| NOT_UNDERSTOOD.into())
}

/// As JSON, or as `table` lays it out.
pub(crate) fn rendered<T: Serialize + ?Sized>(
    found: &T,
    json: bool,
    table: impl FnOnce(&T) -> String,
) -> Result<String, String> {
    if !json {
        return Ok(table(found));
    }
    let text = serde_json::to_string_pretty(found);
    text.map(|text| text + "\n")
        .map_err(|error| error.to_string())
}
