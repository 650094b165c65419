//! `weighbridge-lab`: the article's network on one machine, and the main job of `make run`.

#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lab::job::{self, JobConfig};
use lab::{daemon, identity};

/// The network of "Stupid Bridge Tricks #1" in namespaces of this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the lab, run weighbridge in it, and measure what the article promises.
    Run {
        /// End after the measurements instead of staying up until Ctrl-C.
        #[arg(long)]
        once: bool,
        /// When something fails, leave the lab up until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// Print weighbridge's log at the end.
        #[arg(short, long)]
        verbose: bool,
        /// The binary to test [default: `weighbridge` beside this program].
        #[arg(long, value_name = "FILE")]
        weighbridge: Option<PathBuf>,
    },
    /// Remove what runs that were killed have left behind.
    Clean,
}

fn main() -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        // The release build ends here, without dropping the lab.
        identity::remove_live();
    }));
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stderr, reason = "a program's last words")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("weighbridge-lab: {error:#}");
    ExitCode::FAILURE
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run {
            once,
            keep,
            verbose,
            weighbridge,
        } => {
            let binary = weighbridge.map_or_else(daemon::binary_beside_this_one, Ok)?;
            job::check(&binary)?;
            job::run(
                &JobConfig {
                    binary,
                    once,
                    keep,
                    verbose,
                },
                &mut io::stdout().lock(),
            )
        }
        Command::Clean => clean(),
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn clean() -> anyhow::Result<()> {
    let removed = identity::clean()?;
    for name in &removed {
        println!("removed {name}");
    }
    if removed.is_empty() {
        println!("nothing was left behind");
    }
    Ok(())
}
