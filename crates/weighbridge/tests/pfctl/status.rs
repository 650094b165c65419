//! The socket for status: it tells how the daemon is, to everybody, and nothing else.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use pf_engine::ruleset::Dialect;
use weighbridge::control::client::{Client, ClientError};
use weighbridge::control::protocol::{Outcome, Request};

use super::{Daemon, LOST};

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.dir.path().join("status.sock")
}

fn asked(daemon: &Daemon, request: &Request) -> Result<Outcome, ClientError> {
    Client::connect(&socket(daemon))?.call(request, &mut |_| Ok(()))
}

#[test]
fn everybody_learns_how_the_daemon_is_and_nobody_changes_anything_there() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let mode = std::fs::metadata(socket(&daemon))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o666);
    let Ok(Outcome::Health(health)) = asked(&daemon, &Request::Health) else {
        panic!("no answer");
    };
    assert!(health.enabled && health.states > 0, "{health:?}");
    assert_eq!(health.lost, LOST.congested + LOST.held_back);
    assert!(matches!(
        asked(&daemon, &Request::Gateways),
        Ok(Outcome::Gateways(_))
    ));
    for request in [
        Request::SetEnabled(false),
        Request::Flows,
        Request::SaveStates,
    ] {
        let refused = asked(&daemon, &request).expect_err("refused").to_string();
        assert!(
            refused.contains("how the daemon is, and no more"),
            "{refused}"
        );
    }
    assert!(daemon.out("-si").starts_with("Status: Enabled"));
}

#[test]
fn a_connection_is_for_one_question_and_not_for_a_long_one() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let answers = |said: &[u8]| {
        let mut stream = UnixStream::connect(socket(&daemon)).expect("connected");
        let _ = stream.write_all(said);
        let mut answer = String::new();
        // What was not read is lost with the connection, and the end of it may be an error.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let several = answers(b"\"health\"\n\"health\"\n\"limits\"\n");
    assert_eq!(several.lines().count(), 1, "{several}");
    let long = answers(&vec![b' '; 128 << 10]);
    assert!(long.contains("request larger than 1 KiB"), "{long}");
}

#[test]
fn a_crowd_takes_no_seat_from_who_asks_and_none_from_pfctl() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let crowd: Vec<UnixStream> = (0..64)
        .map(|_| UnixStream::connect(socket(&daemon)).expect("connected"))
        .collect();
    assert!(matches!(
        asked(&daemon, &Request::Health),
        Ok(Outcome::Health(_))
    ));
    assert!(daemon.out("-si").starts_with("Status: Enabled"));
    drop(crowd);
}
