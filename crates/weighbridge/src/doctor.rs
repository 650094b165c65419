//! `weighbridge doctor`: finds faults of other programs and of the machine, and mends them.
//!
//! What is wrong is decided in the crate `doctor`, which is pure. Here are the machine's files,
//! its network and its kernel.

mod apache;
mod disk;
mod fixing;
mod kerberos;
mod links;
mod pf;
mod place;
mod program;
mod report;
mod trial;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use ::doctor::{Report, Step};
use clap::{Args, ValueEnum};

use crate::config::DEFAULT_CONFIG_DIR;
use crate::output::{Output, with_process_output};
use crate::tools::{Complaint, status};

/// Exit status when nothing could be looked at.
const UNCHECKED: u8 = 2;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Find faults of httpd, Kerberos, links and rules, and mend them.

Nothing is said where there is no fault. Each finding has its place (file and line), the reason,
what to do (the best first), and how it is known.

  apache    \"connect to listener on 0.0.0.0:80\": whether httpd can reach its own listener. That
            is tried, as httpd does it, where httpd runs; the configuration alone cannot tell.
            Also: listeners that overlap, virtual hosts that no listener serves.
  kerberos  in this order: host name, DNS both ways, realm, KDC, clock (the KDC's own answer has
            it), krb5.conf, keytab, a ticket, sshd, and \"GSSAPI MIC check failed\": the
            triple-DES checksum that Heimdal up to 0.6 gets wrong, and which side to mend.
  links     kernel features, bridges that are half made, MTUs that differ, offloads, rp_filter,
            ip_forward, a loopback that is down.
  pf        what `weighbridge check` says of pf.conf.

With --fix the edits are shown as a diff and made when you say yes; the old file stays beside the
new one as FILE.doctor-backup (then FILE.doctor-backup.1, ...). A file that has changed meanwhile
is not touched.

Examples:
  weighbridge doctor
  weighbridge doctor apache --fix
  weighbridge doctor apache --pid 4711              inside the container of that process
  weighbridge doctor apache --error-log error.log --address 192.0.2.7
                                                    a log of another machine
  weighbridge doctor kerberos --sshd-log debug.log  what `sshd -ddd` said
  weighbridge doctor kerberos --krb5-config old.conf --library heimdal-0.6.3 --host old.example
                                                    another machine's krb5.conf

Exit status: 0 no fault; 1 faults were found, also if --fix has mended them, or something else could
not be checked; 2 no fault, but something could not be checked, or a wrong command line.";

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Area {
    /// httpd's listeners.
    Apache,
    /// Kerberos, from the host's name to the MIC.
    Kerberos,
    /// The machine's kernel and links.
    Links,
    /// pf.conf.
    Pf,
    /// All of them.
    All,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Apache => "apache",
            Self::Kerberos => "kerberos",
            Self::Links => "links",
            Self::Pf => "pf",
            Self::All => "all",
        }
    }
}

/// `weighbridge doctor`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct DoctorArguments {
    /// What to look at [default: all]
    #[arg(value_name = "AREA")]
    pub areas: Vec<Area>,
    /// Show the edits that mend what was found, and make them
    #[arg(long)]
    pub fix: bool,
    /// With --fix: do not ask
    #[arg(long, requires = "fix")]
    pub yes: bool,
    /// Everything as JSON, on standard output
    #[arg(long, conflicts_with = "fix")]
    pub json: bool,
    /// Tell also what was looked at and is right
    #[arg(short, long)]
    pub verbose: bool,
    /// apache, links: look where this process runs: at its files, in its network
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// httpd's configuration [default: the usual places]
    #[arg(long, value_name = "FILE")]
    pub httpd_config: Option<String>,
    /// httpd's program, asked for its version and modules [default: apache2 or httpd]
    #[arg(long, value_name = "PROGRAM")]
    pub httpd: Option<PathBuf>,
    /// httpd's error log; without --httpd-config the log alone is looked at
    #[arg(long, value_name = "FILE")]
    pub error_log: Option<PathBuf>,
    /// With --error-log: the address of the machine that wrote it
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
    /// krb5.conf, or several with `:`
    #[arg(
        long,
        value_name = "FILES",
        env = "KRB5_CONFIG",
        default_value = "/etc/krb5.conf"
    )]
    pub krb5_config: String,
    /// Keytab of the host
    #[arg(long, value_name = "FILE", default_value = "/etc/krb5.keytab")]
    pub keytab: String,
    /// Kerberos library of the machine: mit, heimdal, heimdal-0.6.3 [default: asked of its tools]
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Full name of the host [default: its own]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// sshd's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/ssh/sshd_config")]
    pub sshd_config: String,
    /// Log of sshd (`sshd -ddd -e`, or with `LogLevel DEBUG`)
    #[arg(long, value_name = "FILE")]
    pub sshd_log: Option<PathBuf>,
    /// Configuration directory of weighbridge
    #[arg(long, value_name = "DIR", default_value = DEFAULT_CONFIG_DIR)]
    pub config: PathBuf,
    /// Rules [default: pf.conf of the configuration directory]
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &DoctorArguments) -> ExitCode {
    with_process_output(false, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &DoctorArguments, output: &mut Output<'_>) -> u8 {
    let examined = examine(arguments, output);
    match examined {
        // A complaint is a place that could not be looked at.
        Err(Complaint::Message(message)) => {
            output.message(&format!("weighbridge: {message}"));
            UNCHECKED
        }
        other => status(other, output),
    }
}

fn examine(arguments: &DoctorArguments, output: &mut Output<'_>) -> Result<u8, Complaint> {
    let areas = areas(&arguments.areas);
    let mut report = Report::default();
    // What somebody names is expected to be there; `all` takes what is.
    let asked_for = !arguments.areas.is_empty() && !arguments.areas.contains(&Area::All);
    for area in &areas {
        match steps(*area, arguments, asked_for) {
            Ok(steps) => report.steps.extend(steps),
            Err(Complaint::Message(reason)) if areas.len() > 1 => {
                report.steps.push(Step::unchecked(area.name(), reason));
            }
            Err(other) => return Err(other),
        }
    }
    let status = report.status(asked_for);
    if arguments.json {
        output.text(&report::json(&report, status)?)?;
        return Ok(status);
    }
    output.text(&report::text(
        &report,
        arguments.verbose || asked_for && status == UNCHECKED,
    ))?;
    if arguments.fix {
        fixing::mend(&report, arguments.yes, output)?;
    }
    Ok(status)
}

fn areas(asked: &[Area]) -> Vec<Area> {
    let mut areas = asked.to_vec();
    if areas.is_empty() || areas.contains(&Area::All) {
        areas = vec![Area::Apache, Area::Kerberos, Area::Links, Area::Pf];
    }
    areas.sort_unstable();
    areas.dedup();
    areas
}

fn steps(area: Area, arguments: &DoctorArguments, asked_for: bool) -> Result<Vec<Step>, Complaint> {
    let steps = match area {
        Area::Apache => apache::steps(arguments),
        Area::Kerberos => kerberos::steps(arguments, asked_for),
        Area::Links => links::steps(arguments),
        Area::Pf => pf::steps(arguments),
        Area::All => Ok(Vec::new()),
    };
    steps.map_err(Complaint::Message)
}
