use proptest::prelude::*;

use super::{any_packet, ip};
use crate::addr::Protocol;
use crate::wire::build;
use crate::wire::{Meta, checksum, put};

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
