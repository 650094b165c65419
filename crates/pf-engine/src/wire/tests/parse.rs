use super::{address, ip};
use crate::addr::{Family, Protocol};
use crate::decision::DropReason;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::{Fragment, Icmp, IcmpBody, Meta, TcpOption, Transport, WireError, put};

fn v4() -> Ip {
    ip("10.0.0.1", "192.0.2.9")
}

fn v6() -> Ip {
    ip("2001:db8::1", "2001:db8::2")
}

/// An IPv6 packet whose first extension header is of kind `first`.
fn with_extensions(first: u8, extensions: &[&[u8]], l4: &[u8]) -> Vec<u8> {
    let rest = [extensions.concat(), l4.to_vec()].concat();
    build::packet(&v6(), Protocol(first), &rest)
}

fn udp_bytes() -> Vec<u8> {
    vec![0, 53, 0, 80, 0, 8, 0, 0]
}

fn with_v4_options(options: &[u8], protocol: Protocol, ttl: u8) -> Vec<u8> {
    let ip = Ip { ttl, ..v4() };
    let payload = [options, &udp_bytes()].concat();
    let mut bytes = build::packet(&ip, protocol, &payload);
    bytes[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    bytes
}

#[test]
fn a_tcp_packet_parses_to_its_parts() {
    let mut segment = Segment::new(1024, 80, tcp_flags::SYN);
    segment.seq = 7;
    segment.options = &[2, 4, 5, 0xb4, 1, 3, 3, 7];
    let bytes = build::tcp(&v4(), &segment, b"hello");
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!(meta.family, Family::Inet);
    assert_eq!(
        (meta.source, meta.destination),
        (v4().source, v4().destination)
    );
    assert_eq!((meta.ip_header_len, meta.l4_offset), (20, 20));
    assert_eq!((meta.payload_offset, meta.total_len), (48, 53));
    assert_eq!(meta.payload_len(), 5);
    assert_eq!(meta.ports(), Some((1024, 80)));
    let tcp = meta.tcp().unwrap();
    assert_eq!((tcp.seq, tcp.ack, tcp.flags), (7, 0, tcp_flags::SYN));
    assert_eq!(tcp.maximum_segment_size(&bytes), Some(1460));
    assert_eq!(tcp.window_scale(&bytes), Some(7));
    assert_eq!(tcp.timestamps(&bytes), None);
}

#[test]
fn padding_behind_the_packet_does_not_count() {
    let mut bytes = build::udp(&v4(), 1, 2, b"x");
    bytes.resize(46, 0xee);
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!((meta.total_len, meta.payload_len()), (29, 1));
}

#[test]
fn a_packet_shorter_than_it_says_is_short() {
    for packet in [build::udp(&v4(), 1, 2, b"x"), build::udp(&v6(), 1, 2, b"x")] {
        for len in 0..packet.len() {
            assert_eq!(Meta::parse(&packet[..len]), Err(WireError::SHORT), "{len}");
        }
        assert!(Meta::parse(&packet).is_ok());
    }
}

#[test]
fn impossible_header_lengths_are_short() {
    let good = build::tcp(&v4(), &Segment::new(1, 2, 0), &[]);
    for (at, value) in [(0, 0x44), (0, 0x54), (32, 0x40), (32, 0x60), (3, 19)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(
            Meta::parse(&bytes),
            Err(WireError::SHORT),
            "{at} {value:#x}"
        );
    }
}

#[test]
fn udp_to_port_zero_or_with_a_wrong_length_is_short() {
    let good = build::udp(&v4(), 1, 2, b"abc");
    for (at, value) in [(23, 0), (25, 7), (25, 12)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(Meta::parse(&bytes), Err(WireError::SHORT), "{at} {value}");
    }
}

#[test]
fn udp_may_end_before_the_packet_does() {
    let mut bytes = build::udp(&v4(), 1, 2, b"abc");
    bytes[25] = 9;
    assert!(Meta::parse(&bytes).is_ok());
}

#[test]
fn icmp_messages_are_told_apart() {
    let bodies = [
        (v4(), 8, IcmpBody::Query { id: 0x0102 }),
        (v4(), 14, IcmpBody::Query { id: 0x0102 }),
        (v4(), 3, IcmpBody::Error),
        (v4(), 5, IcmpBody::Error),
        (v4(), 9, IcmpBody::Other),
        (v6(), 129, IcmpBody::Query { id: 0x0102 }),
        (v6(), 2, IcmpBody::Error),
        (v6(), 8, IcmpBody::Other),
        (v6(), 135, IcmpBody::Other),
    ];
    for (ip, kind, body) in bodies {
        let meta = Meta::parse(&build::icmp(&ip, kind, 1, 0x0102_0304, &[0; 16])).unwrap();
        let expected = Icmp {
            kind,
            code: 1,
            parameter: 0x0102_0304,
            body,
        };
        assert_eq!(meta.icmp(), Some(&expected));
        let quoted_at = (body == IcmpBody::Error).then_some(meta.l4_offset + 8);
        assert_eq!(meta.quoted_offset(), quoted_at);
    }
}

#[test]
fn icmp_of_the_other_family_is_another_protocol() {
    let in_v6 = build::packet(&v6(), Protocol::ICMP, &[8, 0, 0, 0]);
    assert_eq!(Meta::parse(&in_v6).unwrap().transport, Transport::Other);
    let in_v4 = build::packet(&v4(), Protocol::ICMPV6, &[]);
    assert_eq!(Meta::parse(&in_v4).unwrap().transport, Transport::Other);
}

#[test]
fn a_fragment_is_not_parsed_beyond_ip() {
    let mut bytes = build::udp(&v4(), 1, 2, &[0; 24]);
    put(&mut bytes, 6, &[0x20, 0x05]).unwrap();
    let meta = Meta::parse(&bytes).unwrap();
    assert!(meta.is_fragment() && meta.is_later_fragment());
    let fragment = meta.fragment.unwrap();
    assert_eq!((fragment.offset, fragment.more), (40, true));
    assert_eq!(meta.payload_offset, meta.l4_offset);
    assert_eq!(meta.ports(), None);
}

#[test]
fn a_first_fragment_may_be_shorter_than_its_transport_header() {
    let mut bytes = build::packet(&v4(), Protocol::TCP, &[0; 8]);
    put(&mut bytes, 6, &[0x20, 0]).unwrap();
    let meta = Meta::parse(&bytes).unwrap();
    assert!(meta.is_fragment() && !meta.is_later_fragment());
}

#[test]
fn dont_fragment_alone_makes_no_fragment() {
    let ip = Ip {
        dont_fragment: true,
        id: 7,
        ..v4()
    };
    let meta = Meta::parse(&build::udp(&ip, 1, 2, &[])).unwrap();
    assert_eq!((meta.dont_fragment, meta.ip_id), (true, 7));
    assert_eq!(meta.fragment, None);
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [44, 0, 1, 4, 0, 0, 0, 0];
    let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
    let bytes = with_extensions(0, &[&hop_by_hop, &destination, &atomic], &udp_bytes());
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!((meta.protocol, meta.l4_offset), (Protocol::UDP, 64));
    assert_eq!(meta.ports(), Some((53, 80)));
    assert!(meta.has_ip_options);
    let expected = Fragment {
        offset: 0,
        more: false,
        id: 9,
        header_offset: Some(56),
        announced_at: 48,
    };
    assert_eq!(meta.fragment, Some(expected));
    assert!(!meta.is_fragment());
}

#[test]
fn the_walk_ends_at_the_header_of_a_true_fragment() {
    let fragment = [60, 0, 0, 0x11, 0, 0, 0, 9];
    let bytes = with_extensions(44, &[&fragment], &[0xff; 16]);
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!((meta.protocol, meta.l4_offset), (Protocol(60), 48));
    assert!(meta.is_later_fragment());
    assert_eq!(meta.fragment.map(|f| (f.offset, f.more)), Some((16, true)));
}

#[test]
fn authentication_header_length_counts_in_words() {
    let mut header = vec![17, 4];
    header.resize(24, 0);
    let meta = Meta::parse(&with_extensions(51, &[&header], &udp_bytes())).unwrap();
    assert_eq!((meta.l4_offset, meta.ports()), (64, Some((53, 80))));
}

#[test]
fn authentication_headers_of_ipv4_are_walked_up_to_the_limit_of_headers() {
    let chain = |count: usize| {
        let mut headers = vec![[51, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]; count];
        headers.last_mut().unwrap()[0] = 17;
        let rest = [headers.concat(), udp_bytes()].concat();
        build::packet(&v4(), Protocol(51), &rest)
    };
    let meta = Meta::parse(&chain(1)).unwrap();
    assert_eq!((meta.protocol, meta.l4_offset), (Protocol::UDP, 32));
    assert_eq!(meta.ports(), Some((53, 80)));
    assert!(!meta.has_ip_options);
    assert_eq!(Meta::parse(&chain(19)).unwrap().l4_offset, 248);
    assert_eq!(Meta::parse(&chain(20)), Err(WireError::IP_OPTION));
    // What they announce is not there.
    let mut cut = build::packet(&v4(), Protocol(51), &[17, 1, 0, 0]);
    assert_eq!(Meta::parse(&cut), Err(WireError::SHORT));
    cut.truncate(20);
    assert_eq!(Meta::parse(&cut), Err(WireError::SHORT));
}

#[test]
fn refused_extension_headers_are_ip_options() {
    let hop_by_hop = [0, 0, 1, 4, 0, 0, 0, 0];
    let routing_0 = [17, 0, 0, 0, 0, 0, 0, 0];
    let routing_4 = [43, 0, 4, 0, 0, 0, 0, 0];
    let fragment = [44, 0, 0, 0, 0, 0, 0, 1];
    let jumbo = [17, 0, 0xc2, 4, 0, 1, 0, 0];
    let broken_option = [17, 0, 30, 9, 0, 0, 0, 0];
    let cases = [
        with_extensions(0, &[&hop_by_hop, &hop_by_hop], &[]),
        with_extensions(43, &[&routing_0], &udp_bytes()),
        with_extensions(43, &[&routing_4, &routing_4], &udp_bytes()),
        with_extensions(0, &[&jumbo], &udp_bytes()),
        with_extensions(0, &[&broken_option], &udp_bytes()),
    ];
    for bytes in cases {
        let reason = Meta::parse(&bytes).map_err(|error| error.reason);
        assert_eq!(reason, Err(DropReason::IpOption), "{bytes:x?}");
    }
    let twice = with_extensions(44, &[&fragment, &fragment], &[]);
    assert_eq!(Meta::parse(&twice), Err(WireError::FRAGMENT));
    let for_the_receiver = with_extensions(60, &[&broken_option], &udp_bytes());
    assert!(Meta::parse(&for_the_receiver).unwrap().has_ip_options);
}

#[test]
fn twenty_headers_are_walked_with_the_last_and_one_more_is_refused() {
    let chain = |count: usize| {
        let mut headers = vec![[60, 0, 1, 4, 0, 0, 0, 0]; count];
        headers.last_mut().unwrap()[0] = 17;
        with_extensions(60, &[&headers.concat()], &udp_bytes())
    };
    assert_eq!(Meta::parse(&chain(19)).unwrap().l4_offset, 192);
    assert_eq!(Meta::parse(&chain(20)), Err(WireError::IP_OPTION));
}

#[test]
fn options_need_permission_padding_too() {
    let cases: [(Vec<u8>, bool); 9] = [
        (with_v4_options(&[], Protocol::UDP, 64), false),
        (with_v4_options(&[1, 1, 1, 0], Protocol::UDP, 64), true),
        (with_v4_options(&[0, 0, 0, 0], Protocol(2), 1), true),
        (
            with_extensions(0, &[&[17, 0, 1, 4, 0, 0, 0, 0]], &udp_bytes()),
            true,
        ),
        (
            with_extensions(60, &[&[17, 0, 1, 4, 0, 0, 0, 0]], &udp_bytes()),
            true,
        ),
        (with_v4_options(&[148, 4, 0, 0], Protocol::UDP, 64), true),
        (with_v4_options(&[148, 4, 0, 0], Protocol(2), 1), false),
        (with_v4_options(&[7, 4, 4, 0], Protocol(2), 1), true),
        (
            with_extensions(43, &[&[17, 0, 2, 0, 0, 0, 0, 0]], &udp_bytes()),
            true,
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            Meta::parse(&bytes).unwrap().has_ip_options,
            expected,
            "{bytes:x?}"
        );
    }
}

#[test]
fn router_alert_is_expected_of_mld_alone() {
    let alert = |next| [next, 0, 5, 2, 0, 0, 1, 0];
    let listener_report = [143, 0, 0, 0, 0, 0, 0, 0];
    let mld = with_extensions(0, &[&alert(58)], &listener_report);
    assert!(!Meta::parse(&mld).unwrap().has_ip_options);
    let udp = with_extensions(0, &[&alert(17)], &udp_bytes());
    assert!(Meta::parse(&udp).unwrap().has_ip_options);
    let padded = with_extensions(0, &[&[58, 0, 1, 4, 0, 0, 0, 0]], &listener_report);
    assert!(Meta::parse(&padded).unwrap().has_ip_options);
}

#[test]
fn broken_ipv4_options_are_refused() {
    for options in [[148, 0, 0, 0], [148, 1, 0, 0], [148, 5, 0, 0], [1, 1, 1, 7]] {
        let bytes = with_v4_options(&options, Protocol::UDP, 64);
        assert_eq!(
            Meta::parse(&bytes),
            Err(WireError::IP_OPTION),
            "{options:?}"
        );
    }
}

#[test]
fn tcp_options_are_listed_with_their_places() {
    let options = [
        1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 4, 2, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4, 2, 3, 9, 0,
    ];
    let mut segment = Segment::new(1, 2, 0);
    segment.options = &options;
    let bytes = build::tcp(&v4(), &segment, &[]);
    let meta = Meta::parse(&bytes).unwrap();
    let listed: Vec<_> = meta.tcp().unwrap().options(&bytes).collect();
    let expected = [
        TcpOption::Sack {
            offset: 43,
            blocks: 1,
        },
        TcpOption::SackPermitted,
        TcpOption::Timestamps {
            offset: 55,
            value: 3,
            echo: 4,
        },
        TcpOption::Other {
            kind: 2,
            offset: 63,
            len: 3,
        },
    ];
    assert_eq!(listed, expected);
}

#[test]
fn a_window_scale_above_fourteen_counts_as_fourteen() {
    let mut segment = Segment::new(1, 2, tcp_flags::SYN);
    segment.options = &[3, 3, 200];
    let bytes = build::tcp(&v4(), &segment, &[]);
    let meta = Meta::parse(&bytes).unwrap();
    assert_eq!(meta.tcp().unwrap().window_scale(&bytes), Some(14));
}

#[test]
fn broken_tcp_options_end_the_list() {
    for options in [[2, 0, 1, 1], [2, 1, 1, 1], [2, 9, 1, 1], [1, 1, 1, 2]] {
        let mut segment = Segment::new(1, 2, 0);
        segment.options = &options;
        let bytes = build::tcp(&v4(), &segment, &[]);
        let meta = Meta::parse(&bytes).unwrap();
        assert_eq!(
            meta.tcp().unwrap().options(&bytes).count(),
            0,
            "{options:?}"
        );
    }
}

#[test]
fn traffic_class_and_hop_limit_are_read() {
    let ip = Ip {
        tos: 0xb9,
        ttl: 3,
        ..Ip::new(address("::1"), address("::2"))
    };
    let meta = Meta::parse(&build::udp(&ip, 1, 2, &[])).unwrap();
    assert_eq!((meta.tos, meta.ttl), (0xb9, 3));
    assert!(meta.dont_fragment);
}
