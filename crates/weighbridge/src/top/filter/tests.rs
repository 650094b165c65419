use pf_engine::view::HostPort;

use super::*;

fn host(address: &str, port: u16) -> HostPort {
    HostPort {
        address: address.parse().expect("address"),
        port,
    }
}

/// 192.0.2.7:4000 to the web server behind 198.51.100.10.
fn web() -> StateRecord {
    StateRecord {
        id: 1,
        interface: "em0".into(),
        protocol: 6,
        direction: Direction::In,
        source: host("192.0.2.7", 4000),
        destination: host("10.0.0.2", 8080),
        gateway: Some(host("198.51.100.10", 80)),
        peers: [4, 4],
        age: 120,
        expires_in: 86_400,
        packets: [10, 20],
        bytes: [1_000, 50_000],
        rule: Some(3),
    }
}

fn names(name: &str) -> Vec<Prefix> {
    match name {
        "client.example" => vec![Prefix::host("192.0.2.7".parse().expect("address"))],
        _ => Vec::new(),
    }
}

fn holds(text: &str) -> bool {
    let filter = parse(text, &names).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.matches(&web())
}

#[test]
fn primitives_look_at_what_they_name() {
    for text in [
        "192.0.2.7",
        "host 10.0.0.2",
        "src host 192.0.2.7",
        "src 192.0.2.7",
        "dst net 10.0.0.0/8",
        "net 10",
        "net 192.0",
        "gw 198.51.100.10",
        "client.example",
        "port 8080",
        "gw port 80",
        "dst port 8080",
        "src or dst port 4000",
        "tcp",
        "tcp port 80",
        "ip",
        "ip host 192.0.2.7",
        "proto tcp",
        "proto 6",
        "in",
        "inbound",
        "rnr 3",
        "ifname em0",
        "inb = 1000",
        "outb > inb * 49",
        "age/60 = 2",
        "exp >= 0x15180",
        "(inp + outp) << 1 = 60",
        "outb - inb != 0",
        "-age < 0",
        "inp & 2 = 2",
    ] {
        assert!(holds(text), "{text}");
    }
    for text in [
        "192.0.2.8",
        "dst host 192.0.2.7",
        "dst net 11.0.0.0/8",
        "port 81",
        "src port 8080",
        "src and dst port 4000",
        "udp",
        "udp port 80",
        "ip6",
        "proto icmp",
        "out",
        "rnr 4",
        "ifname em1",
        "age > 120",
        "inb / 0 = 0",
        "inb / 0 != 0",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn tests_are_combined_from_the_left_and_negation_binds_closest() {
    assert!(holds("udp or tcp and port 80"));
    // From the left: (tcp or udp) and port 1.
    assert!(!holds("tcp or udp and port 1"));
    assert!(holds("tcp or (udp and port 1)"));
    assert!(holds("not udp and tcp"));
    assert!(holds("! (udp or port 1)"));
    assert!(holds("tcp && ! udp || icmp"));
}

#[test]
fn an_id_takes_the_qualifiers_of_the_one_before() {
    assert!(holds("port 22 or 80"));
    assert!(holds("dst port (22 or 8080)"));
    assert!(!holds("dst port (22 or 80)"));
    assert!(holds("src port ! 22") == holds("src port (! 22)"));
    assert!(holds("host 192.0.2.1 or 192.0.2.7"));
}

#[test]
fn ports_are_those_of_protocols_that_have_them() {
    let filter = parse("port 8", &names).expect("a filter");
    let ping = StateRecord {
        protocol: 1,
        destination: host("10.0.0.2", 8),
        ..web()
    };
    assert!(!filter.matches(&ping));
    let datagram = StateRecord {
        protocol: 17,
        ..ping
    };
    assert!(filter.matches(&datagram));
}

#[test]
fn errors_name_the_place() {
    for (text, at, part) in [
        ("", 0, "a host is missing"),
        ("tcp and", 7, "a host is missing"),
        ("port http", 5, "'http' is no number of a port"),
        ("src frob", 4, "'frob' is no address"),
        ("proto frob", 6, "'frob' is no protocol"),
        ("tcp )", 4, "')' is not expected here"),
        ("(tcp", 4, "')' is missing"),
        ("age >", 5, "a number is missing"),
        ("tcp $", 4, "'$' means nothing"),
        ("rnr x", 4, "'x' is no number of a rule"),
        ("tcp udp", 4, "'udp' is no address"),
        ("host 192.0.2.0/33", 5, "'192.0.2.0/33' is no address"),
        ("é and tcp", 0, "'é' means nothing"),
    ] {
        let error = parse(text, &names).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_deep_or_long_is_refused() {
    let deep = format!("{}tcp{}", "(".repeat(500), ")".repeat(500));
    let error = parse(&deep, &names).expect_err("deep");
    assert!(error.message.contains("within each other"), "{error}");
    assert!(parse(&"! ".repeat(500), &names).is_err());
    assert!(parse(&"-".repeat(1000), &names).is_err());
    let long = "tcp or ".repeat(200) + "tcp";
    let error = parse(&long, &names).expect_err("long");
    assert!(error.message.contains("1024 bytes"), "{error}");
}
