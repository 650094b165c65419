//! `weighbridge check links|uplinks|bridge|daemon`, also called by the name `check_weighbridge`: a
//! plug-in for Nagios, Icinga and whatever else runs those.

mod checks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use links::monitor::{Range, Report, Severity};

use crate::config::{DEFAULT_STATUS_SOCKET, STATUS_VARIABLE};
use crate::output::with_process_output;

/// The name that stands for `weighbridge check`.
pub(crate) const NAME: &str = "check_weighbridge";
/// What can be checked; anything else behind `weighbridge check` is a file of rules.
const SUBJECTS: [&str; 4] = ["links", "uplinks", "bridge", "daemon"];
/// Longest `--timeout`, in seconds.
const MAX_TIMEOUT_SECS: u64 = 3_600;

const LONG_ABOUT: &str = "\
A plug-in for Nagios and Icinga, by the Monitoring Plugins' guidelines. It needs no privileges:
`uplinks` and `daemon` ask the daemon on its socket for status (see weighbridge.toml(5), STATUS).

`links` reads the laggs of `weighbridge links run` and Linux bonding on this machine; or, from a
file or standard input, the text of others: /proc/net/bonding/IF, `teamdctl IF state dump`,
ifconfig(8) of FreeBSD and OpenBSD. It warns when fewer links work than there are, when the standby
is in use, when a LACP partner is missing or out of step, when a link passes nothing, and on
flapping; it is critical when no link carries traffic. `daemon` warns when the filter is disabled,
and is critical when nobody answers.

Examples:
  check_weighbridge links
  check_weighbridge links -c 2: lagg0
  ssh freebsd ifconfig | check_weighbridge links --ifconfig -
  check_weighbridge links --bonding /proc/net/bonding/bond0
  weighbridge check uplinks
  weighbridge check bridge bridge0

What -w and -c are about: of `links` the links that work, of each lagg; of `uplinks` the gateways
that work; of `bridge` the ports that forward, of each bridge; of `daemon` the seconds until it
answers.
Ranges are [@]START:END: 10 alerts below 0 and above 10, 10: below 10, ~:10 above 10, @10:20 from
10 to 20.

Exit status: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN, also for --help and a wrong command line.";

#[derive(Debug, Parser)]
#[command(name = NAME, version, about = "Check links, uplinks, bridges and the daemon", long_about = LONG_ABOUT)]
struct Plugin {
    #[command(subcommand)]
    subject: Subject,
}

/// The command line, for completions and for the test that holds it against the manual.
pub(crate) fn command() -> clap::Command {
    <Plugin as clap::CommandFactory>::command()
}

#[derive(Clone, Debug, Subcommand)]
enum Subject {
    /// Aggregated links: failover, LACP and the like
    Links(LinksArguments),
    /// The gateways that the daemon probes
    Uplinks(UplinksArguments),
    /// Bridges and their ports
    Bridge(BridgeArguments),
    /// Whether the daemon answers
    Daemon(DaemonArguments),
}

/// What all of them have.
#[derive(Clone, Debug, Args)]
struct Common {
    /// WARNING if what is counted is outside of it
    #[arg(short, long, value_name = "RANGE", value_parser = Range::parse)]
    warning: Option<Range>,
    /// CRITICAL if what is counted is outside of it
    #[arg(short, long, value_name = "RANGE", value_parser = Range::parse)]
    critical: Option<Range>,
    /// Seconds until it gives up
    #[arg(short, long, value_name = "SECONDS", default_value = "10")]
    timeout: u64,
    /// More about each thing, up to three times
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// `links`: what is counted are the links that work.
#[derive(Clone, Debug, Args)]
struct LinksArguments {
    /// Interfaces [default: all]
    #[arg(value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Read Linux bonding's text from a file
    #[arg(long, value_name = "FILE", group = "source")]
    bonding: Option<PathBuf>,
    /// Read the state of teamd from a file
    #[arg(long, value_name = "FILE", group = "source")]
    teamd: Option<PathBuf>,
    /// Read the text of ifconfig from a file
    #[arg(long, value_name = "FILE", group = "source")]
    ifconfig: Option<PathBuf>,
    /// Failovers in an hour that are flapping [default: 3]
    #[arg(long, value_name = "RANGE", value_parser = Range::parse)]
    flapping: Option<Range>,
    #[command(flatten)]
    common: Common,
}

/// `uplinks`: what is counted are the gateways that work.
#[derive(Clone, Debug, Args)]
struct UplinksArguments {
    /// What `weighbridge gateways --json` printed, instead of asking the daemon
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Socket of the daemon for status (or its control socket, as root)
    #[arg(long, value_name = "PATH", env = STATUS_VARIABLE, default_value = DEFAULT_STATUS_SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// `bridge`: what is counted are the ports that forward.
#[derive(Clone, Debug, Args)]
struct BridgeArguments {
    /// Bridges [default: all]
    #[arg(value_name = "BRIDGE")]
    bridges: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// `daemon`: what is counted are the seconds until it answers.
#[derive(Clone, Debug, Args)]
struct DaemonArguments {
    /// Socket of the daemon for status (or its control socket, as root)
    #[arg(long, value_name = "PATH", env = STATUS_VARIABLE, default_value = DEFAULT_STATUS_SOCKET)]
    socket: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Subject {
    fn common(&self) -> &Common {
        match self {
            Self::Links(arguments) => &arguments.common,
            Self::Uplinks(arguments) => &arguments.common,
            Self::Bridge(arguments) => &arguments.common,
            Self::Daemon(arguments) => &arguments.common,
        }
    }

    fn service(&self) -> &'static str {
        match self {
            Self::Links(_) => "LINKS",
            Self::Uplinks(_) => "UPLINKS",
            Self::Bridge(_) => "BRIDGE",
            Self::Daemon(_) => "DAEMON",
        }
    }

    /// What it means when there is no answer in time: of the daemon it is the answer.
    fn late(&self) -> Severity {
        match self {
            Self::Uplinks(_) | Self::Daemon(_) => Severity::Critical,
            Self::Links(_) | Self::Bridge(_) => Severity::Unknown,
        }
    }
}

/// Whether these arguments of `weighbridge` are for the plug-in.
pub(crate) fn is_meant(arguments: &[OsString]) -> bool {
    let subject = arguments.get(2).and_then(|word| word.to_str());
    arguments.get(1).is_some_and(|word| word == "check")
        && subject.is_some_and(|word| SUBJECTS.contains(&word))
}

/// Runs it; `arguments` without the program's name.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let line = std::iter::once(OsString::from(NAME)).chain(arguments.iter().cloned());
    match Plugin::try_parse_from(line) {
        Ok(plugin) => check(plugin.subject),
        Err(error) => {
            // By the guidelines all of it goes to standard output.
            let text = error.render().to_string();
            with_process_output(true, |output| {
                let _ = output.text(&text);
            });
            exit(Severity::Unknown)
        }
    }
}

fn check(subject: Subject) -> ExitCode {
    let common = subject.common().clone();
    let (service, late) = (subject.service(), subject.late());
    let (sender, receiver) = channel();
    // A read that never ends must not hold the answer back; it ends with the process.
    std::thread::spawn(move || {
        let _ = sender.send(checks::check(&subject));
    });
    let patience = Duration::from_secs(common.timeout.clamp(1, MAX_TIMEOUT_SECS));
    let report = receiver
        .recv_timeout(patience)
        .unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                Report::of(late, format!("no answer in {} s", patience.as_secs()))
            }
            RecvTimeoutError::Disconnected => Report::unknown("the check broke off"),
        });
    with_process_output(true, |output| {
        let _ = output.text(&report.text(service, common.verbose));
    });
    exit(report.severity)
}

fn exit(severity: Severity) -> ExitCode {
    ExitCode::from(severity as u8)
}
