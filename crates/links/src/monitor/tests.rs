use super::*;

fn judged(bundles: &[Bundle]) -> (Severity, String) {
    let report = judge(bundles, &[], &Limits::default());
    (report.severity, report.text("LINKS", 0))
}

fn lagg(lines: &str) -> (Severity, String) {
    let text = format!(
        "lagg0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\
         \tether 00:15:17:73:61:f4\n\tmedia: Ethernet autoselect\n\tstatus: active\n{lines}"
    );
    judged(&read_ifconfig(&text))
}

#[test]
fn ranges_are_those_of_the_guidelines() {
    let alerts = |range: &str, value| Range::parse(range).unwrap().alerts(value);
    assert!(alerts("10", -1.0) && alerts("10", 11.0) && !alerts("10", 10.0));
    assert!(alerts("10:", 9.0) && !alerts("10:", 10.0));
    assert!(alerts("~:10", 11.0) && !alerts("~:10", -99.0));
    assert!(alerts("10:20", 9.0) && alerts("10:20", 21.0) && !alerts("10:20", 20.0));
    assert!(alerts("@10:20", 10.0) && !alerts("@10:20", 9.0));
    for wrong in ["", "x", "20:10", "1:x", "nan", "@", ":~"] {
        assert!(Range::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn freebsds_failover_is_judged_by_its_master() {
    let good = lagg(
        "\tlaggproto failover\n\tlaggport: em4 flags=0<>\n\tlaggport: em0 flags=5<MASTER,ACTIVE>\n",
    );
    assert_eq!(
        good,
        (
            Severity::Ok,
            "LINKS OK: lagg0 (failover): 2 of 2 links work | 'lagg0 working'=2;2:;1:;0;2\n".into()
        )
    );
    let (severity, text) = lagg(
        "\tlaggproto failover\n\tlaggport: em4 flags=4<ACTIVE>\n\tlaggport: em0 flags=1<MASTER>\n",
    );
    assert_eq!(severity, Severity::Warning);
    assert!(
        text.contains("1 of 2 links work, standby em4 in use instead of em0, em0 has no link"),
        "{text}"
    );
    let down =
        lagg("\tlaggproto failover\n\tlaggport: em4 flags=0<>\n\tlaggport: em0 flags=1<MASTER>\n");
    assert_eq!(down.0, Severity::Critical);
    // The first version's form.
    let old = lagg(
        "\tlagg: laggproto failover\n\t\tlaggport em0 =5<MASTER,ACTIVE>\n\t\tlaggport em1 =0<>\n",
    );
    assert_eq!(old.0, Severity::Ok);
}

#[test]
fn a_standby_without_a_carrier_is_seen_in_its_own_block() {
    let text = "em4: flags=8843<UP> metric 0 mtu 1500\n\tstatus: no carrier\n\tlagg: laggdev lagg0\n\
                lagg0: flags=8843<UP> metric 0 mtu 1500\n\tlaggproto failover lagghash l2,l3,l4\n\
                \tlaggport: em0 flags=5<MASTER,ACTIVE>\n\tlaggport: em4 flags=0<>\n";
    let (severity, text) = judged(&read_ifconfig(text));
    assert_eq!(severity, Severity::Warning);
    assert!(text.contains("em4 has no link"), "{text}");
}

#[test]
fn text_that_is_indented_as_a_whole_is_read_by_its_own_margin() {
    let text = "\nlagg0: flags=8843<UP> metric 0 mtu 1500\n\tlaggproto failover lagghash l2,l3,l4\n\
                \tlaggport: em0 flags=5<MASTER,ACTIVE>\n\tlaggport: em4 flags=0<>\n";
    let lines: Vec<&str> = text.lines().collect();
    let indented = format!("  \t{}\n", lines.join("\n  \t"));
    let (severity, told) = judged(&read_ifconfig(&indented));
    assert!(told.starts_with("LINKS OK: lagg0 (failover): "), "{told}");
    assert_eq!((severity, told), judged(&read_ifconfig(text)));
    let beheaded = "\tlaggproto failover\n\t\tlaggport: em0 flags=5<MASTER,ACTIVE>\n";
    assert_eq!(judged(&read_ifconfig(beheaded)).0, Severity::Unknown);
}

#[test]
fn lacp_and_load_balancing_are_judged_by_their_flags() {
    let port = |name: &str, flags: &str| format!("\tlaggport: {name} flags={flags}\n");
    let lacp = |second: &str| {
        lagg(&format!(
            "\tlaggproto lacp\n{}{}",
            port("em0", "1c<ACTIVE,COLLECTING,DISTRIBUTING>"),
            port("em1", second)
        ))
    };
    assert_eq!(lacp("1c<ACTIVE,COLLECTING,DISTRIBUTING>").0, Severity::Ok);
    assert_eq!(lacp("18<COLLECTING,DISTRIBUTING>").0, Severity::Warning);
    let balanced = lagg(
        "\tlaggproto loadbalance\n\tlaggport: em0 flags=4<ACTIVE>\n\tlaggport: em1 flags=0<>\n",
    );
    assert_eq!(balanced.0, Severity::Warning);
    assert!(balanced.1.contains("em1 has no link"), "{}", balanced.1);
    let openbsd =
        lagg("\ttrunk: trunkproto failover\n\t\ttrunkport em3\n\t\ttrunkport em2 master,active\n");
    assert_eq!(openbsd.0, Severity::Ok);
}

const BONDING: &str = "Ethernet Channel Bonding Driver: v6.1.0\n\nBonding Mode: fault-tolerance (active-backup)\n\
Primary Slave: eth0 (primary_reselect always)\nCurrently Active Slave: eth1\nMII Status: up\nMII Polling Interval (ms): 100\n\n\
Slave Interface: eth0\nMII Status: down\nSpeed: Unknown\nDuplex: Unknown\nLink Failure Count: 2\n\n\
Slave Interface: eth1\nMII Status: up\nSpeed: 1000 Mbps\nDuplex: full\nLink Failure Count: 0\n";

#[test]
fn linux_bonding_is_read_with_its_primary_and_its_aggregators() {
    let (severity, text) = judged(&[read_bonding("bond0", BONDING).unwrap()]);
    assert_eq!(severity, Severity::Warning);
    assert!(
        text.starts_with(
            "LINKS WARNING: bond0 (active-backup): 1 of 2 links work, standby eth1 in use"
        ),
        "{text}"
    );
    assert!(text.contains("'bond0 failovers'=2c"), "{text}");
    let lacp = "Bonding Mode: IEEE 802.3ad Dynamic link aggregation\nMII Status: up\n802.3ad info\n\
                Active Aggregator Info:\n\tAggregator ID: 1\n\tPartner Mac Address: 02:00:00:00:00:01\n\n\
                Slave Interface: eth0\nMII Status: up\nAggregator ID: 1\nActor Churn State: none\n\
                details partner lacp pdu:\n    system mac address: 02:00:00:00:00:01\n\n\
                Slave Interface: eth1\nMII Status: up\nAggregator ID: 2\nActor Churn State: churned\n\
                details actor lacp pdu:\n    system mac address: 02:00:00:00:00:09\n\
                details partner lacp pdu:\n    system mac address: 00:00:00:00:00:00\n";
    let (severity, text) = judged(&[read_bonding("bond1", lacp).unwrap()]);
    assert_eq!(severity, Severity::Warning);
    assert!(
        text.contains("eth1 has no LACP partner, churns, is in another aggregator"),
        "{text}"
    );
    assert_eq!(read_bonding("bond2", "no such file"), None);
}

#[test]
fn teamd_is_read_from_its_state() {
    let state = r#"{"ports":{"eth0":{"link":{"up":true},"runner":{"selected":true,"state":"current",
        "partner_lacpdu_info":{"system":"02:00:00:00:00:01"}}},"eth1":{"link":{"up":true},"runner":
        {"selected":false,"state":"defaulted","partner_lacpdu_info":{"system":"00:00:00:00:00:00"}}}},
        "runner":{"active":true},"setup":{"runner_name":"lacp"},"team_device":{"ifinfo":{"ifname":"team0"}}}"#;
    let (severity, text) = judged(&[read_teamd(state).unwrap()]);
    assert_eq!(severity, Severity::Warning);
    assert!(
        text.contains("team0 (lacp): 1 of 2 links work, eth1 has no LACP partner"),
        "{text}"
    );
    assert_eq!(read_teamd("{}"), None);
}

#[test]
fn our_own_status_knows_silence_flapping_and_the_last_failover() {
    let port = |name: &str, flags, silent| PortStatus {
        name: name.to_owned(),
        link: true,
        silent,
        flags,
        ..PortStatus::default()
    };
    let status = LaggStatus {
        name: "lagg0".to_owned(),
        protocol: "failover".to_owned(),
        ports: vec![port("em0", 1, true), port("em1", 4, false)],
        failovers: 9,
        failovers_last_hour: 9,
        last_failover: Some(1_000.0),
        ..LaggStatus::default()
    };
    let report = judge(&[of_status(&status, 1_060.0)], &[], &Limits::default());
    assert_eq!(report.severity, Severity::Warning);
    let text = report.text("LINKS", 2);
    assert!(
        text.contains("em0 passes nothing, flapping: 9 failovers in an hour"),
        "{text}"
    );
    assert!(text.ends_with("lagg0: last failover 60 s ago\n"), "{text}");
    let strict = Limits {
        critical: Some(Range::parse("2:").unwrap()),
        ..Limits::default()
    };
    assert_eq!(
        judge(&[of_status(&status, 1_060.0)], &[], &strict).severity,
        Severity::Critical
    );
}

#[test]
fn what_is_not_there_is_unknown_and_a_pipe_stays_out_of_the_text() {
    let named = ["lagg7".to_owned()];
    assert_eq!(
        judge(&[], &named, &Limits::default()).severity,
        Severity::Unknown
    );
    assert_eq!(
        judge(&[], &[], &Limits::default()).severity,
        Severity::Unknown
    );
    assert_eq!(Report::unknown("a|b\nc").text("X", 0), "X UNKNOWN: a b c\n");
    assert_eq!(performance("it's=x", "1c", ""), "'it_s_x'=1c");
}
