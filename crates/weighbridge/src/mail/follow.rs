//! `weighbridge follow`: outcomes out of a mail server's log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mail::follow::Follow;
use mail::follow::exim::EximLog;
use mail::follow::postfix::PostfixLog;
use mail::outcome::Outcome;
use mail::text::report;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::tail::{Place, Tail};
use super::ask::{ask, complaint, strange};
use super::clock;
use super::settings::OS_SOCKET;
use crate::files;
use crate::output::{Output, with_process_output};
use crate::text::reason;

mod tail;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Follow the log of a mail server, and tell a running `weighbridge watch` what became of messages.

The mail server is not asked and does not wait. Log lines must name the client's port:
  postfix   smtpd_client_port_logging = yes             (main.cf)
  exim      log_selector = +incoming_port +incoming_interface

The log is followed over rotation, and over restarts of this command, which keeps its place in a
file. The first time it begins at the end of the log. While `weighbridge watch` is away it waits.
Use it instead of the mail server's milter, filter or ACL, not beside them: messages would count
twice.

Examples:
  weighbridge follow postfix /var/log/mail.log
  weighbridge follow exim /var/log/exim4/mainlog
  weighbridge follow postfix /var/log/mail.log --from-start --once

Exit status: 0 after SIGTERM or SIGINT, or with --once; 1 the log or the file of the place cannot be
used; 2 a wrong command line, or with --once nobody could be told.";

/// How often the log is looked at, and how soon a report that nobody took is told again.
const EVERY: Duration = Duration::from_millis(500);
/// Where the place is kept unless told otherwise.
const PLACES: &str = "/var/lib/weighbridge-watch";
const NOT_TOLD: u8 = 2;

/// `weighbridge follow`.
#[derive(Clone, Debug, Args)]
pub struct FollowArguments {
    /// Whose log it is
    #[arg(value_enum)]
    pub server: Server,
    /// The log
    #[arg(value_name = "LOGFILE")]
    pub log: PathBuf,
    /// Begin at the beginning of the log, when no place is kept
    #[arg(long)]
    pub from_start: bool,
    /// Read what is there, and end
    #[arg(long)]
    pub once: bool,
    /// File that keeps the place [default: /var/lib/weighbridge-watch/follow-SERVER.json]
    #[arg(long, value_name = "FILE")]
    pub place: Option<PathBuf>,
    /// Text socket of `weighbridge watch`
    #[arg(long, value_name = "PATH", env = "WEIGHBRIDGE_OS_SOCKET", default_value = OS_SOCKET)]
    pub socket: PathBuf,
}

/// Whose log is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// Postfix' log
    Postfix,
    /// Exim's mainlog or rejectlog
    Exim,
}

impl Server {
    fn reader(self) -> Box<dyn Follow> {
        match self {
            Self::Postfix => Box::<PostfixLog>::default(),
            Self::Exim => Box::<EximLog>::default(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Postfix => "postfix",
            Self::Exim => "exim",
        }
    }
}

/// Runs it on the process's own output.
#[must_use]
pub fn run(arguments: &FollowArguments) -> ExitCode {
    with_process_output(true, |output| ExitCode::from(execute(arguments, output)))
}

/// Runs it; returns the exit status.
pub fn execute(arguments: &FollowArguments, output: &mut Output<'_>) -> u8 {
    match follow(arguments, output) {
        Ok(status) => status,
        Err((path, error)) => {
            let path = path.display();
            output.message(&format!("weighbridge follow: {path}: {}", reason(&error)));
            1
        }
    }
}

type Fault = (PathBuf, io::Error);

fn follow(arguments: &FollowArguments, output: &mut Output<'_>) -> Result<u8, Fault> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let name = format!("follow-{}.json", arguments.server.name());
    let default = || Path::new(PLACES).join(name);
    let kept = arguments.place.clone().unwrap_or_else(default);
    let place = read_place(&kept).map_err(at(&kept))?;
    let log = &arguments.log;
    let mut tail = Tail::open(log, place, arguments.from_start).map_err(at(log))?;
    let mut pause = Pause::new().map_err(at(log))?;
    let mut reader = arguments.server.reader();
    let mut outcomes = Vec::new();
    write_place(&kept, tail.place()).map_err(at(&kept))?;
    loop {
        while let Some(line) = tail.line().map_err(at(log))? {
            reader.line(&line, clock::now(), &mut outcomes);
            if outcomes.is_empty() {
                continue;
            }
            for outcome in outcomes.drain(..) {
                if let Some(status) = told(arguments, &outcome, &mut pause, output) {
                    return Ok(status);
                }
            }
            write_place(&kept, tail.place()).map_err(at(&kept))?;
        }
        if arguments.once || pause.ended() {
            write_place(&kept, tail.place()).map_err(at(&kept))?;
            return Ok(0);
        }
    }
}

/// Tells `outcome` until somebody has taken it; an exit status when it is time to end before.
fn told(
    arguments: &FollowArguments,
    outcome: &Outcome,
    pause: &mut Pause,
    output: &mut Output<'_>,
) -> Option<u8> {
    let mut complained = false;
    loop {
        let error = match ask(&arguments.socket, &report(outcome)) {
            Ok(answer) if answer == "ok" => return None,
            Ok(answer) => strange(&answer),
            Err(error) => error,
        };
        if !std::mem::replace(&mut complained, true) {
            output.message(&complaint("follow", &arguments.socket, &error));
        }
        if arguments.once {
            return Some(NOT_TOLD);
        }
        if pause.ended() {
            return Some(0);
        }
    }
}

/// Nothing when none is kept yet.
fn read_place(path: &Path) -> io::Result<Option<Place>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_place(path: &Path, place: Place) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec(&place)?, None)
}

/// A wait that a signal ends.
struct Pause {
    runtime: Runtime,
    terminated: Signal,
    interrupted: Signal,
}

impl Pause {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (terminated, interrupted) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        Ok(Self {
            runtime,
            terminated,
            interrupted,
        })
    }

    /// Waits for [`EVERY`]; whether it is time to end.
    fn ended(&mut self) -> bool {
        let (terminated, interrupted) = (&mut self.terminated, &mut self.interrupted);
        self.runtime.block_on(async {
            tokio::select! {
                _ = terminated.recv() => true,
                _ = interrupted.recv() => true,
                () = tokio::time::sleep(EVERY) => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Follows `log` once; the exit status.
    fn once(dir: &Path, log: &Path) -> u8 {
        let arguments = FollowArguments {
            server: Server::Exim,
            log: log.to_owned(),
            from_start: true,
            once: true,
            place: Some(dir.join("place.json")),
            socket: dir.join("os.sock"),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        execute(
            &arguments,
            &mut Output {
                out: &mut out,
                err: &mut err,
                rich_errors: false,
            },
        )
    }

    #[test]
    fn what_a_log_says_is_told_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("mainlog");
        let line = "2026-11-28 04:00:01 H=(x) [192.0.2.1]:4711 F=<a@b> rejected RCPT <c@d>: no\n";
        fs::write(&log, line).expect("written");
        // Nobody is there: it is told the next time.
        assert_eq!(once(dir.path(), &log), NOT_TOLD);
        let listener = UnixListener::bind(dir.path().join("os.sock")).expect("listens");
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("told");
            let mut told = [0; 128];
            let length = stream.read(&mut told).expect("read");
            stream.write_all(b"ok").expect("answered");
            String::from_utf8_lossy(&told[..length]).into_owned()
        });
        assert_eq!(once(dir.path(), &log), 0);
        assert_eq!(
            daemon.join().expect("told"),
            "outcome rejected rcpt 192.0.2.1 4711\n"
        );
        // Nobody listens any more, and nothing is left to be told.
        assert_eq!(once(dir.path(), &log), 0);
        assert_eq!(once(dir.path(), &dir.path().join("none")), 1);
    }
}
