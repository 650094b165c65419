//! `weighbridge report`: accepted and rejected mail by operating system.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mail::statistics::{Grouping, Report, export, render};
use mail::time::Timestamp;

use super::clock;
use super::storage::Storage;
use crate::output::{Output, with_process_output};
use crate::text::reason;

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
}

/// What stands on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A family, as in the article
    Family,
    /// A version
    Version,
}

/// `30m`, `12h`, `7d`, `4w`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let problem = || format!("\"{text}\" is no time: use a number with m, h, d or w, as 7d");
    let unit = text.chars().last().ok_or_else(problem)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(problem()),
    };
    let number = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse::<u32>().ok());
    let number = u64::from(number.ok_or_else(problem)?);
    Ok(Duration::from_secs(number * seconds))
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
    let storage = Storage::open_to_read(&arguments.database).map_err(|error| {
        format!("{error}\n  hint: `weighbridge watch -i IF` makes it, in its --state-dir")
    })?;
    let since = arguments.since.map(|age| before(now, age));
    let tally = storage.tally(since).map_err(|error| error.to_string())?;
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

/// Each file is whole or not there: written beside and renamed.
fn write_rspamd(directory: &Path, report: &Report, output: &mut Output<'_>) -> Result<(), String> {
    for (name, text) in export::rspamd(report) {
        let path = directory.join(name);
        let beside = directory.join(format!(".{name}.new"));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))?;
        output.message(&format!("wrote {}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(parse_time("2w"), Ok(Duration::from_hours(14 * 24)));
        for wrong in ["", "7", "d", "-1d", "1y", "99999999999d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
