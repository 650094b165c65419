//! The command `pfctl`.

pub mod show;

use std::process::ExitCode;

/// Runs `pfctl` with `arguments` (without the program's name).
#[must_use]
pub fn run(_arguments: &[std::ffi::OsString]) -> ExitCode {
    ExitCode::FAILURE
}
