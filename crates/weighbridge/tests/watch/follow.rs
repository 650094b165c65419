//! What `weighbridge follow` and `weighbridge outcome` come to, as processes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lab::clock;
use rustix::process::{Pid, Signal, kill_process};

use crate::site::BINARY;

/// Lines of the log: more than are told before the signal comes.
const LINES: usize = 2_000;
/// How long the daemon takes for each.
const SLOW: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that answers everybody alike; tells each time that it has.
fn daemon(socket: &Path, answer: &'static str, slow: Duration) -> Receiver<()> {
    let listener = UnixListener::bind(socket).expect("listens");
    let (told, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read(&mut [0; 256]);
            clock::pause(slow);
            let _ = stream.write_all(answer.as_bytes());
            if told.send(()).is_err() {
                return;
            }
        }
    });
    received
}

#[test]
fn a_signal_ends_it_in_the_middle_of_a_backlog_and_it_goes_on_from_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let line = "2026-11-28 04:00:01 H=(x) [192.0.2.1]:4711 F=<a@b> rejected RCPT <c@d>: no\n";
    fs::write(path("log"), line.repeat(LINES)).expect("written");
    let told = daemon(&path("os.sock"), "ok", SLOW);
    let mut child = Command::new(BINARY)
        .args(["follow", "exim", "--from-start", "--place"])
        .arg(path("place.json"))
        .arg("--socket")
        .arg(path("os.sock"))
        .arg(path("log"))
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    told.recv_timeout(PATIENCE).expect("told");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("sent");
    let mut ended = None;
    clock::wait_until(PATIENCE, || {
        ended = child.try_wait().expect("asked");
        ended.is_some()
    });
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    let place = fs::read_to_string(path("place.json")).expect("kept");
    let place: serde_json::Value = serde_json::from_str(&place).expect("JSON");
    let mut count = 1;
    // Who has been answered may have ended before the daemon tells that it has answered.
    clock::wait_until(PATIENCE, || {
        count += told.try_iter().count();
        place["offset"] == count * line.len()
    });
    assert_eq!(place["offset"], count * line.len());
    assert!(count < LINES, "all of it was read first");
}

#[test]
fn outcome_says_by_its_exit_status_what_came_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let _yes = daemon(&path("yes.sock"), "ok", Duration::ZERO);
    let _no = daemon(&path("no.sock"), "error: no", Duration::ZERO);
    let status = |socket: &str, stage: &str| {
        let ran = Command::new(BINARY)
            .args(["outcome", "reject", stage, "192.0.2.1", "4711", "--socket"])
            .arg(path(socket))
            .output()
            .expect("it runs");
        assert_eq!(ran.stderr.is_empty(), ran.status.success(), "{ran:?}");
        ran.status.code()
    };
    assert_eq!(status("yes.sock", "rcpt"), Some(0));
    assert_eq!(status("no.sock", "rcpt"), Some(1));
    assert_eq!(status("yes.sock", "lunch"), Some(2));
    assert_eq!(status("nobody.sock", "rcpt"), Some(3));
}
