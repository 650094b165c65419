//! Bytes of any kind: nothing panics, and what is parsed lies inside of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{address, any_packet};
use crate::addr::Family;
use crate::decision::DropReason;
use crate::generate::{self, IcmpError, MAX_ERROR_LEN_V6};
use crate::norm;
use crate::wire::{Meta, Quoted, Rewrite, checksum};

/// Does all that can be done to a packet from outside.
fn exercise(bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    let _ = checksum::complete(&mut copy);
    let meta = match Meta::parse(bytes) {
        Ok(meta) => meta,
        Err(error) => {
            assert!(matches!(
                error.reason,
                DropReason::Short
                    | DropReason::IpOption
                    | DropReason::Fragment
                    | DropReason::Normalize
            ));
            return;
        }
    };
    assert!(meta.ip_header_len <= meta.l4_offset && meta.l4_offset <= meta.payload_offset);
    assert!(meta.payload_offset <= meta.total_len && meta.total_len <= bytes.len());
    if let Some(tcp) = meta.tcp() {
        assert!(tcp.options(bytes).count() <= 20);
    }
    let copy = bytes.to_vec();
    rewrite(copy, meta);
    answer(bytes, &meta);
    if let Ok(pieces) = norm::fragment(bytes, &meta, 96, 1) {
        assert!(pieces.iter().all(|piece| piece.len() <= 96));
        assert!(pieces.iter().all(|piece| Meta::parse(piece).is_ok()));
    }
}

/// A rewritten packet says what it was told and has as right a checksum as before.
fn rewrite(mut bytes: Vec<u8>, mut meta: Meta) {
    let other = match meta.family {
        Family::Inet => address("192.0.2.77"),
        Family::Inet6 => address("2001:db8::77"),
    };
    let header_valid = checksum::ip_header_valid(&bytes, &meta);
    let transport_valid = checksum::transport_valid(&bytes, &meta);
    if let Ok(mut quoted) = Quoted::parse(&bytes, &meta) {
        assert!(quoted.l4_offset <= quoted.end);
        quoted.set_source(&mut bytes, other).unwrap();
        quoted.set_destination(&mut bytes, other).unwrap();
        let _ = quoted.set_source_port(&mut bytes, 9);
        let _ = quoted.set_icmp_id(&mut bytes, 9);
        let _ = quoted.set_tcp_seq(&mut bytes, 9);
        assert_eq!(Quoted::parse(&bytes, &meta), Ok(quoted));
    }
    meta.set_source(&mut bytes, other).unwrap();
    meta.set_destination(&mut bytes, other).unwrap();
    meta.set_ttl(&mut bytes, 9).unwrap();
    meta.set_tos(&mut bytes, 9).unwrap();
    let _ = meta.set_destination_port(&mut bytes, 9);
    let _ = meta.set_icmp_id(&mut bytes, 9);
    let _ = meta.set_tcp_ack(&mut bytes, 9);
    let _ = meta.add_to_sack_edges(&mut bytes, 9);
    assert_eq!(Meta::parse(&bytes), Ok(meta));
    assert_eq!(checksum::ip_header_valid(&bytes, &meta), header_valid);
    // A CRC is computed anew and so is right afterwards.
    assert!(checksum::transport_valid(&bytes, &meta) || !transport_valid);
}

fn answer(bytes: &[u8], meta: &Meta) {
    let error = IcmpError::TooBig { mtu: 1400 };
    for made in [
        generate::reset(meta, bytes, meta, 0),
        generate::icmp_error(bytes, meta, error, meta.destination),
    ]
    .into_iter()
    .flatten()
    {
        assert!(made.len() <= MAX_ERROR_LEN_V6);
        let made_meta = Meta::parse(&made).unwrap();
        assert!(checksum::transport_valid(&made, &made_meta));
        assert_eq!(made_meta.destination, meta.source);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_version_are_survived(
        version in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x4f), Just(0x60)],
        rest in vec(any::<u8>(), 0..300),
    ) {
        exercise(&[&[version], &rest[..]].concat());
    }

    #[test]
    fn truncated_and_damaged_packets_are_survived(
        packet in any_packet(),
        len: prop::sample::Index,
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = packet;
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        exercise(&bytes);
        bytes.truncate(len.index(bytes.len() + 1));
        exercise(&bytes);
    }
}
