//! `weighbridge report`: accepted and rejected mail by operating system.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mail::statistics::{Grouping, Report, Tally, export, render};
use mail::time::Timestamp;

use super::files::replace_file;
use super::storage::{Storage, unreadable};
use super::{clock, fleet, settings};
use crate::config::DEFAULT_CONFIG_DIR;
use crate::output::{Output, with_process_output};
use crate::text::{parse_time, reason};

/// Where outcomes are kept unless told otherwise.
pub const DEFAULT_DATABASE: &str = "/var/lib/weighbridge-watch/mail.db";

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show how much mail was accepted and rejected, by operating system of its senders.

The table is that of the article \"Passively OS Fingerprinting Email with PF\": Operating System,
Accepted, Rejected, Ratio (rejected of accepted and rejected). Beside each ratio stands where the
true one lies with 95 % certainty, and the evidence: how much the system moves the log-odds of a
rejection away from those of the whole site. +0.7 doubles the odds, 0 says nothing; a few messages
are hardly evidence.

Examples:
  weighbridge report                          all systems, of all times
  weighbridge report --since 7d               of the last seven days
  weighbridge report --by version --family Windows
  weighbridge report --csv > os.csv           also --json, --svg
  weighbridge report --fleet --node mx1       of one of several servers ([postgres] in mail.toml)
  weighbridge report --spamassassin > /etc/spamassassin/weighbridge.cf
  weighbridge report --rspamd /etc/rspamd/local.d   writes p0f.conf and p0f_group.conf

Exit status: 0; 1 the database cannot be read or a file not be written; 2 a wrong command line.";

/// `weighbridge report`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("form").multiple(false))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct ReportArguments {
    /// What stands on one line
    #[arg(long, value_enum, default_value = "family")]
    pub by: By,
    /// One family alone, for example Windows (with --by version)
    #[arg(long, value_name = "NAME")]
    pub family: Option<String>,
    /// Only the last N minutes, hours, days or weeks: 30m, 12h, 7d, 4w
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Duration>,
    /// As JSON
    #[arg(long, group = "form")]
    pub json: bool,
    /// As comma-separated values
    #[arg(long, group = "form")]
    pub csv: bool,
    /// As a chart
    #[arg(long, group = "form")]
    pub svg: bool,
    /// As rules for `SpamAssassin`, with scores learned from the outcomes
    #[arg(long, group = "form")]
    pub spamassassin: bool,
    /// Write rules for rspamd, with learned weights, into its local.d
    #[arg(long, value_name = "DIR", group = "form")]
    pub rspamd: Option<PathBuf>,
    /// The database
    #[arg(long, value_name = "FILE", default_value = DEFAULT_DATABASE)]
    pub database: PathBuf,
    /// The counts of all mail servers, out of the PostgreSQL database that mail.toml names
    #[arg(long, conflicts_with = "database")]
    pub fleet: bool,
    /// One server of them alone
    #[arg(
        long,
        value_name = "NAME",
        requires = "fleet",
        conflicts_with = "database"
    )]
    pub node: Option<String>,
    /// Configuration directory, for mail.toml
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
}

/// What stands on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A family, as in the article
    Family,
    /// A version
    Version,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &ReportArguments) -> ExitCode {
    with_process_output(true, |output| {
        match execute(arguments, clock::now(), output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                output.message(&format!("weighbridge: {problem}"));
                ExitCode::FAILURE
            }
        }
    })
}

/// Runs it at the time `now`.
///
/// # Errors
/// What to tell the user.
pub fn execute(
    arguments: &ReportArguments,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<(), String> {
    let since = arguments.since.map(|age| before(now, age));
    let tally = tally(arguments, since)?;
    let report = tally.report(&grouping(arguments));
    if let Some(directory) = &arguments.rspamd {
        return write_rspamd(directory, &report, output);
    }
    match output.text(&rendered(arguments, &report)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(reason(&error)),
        _ => Ok(()),
    }
}

/// The moment that was so long ago at `now`.
pub(super) fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(age))
}

fn tally(arguments: &ReportArguments, since: Option<Timestamp>) -> Result<Tally, String> {
    if arguments.fleet {
        let settings = settings::read(&arguments.config).map_err(|problem| problem.to_string())?;
        let file = arguments.config.join(settings::MAIL_FILE);
        let postgres = settings.postgres.ok_or_else(|| {
            let file = file.display();
            format!("{file}: [postgres] is missing\n  hint: connection = \"host=/run/postgresql\"")
        })?;
        let node = arguments.node.as_deref();
        return fleet::tally(&postgres, since, node).map_err(|error| error.to_string());
    }
    let database = &arguments.database;
    let storage = Storage::open_to_read(database).map_err(|error| unreadable(database, &error))?;
    storage.tally(since).map_err(|error| error.to_string())
}

fn grouping(arguments: &ReportArguments) -> Grouping {
    match (arguments.by, &arguments.family) {
        (By::Family, None) => Grouping::Family,
        (By::Version, family) | (By::Family, family @ Some(_)) => Grouping::Version {
            family: family.clone(),
        },
    }
}

fn rendered(arguments: &ReportArguments, report: &Report) -> String {
    if arguments.json {
        format!("{}\n", mail::json::line(&render::json(report)))
    } else if arguments.csv {
        render::csv(report)
    } else if arguments.svg {
        render::svg(report)
    } else if arguments.spamassassin {
        export::spamassassin(report)
    } else {
        render::table(report)
    }
}

fn write_rspamd(directory: &Path, report: &Report, output: &mut Output<'_>) -> Result<(), String> {
    for (name, text) in export::rspamd(report) {
        replace_file(&directory.join(name), &text, output)?;
    }
    Ok(())
}
