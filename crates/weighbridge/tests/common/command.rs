//! Subcommands run in the test's own process.

use std::ffi::OsString;

use clap::{Args, FromArgMatches};
use weighbridge::output::Output;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The arguments of a subcommand, as its command line would give them.
pub(crate) fn parsed<A: Args + FromArgMatches>(arguments: &[&str]) -> A {
    let command = A::augment_args(clap::Command::new("weighbridge"));
    let arguments = ["weighbridge"].iter().chain(arguments).map(OsString::from);
    let matches = command.try_get_matches_from(arguments);
    let matches = matches.unwrap_or_else(|error| panic!("{error}"));
    A::from_arg_matches(&matches).expect("arguments")
}

/// Runs a command and keeps what it says.
pub(crate) fn ran(command: impl FnOnce(&mut Output<'_>) -> u8) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = command(&mut Output {
        out: &mut out,
        err: &mut err,
        rich_errors: false,
    });
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        status,
        out: text(out),
        err: text(err),
    }
}
