//! Options of pfctl that only change how others act.

use pf_engine::ruleset::Dialect;

use super::Daemon;
use super::queues::QUEUES;

/// A file with options and one rule.
const OPTIONS: &str = "set limit states 500\nset timeout tcp.first 33\nset loginterface em0\n\
                       set skip on em0\nset reassemble yes\npass\n";

fn timeout(daemon: &Daemon, name: &str) -> String {
    let shown = daemon.out("-st");
    let line = shown.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.expect("a timeout").to_owned()
}

#[test]
fn merged_options_leave_the_others_and_the_rules_alone() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let file = daemon.file("options.conf", OPTIONS);
    daemon.says(&format!("-f {file}"));
    let (rules, tables) = (daemon.out("-sr"), daemon.out("-sT"));
    assert_eq!(timeout(&daemon, "adaptive.start"), "300");
    let more = daemon.file("more.conf", "set timeout udp.first 7\n");
    assert_eq!(daemon.says(&format!("-mf {more}")), "");
    assert_eq!(timeout(&daemon, "udp.first"), "7s");
    assert_eq!(timeout(&daemon, "tcp.first"), "33s");
    assert!(
        daemon
            .out("-sm")
            .starts_with("states        hard limit      500\n")
    );
    assert!(daemon.out("-si").contains("Interface Stats for em0"));
    assert!(daemon.out("-vsI").contains("em0 (skip)\n"));
    assert_eq!((daemon.out("-sr"), daemon.out("-sT")), (rules, tables));
    // A new limit of states brings its own adaptive timeouts.
    let limit = daemon.file("limit.conf", "set limit states 1000\nset skip on none\n");
    daemon.says(&format!("-m -f {limit}"));
    assert_eq!(timeout(&daemon, "adaptive.start"), "600");
    assert!(!daemon.out("-vsI").contains("(skip)"));
    // Without -m everything goes back to what it was, and the rules go.
    daemon.says(&format!("-f {more}"));
    assert_eq!(timeout(&daemon, "tcp.first"), "120s");
    assert_eq!(daemon.out("-sr"), "");
}

#[test]
fn a_merge_with_rules_replaces_the_rules() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    daemon.says(&format!("-f {}", daemon.file("options.conf", OPTIONS)));
    let file = daemon.file("rules.conf", "block\n");
    daemon.says(&format!("-mf {file}"));
    assert_eq!(daemon.out("-sr"), "block drop all\n");
    assert_eq!(timeout(&daemon, "tcp.first"), "33s");
}

#[test]
fn queues_are_loaded_alone_and_other_parts_leave_them() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let rules = daemon.out("-sr");
    let file = daemon.file("queues.conf", QUEUES);
    daemon.says(&format!("-Af {file}"));
    let queues = daemon.out("-sq");
    assert_eq!(queues.lines().count(), 2);
    assert_eq!(daemon.out("-sr"), rules);
    let bare = daemon.file("bare.conf", "pass\n");
    for parts in [
        "-R",
        "-N",
        "-O",
        "-T load",
        "-t web -T load",
        "-a some/anchor -A",
    ] {
        daemon.says(&format!("{parts} -f {bare}"));
        assert_eq!(daemon.out("-sq"), queues, "{parts}");
    }
    daemon.says(&format!("-A -f {bare}"));
    assert_eq!(daemon.out("-sq"), "No queue in use\n");
}

#[test]
fn without_action_everything_is_checked_and_nothing_changes() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let states = daemon.out("-ss");
    for words in [
        "-nd",
        "-n -Fa",
        "-n -x loud",
        "-nz",
        "-n -sr",
        "-n -k 192.0.2.7",
        "-n -K 192.0.2.7",
        "-n -a nowhere -F rules",
    ] {
        assert_eq!(daemon.out(words), "", "{words}");
    }
    let saved = daemon.dir.path().join("states");
    let saved = saved.display();
    assert_eq!(daemon.says(&format!("-n -S {saved}")), "");
    assert!(!daemon.dir.path().join("states").exists());
    daemon.says(&format!("-S {saved}"));
    assert_eq!(daemon.says(&format!("-n -L {saved}")), "");
    let damaged = daemon.file("damaged", "not a state\n");
    let refused = daemon.pfctl(&format!("-n -L {damaged}"));
    assert_eq!(refused.status, 1);
    assert!(
        refused.err.starts_with("pfctl: states not loaded: "),
        "{}",
        refused.err
    );
    let strange = daemon.pfctl("-n --no-dns -k host.invalid");
    assert_eq!(
        (strange.status, strange.err.as_str()),
        (1, "pfctl: no IP address found for host.invalid\n")
    );
    assert_eq!(daemon.out("-ss"), states);
    assert_eq!(
        daemon.out("-sl").lines().next(),
        Some("web 80 3 1 40 1 40 0 0 1")
    );
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
    assert!(daemon.out("-si").contains("Debug: Urgent\n"));
}

#[test]
fn a_letter_means_what_its_dialect_says() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let error = |words: &str| {
        let ran = daemon.pfctl(words);
        assert_eq!((ran.status, ran.out.as_str()), (1, ""), "{words}: {ran:?}");
        ran.err
    };
    // OpenBSD's -N: no DNS.
    assert_eq!(
        error("--dialect openbsd -N -k localhost"),
        "pfctl: no IP address found for localhost\n"
    );
    let exclusive = "pfctl: -N and -r are mutually exclusive\n";
    assert_eq!(error("--dialect openbsd -N -r -ss"), exclusive);
    assert_eq!(error("--no-dns -r -ss"), exclusive);
    // FreeBSD's: translation rules alone.
    let file = daemon.file(
        "nat.conf",
        "nat on em0 from 10.0.0.0/8 to any -> 192.0.2.1\nblock\n",
    );
    let filter = daemon.out("-sr");
    daemon.says(&format!("-Nf {file}"));
    assert_eq!(daemon.out("-sn").lines().count(), 1);
    assert_eq!(daemon.out("-sr"), filter);
}

#[test]
fn routing_domains_and_misplaced_anchors_are_refused() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let killed = daemon.says("-V 0 -k 192.0.2.7");
    assert_eq!(
        killed,
        "killed 2 states from 1 sources and 0 destinations\n"
    );
    let refused = daemon.pfctl("-V 3 -k 192.0.2.7");
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("-V 3") && refused.err.contains("VRF"));
    for (words, message) in [
        ("-V x -k 192.0.2.7", "pfctl: Invalid rdomain: 'x'\nusage:"),
        (
            "-a some",
            "pfctl: anchors apply to -f, -F, -s, and -T only\nusage:",
        ),
        ("-G -sr", "pfctl: illegal option -- G\nusage:"),
        ("-X", "pfctl: illegal option -- X\nusage:"),
    ] {
        let ran = daemon.pfctl(words);
        assert_eq!(ran.status, 1, "{words}");
        assert!(ran.err.starts_with(message), "{words}: {}", ran.err);
    }
}
