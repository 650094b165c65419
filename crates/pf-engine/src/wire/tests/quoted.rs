use proptest::prelude::*;

use super::{address, any_packet, any_v4, any_v6, ip};
use crate::addr::{Family, Protocol};
use crate::decision::DropReason;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::{
    Meta, Quoted, QuotedIcmp, QuotedTcp, QuotedTransport, Rewrite, WireError, checksum, icmp,
    icmp6, put,
};

/// An ICMP error of the inner packet's family that quotes its first `len` bytes.
fn error_about(outer: &Ip, inner: &[u8], len: usize) -> Vec<u8> {
    let kind = match outer.family() {
        Family::Inet => icmp::UNREACHABLE,
        Family::Inet6 => icmp6::UNREACHABLE,
    };
    build::icmp(outer, kind, 0, 0, &inner[..len])
}

fn parse(packet: &[u8]) -> Result<Quoted, WireError> {
    Quoted::parse(packet, &Meta::parse(packet)?)
}

fn inner_tcp() -> Vec<u8> {
    let mut segment = Segment::new(1024, 80, tcp_flags::ACK);
    (segment.seq, segment.ack) = (7, 9);
    build::tcp(&ip("10.0.0.1", "192.0.2.9"), &segment, b"data")
}

#[test]
fn eight_bytes_of_a_quoted_transport_header_are_enough() {
    let outer = ip("192.0.2.1", "10.0.0.1");
    for (len, ack) in [(28, None), (32, Some(9)), (44, Some(9))] {
        let quoted = parse(&error_about(&outer, &inner_tcp(), len)).unwrap();
        let tcp = QuotedTcp {
            source_port: 1024,
            destination_port: 80,
            seq: 7,
            ack,
        };
        assert_eq!(quoted.transport, QuotedTransport::Tcp(tcp));
        assert_eq!(quoted.ports(), Some((1024, 80)));
        assert_eq!(
            (quoted.offset, quoted.l4_offset, quoted.end),
            (28, 48, 28 + len)
        );
        assert_eq!(quoted.total_len, 44);
        assert_eq!(quoted.source, address("10.0.0.1"));
    }
    assert_eq!(
        parse(&error_about(&outer, &inner_tcp(), 27)),
        Err(WireError::SHORT)
    );
}

#[test]
fn a_quoted_ping_has_its_identifier() {
    let outer = ip("2001:db8::9", "2001:db8::1");
    let inner = build::echo_request(&ip("2001:db8::1", "2001:db8::2"), 77, 1, &[]);
    let icmp = QuotedIcmp {
        kind: icmp6::ECHO_REQUEST,
        code: 0,
        id: Some(77),
    };
    let quoted = parse(&error_about(&outer, &inner, inner.len())).unwrap();
    assert_eq!(quoted.transport, QuotedTransport::Icmp6(icmp));
}

#[test]
fn a_quoted_later_fragment_or_other_family_is_refused() {
    let outer = ip("192.0.2.1", "10.0.0.1");
    let mut inner = inner_tcp();
    put(&mut inner, 6, &[0, 1]).unwrap();
    let reason = parse(&error_about(&outer, &inner, 28)).map_err(|e| e.reason);
    assert_eq!(reason, Err(DropReason::Fragment));
    let inner = build::udp(&ip("::1", "::2"), 1, 2, &[]);
    let refused = parse(&error_about(&outer, &inner, inner.len()));
    assert_eq!(refused, Err(WireError::SHORT));
}

#[test]
fn a_quoted_packet_of_another_protocol_may_be_shorter() {
    let outer = ip("192.0.2.1", "10.0.0.1");
    let inner = build::packet(&ip("10.0.0.1", "192.0.2.9"), Protocol(47), &[]);
    let quoted = parse(&error_about(&outer, &inner, 20)).unwrap();
    assert_eq!(
        (quoted.transport, quoted.protocol),
        (QuotedTransport::Other, Protocol(47))
    );
    assert_eq!((quoted.l4_offset, quoted.end), (48, 48));
}

#[test]
fn what_is_no_error_quotes_nothing() {
    let ping = build::echo_request(&ip("10.0.0.1", "10.0.0.2"), 1, 1, &inner_tcp());
    assert_eq!(parse(&ping), Err(WireError::SHORT));
}

#[test]
fn a_quoted_udp_checksum_of_zero_stays_zero() {
    let mut inner = build::udp(&ip("10.0.0.1", "192.0.2.9"), 53, 99, b"abc");
    put(&mut inner, 26, &[0, 0]).unwrap();
    let mut packet = error_about(&ip("192.0.2.1", "10.0.0.1"), &inner, 28);
    let meta = Meta::parse(&packet).unwrap();
    let mut quoted = Quoted::parse(&packet, &meta).unwrap();
    quoted.set_source_port(&mut packet, 4711).unwrap();
    assert_eq!(packet[54..56], [0, 0]);
    assert!(checksum::transport_valid(&packet, &meta));
}

/// What NAT does to one side of a packet.
#[derive(Clone, Copy, Debug)]
struct Translation {
    v4: std::net::IpAddr,
    v6: std::net::IpAddr,
    port: u16,
    number: u32,
    source: bool,
}

fn any_translation() -> impl Strategy<Value = Translation> {
    let numbers = (1..=u16::MAX, any::<u32>(), any::<bool>());
    (any_v4(), any_v6(), numbers).prop_map(|(v4, v6, (port, number, source))| Translation {
        v4,
        v6,
        port,
        number,
        source,
    })
}

impl Translation {
    fn address(&self, family: Family) -> std::net::IpAddr {
        match family {
            Family::Inet => self.v4,
            Family::Inet6 => self.v6,
        }
    }

    fn of_packet(&self, packet: &mut [u8]) {
        let mut meta = Meta::parse(packet).unwrap();
        let address = self.address(meta.family);
        if self.source {
            meta.set_source(packet, address).unwrap();
            let _ = meta.set_source_port(packet, self.port);
        } else {
            meta.set_destination(packet, address).unwrap();
            let _ = meta.set_destination_port(packet, self.port);
        }
        let _ = meta.set_icmp_id(packet, self.port);
        let _ = meta.set_tcp_seq(packet, self.number);
        let _ = meta.set_tcp_ack(packet, !self.number);
    }

    fn of_quoted(&self, quoted: &mut Quoted, packet: &mut [u8]) {
        let address = self.address(quoted.family);
        if self.source {
            quoted.set_source(packet, address).unwrap();
            let _ = quoted.set_source_port(packet, self.port);
        } else {
            quoted.set_destination(packet, address).unwrap();
            let _ = quoted.set_destination_port(packet, self.port);
        }
        let _ = quoted.set_icmp_id(packet, self.port);
        let _ = quoted.set_tcp_seq(packet, self.number);
        let _ = quoted.set_tcp_ack(packet, !self.number);
    }
}

proptest! {
    /// Rewriting the quotation gives the same bytes as quoting the rewritten packet.
    #[test]
    fn a_rewritten_quotation_is_a_quotation_of_the_rewritten_packet(
        inner in any_packet().prop_filter("its CRC is not kept up", |p| {
            Meta::parse(p).unwrap().protocol != Protocol::SCTP
        }),
        translation in any_translation(),
        cut: prop::sample::Index,
    ) {
        let meta = Meta::parse(&inner).unwrap();
        let outer = Ip::new(meta.destination, meta.source);
        let least = (meta.l4_offset + 8).min(inner.len());
        let len = least + cut.index(inner.len() - least + 1);
        let mut packet = error_about(&outer, &inner, len);
        let outer_meta = Meta::parse(&packet).unwrap();
        let mut quoted = Quoted::parse(&packet, &outer_meta).unwrap();
        translation.of_quoted(&mut quoted, &mut packet);

        let mut expected_inner = inner;
        translation.of_packet(&mut expected_inner);
        // A TCP field that is cut in the middle is left: acknowledgment number, checksum.
        let behind = len - least;
        let in_field = matches!(behind, 1..4 | 9);
        if meta.tcp().is_none() || !in_field {
            prop_assert_eq!(&packet, &error_about(&outer, &expected_inner, len));
        }
        prop_assert!(checksum::transport_valid(&packet, &outer_meta));
        prop_assert_eq!(Quoted::parse(&packet, &outer_meta), Ok(quoted));
    }
}
