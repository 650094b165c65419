//! `weighbridge spammers`: who is throttled, and why.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mail::throttle::{self, Explanation};
use mail::time::Timestamp;
use serde_json::{Value, json};

use super::clock;
use super::dnsbl::export::remembered;
use super::outcomes::DATABASE;
use super::settings::{self, MailSettings};
use super::storage::{Storage, unreadable};
use super::watch::STATE_DIR;
use crate::config::DEFAULT_CONFIG_DIR;
use crate::output::{Output, with_process_output};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Show who is throttled for the mail it sends, and why.

A host enters the table that [throttle] in mail.toml names when so many of its messages were
rejected, and such a share of them; messages count less as they grow old. It leaves when so much
time has passed since its last rejected message. Hosts of one /64 of IPv6 are one. Rules for the
table stand in pf.conf, for example:
  table <spammers> persist
  pass in proto tcp from <spammers> to port smtp keep state (max-src-states 3)

Examples:
  weighbridge spammers                  who is in the table, who leaves first at the top
  weighbridge spammers --all            everybody that mail servers have reported
  weighbridge spammers 192.0.2.66       why that host is in it, or is not
  weighbridge spammers --json | jq -r .host

Exit status: 0; 1 the host that was asked for is not in the table; 2 nothing could be read, or a
wrong command line.";

const THROTTLED: u8 = 0;
const NOT_THROTTLED: u8 = 1;
const NOT_READ: u8 = 2;
/// Seconds of a minute.
const MINUTE: u64 = 60;

/// `weighbridge spammers`.
#[derive(Clone, Debug, Args)]
pub struct SpammersArguments {
    /// One host alone
    #[arg(conflicts_with = "all")]
    pub address: Option<IpAddr>,
    /// Everybody that is known, whether throttled or not
    #[arg(long)]
    pub all: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Configuration directory, for mail.toml
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Where `weighbridge watch` keeps its database
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &SpammersArguments) -> ExitCode {
    with_process_output(true, |output| {
        ExitCode::from(execute(arguments, clock::now(), output))
    })
}

/// Runs it at the time `now`; returns the exit status.
pub fn execute(arguments: &SpammersArguments, now: Timestamp, output: &mut Output<'_>) -> u8 {
    match show(arguments, now, output) {
        Ok(status) => status,
        Err(problem) => {
            output.message(&format!("weighbridge spammers: {problem}"));
            NOT_READ
        }
    }
}

fn show(
    arguments: &SpammersArguments,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<u8, String> {
    let settings = settings::read(&arguments.config).map_err(|problem| problem.to_string())?;
    let database = arguments.state_dir.join(DATABASE);
    let storage =
        Storage::open_to_read(&database).map_err(|error| unreadable(&database, &error))?;
    if settings.throttle.is_none() && !arguments.json {
        output.message("weighbridge spammers: nobody is throttled: mail.toml has no [throttle]");
    }
    let throttle = remembered(&settings, &storage, now)?;
    let shown = match arguments.address {
        Some(address) => Vec::from_iter(throttle.explain(address, now)),
        None if arguments.all => throttle.known(now),
        None => throttle.throttled(now),
    };
    let view = View {
        settings: &settings,
        now,
    };
    for one in &shown {
        let line = if arguments.json {
            view.json(one).to_string()
        } else {
            view.line(one)
        };
        // A reader that has seen enough is no error.
        if output.text(&format!("{line}\n")).is_err() {
            break;
        }
    }
    let Some(address) = arguments.address else {
        return Ok(THROTTLED);
    };
    if shown.is_empty() {
        output.message(&format!("{address}: no message of it was reported"));
    }
    let throttled = shown.iter().any(|one| one.until.is_some());
    Ok(if throttled { THROTTLED } else { NOT_THROTTLED })
}

struct View<'a> {
    settings: &'a MailSettings,
    now: Timestamp,
}

impl View<'_> {
    fn line(&self, one: &Explanation) -> String {
        let Some(until) = one.until else {
            return one.to_string();
        };
        let minutes = until.saturating_since(self.now).as_secs().div_ceil(MINUTE);
        let dry = if self.is_dry() { " (dry run)" } else { "" };
        format!("{one} for {minutes} more minutes{dry}")
    }

    fn json(&self, one: &Explanation) -> Value {
        let throttle = self.settings.throttle.as_ref();
        json!({
            "host": throttle::text(&one.host),
            "rejected": one.rejected,
            "accepted": one.accepted,
            "throttled": one.until.is_some(),
            "until": one.until.map(Timestamp::as_secs),
            "never": one.never,
            "dry_run": self.is_dry(),
            "table": throttle.map(|throttle| &throttle.table),
            "least_rejected": throttle.map(|throttle| throttle.least_rejected),
            "ratio": throttle.map(|throttle| throttle.ratio),
        })
    }

    fn is_dry(&self) -> bool {
        let throttle = self.settings.throttle.as_ref();
        throttle.is_some_and(|throttle| throttle.dry_run)
    }
}
