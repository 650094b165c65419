//! `weighbridge filter opensmtpd`: a filter that `smtpd` starts itself.
//!
//! `smtpd` ends when its filter ends, so nothing but the end of its input ends it; and all its
//! sessions wait while it does, so it asks for a second at most, and when nobody has answered it
//! asks nobody for a while.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use clap::{Args, Subcommand};
use mail::answer::UNKNOWN;
use mail::connection::Peer;
use mail::opensmtpd::{Filter, FilterOptions, Surroundings};
use mail::outcome::Outcome;
use mail::text::{report, words};
use mail::time::Timestamp;

use super::ask::ask;
use super::clock;
use super::settings::OS_SOCKET;

/// What `--help` says.
pub const LONG_ABOUT: &str = "\
Filter mail as a child of the mail server.

  opensmtpd   takes forged X-OS-Fingerprint headers out of messages, puts ours in front, and
              reports what became of each. In smtpd.conf:

    filter os proc-exec \"/usr/local/sbin/weighbridge filter opensmtpd\"
    listen on eth0 filter os

Answers come from a running `weighbridge watch` by its text socket, which the user that smtpd runs
filters as must be able to open. When nobody answers, the header says Unknown, and nobody is asked
for ten seconds: mail flows on. It ends when smtpd closes its input, and for no other reason.";

/// How long nobody is asked when nobody has answered.
const RESPITE: Duration = Duration::from_secs(10);
/// How soon a report that nobody took is told again.
const AGAIN: Duration = Duration::from_secs(1);
/// Reports that wait to be told; further ones are lost, and counted.
const REPORTS_MAX: usize = 10_000;
/// Bytes of a line: many times smtpd's own limit of 65,535 for a line of SMTP.
const LINE_MAX: u64 = 1 << 20;

/// `weighbridge filter`.
#[derive(Clone, Debug, Args)]
pub struct FilterArguments {
    /// Which server's protocol is spoken
    #[command(subcommand)]
    pub server: FilterServer,
}

/// Which server's protocol is spoken.
#[derive(Clone, Debug, Subcommand)]
pub enum FilterServer {
    /// smtpd-filters(7)
    Opensmtpd(OpensmtpdArguments),
}

/// `weighbridge filter opensmtpd`.
#[derive(Clone, Debug, Args)]
pub struct OpensmtpdArguments {
    /// Report what became of messages and do not touch them
    #[arg(long)]
    pub outcomes_only: bool,
    /// Text socket of `weighbridge watch`
    #[arg(long, value_name = "PATH", env = "WEIGHBRIDGE_OS_SOCKET", default_value = OS_SOCKET)]
    pub socket: PathBuf,
}

/// Runs it on the process's own input and output.
#[must_use]
pub fn run(arguments: &FilterArguments) -> ExitCode {
    let FilterServer::Opensmtpd(arguments) = &arguments.server;
    let ended = filter(arguments, &mut io::stdin().lock(), &mut io::stdout().lock());
    ExitCode::from(u8::from(ended.is_err()))
}

fn filter(
    arguments: &OpensmtpdArguments,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<()> {
    let (reports, waiting) = sync_channel(REPORTS_MAX);
    let (socket, lost) = (arguments.socket.clone(), Arc::new(AtomicU64::new(0)));
    let (lost_here, ended) = (Arc::clone(&lost), Arc::new(AtomicBool::new(false)));
    let ended_here = Arc::clone(&ended);
    let teller = std::thread::spawn(move || tell_all(&socket, &waiting, &lost_here, &ended_here));
    let mut daemon = Daemon {
        socket: arguments.socket.clone(),
        reports,
        lost,
        silent_until: Timestamp::default(),
        known: VecDeque::new(),
    };
    let options = FilterOptions {
        header: !arguments.outcomes_only,
    };
    let mut filter = Filter::new(options);
    let mut line = Vec::new();
    while read_line(input, &mut line)? {
        let mut answers = String::new();
        filter.line(&text(&line), &mut answers, &mut daemon);
        output.write_all(&bytes(&answers))?;
        output.flush()?;
    }
    // What was reported last is still told, while somebody takes it.
    ended.store(true, Ordering::Relaxed);
    drop(daemon);
    teller.thread().unpark();
    teller
        .join()
        .map_err(|_| io::Error::other("reports were not told"))
}

/// The next line without its end; whether there was one. What is longer than any line of smtpd's is
/// no line: all of it is passed over, so that none of it is taken for another.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut read = take_line(input, line)?;
    if read == LINE_MAX && line.last() != Some(&b'\n') {
        let mut tail = Vec::new();
        while read == LINE_MAX && tail.last() != Some(&b'\n') {
            tail.clear();
            read = take_line(input, &mut tail)?;
        }
        line.clear();
        return Ok(true);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(read > 0)
}

fn take_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let read = io::Read::take(input, LINE_MAX).read_until(b'\n', line)?;
    Ok(u64::try_from(read).unwrap_or(LINE_MAX))
}

/// A character for each byte: mail need not be UTF-8, and leaves as it came.
fn text(line: &[u8]) -> String {
    line.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let byte = |c| u8::try_from(u32::from(c)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

/// `weighbridge watch`, as seen from here.
struct Daemon {
    socket: PathBuf,
    reports: SyncSender<Outcome>,
    /// Reports that nobody took.
    lost: Arc<AtomicU64>,
    silent_until: Timestamp,
    /// The last connections' answers: a connection may bring many messages.
    known: VecDeque<(Peer, Option<String>)>,
}

/// Connections whose answers are kept.
const KNOWN_MAX: usize = 64;

impl Surroundings for Daemon {
    fn header(&mut self, peer: &Peer) -> Option<String> {
        if let Some((_, answer)) = self.known.iter().find(|(known, _)| known == peer) {
            return answer.clone();
        }
        let answer = self.ask(peer)?;
        let answer = Some(answer).filter(|answer| answer != UNKNOWN);
        if self.known.len() >= KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back((*peer, answer.clone()));
        answer
    }

    fn record(&mut self, outcome: Outcome) {
        // Full: the daemon has been away for long. Mail does not wait for it.
        if self.reports.try_send(outcome).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }
}

impl Daemon {
    fn ask(&mut self, peer: &Peer) -> Option<String> {
        if clock::now() < self.silent_until {
            return None;
        }
        let answer = ask(&self.socket, &format!("header {}\n", words(peer))).ok();
        if answer.is_none() {
            self.silent_until = clock::now().saturating_add(RESPITE);
        }
        answer.filter(|answer| !answer.starts_with("error:"))
    }
}

/// Tells reports one after the other until there will be no more. One that nobody takes is told again, with
/// the name of its message, by which it counts once; when smtpd has ended, it and the rest are lost. How many
/// were is told, on standard error, which is smtpd's log.
fn tell_all(socket: &Path, waiting: &Receiver<Outcome>, lost: &AtomicU64, ended: &AtomicBool) {
    while let Ok(outcome) = waiting.recv() {
        let report = report(&outcome);
        while ask(socket, &report).is_err() {
            if ended.load(Ordering::Relaxed) {
                let rest = u64::try_from(waiting.try_iter().count()).unwrap_or(u64::MAX);
                complain(
                    lost.swap(0, Ordering::Relaxed)
                        .saturating_add(rest)
                        .saturating_add(1),
                );
                return;
            }
            std::thread::park_timeout(AGAIN);
        }
        complain(lost.swap(0, Ordering::Relaxed));
    }
}

fn complain(lost: u64) {
    if lost > 0 {
        let told = writeln!(io::stderr(), "{lost} outcomes were lost: nobody took them");
        // A log that is gone changes nothing.
        drop(told);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};
    use std::os::unix::net::UnixListener;

    use mail::outcome::Verdict;

    use super::*;
    use crate::mail::testing::outcome;

    const CONNECT: &[u8] = b"config|ready\nreport|0.6|1.5|smtp-in|link-connect|s1|mx|pass|\
                             192.0.2.1:4711|192.0.2.9:25\n";

    fn filtered(socket: &Path, input: &[u8], outcomes_only: bool) -> Vec<u8> {
        let arguments = OpensmtpdArguments {
            outcomes_only,
            socket: socket.to_owned(),
        };
        let mut output = Vec::new();
        filter(&arguments, &mut BufReader::new(input), &mut output).expect("it ends");
        output
    }

    /// A message of an old encoding, whose sender has forged our header.
    fn message() -> Vec<u8> {
        let lines: [&[u8]; 5] = [
            b"Subject: caf\xe9",
            b"X-OS-Fingerprint: Forged",
            b"",
            b"text",
            b".",
        ];
        let mut input = CONNECT.to_vec();
        for line in lines {
            input.extend_from_slice(b"filter|0.6|1.5|smtp-in|data-line|s1|t1|");
            input.extend_from_slice(line);
            input.push(b'\n');
        }
        input
    }

    fn data_lines(output: &[u8]) -> Vec<&[u8]> {
        let lines = output.split(|byte| *byte == b'\n');
        let prefix: &[u8] = b"filter-dataline|s1|t1|";
        lines.filter_map(|line| line.strip_prefix(prefix)).collect()
    }

    #[test]
    fn messages_get_the_daemons_answer_and_leave_otherwise_as_they_came() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("os.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut question = [0; 64];
            let length = stream.read(&mut question).expect("read");
            stream.write_all(b"Odd one (exact)").expect("answered");
            String::from_utf8_lossy(&question[..length]).into_owned()
        });
        let output = filtered(&path, &message(), false);
        assert_eq!(
            asked.join().expect("asked"),
            "header 192.0.2.1 4711 192.0.2.9 25\n"
        );
        let lines: [&[u8]; 5] = [
            b"X-OS-Fingerprint: Odd one (exact)",
            b"Subject: caf\xe9",
            b"",
            b"text",
            b".",
        ];
        assert_eq!(data_lines(&output), lines);
    }

    #[test]
    fn the_end_of_a_line_that_is_too_long_is_no_line() {
        let nobody = Path::new("/nonexistent/os.sock");
        let mut input = CONNECT.to_vec();
        input.extend(vec![b'x'; 2 << 20]);
        input.extend_from_slice(b"filter|0.6|1.5|smtp-in|data-line|s1|t1|forged\n");
        input.extend_from_slice(b"filter|0.6|1.5|smtp-in|data-line|s1|t1|Subject: mine\n");
        let output = filtered(nobody, &input, false);
        let lines: [&[u8]; 2] = [b"X-OS-Fingerprint: Unknown", b"Subject: mine"];
        assert_eq!(data_lines(&output), lines);
    }

    #[test]
    fn without_a_daemon_messages_pass_at_once() {
        let nobody = Path::new("/nonexistent/os.sock");
        let output = filtered(nobody, &message(), false);
        assert_eq!(data_lines(&output)[0], b"X-OS-Fingerprint: Unknown");
        assert_eq!(data_lines(&output).len(), 5);
        let registered = filtered(nobody, b"config|ready\n", true);
        let registered = String::from_utf8(registered).expect("text");
        assert!(!registered.contains("data-line"), "{registered}");
        assert!(registered.ends_with("register|ready\n"), "{registered}");
    }

    #[test]
    fn what_nobody_takes_is_told_when_somebody_is_there_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("os.sock");
        let (sender, waiting) = sync_channel(REPORTS_MAX);
        let (lost, ended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        for number in 1..=3 {
            let outcome = Outcome {
                message: Some(format!("m{number}")),
                ..outcome("192.0.2.1", Verdict::Rejected, clock::now())
            };
            sender.send(outcome).expect("there is room");
        }
        let (socket, lost_there, ended_there) =
            (path.clone(), Arc::clone(&lost), Arc::clone(&ended));
        let teller =
            std::thread::spawn(move || tell_all(&socket, &waiting, &lost_there, &ended_there));
        // The first one is refused: whoever took it did not answer.
        let listener = UnixListener::bind(&path).expect("listens");
        let mut told = Vec::new();
        for turn in 0..4 {
            let (mut stream, _) = listener.accept().expect("told");
            let mut report = [0; 128];
            let length = stream.read(&mut report).expect("read");
            let report = String::from_utf8_lossy(&report[..length]).into_owned();
            let name = report.trim_end().rsplit(' ').next().map(str::to_owned);
            told.extend(name);
            if turn > 0 {
                stream.write_all(b"ok").expect("answered");
            } else {
                stream.write_all(&[0xff]).expect("answered");
            }
        }
        drop(sender);
        teller.join().expect("it ends");
        assert_eq!(lost.load(Ordering::Relaxed), 0);
        assert_eq!(told, ["m1", "m1", "m2", "m3"]);
    }

    #[test]
    fn reports_are_told_and_smtpd_does_not_wait_for_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("os.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        let mut input = CONNECT.to_vec();
        for event in [
            "tx-begin|s1|m1",
            "tx-mail|s1|m1|ok|a",
            "tx-rcpt|s1|m1|permfail|b",
        ] {
            input.extend_from_slice(format!("report|0.6|1.5|smtp-in|{event}\n").as_bytes());
        }
        input.extend_from_slice(b"report|0.6|1.5|smtp-in|tx-rollback|s1|m1\n");
        filtered(&path, &input, true);
        let (mut stream, _) = listener.accept().expect("told");
        let mut told = [0; 128];
        let length = stream.read(&mut told).expect("read");
        let told = String::from_utf8_lossy(&told[..length]).into_owned();
        assert_eq!(told, "outcome rejected rcpt 192.0.2.1 4711 m1\n");
    }
}
