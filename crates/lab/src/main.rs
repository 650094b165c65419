//! `weighbridge-lab`: the article's network on one machine, the main job of `make run`, and
//! `make soak`.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use lab::job::{self, JobConfig};
use lab::soak::{self, SoakConfig};
use lab::{FastPath, daemon, identity};

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
    /// Run weighbridge for long under random traffic, reloads, packet loss, resets, floods and
    /// restarts; check each verdict and watch its memory. Exit status 1 when something is wrong.
    Soak {
        /// How long traffic is made.
        #[arg(long, value_name = "N", default_value_t = 1800)]
        seconds: u64,
        /// All that is drawn comes from it.
        #[arg(long, value_name = "S", default_value_t = 1)]
        seed: u64,
        /// The flow cache of the daemons; without it what weighbridge.toml begins with.
        #[arg(long, value_name = "PATH", value_enum, env = daemon::FAST_PATH)]
        fast_path: Option<FastPath>,
        /// Write the report there too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
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
        Command::Soak {
            seconds,
            seed,
            fast_path,
            json,
            weighbridge,
        } => {
            let binary = weighbridge.map_or_else(daemon::binary_beside_this_one, Ok)?;
            job::check(&binary)?;
            soak(
                &SoakConfig {
                    binary,
                    seconds,
                    seed,
                    fast_path,
                },
                json.as_deref(),
            )
        }
        Command::Clean => clean(),
    }
}

fn soak(config: &SoakConfig, json: Option<&Path>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let report = soak::run(config, &mut out)?;
    report.write(&mut out)?;
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    ensure!(report.has_passed(), "the soak has failed");
    Ok(())
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
