//! Clients of the control socket that are not pfctl.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use pf_engine::ruleset::Dialect;

use super::Daemon;

#[test]
fn hostile_and_silent_clients_do_not_stop_the_others() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let connect = || UnixStream::connect(daemon.socket()).expect("connects");
    let silent: Vec<_> = (0..40).map(|_| connect()).collect();
    let mut rude = connect();
    rude.write_all(b"\xff\xfe{}\n[]\n\"describe\"\n")
        .expect("writes");
    let mut answers = String::new();
    let mut buffer = [0; 4096];
    while answers.matches('\n').count() < 3 {
        let len = rude.read(&mut buffer).expect("reads");
        assert_ne!(len, 0, "hung up after {answers}");
        answers.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert_eq!(
        answers.matches("request not understood").count(),
        2,
        "{answers}"
    );
    assert!(answers.contains("\"description\""), "{answers}");
    // Asks for a long answer and does not read it.
    let mut deaf = connect();
    deaf.write_all(
        b"{\"table\":{\"name\":\"web\",\"command\":\"show\",\"entries\":[],\
                     \"dry_run\":false,\"verbose\":0}}\n",
    )
    .expect("writes");
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
    drop(silent);
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
}

#[test]
fn a_request_without_end_is_refused() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let mut endless = UnixStream::connect(daemon.socket()).expect("connects");
    let block = vec![b'x'; 1 << 20];
    // The daemon answers and hangs up somewhere behind its limit.
    let refused_at = (0..200).find(|_| endless.write_all(&block).is_err());
    assert!(refused_at.is_some_and(|mib| mib >= 96), "{refused_at:?}");
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
}
