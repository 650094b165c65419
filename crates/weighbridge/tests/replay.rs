//! `weighbridge replay`: captures that the test makes itself, and one of real SYNs.

#[path = "common/command.rs"]
mod command;
#[path = "common/reference.rs"]
mod reference;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use pf_engine::wire::build::{Ip, Segment, echo_request, tcp, udp};
use serde_json::Value;
use tempfile::TempDir;
use weighbridge::config::SocketArgument;
use weighbridge::pflog::command::{LogArguments, execute as log};
use weighbridge::tools::explain::execute as explain;
use weighbridge::tools::replay::execute;

use command::{Ran, parsed, ran};

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const PFLOG: u32 = 117;

const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = 18;

/// The interfaces of the box, whatever this machine has.
const BOX: [&str; 4] = [
    "--interface=em1=10.0.0.1/24",
    "--interface=em0=192.0.2.1/24",
    "--config=/nonexistent",
    "--plain",
];

/// A directory with rules and a capture.
struct Case {
    dir: TempDir,
}

impl Case {
    fn new(rules: &str, capture: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("pf.conf"), rules).expect("rules");
        fs::write(dir.path().join("capture.pcap"), capture).expect("capture");
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn run(&self, options: &[&str]) -> Ran {
        let (rules, file) = (self.path("pf.conf"), self.path("capture.pcap"));
        let own = [file.as_str(), "--rules", rules.as_str()];
        let all: Vec<&str> = own.iter().chain(options).copied().collect();
        ran(|output| execute(&parsed(&all), output))
    }

    /// Output of a run without errors, with the two interfaces of [`BOX`].
    #[track_caller]
    fn told(&self, options: &[&str]) -> String {
        let all: Vec<&str> = BOX.iter().chain(options).copied().collect();
        let ran = self.run(&all);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
        ran.out
    }
}

/// A pcap file; each packet has its seconds.
fn pcap(link_type: u32, packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for value in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link_type] {
        file.extend(value.to_le_bytes());
    }
    for (seconds, bytes) in packets {
        let len = u32::try_from(bytes.len()).expect("short");
        for value in [*seconds, 7, len, len] {
            file.extend(value.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}

fn ip(from: &str, to: &str) -> Ip {
    let address = |text: &str| text.parse::<IpAddr>().expect("address");
    Ip::new(address(from), address(to))
}

fn segment(from: (&str, u16), to: (&str, u16), flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let mut segment = Segment::new(from.1, to.1, flags);
    (segment.seq, segment.ack) = numbers;
    segment.window = 5000;
    tcp(&ip(from.0, to.0), &segment, &[])
}

const CLIENT: (&str, u16) = ("10.0.0.9", 1234);
const SERVER: (&str, u16) = ("203.0.113.1", 80);

fn handshake() -> Vec<(u32, Vec<u8>)> {
    vec![
        (100, segment(CLIENT, SERVER, SYN, (1000, 0))),
        (100, segment(SERVER, CLIENT, SYN_ACK, (5000, 1001))),
        (101, segment(CLIENT, SERVER, ACK, (1001, 5001))),
    ]
}

#[test]
fn a_connection_crosses_the_box_with_a_state_on_each_side() {
    let rules = "block all\npass in on em1 inet proto tcp to port 80\npass out on em0\n";
    let case = Case::new(rules, &pcap(RAW, &handshake()));
    let told = case.told(&["--states"]);
    let lines: Vec<&str> = told.lines().collect();
    let wanted = [
        "1 00:01:40.000007 in on em1 tcp 10.0.0.9:1234 > 203.0.113.1:80 S: pass @1, makes a state",
        "1 00:01:40.000007 out on em0 tcp 10.0.0.9:1234 > 203.0.113.1:80 S: pass @2, makes a state",
        "2 00:01:40.000007 in on em0 tcp 203.0.113.1:80 > 10.0.0.9:1234 SA: pass, state 2 of @2",
        "2 00:01:40.000007 out on em1 tcp 203.0.113.1:80 > 10.0.0.9:1234 SA: pass, state 1 of @1",
        "3 00:01:41.000007 in on em1 tcp 10.0.0.9:1234 > 203.0.113.1:80 A: pass, state 1 of @1",
        "3 00:01:41.000007 out on em0 tcp 10.0.0.9:1234 > 203.0.113.1:80 A: pass, state 2 of @2",
        "3 packets: 3 passed, 0 blocked, 0 dropped, 0 held, 0 not IP",
        "2 states made, 0 packets sent by the filter, 0 logged",
        "",
        "STATES:",
        "all tcp 203.0.113.1:80 <- 10.0.0.9:1234       ESTABLISHED:ESTABLISHED",
    ];
    assert_eq!(lines[..wanted.len()], wanted);
    let second = "all tcp 10.0.0.9:1234 -> 203.0.113.1:80       ESTABLISHED:ESTABLISHED";
    assert!(told.contains(second), "{told}");
}

#[test]
fn one_wire_is_judged_on_one_interface() {
    let rules = "block all\npass in on em1 proto tcp\n";
    let case = Case::new(rules, &pcap(RAW, &handshake()));
    let told = case.told(&["--in-if=em1", "--inside=10.0.0.0/8"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains(" in on em1 tcp "), "{told}");
    assert!(lines[1].contains(" out on em1 tcp ") && lines[1].ends_with("pass, state 1 of @1"));
    assert_eq!(
        lines[3],
        "3 packets: 3 passed, 0 blocked, 0 dropped, 0 held, 0 not IP"
    );
}

#[test]
fn what_is_blocked_is_answered_and_what_is_dropped_has_its_reason() {
    let rules = "block return in proto tcp\npass in proto udp\n";
    let packets = [
        (5, segment(CLIENT, SERVER, SYN, (1000, 0))),
        (4, udp(&ip("10.0.0.9", "203.0.113.1"), 53, 53, b"query")),
        (6, vec![0x45, 0, 0, 99, 0]),
    ];
    let case = Case::new(rules, &pcap(RAW, &packets));
    let told = case.told(&["--in-if=em1"]);
    let wanted = "\
1 00:00:05.000007 in on em1 tcp 10.0.0.9:1234 > 203.0.113.1:80 S: block @0
1 00:00:05.000007 sends back tcp 203.0.113.1:80 > 10.0.0.9:1234 RA tos 0x10
2 00:00:04.000007 in on em1 udp 10.0.0.9:53 > 203.0.113.1:53: pass @1, makes a state
3 00:00:06.000007 in on em1 [malformed], length 5: drop (short)
3 packets: 1 passed, 1 blocked, 1 dropped (short 1), 0 held, 0 not IP
1 states made, 1 packets sent by the filter, 1 logged
older than one before them, time stood still: 1
";
    assert_eq!(told, wanted);
}

#[test]
fn translation_and_routes_are_told() {
    let rules = "nat on em0 inet from 10.0.0.0/24 to any -> 192.0.2.77 static-port\n\
                 pass in on em1 route-to (em0 192.0.2.254) inet proto udp\npass out\n";
    let packets = [(1, udp(&ip("10.0.0.9", "203.0.113.1"), 53, 53, b"query"))];
    let case = Case::new(rules, &pcap(RAW, &packets));
    let told = case.told(&[]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "1 00:00:01.000007 in on em1 udp 10.0.0.9:53 > 203.0.113.1:53: pass @0, makes a state, \
         route-to em0 192.0.2.254"
    );
    assert_eq!(
        lines[1],
        "1 00:00:01.000007 out on em0 udp 10.0.0.9:53 > 203.0.113.1:53: pass @1, makes a state, \
         as udp 192.0.2.77:53 > 203.0.113.1:53"
    );
    assert!(lines[2].starts_with("1 packets: 1 passed"), "{told}");
}

#[test]
fn states_time_out_by_the_capture_s_clock() {
    let rules =
        "set timeout { udp.first 10, interval 1 }\nblock\npass in on em1 proto udp to port 53\n";
    let query = udp(&ip("10.0.0.9", "203.0.113.1"), 5353, 53, b"query");
    let answer = udp(&ip("203.0.113.1", "10.0.0.9"), 53, 5353, b"answer");
    let packets = [
        (1, query.clone()),
        (5, answer.clone()),
        (4_000_000_000, answer),
    ];
    let case = Case::new(rules, &pcap(RAW, &packets));
    let told = case.told(&["--in-if=em1", "--inside=10.0.0.0/8"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].ends_with("pass, state 1 of @1"), "{told}");
    assert!(lines[2].ends_with("block @0"), "{told}");
}

#[test]
fn tagged_frames_are_filtered_and_arp_is_not() {
    let echo = echo_request(&ip("10.0.0.9", "203.0.113.1"), 7, 1, b"");
    let addresses: &[u8] = &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let tagged = [addresses, &[0x81, 0, 0xa0, 7, 8, 0], &echo].concat();
    let arp = [addresses, &[8, 6, 0, 1]].concat();
    let case = Case::new(
        "block all\npass in proto icmp prio 5\n",
        &pcap(ETHERNET, &[(1, tagged), (2, arp)]),
    );
    let told = case.told(&["--in-if=em1"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].ends_with("type 8 code 0: pass @1, makes a state"),
        "{told}"
    );
    assert_eq!(lines[1], "2 00:00:02.000007 ARP: not IP, not filtered");
    assert_eq!(
        lines[2],
        "2 packets: 1 passed, 0 blocked, 0 dropped, 0 held, 1 not IP"
    );
}

#[test]
fn what_a_box_has_logged_is_tried_with_other_rules() {
    let rules = "block in log (all) on em1\npass out\n";
    let case = Case::new(rules, &pcap(RAW, &handshake()[..1]));
    let file = case.path("log.pcap");
    let told = case.told(&["--in-if=em1", "--log", &file]);
    assert!(
        told.ends_with("0 packets sent by the filter, 1 logged\n"),
        "{told}"
    );
    let printed = ran(|output| {
        let arguments = LogArguments {
            file: Some(PathBuf::from(&file)),
            follow: false,
            interface: None,
            json: false,
            socket: SocketArgument::default(),
        };
        log(&arguments, output)
    });
    let wanted = "00:01:40.000007 rule 0/0(match): block in on em1: 10.0.0.9.1234 > \
                  203.0.113.1.80: Flags [S], seq 1000, win 5000, length 0\n";
    assert_eq!((printed.status, printed.out.as_str()), (0, wanted));

    let second = Case::new("pass in on em1\n", &fs::read(&file).expect("log"));
    let again = second.told(&[]);
    let line =
        "1 00:01:40.000007 in on em1 tcp 10.0.0.9:1234 > 203.0.113.1:80 S: pass @0, makes a state";
    assert_eq!(again.lines().next(), Some(line));
}

#[test]
fn names_in_a_log_cannot_reach_the_terminal_and_are_bounded() {
    let logged = |name: &[u8]| {
        let mut header = vec![0; 64];
        (header[0], header[1], header[60]) = (61, 2, 1);
        header[4..4 + name.len()].copy_from_slice(name);
        header.extend(udp(&ip("10.0.0.9", "203.0.113.1"), 1, 2, b""));
        header
    };
    let hostile = pcap(PFLOG, &[(1, logged(b"\x1b[2J\xff"))]);
    let told = Case::new("pass\n", &hostile).told(&[]);
    assert!(told.contains("in on ??2J? udp "), "{told}");
    let names: Vec<String> = (0..99).map(|number| format!("x{number}")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (1, logged(name.as_bytes())))
        .collect();
    let ran = Case::new("pass\n", &pcap(PFLOG, &many)).run(&BOX);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.ends_with("packet 65: more than 64 interfaces\n"),
        "{}",
        ran.err
    );
}

#[test]
fn json_has_one_object_a_line() {
    let rules = "block all\npass in on em1 proto tcp\npass out on em0\n";
    let case = Case::new(rules, &pcap(RAW, &handshake()));
    let told = case.told(&["--json", "--states", "--counters"]);
    let values: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(values[0]["packet"], 1);
    assert_eq!(values[0]["time"], "100.000007");
    assert_eq!(values[0]["evaluations"][0]["rule"], 1);
    assert_eq!(values[0]["evaluations"][1]["interface"], "em0");
    assert_eq!(values[1]["evaluations"][0]["state"], 2);
    assert_eq!(values[3]["totals"]["passed"], 3);
    assert_eq!(values[4]["show"], "states");
    assert!(values.iter().any(|value| value["show"] == "info"));
}

#[test]
fn quiet_tells_totals_and_counters_alone() {
    let rules = "block all\npass in on em1 proto tcp\npass out on em0\n";
    let case = Case::new(rules, &pcap(RAW, &handshake()));
    let told = case.told(&["--quiet", "--counters"]);
    assert!(told.starts_with("3 packets: 3 passed, "), "{told}");
    assert!(
        told.contains("\n@1 pass in on em1 proto tcp all flags S/SA keep state\n"),
        "{told}"
    );
    let counters = "Evaluations: 2         Packets: 3         Bytes: 120         States: 1     ]";
    assert!(told.contains(counters), "{told}");
    let inserts = told
        .lines()
        .find(|line| line.trim_start().starts_with("inserts"));
    assert_eq!(
        inserts.and_then(|line| line.split_whitespace().nth(1)),
        Some("2")
    );
}

#[test]
fn errors_are_told_and_what_came_before_counts() {
    let mut capture = pcap(RAW, &handshake());
    capture.truncate(capture.len() - 3);
    let case = Case::new("pass\n", &capture);
    let ran = case.run(&BOX);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.ends_with("capture.pcap: cut off within packet 3\n"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("2 packets: 2 passed"), "{}", ran.out);

    let ran = Case::new("pass on\n", &capture).run(&BOX);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("pf.conf:1:"), "{}", ran.err);

    let ran = Case::new("pass\n", b"no capture").run(&BOX);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.ends_with("capture.pcap: no pcap or pcapng file\n"),
        "{}",
        ran.err
    );

    let ran = Case::new("pass\n", &pcap(127, &handshake())).run(&BOX);
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("packet 1: link type 127 is not read"),
        "{}",
        ran.err
    );
}

#[test]
fn options_that_do_not_fit_together_are_told() {
    let case = Case::new("pass in on em7\n", &pcap(RAW, &handshake()));
    let refused = |options: &[&str], wanted: &str| {
        let all: Vec<&str> = ["--config=/nonexistent", "--interface=em1"]
            .iter()
            .chain(options)
            .copied()
            .collect();
        let ran = case.run(&all);
        assert_eq!(ran.status, 2, "{}", ran.out);
        assert!(ran.err.contains(wanted), "{}", ran.err);
    };
    refused(&["--out-if=em0"], "what is behind em1?");
    refused(
        &["--out-if=em1", "--inside=10.0.0.0/8"],
        "cannot be on both sides",
    );
    refused(&["--inside=10.0.0.0/99"], "use NETWORK/LENGTH");
    refused(
        &["--route=default"],
        "use DESTINATION/LENGTH=INTERFACE,GATEWAY",
    );
    let guessed = case.run(&["--config=/nonexistent", "--quiet"]);
    assert_eq!(guessed.status, 0);
    assert!(
        guessed.err.contains("packets are taken to come in by em7"),
        "{}",
        guessed.err
    );
}

#[test]
fn routes_tell_what_has_no_route() {
    let rules = "block in from no-route\npass in on em1 from urpf-failed\n";
    let packets = [
        (1, udp(&ip("203.0.113.1", "10.0.0.9"), 1, 2, b"")),
        (2, udp(&ip("198.51.100.1", "10.0.0.9"), 1, 2, b"")),
    ];
    let case = Case::new(rules, &pcap(RAW, &packets));
    let told = case.told(&["--in-if=em0", "--route=203.0.113.0/24=em0,192.0.2.254"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].ends_with(": pass"), "{told}");
    assert!(lines[1].ends_with(": block @0"), "{told}");
}

#[test]
fn explain_knows_the_routes_that_af_to_needs() {
    let case = Case::new(
        "pass in on em1 inet6 proto udp to 64:ff9b::/96 af-to inet from 192.0.2.1\n",
        b"",
    );
    let packet = "in on em1 udp [2001:db8::9]:53 > [64:ff9b::203.0.113.1]:53";
    let explained = |routes: &[&str]| {
        let rules = case.path("pf.conf");
        let given = [rules.as_str(), "--packet", packet];
        let given: Vec<&str> = given.iter().chain(&BOX).chain(routes).copied().collect();
        let arguments = parsed(&given);
        ran(|output| explain(&arguments, output)).out
    };
    let with = explained(&["--route=default=em0,192.0.2.254"]);
    assert!(
        with.contains("\npasses, out of em0 to the neighbour 192.0.2.254\n"),
        "{with}"
    );
    assert!(with.contains("as udp 192.0.2.1:"), "{with}");
    let without = explained(&[]);
    assert!(without.contains("\ndropped (no-route)"), "{without}");
}

#[test]
fn real_syns_are_all_counted() {
    let Some(file) = reference::syns() else {
        return;
    };
    let capture = fs::read(file).expect("capture");
    let case = Case::new("block all\npass in proto tcp flags S/SA\n", &capture);
    let told = case.told(&["--in-if=em1", "--json"]);
    let totals = told.lines().last().expect("totals");
    let totals: Value = serde_json::from_str(totals).expect("JSON");
    let totals = &totals["totals"];
    let count = |name: &str| totals[name].as_u64().expect("a number");
    let dropped: u64 = totals["dropped"]
        .as_object()
        .expect("reasons")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    let all = count("passed") + count("blocked") + dropped + count("held") + count("not_ip");
    assert_eq!(all, count("packets"));
    assert!(count("passed") > 0 && count("states") > 0, "{totals}");
    assert_eq!(
        u64::try_from(told.lines().count()).expect("few"),
        count("packets") + 1
    );
}
