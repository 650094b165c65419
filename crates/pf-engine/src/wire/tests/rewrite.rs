use proptest::prelude::*;

use super::{address, any_packet, any_v4, any_v6, ip};
use crate::addr::Family;
use crate::decision::DropReason;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::{IcmpBody, Meta, Rewrite, TcpOption, Transport, WireError, checksum, put};

/// One rewriting.
#[derive(Clone, Debug)]
enum Step {
    Source(std::net::IpAddr, std::net::IpAddr),
    Destination(std::net::IpAddr, std::net::IpAddr),
    SourcePort(u16),
    DestinationPort(u16),
    IcmpId(u16),
    Seq(u32),
    Ack(u32),
    Sack(u32),
    Flags(u8),
    Ttl(u8),
    Tos(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any_v4(), any_v6()).prop_map(|(v4, v6)| Step::Source(v4, v6)),
        (any_v4(), any_v6()).prop_map(|(v4, v6)| Step::Destination(v4, v6)),
        (1..=u16::MAX).prop_map(Step::SourcePort),
        (1..=u16::MAX).prop_map(Step::DestinationPort),
        any::<u16>().prop_map(Step::IcmpId),
        any::<u32>().prop_map(Step::Seq),
        any::<u32>().prop_map(Step::Ack),
        any::<u32>().prop_map(Step::Sack),
        any::<u8>().prop_map(Step::Flags),
        (1..=u8::MAX).prop_map(Step::Ttl),
        any::<u8>().prop_map(Step::Tos),
    ]
}

/// Does `step`; whether the packet has what it changes.
fn run(step: &Step, packet: &mut [u8], meta: &mut Meta) -> Result<(), WireError> {
    let pick = |v4, v6| match meta.family {
        Family::Inet => v4,
        Family::Inet6 => v6,
    };
    match *step {
        Step::Source(v4, v6) => meta.set_source(packet, pick(v4, v6)),
        Step::Destination(v4, v6) => meta.set_destination(packet, pick(v4, v6)),
        Step::SourcePort(port) => meta.set_source_port(packet, port),
        Step::DestinationPort(port) => meta.set_destination_port(packet, port),
        Step::IcmpId(id) => meta.set_icmp_id(packet, id),
        Step::Seq(seq) => meta.set_tcp_seq(packet, seq),
        Step::Ack(ack) => meta.set_tcp_ack(packet, ack),
        Step::Sack(difference) => meta.add_to_sack_edges(packet, difference),
        Step::Flags(flags) => meta.set_tcp_flags(packet, flags, 0x0f).map(drop),
        Step::Ttl(ttl) => meta.set_ttl(packet, ttl),
        Step::Tos(tos) => meta.set_tos(packet, tos),
    }
}

/// Whether the parsed packet says what `step` should have made it say.
fn took_effect(step: &Step, meta: &Meta) -> bool {
    match *step {
        Step::Source(v4, v6) => meta.source == v4 || meta.source == v6,
        Step::Destination(v4, v6) => meta.destination == v4 || meta.destination == v6,
        Step::SourcePort(port) => meta.ports().unwrap().0 == port,
        Step::DestinationPort(port) => meta.ports().unwrap().1 == port,
        Step::IcmpId(id) => meta.icmp().unwrap().body == IcmpBody::Query { id },
        Step::Seq(seq) => meta.tcp().unwrap().seq == seq,
        Step::Ack(ack) => meta.tcp().unwrap().ack == ack,
        Step::Sack(_) => true,
        Step::Flags(flags) => meta.tcp().unwrap().flags == flags,
        Step::Ttl(ttl) => meta.ttl == ttl,
        Step::Tos(tos) => meta.tos == tos,
    }
}

proptest! {
    #[test]
    fn incremental_rewriting_equals_computing_anew(
        packet in any_packet(),
        steps in proptest::collection::vec(any_step(), 1..6),
    ) {
        let mut bytes = packet.clone();
        let mut meta = Meta::parse(&bytes).unwrap();
        for step in &steps {
            let before = bytes.clone();
            match run(step, &mut bytes, &mut meta) {
                Ok(()) => prop_assert!(took_effect(step, &meta)),
                Err(error) => {
                    prop_assert_eq!(error, WireError::UNFIT);
                    prop_assert_eq!(&bytes, &before);
                }
            }
        }
        prop_assert_eq!(Meta::parse(&bytes), Ok(meta));
        let mut fresh = bytes.clone();
        checksum::complete(&mut fresh).unwrap();
        prop_assert_eq!(bytes, fresh);
    }

    #[test]
    fn udp_without_checksum_stays_without(
        packet in any_packet().prop_filter("UDP", |p| {
            matches!(Meta::parse(p).unwrap().transport, Transport::Udp(_))
        }),
        step in any_step(),
    ) {
        let mut bytes = packet;
        let at = Meta::parse(&bytes).unwrap().l4_offset + 6;
        put(&mut bytes, at, &[0, 0]).unwrap();
        let mut meta = Meta::parse(&bytes).unwrap();
        let _ = run(&step, &mut bytes, &mut meta);
        prop_assert_eq!(&bytes[at..at + 2], &[0, 0]);
        prop_assert!(checksum::ip_header_valid(&bytes, &meta));
    }

    #[test]
    fn sack_edges_move_and_move_back(packet in any_packet(), difference: u32) {
        let mut bytes = packet.clone();
        let meta = Meta::parse(&bytes).unwrap();
        let Some(tcp) = meta.tcp() else { return Ok(()) };
        meta.add_to_sack_edges(&mut bytes, difference).unwrap();
        for option in tcp.options(&packet) {
            let TcpOption::Sack { offset, blocks } = option else { continue };
            for edge in 0..blocks * 2 {
                let at = offset + edge * 4;
                let read = |p: &[u8]| u32::from_be_bytes(p[at..at + 4].try_into().unwrap());
                prop_assert_eq!(read(&bytes), read(&packet).wrapping_add(difference));
            }
        }
        meta.add_to_sack_edges(&mut bytes, difference.wrapping_neg()).unwrap();
        prop_assert_eq!(bytes, packet);
    }
}

#[test]
fn a_source_address_is_rewritten_with_both_checksums() {
    let mut bytes = build::udp(&ip("10.0.0.1", "192.0.2.9"), 53, 5353, b"odd");
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.set_source(&mut bytes, address("203.0.113.7")).unwrap();
    let expected = build::udp(&ip("203.0.113.7", "192.0.2.9"), 53, 5353, b"odd");
    assert_eq!(bytes, expected);
}

#[test]
fn an_address_of_the_other_family_is_refused() {
    let mut bytes = build::udp(&ip("10.0.0.1", "192.0.2.9"), 53, 5353, b"odd");
    let before = bytes.clone();
    let mut meta = Meta::parse(&bytes).unwrap();
    let refused = meta.set_source(&mut bytes, address("2001:db8::1"));
    assert_eq!((refused, bytes), (Err(WireError::UNFIT), before));
    assert_eq!(meta.source, address("10.0.0.1"));
}

#[test]
fn a_udp_checksum_that_becomes_zero_is_written_as_ones() {
    let make = |port| build::udp(&ip("10.0.0.1", "10.0.0.2"), port, 2, &[]);
    let start = make(1);
    // The source port that makes the sum of all words 0xffff: the checksum's complement added.
    let at_zero = u16::from_be_bytes([start[26], start[27]]) + 1;
    let mut bytes = start.clone();
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.set_source_port(&mut bytes, at_zero).unwrap();
    assert_eq!(bytes[26..28], [0xff, 0xff]);
    assert_eq!(bytes, make(at_zero));
    meta.set_source_port(&mut bytes, 1).unwrap();
    assert_eq!(bytes, start);
}

#[test]
fn an_echo_reply_of_nothing_but_zeros_keeps_a_valid_checksum() {
    let ip = ip("10.0.0.1", "10.0.0.2");
    let mut bytes = build::echo_reply(&ip, 5, 0, &[]);
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.set_icmp_id(&mut bytes, 0).unwrap();
    assert_eq!(bytes[22..24], [0xff, 0xff]);
    meta.set_icmp_id(&mut bytes, 5).unwrap();
    assert_eq!(bytes, build::echo_reply(&ip, 5, 0, &[]));
}

#[test]
fn only_the_ip_header_of_a_fragment_is_rewritten() {
    let mut bytes = build::udp(&ip("10.0.0.1", "10.0.0.2"), 1, 2, &[9; 24]);
    put(&mut bytes, 6, &[0x20, 0]).unwrap();
    let payload = bytes[20..].to_vec();
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.set_source(&mut bytes, address("10.0.0.3")).unwrap();
    assert_eq!(bytes[20..], payload);
    assert_eq!(meta.set_source_port(&mut bytes, 9), Err(WireError::UNFIT));
}

#[test]
fn the_last_hop_is_not_taken_off() {
    for source in ["10.0.0.1", "2001:db8::1"] {
        let ip = Ip {
            ttl: 2,
            ..Ip::new(address(source), address(source))
        };
        let mut bytes = build::tcp(&ip, &Segment::new(1, 2, tcp_flags::ACK), &[]);
        let mut meta = Meta::parse(&bytes).unwrap();
        meta.decrement_ttl(&mut bytes).unwrap();
        assert_eq!(Meta::parse(&bytes).unwrap().ttl, 1);
        let before = bytes.clone();
        let refused = meta.decrement_ttl(&mut bytes).map_err(|e| e.reason);
        assert_eq!(refused, Err(DropReason::TtlExceeded));
        assert_eq!(bytes, before);
    }
}

#[test]
fn dont_fragment_is_cleared_with_its_checksum() {
    let df = |dont_fragment| {
        let ip = Ip {
            dont_fragment,
            ..ip("10.0.0.1", "10.0.0.2")
        };
        build::udp(&ip, 1, 2, &[])
    };
    let mut bytes = df(true);
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.clear_dont_fragment(&mut bytes).unwrap();
    assert_eq!((bytes, meta.dont_fragment), (df(false), false));
}

#[test]
fn another_packet_than_the_parsed_one_is_refused_not_panicked_on() {
    let mut meta = Meta::parse(&build::udp(&ip("::1", "::2"), 1, 2, &[])).unwrap();
    let mut other = [0_u8; 12];
    assert!(meta.set_source(&mut other, address("::3")).is_err());
    assert!(meta.set_source_port(&mut other, 9).is_err());
    assert!(meta.set_tos(&mut other, 1).is_err());
}
