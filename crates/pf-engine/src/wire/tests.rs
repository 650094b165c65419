use std::net::IpAddr;

use super::build::{self, Ip, Segment};
use super::{Meta, Transport, checksum};
use crate::rule::tcp_flags;

fn ip(source: &str, destination: &str) -> Ip {
    let address = |s: &str| s.parse::<IpAddr>().unwrap();
    Ip::new(address(source), address(destination))
}

#[test]
fn a_built_tcp_packet_parses_to_its_parts() {
    let mut segment = Segment::new(1024, 80, tcp_flags::SYN);
    segment.seq = 7;
    segment.options = &[2, 4, 5, 0xb4, 1, 3, 3, 7];
    let bytes = build::tcp(&ip("10.0.0.1", "192.0.2.9"), &segment, b"hello");
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!(meta.total_len, 53);
    assert_eq!(meta.payload_len(), 5);
    assert_eq!(meta.ports(), Some((1024, 80)));
    let Transport::Tcp(tcp) = meta.transport else {
        panic!("not TCP: {meta:?}");
    };
    assert_eq!(tcp.seq, 7);
    assert_eq!(tcp.maximum_segment_size(&bytes), Some(1460));
    assert_eq!(tcp.window_scale(&bytes), Some(7));
    assert!(checksum::ip_header_valid(&bytes, &meta));
    assert!(checksum::transport_valid(&bytes, &meta));
}

#[test]
fn a_source_address_is_rewritten_with_both_checksums() {
    let mut bytes = build::udp(&ip("10.0.0.1", "192.0.2.9"), 53, 5353, b"odd");
    let mut meta = Meta::parse(&bytes).unwrap();
    meta.set_source(&mut bytes, "203.0.113.7".parse().unwrap())
        .unwrap();
    assert_eq!(
        bytes,
        build::udp(&ip("203.0.113.7", "192.0.2.9"), 53, 5353, b"odd")
    );
    assert_eq!(Meta::parse(&bytes), Ok(meta));
}
