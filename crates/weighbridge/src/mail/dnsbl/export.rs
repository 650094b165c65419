//! `weighbridge dnsbl export`: the blocking zone as files of other name servers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mail::dnsbl::export::{Entry, bind, rbldnsd};
use mail::dnsbl::service::serial;
use mail::throttle::Throttle;
use mail::time::Timestamp;

use super::why;
use crate::config::DEFAULT_CONFIG_DIR;
use crate::mail::clock;
use crate::mail::files::replace_file;
use crate::mail::outcomes::DATABASE;
use crate::mail::reputation::rules;
use crate::mail::settings::{self, MailSettings};
use crate::mail::storage::{Storage, unreadable};
use crate::mail::watch::STATE_DIR;
use crate::output::{Output, with_process_output};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Export the DNS list of hosts whose mail is nearly all rejected, for other name servers.

The zone, its name server and the thresholds are those of [dnsbl] in mail.toml; what is known of
hosts comes from the database of outcomes. Files are written beside and renamed: a server that
reads them finds the old one or the new one, whole. Run it from cron(8), every few minutes.

Examples:
  weighbridge dnsbl export --rbldnsd /var/lib/rbldns
      writes ip4trie and ip6trie there, for
      rbldnsd -b 127.0.0.1/5301 bl.example.org:ip4trie:ip4trie bl.example.org:ip6trie:ip6trie
  weighbridge dnsbl export --bind /var/lib/bind/bl.example.org
      then: rndc reload bl.example.org

Exit status: 0 written; 1 something is wrong; 2 wrong command line.";

/// `weighbridge dnsbl`.
#[derive(Clone, Debug, Args)]
pub struct DnsblArguments {
    /// What to do
    #[command(subcommand)]
    pub command: DnsblCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum DnsblCommand {
    /// Write files for rbldnsd or BIND
    #[command(long_about = LONG_ABOUT)]
    Export(ExportArguments),
}

/// `weighbridge dnsbl export`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("form").required(true))]
pub struct ExportArguments {
    /// Write data sets for rbldnsd(8) into this directory
    #[arg(long, value_name = "DIR", group = "form")]
    pub rbldnsd: Option<PathBuf>,
    /// Write a zone file of BIND
    #[arg(long, value_name = "FILE", group = "form")]
    pub bind: Option<PathBuf>,
    /// Configuration directory, for mail.toml
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Where `weighbridge watch` keeps its database
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &DnsblArguments) -> ExitCode {
    let DnsblCommand::Export(arguments) = &arguments.command;
    with_process_output(true, |output| {
        match export(arguments, clock::now(), output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                output.message(&format!("weighbridge: {problem}"));
                ExitCode::FAILURE
            }
        }
    })
}

/// Exports the list as it is at the time `now`.
///
/// # Errors
/// What to tell the user.
pub fn export(
    arguments: &ExportArguments,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<(), String> {
    let settings = settings::read(&arguments.config).map_err(|problem| problem.to_string())?;
    let dnsbl = settings.dnsbl.as_ref();
    let zone = dnsbl.and_then(|dnsbl| Some((dnsbl, dnsbl.zone.as_ref()?)));
    let Some((dnsbl, zone)) = zone else {
        let file = arguments.config.join(settings::MAIL_FILE);
        return Err(format!(
            "{}: [dnsbl] with a zone is missing\n  hint: zone = \"bl.example.org\"",
            file.display()
        ));
    };
    let database = arguments.state_dir.join(DATABASE);
    let storage =
        Storage::open_to_read(&database).map_err(|error| unreadable(&database, &error))?;
    let throttle = remembered(&settings, &storage, now)?;
    let known = throttle.known(now).into_iter();
    let entries: Vec<Entry> = known
        .filter(|known| known.is_beyond(dnsbl.least_rejected, dnsbl.ratio))
        .map(|known| (known.host, why(&known)))
        .collect();
    if let Some(directory) = &arguments.rbldnsd {
        for (name, text) in rbldnsd(&dnsbl.name_server, serial(now), &entries) {
            replace_file(&directory.join(name), &text, output)?;
        }
    }
    if let Some(file) = &arguments.bind {
        let text = bind(zone, &dnsbl.name_server, serial(now), &entries);
        replace_file(file, &text, output)?;
    }
    Ok(())
}

/// The account of hosts as the database has it.
pub(in crate::mail) fn remembered(
    settings: &MailSettings,
    storage: &Storage,
    now: Timestamp,
) -> Result<Throttle, String> {
    let mut throttle = Throttle::new(rules(settings));
    for kept in storage.hosts().map_err(|error| error.to_string())? {
        throttle.restore(&kept, now);
    }
    Ok(throttle)
}
