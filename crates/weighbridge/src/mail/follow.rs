//! `weighbridge follow`: outcomes out of a mail server's log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mail::follow::Follow;
use mail::follow::exim::{EximLog, EximUntold};
use mail::follow::postfix::PostfixLog;
use mail::outcome::Outcome;
use mail::text::report;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::tail::{LINGER, Place, Tail};
use super::ask::{NOT_TOLD, ask, complaint, strange};
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
file; a log that was renamed meanwhile is found by the beginning of its name (mail.log.1,
maillog-20261129). The first time it begins at the end of the log. While `weighbridge watch` is
away it waits; an outcome that it refuses three times is passed over. After rotation the old log is
read for ten seconds more.
Use it instead of the mail server's milter, filter or ACL, not beside them: messages would count
twice. Only exim-untold belongs beside Exim's ACLs: it tells what they could not, because nobody
answered.

Examples:
  weighbridge follow postfix /var/log/mail.log
  weighbridge follow exim /var/log/exim4/mainlog
  weighbridge follow exim-untold /var/log/exim4/mainlog
  weighbridge follow postfix /var/log/mail.log --from-start --once

Exit status: 0 after SIGTERM or SIGINT, or with --once; 1 the log or the file of the place cannot be
used; 2 a wrong command line; 3 with --once something could not be told.";

/// How often the log is looked at, and how soon a report that nobody took is told again.
const EVERY: Duration = Duration::from_millis(500);
/// Where the place is kept unless told otherwise.
const PLACES: &str = "/var/lib/weighbridge-watch";
/// Lines that are read before the place is written, which waits for the disk.
const BATCH: usize = 256;
/// How often an outcome is told that is answered with something else than `ok`.
const TRIES: u32 = 3;

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
    /// File that keeps the place [default: /var/lib/weighbridge-watch/follow-SERVER-LOG.json, LOG being
    /// the log's path with - for /]
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
    /// Exim's mainlog: what its ACLs (`contrib/exim`) could not tell
    EximUntold,
}

impl Server {
    fn reader(self) -> Box<dyn Follow> {
        match self {
            Self::Postfix => Box::<PostfixLog>::default(),
            Self::Exim => Box::<EximLog>::default(),
            Self::EximUntold => Box::<EximUntold>::default(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Postfix => "postfix",
            Self::Exim => "exim",
            Self::EximUntold => "exim-untold",
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
    let kept = arguments.place.clone();
    let kept = kept.unwrap_or_else(|| default_place(arguments));
    let place = read_place(&kept).map_err(at(&kept))?;
    let log = &arguments.log;
    let tail = Tail::open(log, place, arguments.from_start).map_err(at(log))?;
    let linger = if arguments.once {
        Duration::ZERO
    } else {
        LINGER
    };
    let mut follower = Follower {
        tail: tail.lingering(linger),
        reader: arguments.server.reader(),
        pause: Pause::new().map_err(at(log))?,
        passed_over: 0,
        arguments,
        output,
    };
    let mut written = follower.tail.place();
    write_place(&kept, written).map_err(at(&kept))?;
    loop {
        let (place, reached) = follower.batch().map_err(at(log))?;
        if place != written {
            write_place(&kept, place).map_err(at(&kept))?;
            written = place;
        }
        match reached {
            Reached::Log if arguments.once => return Ok(follower.status()),
            Reached::Log if follower.pause.ended() => return Ok(0),
            Reached::Batch | Reached::Log => {}
            Reached::End(status) => return Ok(status),
        }
    }
}

/// One for each log, so that a server's two logs are not taken for one.
fn default_place(arguments: &FollowArguments) -> PathBuf {
    let log = &arguments.log;
    let log = fs::canonicalize(log).unwrap_or_else(|_| log.clone());
    let log = log.to_string_lossy().replace('-', "--").replace('/', "-");
    let name = format!("follow-{}{log}.json", arguments.server.name());
    Path::new(PLACES).join(name)
}

/// How far a [`Follower`] has come.
enum Reached {
    /// To the end of a batch.
    Batch,
    /// To the end of the log.
    Log,
    /// It is time to end, with this exit status.
    End(u8),
}

struct Follower<'a, 'o> {
    arguments: &'a FollowArguments,
    output: &'a mut Output<'o>,
    tail: Tail,
    reader: Box<dyn Follow>,
    pause: Pause,
    /// Outcomes that nobody wanted.
    passed_over: u64,
}

impl Follower<'_, '_> {
    /// Tells what up to [`BATCH`] lines say; where to go on, and how far it came.
    fn batch(&mut self) -> io::Result<(Place, Reached)> {
        let mut outcomes = Vec::new();
        for _ in 0..BATCH {
            let before = self.tail.place();
            let now = clock::now();
            let Some(line) = self.tail.line(now)? else {
                return Ok((self.tail.place(), Reached::Log));
            };
            self.reader.line(&line, now, &mut outcomes);
            let tells = !outcomes.is_empty();
            for outcome in outcomes.drain(..) {
                if let Some(status) = self.tell(&outcome) {
                    return Ok((before, Reached::End(status)));
                }
            }
            if tells && self.pause.is_over() {
                return Ok((self.tail.place(), Reached::End(0)));
            }
        }
        let reached = if self.pause.is_over() {
            Reached::End(0)
        } else {
            Reached::Batch
        };
        Ok((self.tail.place(), reached))
    }

    /// Tells `outcome` until somebody has taken it, or refused it [`TRIES`] times; an exit status
    /// when it is time to end before.
    fn tell(&mut self, outcome: &Outcome) -> Option<u8> {
        let report = report(outcome);
        let socket = &self.arguments.socket;
        let mut complained = false;
        let mut refused = 0;
        loop {
            let (error, answered) = match ask(socket, &report) {
                Ok(answer) if answer == "ok" => return None,
                Ok(answer) => (strange(&answer), true),
                Err(error) => (error, false),
            };
            if !std::mem::replace(&mut complained, true) {
                self.output.message(&complaint("follow", socket, &error));
            }
            refused += u32::from(answered);
            if refused == TRIES {
                self.passed_over = self.passed_over.saturating_add(1);
                let count = self.passed_over;
                self.output.message(&format!(
                    "weighbridge follow: \"{report}\" is passed over, {count} so far"
                ));
                return None;
            }
            if self.arguments.once && !answered {
                return Some(NOT_TOLD);
            }
            if self.pause.ended() {
                return Some(0);
            }
        }
    }

    /// When all is read.
    const fn status(&self) -> u8 {
        if self.passed_over > 0 { NOT_TOLD } else { 0 }
    }
}

/// Nothing when none is kept yet.
fn read_place(path: &Path) -> io::Result<Option<Place>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            io::Error::other(format!(
                "keeps no place of a log ({error})\n  hint: remove it: the log is read from its end then, or with \
                 --from-start from its beginning"
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_place(path: &Path, place: Place) -> io::Result<()> {
    files::replace_for_good(path, &serde_json::to_vec(&place)?)
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

    /// Whether it is time to end.
    fn is_over(&mut self) -> bool {
        self.within(Duration::ZERO)
    }

    /// Waits for [`EVERY`]; whether it is time to end.
    fn ended(&mut self) -> bool {
        self.within(EVERY)
    }

    fn within(&mut self, patience: Duration) -> bool {
        let (terminated, interrupted) = (&mut self.terminated, &mut self.interrupted);
        self.runtime.block_on(async {
            // Signals that have come are noticed when the runtime has had its turn.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                _ = terminated.recv() => true,
                _ = interrupted.recv() => true,
                () = tokio::time::sleep(patience) => false,
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
        let place = dir.path().join("place.json");
        fs::write(&place, "{").expect("written");
        assert_eq!(once(dir.path(), &log), 1);
        let problem = read_place(&place).expect_err("no place").to_string();
        assert!(problem.contains("hint: remove it"), "{problem}");
    }

    #[test]
    fn what_is_refused_again_and_again_does_not_keep_the_rest_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("mainlog");
        let line = |port| {
            format!(
                "2026-11-28 04:00:01 H=(x) [192.0.2.1]:{port} F=<a@b> rejected RCPT <c@d>: no\n"
            )
        };
        fs::write(&log, line(1) + &line(2)).expect("written");
        let listener = UnixListener::bind(dir.path().join("os.sock")).expect("listens");
        let daemon = std::thread::spawn(move || {
            let mut told = Vec::new();
            for stream in listener.incoming().take(4) {
                let mut stream = stream.expect("told");
                let mut report = [0; 128];
                let length = stream.read(&mut report).expect("read");
                let report = String::from_utf8_lossy(&report[..length]).into_owned();
                let answer = if report.ends_with(" 1\n") {
                    "error"
                } else {
                    "ok"
                };
                stream.write_all(answer.as_bytes()).expect("answered");
                told.push(report);
            }
            told
        });
        assert_eq!(once(dir.path(), &log), NOT_TOLD);
        let told = daemon.join().expect("told");
        let ports: Vec<_> = told
            .iter()
            .filter_map(|report| report.trim().rsplit(' ').next())
            .collect();
        assert_eq!(ports, ["1", "1", "1", "2"]);
    }

    #[test]
    fn each_log_has_a_place_of_its_own() {
        let place = |log: &str| {
            default_place(&FollowArguments {
                server: Server::Exim,
                log: log.into(),
                from_start: false,
                once: true,
                place: None,
                socket: PathBuf::new(),
            })
        };
        assert_eq!(
            place("/nowhere/exim4/mainlog"),
            Path::new("/var/lib/weighbridge-watch/follow-exim-nowhere-exim4-mainlog.json")
        );
        assert_ne!(place("/nowhere/a-b"), place("/nowhere/a/b"));
    }
}
