//! Agreement with etherparse, which shares no code with us.

use std::net::IpAddr;

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{any_ip, any_packet};
use crate::addr::Protocol;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::{IcmpBody, Meta, Transport, checksum};

fn check_network(net: &NetHeaders, meta: &Meta) {
    match net {
        NetHeaders::Ipv4(header, _) => {
            assert_eq!(IpAddr::from(header.source), meta.source);
            assert_eq!(IpAddr::from(header.destination), meta.destination);
            assert_eq!(usize::from(header.total_len), meta.total_len);
            assert_eq!(header.header_len(), meta.ip_header_len);
            assert_eq!(
                (header.time_to_live, header.identification),
                (meta.ttl, meta.ip_id)
            );
            assert_eq!(header.protocol.0, meta.protocol.0);
            assert_eq!(header.dscp.value() << 2 | header.ecn.value(), meta.tos);
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
        }
        NetHeaders::Ipv6(header, extensions) => {
            assert_eq!(IpAddr::from(header.source), meta.source);
            assert_eq!(IpAddr::from(header.destination), meta.destination);
            assert_eq!(usize::from(header.payload_length) + 40, meta.total_len);
            assert_eq!(
                (header.hop_limit, header.traffic_class),
                (meta.ttl, meta.tos)
            );
            assert_eq!(extensions.header_len() + 40, meta.l4_offset);
        }
        NetHeaders::Arp(_) => panic!("not IP"),
    }
}

fn check_transport(transport: Option<&TransportHeader>, meta: &Meta, packet: &[u8]) {
    match (transport, &meta.transport) {
        (Some(TransportHeader::Tcp(theirs)), Transport::Tcp(ours)) => {
            assert_eq!(
                (theirs.source_port, theirs.destination_port),
                meta.ports().unwrap()
            );
            assert_eq!(theirs.sequence_number, ours.seq);
            assert_eq!(theirs.acknowledgment_number, ours.ack);
            assert_eq!(theirs.window_size, ours.window);
            assert_eq!(theirs.header_len(), ours.header_len);
            assert_eq!(theirs.syn, ours.flags & 2 != 0);
            assert_eq!(theirs.ack, ours.flags & 16 != 0);
        }
        (Some(TransportHeader::Udp(theirs)), Transport::Udp(_)) => {
            assert_eq!(
                (theirs.source_port, theirs.destination_port),
                meta.ports().unwrap()
            );
        }
        (Some(TransportHeader::Icmpv4(_)), Transport::Icmp(ours))
        | (Some(TransportHeader::Icmpv6(_)), Transport::Icmp6(ours)) => {
            assert_eq!(ours.kind, packet[meta.l4_offset]);
            assert!(matches!(ours.body, IcmpBody::Query { .. }));
        }
        (None, Transport::Sctp(_) | Transport::Other) => {}
        (theirs, ours) => panic!("{theirs:?} is not {ours:?}"),
    }
}

/// The same addresses for their builder.
macro_rules! their_ip {
    ($ip:expr) => {
        match ($ip.source, $ip.destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => PacketBuilder::ipv4(s.octets(), d.octets(), $ip.ttl),
            (IpAddr::V6(s), IpAddr::V6(d)) => PacketBuilder::ipv6(s.octets(), d.octets(), $ip.ttl),
            _ => unreachable!("one family"),
        }
    };
}

fn written(size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    write(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn our_packets_read_the_same_in_etherparse(packet in any_packet()) {
        let meta = Meta::parse(&packet).unwrap();
        let theirs = PacketHeaders::from_ip_slice(&packet).unwrap();
        check_network(theirs.net.as_ref().unwrap(), &meta);
        check_transport(theirs.transport.as_ref(), &meta, &packet);
    }

    #[test]
    fn their_packets_have_checksums_that_we_find_right(
        ip in any_ip(),
        (first, second) in (1..=u16::MAX, 1..=u16::MAX),
        seq: u32,
        payload in vec(any::<u8>(), 0..100),
    ) {
        let ip = Ip { tos: 0, id: 0, ..ip };
        let tcp = written(200, |out| {
            let builder = their_ip!(ip).tcp(first, second, seq, 1000);
            builder.write(out, &payload).unwrap();
        });
        let udp = written(200, |out| their_ip!(ip).udp(first, second).write(out, &payload).unwrap());
        for bytes in [&tcp, &udp] {
            let meta = Meta::parse(bytes).unwrap();
            prop_assert!(checksum::ip_header_valid(bytes, &meta));
            prop_assert!(checksum::transport_valid(bytes, &meta));
        }
        let mut segment = Segment::new(first, second, 0);
        (segment.seq, segment.window) = (seq, 1000);
        let without_df = |mut bytes: Vec<u8>| {
            let mut meta = Meta::parse(&bytes).unwrap();
            meta.clear_dont_fragment(&mut bytes).unwrap();
            bytes
        };
        prop_assert_eq!(without_df(tcp), build::tcp(&ip, &segment, &payload));
        prop_assert_eq!(without_df(udp), build::udp(&ip, first, second, &payload));
    }

    #[test]
    fn their_pings_are_ours(ip in any_ip(), id: u16, seq: u16) {
        let ip = Ip { tos: 0, id: 0, ..ip };
        let echo = written(100, |out| {
            let step = their_ip!(ip);
            match ip.icmp_protocol() {
                Protocol::ICMP => step.icmpv4_echo_request(id, seq).write(out, b"x").unwrap(),
                _ => step.icmpv6_echo_request(id, seq).write(out, b"x").unwrap(),
            }
        });
        let meta = Meta::parse(&echo).unwrap();
        prop_assert!(checksum::transport_valid(&echo, &meta));
        let ours = build::echo_request(&ip, id, seq, b"x");
        prop_assert_eq!(&echo[meta.l4_offset..], &ours[meta.l4_offset..]);
    }
}
