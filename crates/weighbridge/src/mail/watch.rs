//! `weighbridge watch`: the operating systems behind TCP handshakes, live or from a capture, and
//! the sockets by which mail servers ask for them.

pub(super) mod keep;
mod live;
mod observations;
mod offline;
pub(super) mod signatures;
pub(super) mod tell;
mod user;
mod watcher;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use mail::store::{KEPT_MAX, KEPT_P0F, Limits, Store};
use mail::unknown::Unknown;
use pf_engine::osfp::p0f::{Database, Mode};

use self::live::Open;
use self::observations::Observations;
use self::watcher::{Form, Watcher};
use super::serve::Services;
use super::settings::{self, MailSettings};
use super::shared_memory::SharedMemory;
use crate::config::DEFAULT_CONFIG_DIR;
use crate::output::{Output, with_process_output};
use crate::random::Random;
use crate::text::reason;
use crate::tools::{Complaint, status};

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Tell the operating systems behind TCP handshakes, as p0f does, and answer mail servers.

Watches an interface, or reads a capture (pcap, pcapng), and tells of each SYN and SYN+ACK what
sent it, its distance and link, when a host has been up for how long, and when an address is
another host than before or shared by several. Nothing is sent; the machine need not be a bridge.
With -i it also answers on the sockets that mail.toml names (without one: the p0f API in
/run/weighbridge/p0f.sock and the text socket /run/weighbridge/os.sock), and what was seen is kept
over a restart. Times are UTC.

Examples:
  weighbridge watch -i eth0 --user weighbridge --quiet    a mail server's daemon
  weighbridge os 192.0.2.1                                asks it
  weighbridge watch -r mail.pcap                          a line for each finding
  weighbridge watch -r mail.pcap --json | jq -r 'select(.event==\"syn\").os' | sort | uniq -c
  weighbridge watch -r mail.pcap -o p0f.log --quiet       p0f's log
  weighbridge watch -r mail.pcap --parity -o p0f.log      equal to that of p0f 3.09b

Signatures have p0f's form (p0f.fp). The program has its own; -f replaces them, --local adds a
site's own, which come first. With --parity answers are those of p0f 3.09b with its own file: no
VLAN tags, no extension headers of IPv6, no families.

Exit status: 0 done, or ended by SIGINT or SIGTERM; 1 something is wrong; 2 wrong command line.";

/// Where observations are kept: not where the packet filter keeps its states, which is root's.
pub const STATE_DIR: &str = "/var/lib/weighbridge-watch";

/// `weighbridge watch`.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "weighbridge watch [OPTIONS] --interface <NAME>\n       \
                            weighbridge watch [OPTIONS] -r <FILE>"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct WatchArguments {
    /// Watch this interface (any: all of them)
    #[arg(
        short,
        long,
        value_name = "NAME",
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub interface: Option<String>,
    /// Read this capture; `-` for standard input
    #[arg(short = 'r', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Signatures instead of the program's own
    #[arg(short = 'f', long, value_name = "FILE")]
    pub fingerprints: Vec<PathBuf>,
    /// A site's own signatures, which come before others
    #[arg(long, value_name = "FILE")]
    pub local: Vec<PathBuf>,
    /// Append to a log in p0f's form
    #[arg(short = 'o', long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// No lines on standard output
    #[arg(short, long)]
    pub quiet: bool,
    /// Answer as p0f 3.09b does
    #[arg(long)]
    pub parity: bool,
    /// End after so many handshakes
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Become this user when all is open
    #[arg(long, value_name = "NAME", requires = "interface")]
    pub user: Option<String>,
    /// Addresses that are remembered at most [default: 100000, with --parity 10000]
    #[arg(long, value_name = "N", value_parser = kept)]
    pub hosts: Option<usize>,
    /// Connections that are remembered at most [default: 100000, with --parity 1000]
    #[arg(long, value_name = "N", value_parser = kept)]
    pub connections: Option<usize>,
    /// Open no sockets
    #[arg(long)]
    pub no_sockets: bool,
    /// Configuration directory, for mail.toml
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Where observations are kept over a restart
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
}

fn kept(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=KEPT_MAX).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("use 1 to {KEPT_MAX}")),
    }
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &WatchArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &WatchArguments, output: &mut Output<'_>) -> u8 {
    let done = watch(arguments, output);
    status(done, output)
}

fn watch(arguments: &WatchArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let mode = if arguments.parity {
        Mode::Parity
    } else {
        Mode::Better
    };
    let store = store(arguments, mode)?;
    let form = match (arguments.json, arguments.quiet) {
        (true, _) => Form::Json,
        (false, true) => Form::Quiet,
        (false, false) => Form::Line,
    };
    let observations = Observations::new(store, mode);
    let mut watcher = Watcher::new(observations, form, arguments.count);
    if let Some(log) = &arguments.log {
        let opened = watcher.log_to(log);
        opened.map_err(|error| complaint(format!("{}: {}", log.display(), reason(&error))))?;
    }
    match (&arguments.file, &arguments.interface) {
        (Some(file), _) => offline::read(file, mode, &mut watcher, output)?,
        (None, Some(interface)) => {
            let open = open(arguments, interface, &mut watcher, output)?;
            live::run(open, &mut watcher, output)?;
        }
        (None, None) => return Err(complaint("-i INTERFACE or -r FILE".to_owned())),
    }
    Ok(0)
}

fn store(arguments: &WatchArguments, mode: Mode) -> Result<Store, Complaint> {
    let database = signatures::read(&arguments.fingerprints, &arguments.local, mode);
    let usual = match mode {
        Mode::Parity => KEPT_P0F,
        Mode::Better => Limits::default(),
    };
    let limits = Limits {
        hosts: arguments.hosts.unwrap_or(usual.hosts),
        connections: arguments.connections.unwrap_or(usual.connections),
    };
    let random = Random::new();
    let mut random = random.map_err(|error| complaint(reason(&error)))?;
    let secret = (random.seed(), random.seed());
    Ok(Store::new(
        database.map_err(complaint)?,
        mode,
        limits,
        secret,
    ))
}

/// What of the capture `file` fits no signature.
pub(super) fn unknown_of(
    file: &Path,
    database: Database,
    output: &mut Output<'_>,
) -> Result<Unknown, Complaint> {
    let random = Random::new();
    let mut random = random.map_err(|error| complaint(reason(&error)))?;
    let secret = (random.seed(), random.seed());
    let store = Store::new(database, Mode::Better, KEPT_P0F, secret);
    let observations = Observations::new(store, Mode::Better);
    let mut watcher = Watcher::new(observations, Form::Quiet, None);
    watcher.unknown = Some(Unknown::default());
    offline::read(file, Mode::Better, &mut watcher, output)?;
    Ok(watcher.unknown.unwrap_or_default())
}

/// Opens everything that takes privileges, then gives them up.
fn open(
    arguments: &WatchArguments,
    interface: &str,
    watcher: &mut Watcher,
    output: &mut Output<'_>,
) -> Result<Open, Complaint> {
    let user = arguments.user.as_deref().map(user::find).transpose();
    let user = user.map_err(complaint)?;
    let settings = if arguments.no_sockets {
        MailSettings::default()
    } else {
        settings::read(&arguments.config).map_err(|problem| complaint(problem.to_string()))?
    };
    let interface = Some(interface).filter(|name| *name != "any");
    let handshakes = datapath::handshakes::Handshakes::open(interface);
    let handshakes = handshakes.map_err(|error| complaint(error.to_string()))?;
    let services = Services::open(&settings).map_err(|error| complaint(error.to_string()))?;
    let memory = settings.shared_memory.as_ref();
    let memory = memory.map(SharedMemory::create).transpose();
    watcher.observations.held().published = memory.map_err(|error| complaint(error.to_string()))?;
    let directory = keep_in(arguments, user.as_ref(), watcher, output);
    user::become_harmless(user.as_ref()).map_err(complaint)?;
    Ok(Open {
        handshakes: Arc::new(handshakes),
        services,
        directory,
        settings,
    })
}

/// Observations that cannot be read or kept are no reason not to make new ones.
fn keep_in(
    arguments: &WatchArguments,
    user: Option<&nix::unistd::User>,
    watcher: &mut Watcher,
    output: &mut Output<'_>,
) -> Option<PathBuf> {
    let directory = &arguments.state_dir;
    let made = keep::make(directory);
    let made = made.and_then(|()| user.map_or(Ok(()), |user| user::give(directory, user)));
    if let Err(error) = made {
        let (directory, reason) = (directory.display(), reason(&error));
        output.message(&format!(
            "weighbridge watch: {directory}: {reason}: nothing is kept"
        ));
        return None;
    }
    watcher.unknown = Some(keep::unknown(directory).unwrap_or_else(|problem| {
        output.message(&format!("weighbridge watch: {problem}: it begins anew"));
        Unknown::default()
    }));
    if let Err(problem) = keep::restore(&mut watcher.observations.held().store, directory) {
        output.message(&format!("weighbridge watch: {problem}: it begins anew"));
    }
    Some(directory.clone())
}

const fn complaint(message: String) -> Complaint {
    Complaint::Message(message)
}
