//! The socket for tables: pfctl on it may change those that are named, and nothing else.

use std::os::unix::net::UnixStream;

use pf_engine::ruleset::Dialect;

use super::{Daemon, Ran, engine_with_traffic, pfctl};

fn daemon(keys: &str) -> Daemon {
    let dialect = Dialect::FreeBsd;
    Daemon::start_with(dialect, engine_with_traffic(dialect), keys)
}

fn on_tables(daemon: &Daemon, words: &str) -> Ran {
    pfctl(&daemon.dir.path().join("tables.sock"), words)
}

fn refused(daemon: &Daemon, words: &str, why: &str) {
    let ran = on_tables(daemon, words);
    assert!(ran.status == 1 && ran.err.contains(why), "{words}: {ran:?}");
}

#[test]
fn named_tables_can_be_changed_up_to_their_bound_and_nothing_else_can() {
    let daemon = daemon("names = [\"quiet\"]\nentries = 3\n");
    let added = on_tables(&daemon, "-t quiet -T add 192.0.2.1 192.0.2.2");
    assert_eq!(
        (added.status, added.err.as_str()),
        (0, "2/2 addresses added.\n")
    );
    refused(
        &daemon,
        "-t quiet -T add 192.0.2.3 192.0.2.4",
        "<quiet> may have 3 addresses",
    );
    refused(
        &daemon,
        "-t quiet -T replace 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6",
        "<quiet> may have 3 addresses",
    );
    assert_eq!(
        daemon.out("-t quiet -T show"),
        "   192.0.2.1\n   192.0.2.2\n"
    );
    refused(
        &daemon,
        "-t web -T add 192.0.2.3",
        "<web> is not named in [tables]",
    );
    refused(&daemon, "-t quiet -T kill", "use add, delete, replace");
    for words in ["-d", "-Fr", "-sr", "-k 0.0.0.0/0"] {
        refused(&daemon, words, "for changes of tables alone");
    }
    assert!(daemon.out("-si").starts_with("Status: Enabled"));
    // Who is root is not bound by it.
    assert_eq!(
        daemon.says("-t quiet -T add 192.0.2.3 192.0.2.4"),
        "2/2 addresses added.\n"
    );
}

#[test]
fn addresses_that_are_too_old_are_deleted_by_the_daemon_itself() {
    // The rules' own address is two minutes old, and no other is touched.
    let daemon = daemon("names = [\"web\"]\nmax-age = \"1m\"\n");
    on_tables(&daemon, "-t web -T add 192.0.2.1");
    assert_eq!(daemon.out("-t web -T show"), "   192.0.2.1\n");
}

#[test]
fn many_clients_of_tables_take_no_seat_from_pfctl() {
    let daemon = daemon("names = [\"quiet\"]\n");
    let socket = daemon.dir.path().join("tables.sock");
    let crowd: Vec<UnixStream> = (0..64)
        .map(|_| UnixStream::connect(&socket).expect("connected"))
        .collect();
    assert!(daemon.out("-si").starts_with("Status: Enabled"));
    let added = on_tables(&daemon, "-t quiet -T add 192.0.2.1");
    assert_eq!(added.status, 0, "{}", added.err);
    drop(crowd);
}
