//! Weighbridge: PF on Linux. Daemon, pfctl and every subcommand in one binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    weighbridge::cli::run(std::env::args_os().collect())
}
