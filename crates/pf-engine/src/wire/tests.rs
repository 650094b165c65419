//! Tests of the wire format; the strategies are shared with `norm` and `generate`.

mod arbitrary;
mod checksums;
mod oracle;
mod parse;
mod quoted;
mod rewrite;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::build::{self, Ip, Segment};
use crate::addr::Protocol;

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn ip(source: &str, destination: &str) -> Ip {
    Ip::new(address(source), address(destination))
}

pub(super) fn any_v4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

pub(super) fn any_v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

/// An IP header of either family.
pub(crate) fn any_ip() -> impl Strategy<Value = Ip> {
    let addresses = prop_oneof![(any_v4(), any_v4()), (any_v6(), any_v6())];
    let fields = (1..=255_u8, any::<u8>(), any::<u16>());
    (addresses, fields).prop_map(|((source, destination), (ttl, tos, id))| Ip {
        ttl,
        tos,
        id,
        ..Ip::new(source, destination)
    })
}

/// TCP options with SACK blocks at every alignment.
fn any_options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![4, 2]),
        any::<[u8; 2]>().prop_map(|value| [vec![2, 4], value.to_vec()].concat()),
        any::<u8>().prop_map(|shift| vec![3, 3, shift]),
        any::<[u8; 8]>().prop_map(|value| [vec![8, 10], value.to_vec()].concat()),
        vec(any::<[u8; 8]>(), 1..4).prop_map(|blocks| {
            let data = blocks.concat();
            [vec![5, u8::try_from(data.len()).unwrap() + 2], data].concat()
        }),
    ];
    vec(option, 0..5).prop_map(|options| {
        let mut bytes: Vec<u8> = Vec::new();
        for option in options {
            if bytes.len() + option.len() <= 40 {
                bytes.extend(option);
            }
        }
        bytes
    })
}

/// A packet of either family and any protocol, with right checksums.
pub(crate) fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..200);
    let numbers = (1..=u16::MAX, 1..=u16::MAX, any::<[u32; 2]>(), any::<u8>());
    (0..6_u8, any_ip(), numbers, any_options(), payload).prop_map(
        |(which, ip, (first, second, [seq, ack], flags), options, payload)| match which {
            0 | 1 => {
                let mut segment = Segment::new(first, second, flags);
                (segment.seq, segment.ack, segment.options) = (seq, ack, &options);
                build::tcp(&ip, &segment, &payload)
            }
            2 => build::udp(&ip, first, second, &payload),
            3 => build::echo_request(&ip, first, second, &payload),
            4 => {
                let ports = [first.to_be_bytes(), second.to_be_bytes()].concat();
                let rest = [ports, seq.to_be_bytes().to_vec(), vec![0; 4], payload].concat();
                build::packet(&ip, Protocol::SCTP, &rest)
            }
            // An IPv6 packet has some length.
            _ => build::packet(&ip, Protocol(47), &[&[0][..], &payload].concat()),
        },
    )
}
