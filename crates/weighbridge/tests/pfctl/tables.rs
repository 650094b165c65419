//! `pfctl -T`.

use pf_engine::ruleset::Dialect;

use super::Daemon;

#[test]
fn tables_are_listed_and_changed() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-sT"), "quiet\nweb\n");
    assert_eq!(daemon.out("-vsT"), "-pa----\tquiet\n--a-r-C\tweb\n");
    assert!(
        daemon
            .out("-vvsT")
            .contains("\tReferences:  [ Anchors: 0                  Rules: 1                  ]\n")
    );
    assert_eq!(daemon.out("-t web -T show"), "   198.51.100.10\n");
    let add = "-t web -T add 192.0.2.1 198.51.100.10 10.1.0.0/16 !10.1.2.3";
    assert_eq!(
        daemon.says(&add.replace("add", "add -n")),
        "3/4 addresses added (dummy).\n"
    );
    assert_eq!(daemon.says(add), "3/4 addresses added.\n");
    assert_eq!(
        daemon.out("-t web -Ts"),
        "   10.1.0.0/16\n  !10.1.2.3\n   192.0.2.1\n   198.51.100.10\n"
    );
    let tested = daemon.pfctl("-t web -v -T test 10.1.9.9 10.1.2.3");
    assert_eq!(
        (tested.status, tested.err.as_str()),
        (2, "1/2 addresses match.\n")
    );
    assert_eq!(tested.out, "M  10.1.9.9\n");
    assert_eq!(
        daemon.says("-t web -T delete 192.0.2.1 192.0.2.2"),
        "1/2 addresses deleted.\n"
    );
    let file = daemon.file("list", "192.0.2.9 # one\n10.1.0.0/16\n");
    assert_eq!(
        daemon.says(&format!("-t web -T replace -f {file}")),
        "1 addresses added.\n2 addresses deleted.\n"
    );
    assert_eq!(
        daemon.says(&format!("-t web -T replace -f {file}")),
        "no changes.\n"
    );
    assert_eq!(daemon.says("-t web -T flush"), "2 addresses deleted.\n");
    assert_eq!(
        daemon.says("-t fresh -T add 192.0.2.1"),
        "1 table created.\n1/1 addresses added.\n"
    );
    let missing = daemon.pfctl("-t nowhere -T show");
    assert_eq!(
        (missing.status, missing.err.as_str()),
        (1, "pfctl: Table does not exist.\n")
    );
}

#[test]
fn a_test_tells_which_entry_decides_and_an_address_goes_with_its_own_sign_alone() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.says("-t net -T add 10.0.0.0/8 !10.1.0.0/16"),
        "1 table created.\n2/2 addresses added.\n"
    );
    let tested = daemon.pfctl("-t net -vvT test 10.2.2.3 10.1.2.3 192.0.2.1 2001:db8::1");
    assert_eq!(
        tested.out,
        "M  10.2.2.3\t 10.0.0.0/8\n   10.1.2.3\t!10.1.0.0/16\n   192.0.2.1\t nomatch\n   \
         2001:db8::1\t nomatch\n"
    );
    assert_eq!(
        (tested.status, tested.err.as_str()),
        (2, "1/4 addresses match.\n")
    );
    let tested = daemon.pfctl("-t net -vT test 10.2.2.3 10.1.2.3 10.9.9.9/32");
    assert_eq!(tested.out, "M  10.2.2.3\nM  10.9.9.9\n");
    let refused = daemon.pfctl("-t net -vT delete 10.1.0.0/16");
    assert_eq!(
        (refused.out.as_str(), refused.err.as_str()),
        ("Y  10.1.0.0/16\n", "0/1 addresses deleted.\n")
    );
    let added = daemon.pfctl("-t net -vT add !10.0.0.0/8 192.0.2.9 192.0.2.9");
    assert_eq!(
        (added.out.as_str(), added.err.as_str()),
        (
            "Y !10.0.0.0/8\nA  192.0.2.9\nX  192.0.2.9\n",
            "1/3 addresses added.\n"
        )
    );
    assert_eq!(
        daemon.says("-t net -T delete !10.1.0.0/16"),
        "1/1 addresses deleted.\n"
    );
    assert_eq!(
        daemon.out("-t net -T show"),
        "   10.0.0.0/8\n   192.0.2.9\n"
    );
}

#[test]
fn a_large_table_is_listed_whole() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let addresses: Vec<String> = (0..10_000_u32)
        .map(|n| format!("10.{}.{}.1", n >> 8, n & 255))
        .collect();
    let file = daemon.file("many", &addresses.join("\n"));
    assert_eq!(
        daemon.says(&format!("-t quiet -T add -f {file}")),
        "10000/10000 addresses added.\n"
    );
    let shown = daemon.out("-t quiet -T show");
    assert_eq!(shown.lines().count(), 10_000);
    assert_eq!(shown.lines().last(), Some("   10.39.15.1"));
}

#[test]
fn counters_of_tables_are_zeroed_and_addresses_age() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let shown = daemon.out("-t web -vT show");
    assert_eq!(shown, daemon.out("-t web -vvT show"));
    assert!(
        shown.starts_with("   198.51.100.10\n\tCleared:     Sun Nov 23 08:04:00 2025\n"),
        "since it was added: {shown}"
    );
    assert!(
        shown.contains("\tIn/Pass:     [ Packets: 1                  Bytes: 40 "),
        "{shown}"
    );
    assert_eq!(
        daemon.says("-t web -T add 192.0.2.99"),
        "1/1 addresses added.\n"
    );
    assert_eq!(
        daemon.says("-t web -nT reset"),
        "1/1 stats cleared (dummy).\n"
    );
    assert_eq!(daemon.says("-t web -T reset"), "1/1 stats cleared.\n");
    assert_eq!(daemon.says("-t web -T reset"), "0/0 stats cleared.\n");
    let shown = daemon.out("-t web -vvT show");
    assert!(
        shown.contains("\tCleared:     Sun Nov 23 08:06:00 2025\n"),
        "{shown}"
    );
    assert!(shown.contains("\tIn/Pass:     [ Packets: 0 "), "{shown}");
    assert_eq!(
        daemon.says("-t web -T zero 198.51.100.10 203.0.113.1"),
        "1/2 addresses cleared.\n"
    );
    let table = daemon.out("-vvsT");
    assert!(
        table.contains("\tEvaluations: [ NoMatch: 0                  Match: 2 "),
        "{table}"
    );
    assert_eq!(daemon.says("-t web -T zero"), "1 table/stats cleared.\n");
    let table = daemon.out("-vvsT");
    assert!(
        table.contains("\tEvaluations: [ NoMatch: 0                  Match: 0 "),
        "{table}"
    );
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.says("-t web -T add 192.0.2.99"),
        "1/1 addresses added.\n"
    );
    assert_eq!(
        daemon.says("-t web -T expire 120"),
        "0/0 addresses expired.\n"
    );
    assert_eq!(
        daemon.says("-t web -T expire 119"),
        "1/1 addresses expired.\n"
    );
    assert_eq!(daemon.out("-t web -T show"), "   192.0.2.99\n");
    assert_eq!(daemon.pfctl("-t web -T expire soon").status, 1);
    assert_eq!(daemon.says("-t web -T kill"), "1 table deleted.\n");
    assert_eq!(daemon.out("-sT"), "quiet\n");
    assert_eq!(
        daemon.pfctl("-t web -T kill").err,
        "pfctl: Table does not exist.\n"
    );
    assert_eq!(
        daemon.says("-t web -T add 198.51.100.10"),
        "1 table created.\n1/1 addresses added.\n"
    );
}
