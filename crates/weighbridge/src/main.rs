//! Weighbridge: PF on Linux. Daemon, pfctl and every subcommand in one binary.

#![forbid(unsafe_code)]

fn main() {}
