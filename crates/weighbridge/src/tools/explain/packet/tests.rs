use pf_engine::wire::Meta;

use super::*;

fn meta(text: &str) -> Meta {
    let described = parse(text).unwrap_or_else(|error| panic!("{}", error.render()));
    Meta::parse(&described.bytes).expect("a whole packet")
}

fn refused(text: &str) -> String {
    parse(text).expect_err("refused").render()
}

#[test]
fn a_tcp_packet_has_addresses_ports_and_flags() {
    let text = "in on em1 tcp 10.0.0.1:1234 > 1.2.3.4:80 SA tos 0x10 ttl 3 length 10";
    let described = parse(text).expect("read");
    assert_eq!(described.direction, Direction::In);
    assert_eq!(described.interface, "em1");
    let meta = meta(text);
    assert_eq!(meta.ports(), Some((1234, 80)));
    assert_eq!(
        meta.tcp().expect("tcp").flags,
        tcp_flags::SYN | tcp_flags::ACK
    );
    assert_eq!(meta.tos, 0x10);
    assert_eq!(meta.total_len, 20 + 20 + 10);
}

#[test]
fn without_flags_a_tcp_packet_opens_a_connection() {
    let meta = meta("out on em0 tcp [2001:db8::1]:1 > [2001:db8::2]:22");
    assert_eq!(meta.tcp().expect("tcp").flags, tcp_flags::SYN);
    assert_eq!(meta.family, Family::Inet6);
}

#[test]
fn other_protocols_go_without_ports() {
    assert_eq!(
        meta("in on a udp 10.0.0.1:53 > 10.0.0.2:53").ports(),
        Some((53, 53))
    );
    let icmp = meta("in on a icmp 10.0.0.1 > 10.0.0.2");
    assert_eq!(icmp.icmp().map(|i| (i.kind, i.code)), Some((8, 0)));
    let reply = meta("in on a inet6 icmp6 [fe80::1] > ff02::1 echorep");
    assert_eq!(reply.icmp().map(|i| i.kind), Some(129));
    assert_eq!(
        meta("in on a proto gre 10.0.0.1 > 10.0.0.2").protocol,
        Protocol(47)
    );
    assert_eq!(
        meta("in on a 89 10.0.0.1 > 10.0.0.2").protocol,
        Protocol(89)
    );
    assert_eq!(
        meta("in on a sctp 10.0.0.1:5 > 10.0.0.2:6").ports(),
        Some((5, 6))
    );
}

#[test]
fn what_is_wrong_is_told_with_a_caret_below_it() {
    assert_eq!(
        refused("inn on em1 tcp 10.0.0.1:1 > 1.2.3.4:80"),
        "packet: expected `in` or `out`, found `inn`\n  \
         inn on em1 tcp 10.0.0.1:1 > 1.2.3.4:80\n  \
         ^^^"
    );
    assert_eq!(
        refused("in on em1 tcp 10.0.0.1:99999 > 1.2.3.4:80"),
        format!(
            "packet: a port is a number from 0 to 65535\n  \
             in on em1 tcp 10.0.0.1:99999 > 1.2.3.4:80\n  {:23}^^^^^",
            ""
        )
    );
    assert_eq!(
        refused("in on em1 tcp 10.0.0.1:1 > 1.2.3.4:80 SX"),
        format!(
            "packet: `X` is no TCP flag: use F, S, R, P, A, U, E, W, or `none`, `tos`, `ttl`, \
             `length`\n  in on em1 tcp 10.0.0.1:1 > 1.2.3.4:80 SX\n  {:39}^",
            ""
        )
    );
}

#[test]
fn every_kind_of_mistake_has_its_message() {
    for (text, message) in [
        ("", "expected `in` or `out`, but this is the end"),
        ("in em1", "expected `on` and an interface, found `em1`"),
        ("in on", "expected an interface, but this is the end"),
        ("in on em1 tpc 1.2.3.4:1 > 1.2.3.4:2", "expected a protocol"),
        ("in on em1 tcp 1.2.3.4 > 1.2.3.4:2", "a port is missing"),
        ("in on em1 tcp 1.2.3.4:1 1.2.3.4:2", "expected `>`"),
        ("in on em1 tcp 1.2.3:1 > 1.2.3.4:2", "expected the source"),
        ("in on em1 tcp [::1:1 > [::1]:2", "expected the source"),
        (
            "in on em1 icmp 1.2.3.4:1 > 1.2.3.4",
            "this protocol has no ports",
        ),
        ("in on em1 icmp ::1 > ::2", "use icmp6"),
        ("in on em1 icmp6 1.2.3.4 > 1.2.3.5", "use icmp"),
        (
            "in on em1 udp 1.2.3.4:1 > [::2]:2",
            "the source is inet, this is not",
        ),
        (
            "in on em1 inet6 udp 1.2.3.4:1 > 1.2.3.4:2",
            "this is no inet6 address",
        ),
        (
            "in on em1 udp 1.2.3.4:1 > 1.2.3.4:2 S",
            "expected the end, `tos`",
        ),
        (
            "in on em1 icmp 1.2.3.4 > 1.2.3.4 type 3",
            "describe that packet",
        ),
        ("in on em1 icmp 1.2.3.4 > 1.2.3.4 ping", "expected echoreq"),
        (
            "in on em1 udp 1.2.3.4:1 > 1.2.3.4:2 ttl 256",
            "a number from 0 to 255",
        ),
    ] {
        let found = refused(text);
        assert!(found.contains(message), "{text:?}: {found}");
    }
}
