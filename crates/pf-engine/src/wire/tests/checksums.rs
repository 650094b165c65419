use proptest::prelude::*;

use super::{any_packet, ip};
use crate::addr::Protocol;
use crate::wire::build::{self, Segment};
use crate::wire::{Meta, WireError, checksum, put};

#[test]
fn the_example_of_rfc_1071_comes_out() {
    let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::internet(&words), !0xddf2);
}

#[test]
fn an_odd_last_byte_counts_as_a_high_byte() {
    assert_eq!(checksum::internet(&[1]), !0x0100);
    assert_eq!(checksum::internet(&[]), 0xffff);
}

#[test]
fn the_check_value_of_crc32c_comes_out() {
    assert_eq!(checksum::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn an_sctp_packet_gets_a_crc_of_itself_with_a_zero_field() {
    let mut l4 = vec![0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef];
    let packet = build::packet(&ip("10.0.0.1", "10.0.0.2"), Protocol::SCTP, &l4);
    let crc = checksum::crc32c(&l4).to_le_bytes();
    put(&mut l4, 8, &crc).unwrap();
    assert_eq!(packet[20..], l4);
}

#[test]
fn a_partial_checksum_is_finished() {
    for ip in [ip("10.0.0.1", "10.0.0.2"), ip("2001:db8::1", "2001:db8::2")] {
        let good = build::tcp(&ip, &Segment::new(1, 2, 0), b"hello");
        let meta = Meta::parse(&good).unwrap();
        // The kernel leaves the folded sum of the pseudo-header: the checksum of an empty
        // segment, but for its length, complemented.
        let pseudo = checksum::with_pseudo_header(ip.source, ip.destination, Protocol::TCP, &[]);
        let pseudo = u32::from(!pseudo) + u32::try_from(meta.l4_len()).unwrap();
        let pseudo = u16::try_from(pseudo % 0xffff).unwrap();
        let mut frame = [&[0xaa; 14][..], &good].concat();
        put(&mut frame, 14 + meta.l4_offset + 16, &pseudo.to_be_bytes()).unwrap();
        checksum::complete_partial_checksum(&mut frame, 14 + meta.l4_offset, 16).unwrap();
        assert_eq!(frame[14..], good);
    }
}

#[test]
fn a_partial_checksum_of_sctp_is_a_crc() {
    let l4 = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0xde, 0xad];
    let good = build::packet(&ip("10.0.0.1", "10.0.0.2"), Protocol::SCTP, &l4);
    let mut bytes = good.clone();
    put(&mut bytes, 28, &[0; 4]).unwrap();
    checksum::complete_partial_checksum(&mut bytes, 20, 8).unwrap();
    assert_eq!(bytes, good);
}

#[test]
fn a_partial_checksum_outside_of_the_frame_is_refused() {
    for (start, offset) in [(41, 0), (0, 39), (40, 0), (usize::MAX, 1), (1, usize::MAX)] {
        let mut bytes = [0; 40];
        let outcome = checksum::complete_partial_checksum(&mut bytes, start, offset);
        assert_eq!(outcome, Err(WireError::SHORT), "{start} {offset}");
        assert_eq!(bytes, [0; 40]);
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_makes_a_checksum_wrong(
        packet in any_packet(),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let meta = Meta::parse(&packet).unwrap();
        prop_assert!(checksum::ip_header_valid(&packet, &meta));
        prop_assert!(checksum::transport_valid(&packet, &meta));
        let protected = meta.protocol != Protocol(47) && meta.l4_len() > 0;
        prop_assume!(protected);
        let at = meta.l4_offset + at.index(meta.l4_len());
        let mut bytes = packet;
        bytes[at] ^= 1 << bit;
        let absent = meta.protocol == Protocol::UDP && bytes[meta.l4_offset + 6..][..2] == [0, 0];
        prop_assert!(absent || !checksum::transport_valid(&bytes, &meta));
    }
}
