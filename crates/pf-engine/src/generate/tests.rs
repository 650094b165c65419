//! Tests of what the filter sends back.

use proptest::prelude::*;

use super::{IcmpError, MAX_ERROR_LEN_V4, MAX_ERROR_LEN_V6, MAX_QUOTE_LEN};
use super::{icmp_error, reset, tcp_answer};
use crate::addr::Family;
use crate::rule::tcp_flags::{ACK, FIN, RST, SYN};
use crate::wire::build::{self, Ip, Segment};
use crate::wire::tests::{address, any_packet, ip};
use crate::wire::{Meta, Quoted, Rewrite, Tcp, checksum, icmp, icmp6, put};

fn v4() -> Ip {
    ip("10.0.0.1", "192.0.2.9")
}

fn v6() -> Ip {
    ip("2001:db8::1", "2001:db8::2")
}

fn segment(flags: u8) -> Segment<'static> {
    Segment {
        seq: 1000,
        ack: 5000,
        ..Segment::new(1024, 80, flags)
    }
}

fn reset_of(packet: &[u8], ttl: u8) -> Option<Vec<u8>> {
    let meta = Meta::parse(packet).unwrap();
    reset(&meta, packet, &meta, ttl)
}

fn error_about(packet: &[u8], error: IcmpError, source: &str) -> Option<Vec<u8>> {
    icmp_error(
        packet,
        &Meta::parse(packet).unwrap(),
        error,
        address(source),
    )
}

const PORT: IcmpError = IcmpError::Code {
    kind: icmp::UNREACHABLE,
    code: icmp::CODE_PORT,
};

#[test]
fn a_reset_acknowledges_all_that_the_segment_occupies() {
    for (flags, payload, ack) in [(SYN, 0, 1001), (ACK, 5, 1005), (SYN | FIN | ACK, 3, 1005)] {
        for ip in [v4(), v6()] {
            let packet = build::tcp(&ip, &segment(flags), &vec![1; payload]);
            let answer = reset_of(&packet, 0).unwrap();
            let meta = Meta::parse(&answer).unwrap();
            assert_eq!((meta.source, meta.destination), (ip.destination, ip.source));
            let expected = Tcp {
                source_port: 80,
                destination_port: 1024,
                seq: if flags & ACK == 0 { 0 } else { 5000 },
                ack,
                flags: RST | ACK,
                window: 0,
                header_len: 20,
                options_offset: meta.l4_offset + 20,
            };
            assert_eq!(meta.tcp(), Some(&expected));
            assert_eq!((meta.ttl, meta.payload_len()), (64, 0));
            let low_delay = if meta.family == Family::Inet { 0x10 } else { 0 };
            assert_eq!(meta.tos, low_delay);
            assert!(meta.dont_fragment);
            assert!(checksum::ip_header_valid(&answer, &meta));
            assert!(checksum::transport_valid(&answer, &meta));
        }
    }
}

#[test]
fn a_reset_has_the_ttl_of_the_rule() {
    let packet = build::tcp(&v4(), &segment(SYN), &[]);
    let answer = reset_of(&packet, 17).unwrap();
    assert_eq!(Meta::parse(&answer).unwrap().ttl, 17);
}

#[test]
fn a_reset_is_not_answered_nor_what_is_not_tcp_or_broken() {
    assert_eq!(reset_of(&build::tcp(&v4(), &segment(RST), &[]), 0), None);
    assert_eq!(reset_of(&build::udp(&v4(), 1, 2, &[]), 0), None);
    let to_all = build::tcp(&ip("10.0.0.1", "224.0.0.1"), &segment(SYN), &[]);
    assert_eq!(reset_of(&to_all, 0), None);
    let mut broken = build::tcp(&v4(), &segment(SYN), &[]);
    broken[39] ^= 1;
    assert_eq!(reset_of(&broken, 0), None);
}

#[test]
fn a_reset_answers_the_segment_as_it_came_not_as_it_was_rewritten() {
    let mut packet = build::tcp(&v4(), &segment(ACK), &[1; 1400]);
    let original = Meta::parse(&packet).unwrap();
    let expected = reset_of(&packet, 0);
    let mut meta = original;
    meta.set_source(&mut packet, address("203.0.113.1"))
        .unwrap();
    meta.set_source_port(&mut packet, 50_001).unwrap();
    meta.set_tcp_seq(&mut packet, 77).unwrap();
    assert!(expected.is_some());
    assert_eq!(reset(&original, &packet, &meta, 0), expected);
}

#[test]
fn another_answer_says_what_it_is_told() {
    let packet = build::tcp(&v4(), &segment(ACK), &[]);
    let meta = Meta::parse(&packet).unwrap();
    let answer = tcp_answer(&meta, 5000, 0, RST, 0).unwrap();
    let tcp = *Meta::parse(&answer).unwrap().tcp().unwrap();
    assert_eq!((tcp.seq, tcp.ack, tcp.flags, tcp.window), (5000, 0, RST, 0));
}

#[test]
fn an_error_quotes_as_much_as_it_may() {
    for (ip, source, longest) in [
        (v4(), "192.0.2.1", MAX_ERROR_LEN_V4),
        (v6(), "2001:db8::9", MAX_ERROR_LEN_V6),
    ] {
        let packet = build::udp(&ip, 1024, 53, &[1; 2000]);
        let answer = error_about(&packet, PORT, source).unwrap();
        assert_eq!(answer.len(), longest);
        let meta = Meta::parse(&answer).unwrap();
        assert_eq!(
            (meta.source, meta.destination),
            (address(source), ip.source)
        );
        assert!(checksum::transport_valid(&answer, &meta));
        let quoted = &answer[meta.l4_offset + 8..];
        assert_eq!(quoted, &packet[..quoted.len()]);
        let kept = &packet[..MAX_QUOTE_LEN];
        let original = Meta::parse(&packet).unwrap();
        let from_kept = icmp_error(kept, &original, PORT, address(source));
        assert_eq!(from_kept, Some(answer));
    }
}

#[test]
fn an_error_quotes_a_short_packet_without_its_padding() {
    let packet = build::udp(&v4(), 1024, 53, b"abc");
    let padded = [&packet[..], &[0; 15]].concat();
    let answer = error_about(&padded, PORT, "192.0.2.1").unwrap();
    assert_eq!(answer[28..], packet);
    let meta = Meta::parse(&answer).unwrap();
    let quoted = Quoted::parse(&answer, &meta).unwrap();
    assert_eq!(quoted.ports(), Some((1024, 53)));
}

#[test]
fn messages_have_the_numbers_of_their_family() {
    let too_big = IcmpError::TooBig { mtu: 1400 };
    let cases = [
        (v4(), "192.0.2.1", PORT, (3, 3, 0)),
        (v4(), "192.0.2.1", too_big, (3, 4, 1400)),
        (
            v4(),
            "192.0.2.1",
            IcmpError::TooBig { mtu: 100_000 },
            (3, 4, 65_535),
        ),
        (v4(), "192.0.2.1", IcmpError::TimeExceeded, (11, 0, 0)),
        (v6(), "2001:db8::9", too_big, (2, 0, 1400)),
        (v6(), "2001:db8::9", IcmpError::TimeExceeded, (3, 0, 0)),
    ];
    for (ip, source, error, expected) in cases {
        let answer = error_about(&build::udp(&ip, 1, 2, &[]), error, source).unwrap();
        let message = *Meta::parse(&answer).unwrap().icmp().unwrap();
        assert_eq!((message.kind, message.code, message.parameter), expected);
    }
}

#[test]
fn icmp_errors_are_never_answered_and_pings_are() {
    for kind in [3, 4, 5, 11, 12] {
        let packet = build::icmp(&v4(), kind, 0, 0, &[0; 28]);
        assert_eq!(error_about(&packet, PORT, "192.0.2.1"), None, "{kind}");
    }
    for kind in [1, 2, 3, 4, 100, 127, icmp6::REDIRECT] {
        let packet = build::icmp(&v6(), kind, 0, 0, &[0; 48]);
        assert_eq!(error_about(&packet, PORT, "2001:db8::9"), None, "{kind}");
    }
    let ping = build::echo_request(&v4(), 1, 1, &[]);
    assert!(error_about(&ping, PORT, "192.0.2.1").is_some());
    let ping = build::echo_request(&v6(), 1, 1, &[]);
    assert!(error_about(&ping, PORT, "2001:db8::9").is_some());
}

#[test]
fn only_packets_between_single_hosts_are_answered() {
    for (source, destination, from) in [
        ("0.0.0.0", "192.0.2.9", "192.0.2.1"),
        ("10.0.0.1", "255.255.255.255", "192.0.2.1"),
        ("10.0.0.1", "224.0.0.5", "192.0.2.1"),
        ("239.1.1.1", "192.0.2.9", "192.0.2.1"),
        ("240.0.0.1", "192.0.2.9", "192.0.2.1"),
        ("::", "2001:db8::2", "2001:db8::9"),
        ("2001:db8::1", "ff02::1", "2001:db8::9"),
        ("10.0.0.1", "192.0.2.9", "2001:db8::9"),
    ] {
        let packet = build::udp(&ip(source, destination), 1, 2, &[]);
        assert_eq!(
            error_about(&packet, PORT, from),
            None,
            "{source} {destination}"
        );
    }
}

#[test]
fn a_later_fragment_is_not_answered_and_a_first_one_is() {
    let mut packet = build::udp(&v4(), 1, 2, &[0; 40]);
    put(&mut packet, 6, &[0x20, 1]).unwrap();
    assert_eq!(error_about(&packet, PORT, "192.0.2.1"), None);
    put(&mut packet, 6, &[0x20, 0]).unwrap();
    assert!(error_about(&packet, PORT, "192.0.2.1").is_some());
}

proptest! {
    #[test]
    fn an_answer_is_never_answered(packet in any_packet()) {
        let meta = Meta::parse(&packet).unwrap();
        for answer in [
            reset(&meta, &packet, &meta, 0),
            icmp_error(&packet, &meta, IcmpError::TimeExceeded, meta.destination),
        ].into_iter().flatten() {
            let again = Meta::parse(&answer).unwrap();
            prop_assert_eq!(reset(&again, &answer, &again, 0), None);
            if again.tcp().is_none() {
                let error = icmp_error(&answer, &again, IcmpError::TimeExceeded, meta.source);
                prop_assert_eq!(error, None);
            }
        }
    }
}
