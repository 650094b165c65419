//! What `pfctl -s` prints, and what `-F` and `-z` clear.

use pf_engine::ruleset::Dialect;

use super::{Daemon, empty_engine};

#[test]
fn rules_print_with_their_counters() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let plain = daemon.out("-sr");
    let rules: Vec<_> = plain.lines().collect();
    assert_eq!(
        rules,
        [
            "pass in on em0 inet proto tcp from any to <web> port = http flags S/SA keep state \
             label \"web 80\"",
            "pass in on em0 inet proto udp all keep state label \"udp\"",
            "block drop in quick on em0 inet proto tcp from any to any port = telnet",
        ]
    );
    let verbose = daemon.out("-vvsr");
    let lines: Vec<_> = verbose.lines().collect();
    assert_eq!(
        lines[0],
        format!("@0 {}", rules[0].replace("<web>", "<web:1>"))
    );
    assert_eq!(
        lines[1],
        "  [ Evaluations: 3         Packets: 1         Bytes: 40          States: 1     ]"
    );
    assert_eq!(
        lines[2],
        "  [ Inserted: uid 0 pid 4711 State Creations: 1     ]"
    );
    assert_eq!(
        lines[4],
        "  [ Evaluations: 3         Packets: 2         Bytes: 186         States: 1     ]"
    );
    assert!(daemon.out("-sr -P").contains("port = 80 "));
}

#[test]
fn labels_print_nine_fields_and_four_in_the_articles_dialect() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let expected = "web 80 3 1 40 1 40 0 0 1\nudp 3 2 186 2 186 0 0 1\n";
    for words in ["-sl", "-vvsl", "-s labels"] {
        assert_eq!(daemon.out(words), expected, "{words}");
    }
    let articles = daemon.out("--dialect openbsd3 -vvsl");
    assert_eq!(articles, "web 80 3 1 40\nudp 3 2 186\n");
    assert_eq!(daemon.says("-z"), "pf: rule counters cleared\n");
    assert_eq!(
        daemon.out("-sl"),
        "web 80 0 0 0 0 0 0 0 0\nudp 0 0 0 0 0 0 0 0\n"
    );
}

#[test]
fn info_memory_timeouts_and_all_of_it_print() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let info = daemon.out("-si");
    assert!(info.starts_with(&format!(
        "{:<44}{:>15}\n\nState Table                          Total             Rate\n  \
         current entries                        2               \n",
        "Status: Enabled for 0 days 00:01:40", "Debug: Urgent"
    )));
    assert!(info.contains("\n  match                                  3            0.0/s\n"));
    assert!(
        daemon
            .out("-sm")
            .starts_with("states        hard limit   100000\n")
    );
    // FreeBSD has timeouts of SCTP, OpenBSD has not.
    assert_eq!(daemon.out("-st").lines().count(), 25);
    for dialect in ["openbsd", "openbsd3"] {
        let timeouts = daemon.out(&format!("--dialect {dialect} -st"));
        assert_eq!(timeouts.lines().count(), 20, "{dialect}");
        assert!(!timeouts.contains("sctp"), "{dialect}");
    }
    let congestion = "\n  congestion                             5            0.1/s\n";
    assert!(info.contains(congestion), "what the data path lost: {info}");
    assert_eq!(daemon.says("-Fi"), "pf: statistics cleared\n");
    let info = daemon.out("-si");
    assert!(
        info.contains("\n  congestion                             0 "),
        "{info}"
    );
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
    assert_eq!(daemon.out("-sI"), "all\nem\nem0\n");
    let all = daemon.out("-sa");
    let titles: Vec<_> = all.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(
        titles,
        [
            "FILTER RULES:",
            "STATES:",
            "INFO:",
            "LABEL COUNTERS:",
            "TIMEOUTS:",
            "LIMITS:",
            "TABLES:",
            "OS FINGERPRINTS:"
        ]
    );
    assert!(all.starts_with("FILTER RULES:\npass in on em0 "));
    assert_eq!(all.matches("\n\nSTATES:\n").count(), 1);
}

#[test]
fn the_filter_is_switched_with_pfs_words() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let refused = |words: &str, message: &str| {
        let ran = daemon.pfctl(words);
        assert_eq!((ran.status, ran.err.as_str()), (1, message), "{words}");
    };
    refused("-d", "pfctl: pf not enabled\n");
    assert_eq!(daemon.pfctl("-s R").status, 1);
    assert_eq!(daemon.says("-e"), "pf enabled\n");
    refused("-e", "pfctl: pf already enabled\n");
    assert_eq!(daemon.says("-d"), "pf disabled\n");
    assert_eq!(daemon.says("-qe"), "");
}

#[test]
fn interfaces_show_what_crossed_them() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let expected = "em0\n\
        \tCleared:     Sun Nov 23 08:03:20 2025\n\
        \tReferences:  [ States:  0                  Rules: 3                  ]\n\
        \tIn4/Pass:    [ Packets: 3                  Bytes: 226                ]\n\
        \tIn4/Block:   [ Packets: 1                  Bytes: 40                 ]\n\
        \tOut4/Pass:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut4/Block:  [ Packets: 0                  Bytes: 0                  ]\n\
        \tIn6/Pass:    [ Packets: 0                  Bytes: 0                  ]\n\
        \tIn6/Block:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut6/Pass:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut6/Block:  [ Packets: 0                  Bytes: 0                  ]\n";
    assert_eq!(daemon.out("-i em0 -vvsI"), expected);
    let all = daemon.out("-vvsI");
    assert!(
        all.starts_with("all\n\tCleared:") && all.contains("[ States:  2 "),
        "{all}"
    );
    assert_eq!(
        daemon.says("-i em0 -Fi"),
        "pf: statistics cleared for interface em0\n"
    );
    let cleared = daemon.out("-i em0 -vvsI");
    assert!(
        cleared.contains("\tCleared:     Sun Nov 23 08:06:00 2025\n"),
        "{cleared}"
    );
    assert!(
        cleared.contains("\tIn4/Pass:    [ Packets: 0 "),
        "{cleared}"
    );
    assert!(
        daemon
            .out("-si")
            .contains("\n  match                                  3 ")
    );
}

#[test]
fn counters_of_the_filter_are_shown_and_cleared() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let searches = |daemon: &Daemon| {
        let info = daemon.out("-si");
        let line = info.lines().find(|line| line.starts_with("  searches"));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<u64>().ok())
    };
    assert_eq!(searches(&daemon), Some(4));
    assert_eq!(daemon.says("-Fi"), "pf: statistics cleared\n");
    assert_eq!(searches(&daemon), Some(0));
}

#[test]
fn debug_levels_devices_creators_and_rules_for_frames() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-s creatorids"), "Creator IDs:\n58075cf3\n");
    assert_eq!(daemon.out("-s ether"), "");
    assert_eq!(daemon.says("-x loud"), "debug level set to 'loud'\n");
    assert!(daemon.out("-si").contains("Debug: Loud\n"));
    assert_eq!(daemon.says("-F Reset"), "pf: interface flags reset\n");
    assert!(daemon.out("-si").contains("Debug: Urgent\n"));
    let strange = daemon.pfctl("-x noisy");
    assert!(
        strange
            .err
            .starts_with("pfctl: Unknown debug level 'noisy'\nusage:")
    );
    let device = daemon.pfctl("-p /dev/pf -sr");
    assert_eq!(device.status, 1);
    assert!(device.err.contains("--socket PATH"), "{}", device.err);
}

#[test]
fn flushing_speaks_pfs_words() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-F rules"), "rules cleared\n");
    assert_eq!(daemon.out("-sr"), "");
    assert_eq!(
        daemon.says("-Fa"),
        "Ethernet rules cleared\nrules cleared\nnat cleared\n1 tables deleted.\naltq cleared\n2 states cleared\n\
         source tracking entries cleared\npf: statistics cleared\n\
         pf: interface flags reset\n"
    );
    assert_eq!(daemon.out("-sT"), "");
    let rest = "0 tables deleted.\naltq cleared\n0 states cleared\nsource tracking entries cleared\n\
                pf: statistics cleared\npf: interface flags reset\n";
    assert_eq!(
        daemon.says("--dialect openbsd3 -Fa"),
        format!("rules cleared\nnat cleared\n{rest}")
    );
    assert_eq!(
        daemon.says("--dialect openbsd -Fa"),
        format!("rules cleared\n{}", rest.replace("altq cleared\n", ""))
    );
}

#[test]
fn all_has_the_headings_of_pf_where_there_are_no_labels_and_no_tables() {
    let daemon = Daemon::start(Dialect::OpenBsd3, empty_engine());
    let all = daemon.out("-sa");
    let titles: Vec<_> = all.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(
        titles,
        [
            "FILTER RULES:",
            "INFO:",
            "TIMEOUTS:",
            "LIMITS:",
            "OS FINGERPRINTS:"
        ],
        "{all}"
    );
}
