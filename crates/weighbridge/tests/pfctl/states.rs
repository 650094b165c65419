//! States: shown, killed, stored and loaded.

use std::fs;

use pf_engine::ruleset::Dialect;

use super::{Daemon, engine_with_sources, engine_with_states, run};

#[test]
fn states_print_in_three_degrees_of_detail() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.out("-ss"),
        "all tcp 198.51.100.10:80 <- 192.0.2.7:4000       CLOSED:SYN_SENT\n\
         all udp 198.51.100.10:53 <- 192.0.2.7:5000       NO_TRAFFIC:SINGLE\n"
    );
    let verbose = daemon.out("-vss");
    let lines: Vec<_> = verbose.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[1].starts_with("   [0 + "), "{}", lines[1]);
    assert_eq!(
        lines[2],
        "   age 00:01:00, expires in 00:01:00, 1:0 pkts, 40:0 bytes, rule 0"
    );
    let lines = daemon.out("-vvss");
    assert!(lines.contains("\n   id: 0000000000000001 creatorid: 58075cf3\n   origif: em0\n"));
}

#[test]
fn many_states_are_listed_in_pages_without_gap_or_repetition() {
    let engine = engine_with_states(10_000..=29_999, [53]);
    let daemon = Daemon::start(Dialect::FreeBsd, engine);
    let listed = daemon.out("-ss");
    let ports: std::collections::BTreeSet<_> = listed.lines().collect();
    assert_eq!((listed.lines().count(), ports.len()), (20_000, 20_000));
    assert_eq!(daemon.says("-Fs"), "20000 states cleared\n");
    assert_eq!(daemon.out("-ss"), "");
}

#[test]
fn states_are_killed_by_host() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.says("-k 192.0.2.0/24 -k 203.0.113.1"),
        "killed 0 states from 1 sources and 1 destinations\n"
    );
    assert_eq!(
        daemon.says("-k 192.0.2.7"),
        "killed 2 states from 1 sources and 0 destinations\n"
    );
}

#[test]
fn states_are_killed_by_label_also_when_the_rule_is_gone() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-k label -k nobody"), "killed 0 states\n");
    assert_eq!(daemon.says("-F rules"), "rules cleared\n");
    assert_eq!(daemon.says("-k label -k udp"), "killed 1 states\n");
    assert!(!daemon.out("-ss").contains("udp"));
    let lacking = daemon.pfctl("-k label");
    assert_eq!(lacking.status, 1);
    assert!(
        lacking
            .err
            .starts_with("pfctl: no label specified\nusage: pfctl "),
        "{}",
        lacking.err
    );
}

#[test]
fn states_are_killed_by_id_key_and_address_behind_the_translation() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let strange = "-k id -k 0000000000000001/00000001";
    assert_eq!(daemon.says(strange), "killed 0 states\n");
    let known = "-k id -k 0000000000000001/58075cf3";
    assert_eq!(daemon.says(known), "killed 1 states\n");
    let by_key = |key: &str| {
        let socket = daemon.socket().display().to_string();
        run(&["--socket", &socket, "-k", "key", "-k", key]).err
    };
    let outbound = by_key("udp 198.51.100.10:53 -> 192.0.2.7:5000");
    assert_eq!(outbound, "killed 0 states\n");
    let inbound = by_key("udp 198.51.100.10:53 <- 192.0.2.7:5000");
    assert_eq!(inbound, "killed 1 states\n");
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-k nat -k 192.0.2.8"), "killed 0 states\n");
    assert_eq!(daemon.says("-k nat -k 192.0.2.7"), "killed 2 states\n");
    assert_eq!(
        daemon.says("-k gateway -k 192.0.2.0/24"),
        "killed 0 states\n"
    );
}

#[test]
fn an_interface_narrows_states_down_floating_ones_too() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-i em0 -ss").lines().count(), 2);
    assert_eq!(daemon.out("-i em1 -ss"), "");
    assert_eq!(daemon.says("-i em1 -Fs"), "0 states cleared\n");
    assert_eq!(
        daemon.says("-i em1 -k 192.0.2.7"),
        "killed 0 states from 1 sources and 0 destinations\n"
    );
    assert_eq!(daemon.says("-i em0 -Fs"), "2 states cleared\n");
    let all = daemon.pfctl("-i em0 -Fa");
    assert!(
        all.err
            .starts_with("pfctl: don't specify an interface with -Fall\n")
    );
}

#[test]
fn states_are_stored_in_a_file_and_loaded_from_it() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let file = daemon.dir.path().join("saved").display().to_string();
    let before = daemon.out("-vss");
    let (tcp, _) = before.split_once("all udp").expect("both states");
    assert_eq!(daemon.says(&format!("-S {file}")), "");
    assert_eq!(daemon.says("-Fs"), "2 states cleared\n");
    assert_eq!(
        daemon.says(&format!("-L {file}")),
        "1 states loaded\n1 states had expired\n"
    );
    assert_eq!(daemon.out("-vss"), tcp);
    assert_eq!(
        daemon.says(&format!("-L {file}")),
        "0 states loaded\n1 states had expired\n1 states found no room\n"
    );
    let text = fs::read_to_string(&file).expect("saved");
    fs::write(&file, text.replace("192.0.2.7", "192.0.2.8")).expect("write");
    let refused = daemon.pfctl(&format!("-L {file}"));
    assert_eq!(
        (refused.status, refused.err.as_str()),
        (
            1,
            "pfctl: states not loaded: the checksum is wrong: it was changed or cut off\n"
        )
    );
    let missing = daemon.pfctl("-L /nonexistent/states");
    assert_eq!(
        missing.err,
        "pfctl: /nonexistent/states: No such file or directory\n"
    );
}

#[test]
fn more_states_than_fit_into_one_piece_are_killed_stored_and_loaded() {
    let engine = engine_with_states(10_000..=14_999, [53]);
    let daemon = Daemon::start(Dialect::FreeBsd, engine);
    let file = daemon.dir.path().join("saved").display().to_string();
    assert_eq!(daemon.says(&format!("-S {file}")), "");
    assert_eq!(
        daemon.says("-k 192.0.2.7 -k 198.51.100.10"),
        "killed 5000 states from 1 sources and 1 destinations\n"
    );
    assert_eq!(daemon.says(&format!("-L {file}")), "5000 states loaded\n");
    assert_eq!(daemon.out("-ss").lines().count(), 5000);
    assert_eq!(
        daemon.says(&format!("-L {file}")),
        "0 states loaded\n5000 states found no room\n"
    );
    assert_eq!(daemon.says("-Fs"), "5000 states cleared\n");
}

#[test]
fn more_sources_than_fit_into_one_piece_are_forgotten_and_their_states_stay() {
    let daemon = Daemon::start(Dialect::FreeBsd, engine_with_sources(5_000));
    assert_eq!(daemon.out("-sS").lines().count(), 5_000);
    assert_eq!(
        daemon.says("-K 10.0.16.0/20 -K 198.51.100.10"),
        "killed 0 src nodes from 1 sources and 1 destinations\n"
    );
    assert_eq!(
        daemon.says("-K 10.0.16.0/20"),
        "killed 904 src nodes from 1 sources and 0 destinations\n"
    );
    assert_eq!(daemon.out("-sS").lines().count(), 4_096);
    assert_eq!(
        daemon.says("-FSources"),
        "source tracking entries cleared\n"
    );
    assert_eq!(daemon.out("-ss").lines().count(), 5_000);
    let all = daemon.out("-vvsI");
    assert!(all.contains("References:  [ States:  5000 "), "{all}");
}
