use proptest::prelude::*;

use super::*;

/// `mss,sok,ts,nop,ws`, as Linux sends them.
const LINUX: [u8; 20] = [
    2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7,
];

/// Fields of a TCP header that the tests change.
#[derive(Clone)]
struct Segment {
    seq: u32,
    ack: u32,
    /// Flags; bit 8 is NS.
    flags: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: usize,
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            seq: 1,
            ack: 0,
            flags: u16::from(tcp_flags::SYN),
            urgent: 0,
            options: LINUX.to_vec(),
            payload: 0,
        }
    }
}

impl Segment {
    fn options(options: &[u8]) -> Self {
        Self {
            options: options.to_vec(),
            ..Self::default()
        }
    }

    fn flags(flags: u8) -> Self {
        Self {
            flags: u16::from(flags),
            ..Self::default()
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let words = 5 + u16::try_from(self.options.len() / 4).expect("short");
        let mut bytes = Vec::new();
        bytes.extend(40_000_u16.to_be_bytes());
        bytes.extend(25_u16.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend((words << 12 | self.flags).to_be_bytes());
        bytes.extend(64_240_u16.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(&self.options);
        bytes.extend(vec![b'x'; self.payload]);
        bytes
    }

    /// IPv4 with `id`, and `word` of flags and fragment offset.
    fn in_v4(&self, id: u16, word: u16) -> Vec<u8> {
        let segment = self.bytes();
        let total = u16::try_from(20 + segment.len()).expect("short");
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend(word.to_be_bytes());
        bytes.extend([57, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
        bytes.extend(segment);
        bytes
    }

    /// IPv6 with the flow label `flow` and extension headers; each of those is eight bytes whose
    /// first is the header that follows.
    fn in_v6(&self, flow: u32, extensions: &[(u8, [u8; 8])]) -> Vec<u8> {
        let segment = self.bytes();
        let payload = u16::try_from(8 * extensions.len() + segment.len()).expect("short");
        let mut bytes = (6_u32 << 28 | flow).to_be_bytes().to_vec();
        bytes.extend(payload.to_be_bytes());
        bytes.extend([extensions.first().map_or(6, |&(kind, _)| kind), 60]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend(extensions.iter().flat_map(|(_, header)| header));
        bytes.extend(segment);
        bytes
    }
}

const DF: u16 = 0x4000;

fn features(packet: &[u8]) -> Features {
    Features::of(packet).expect("a handshake")
}

fn quirks_of(segment: &Segment) -> String {
    let found = features(&segment.in_v4(7, DF));
    assert_eq!(found.quirks, found.p0f_quirks, "no fault of p0f is met");
    found.quirks.to_string()
}

#[test]
fn a_syn_of_linux_shows_all_its_features() {
    let found = features(&Segment::default().in_v4(7, DF));
    assert_eq!(found.kind, Kind::Syn);
    assert_eq!(found.source.to_string(), "192.0.2.1:40000");
    assert_eq!(found.destination.to_string(), "198.51.100.2:25");
    assert_eq!((found.ttl, found.window, found.total_len), (57, 64_240, 60));
    assert_eq!((found.headers_len, found.tcp_header_len), (60, 40));
    assert_eq!((found.mss, found.window_scale), (Some(1460), Some(7)));
    assert_eq!((found.timestamp, found.timestamp_echo), (Some(9), Some(0)));
    assert_eq!(found.layout.to_string(), "mss,sok,ts,nop,ws");
    assert_eq!(found.quirks.to_string(), "df,id+");
    assert!(!found.has_payload());
    let pf = found.pf_options.expect("PF knows these options");
    assert_eq!((pf.count, pf.packed), (5, 0o23401));
    assert_eq!((pf.mss, pf.window_scale), (1460, 7));
    assert!(!pf.zero_timestamp);
}

#[test]
fn a_syn_in_ipv6_is_read_behind_extension_headers() {
    let padded = [6, 0, 1, 4, 0, 0, 0, 0];
    let chain = [(0, [60, 0, 1, 4, 0, 0, 0, 0]), (60, padded)];
    let found = features(&Segment::default().in_v6(0x12345, &chain));
    assert_eq!(found.source.to_string(), "[2001:db8::1]:40000");
    assert_eq!(found.family, Family::Inet6);
    assert_eq!((found.ip_options_len, found.extension_headers_len), (0, 16));
    assert_eq!((found.total_len, found.headers_len), (96, 80));
    assert_eq!(found.flow_label, 0x12345);
    assert_eq!(found.quirks.to_string(), "flow");
    assert!(found.dont_fragment, "as PF has it");
}

#[test]
fn a_syn_ack_is_told_from_a_syn() {
    let answer = Segment {
        ack: 5,
        ..Segment::flags(tcp_flags::SYN | tcp_flags::ACK)
    };
    assert_eq!(features(&answer.in_v4(0, DF)).kind, Kind::SynAck);
    assert_eq!(quirks_of(&answer), "df,id+");
}

#[test]
fn what_is_no_handshake_has_no_features() {
    use tcp_flags::{ACK, FIN, RST, SYN};
    for flags in [
        0,
        ACK,
        RST,
        SYN | FIN,
        SYN | RST,
        FIN | ACK,
        SYN | ACK | RST,
    ] {
        let refused = Features::of(&Segment::flags(flags).in_v4(7, DF));
        assert_eq!(refused, Err(NotFingerprintable::NotHandshake), "{flags}");
    }
}

#[test]
fn what_is_not_tcp_or_not_whole_has_no_features() {
    let packet = Segment::default().in_v4(7, DF);
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut packet = packet.clone();
        change(&mut packet);
        Features::of(&packet).expect_err("refused")
    };
    assert_eq!(refused(|p| p[9] = 17), NotFingerprintable::NotTcp);
    assert_eq!(refused(|p| p[0] = 0x55), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p[0] = 0x44), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p[3] = 39), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p[32] = 0xf0), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p[32] = 0x40), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p.truncate(59)), NotFingerprintable::Truncated);
    assert_eq!(refused(Vec::clear), NotFingerprintable::Malformed);
    assert_eq!(refused(|p| p[6] |= 0x20), NotFingerprintable::Fragment);
    assert_eq!(refused(|p| p[7] = 1), NotFingerprintable::Fragment);
}

#[test]
fn a_fragment_header_that_divides_nothing_is_no_fragment() {
    let segment = Segment::default();
    let whole = segment.in_v6(0, &[(44, [6, 0, 0, 0, 0, 0, 0, 1])]);
    assert_eq!(features(&whole).extension_headers_len, 8);
    let first = segment.in_v6(0, &[(44, [6, 0, 0, 1, 0, 0, 0, 1])]);
    assert_eq!(Features::of(&first), Err(NotFingerprintable::Fragment));
}

#[test]
fn padding_of_the_link_is_ignored() {
    let mut packet = Segment::default().in_v4(7, DF);
    let bare = features(&packet);
    packet.extend([0xff; 6]);
    assert_eq!(features(&packet), bare);
}

#[test]
fn ip_options_may_be_anything() {
    let mut packet = Segment::default().in_v4(7, DF);
    packet[0] = 0x46;
    packet[3] += 4;
    packet.splice(20..20, [0x83, 0, 0, 0]);
    let found = features(&packet);
    assert_eq!((found.ip_options_len, found.headers_len), (4, 64));
    assert_eq!(found.layout.to_string(), "mss,sok,ts,nop,ws");
}

#[test]
fn quirks_of_the_ipv4_header_are_seen() {
    let syn = Segment::default();
    let seen = |id, word| features(&syn.in_v4(id, word)).quirks.to_string();
    assert_eq!(seen(0, DF), "df");
    assert_eq!(seen(7, DF), "df,id+");
    assert_eq!(seen(0, 0), "id-");
    assert_eq!(seen(7, 0), "");
    assert_eq!(seen(7, 0x8000), "0+");
}

#[test]
fn ecn_is_seen_in_either_header() {
    use tcp_flags::{CWR, ECE, SYN};
    assert_eq!(quirks_of(&Segment::flags(SYN | ECE)), "df,id+,ecn");
    assert_eq!(quirks_of(&Segment::flags(SYN | CWR)), "df,id+,ecn");
    let nonce_sum = Segment {
        flags: 0x100 | u16::from(SYN),
        ..Segment::default()
    };
    assert_eq!(quirks_of(&nonce_sum), "df,id+,ecn");
    let mut packet = Segment::default().in_v4(7, DF);
    packet[1] = 0xb9;
    let found = features(&packet);
    assert_eq!(found.quirks.to_string(), "df,id+,ecn");
    assert_eq!((found.tos, found.dscp()), (0xb9, 0x2e));
    let mut packet = Segment::default().in_v6(0, &[]);
    packet[1] = 0x20;
    assert_eq!(features(&packet).quirks.to_string(), "ecn");
}

#[test]
fn quirks_of_the_tcp_header_are_seen() {
    use tcp_flags::{ACK, PSH, SYN, URG};
    let plain = Segment::default();
    let zero_seq = Segment {
        seq: 0,
        ..plain.clone()
    };
    assert_eq!(quirks_of(&zero_seq), "df,id+,seq-");
    assert_eq!(quirks_of(&Segment::flags(SYN | ACK)), "df,id+,ack-");
    let pointer = Segment {
        urgent: 3,
        ..plain.clone()
    };
    assert_eq!(quirks_of(&pointer), "df,id+,uptr+");
    let urgent = Segment {
        urgent: 3,
        ..Segment::flags(SYN | URG)
    };
    assert_eq!(quirks_of(&urgent), "df,id+,urgf+");
    assert_eq!(quirks_of(&Segment::flags(SYN | PSH)), "df,id+,pushf+");
}

#[test]
fn an_acknowledgment_without_its_flag_is_seen_though_p0f_overlooks_most() {
    let seen = |ack| {
        let found = features(
            &Segment {
                ack,
                ..Segment::default()
            }
            .in_v4(7, DF),
        );
        (found.quirks.to_string(), found.p0f_quirks.to_string())
    };
    let both = "df,id+,ack+".to_owned();
    assert_eq!(seen(0x0100_0000), (both.clone(), both.clone()));
    assert_eq!(seen(0x0200_0001), (both, "df,id+".to_owned()));
}

#[test]
fn quirks_of_the_options_are_seen() {
    let of = |options: &[u8]| quirks_of(&Segment::options(options));
    assert_eq!(of(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), "df,id+,ts1-");
    assert_eq!(of(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1]), "df,id+,ts2+");
    assert_eq!(of(&[3, 3, 15, 1]), "df,id+,exws");
    assert_eq!(of(&[3, 3, 14, 1]), "df,id+");
    assert_eq!(of(&[0, 1, 0, 0]), "df,id+,opt+");
    assert_eq!(of(&[2, 4, 5, 180]), "df,id+");
}

#[test]
fn an_echo_on_a_syn_ack_is_no_quirk() {
    let answer = Segment {
        ack: 1,
        options: vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1],
        ..Segment::flags(tcp_flags::SYN | tcp_flags::ACK)
    };
    assert_eq!(quirks_of(&answer), "df,id+");
}

#[test]
fn dirt_in_the_last_byte_of_padding_is_seen_though_p0f_overlooks_it() {
    let found = features(&Segment::options(&[0, 0, 0, 1]).in_v4(7, DF));
    assert_eq!(found.layout.to_string(), "eol+3");
    assert_eq!(found.quirks.to_string(), "df,id+,opt+");
    assert_eq!(found.p0f_quirks.to_string(), "df,id+");
}

#[test]
fn a_known_option_of_a_wrong_length_is_bad_but_read() {
    let found = features(&Segment::options(&[2, 5, 5, 180, 3, 2, 6, 1]).in_v4(7, DF));
    assert_eq!(found.layout.to_string(), "mss,ws,nop");
    assert_eq!((found.mss, found.window_scale), (Some(1460), Some(6)));
    assert_eq!(found.quirks.to_string(), "df,id+,bad");
}

#[test]
fn options_that_run_over_the_end_are_bad() {
    for options in [
        [2, 4, 5, 180, 1, 1, 2, 4],
        [1, 1, 1, 1, 1, 1, 1, 3],
        [1, 1, 1, 1, 1, 1, 1, 4],
        [1, 1, 1, 1, 1, 1, 8, 10],
        [1, 1, 1, 1, 1, 1, 5, 10],
        [5, 9, 0, 0, 0, 0, 0, 0],
        [30, 1, 0, 0, 0, 0, 0, 0],
        [30, 9, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 30],
    ] {
        assert_eq!(quirks_of(&Segment::options(&options)), "df,id+,bad");
    }
}

#[test]
fn unknown_options_are_named_by_their_number() {
    let found = features(&Segment::options(&[34, 4, 0, 0, 253, 2, 1, 0]).in_v4(7, DF));
    assert_eq!(found.layout.to_string(), "?34,?253,nop,eol+0");
    assert_eq!(found.quirks.to_string(), "df,id+");
    assert_eq!(found.pf_options, None, "PF gives no fingerprint");
}

#[test]
fn more_options_than_p0f_counts_are_bad() {
    let found = features(&Segment::options(&[1; 24]).in_v4(7, DF));
    assert_eq!(found.layout.kinds().len(), MAX_OPTIONS);
    assert_eq!(found.quirks.to_string(), "df,id+");
    let found = features(&Segment::options(&[1; 28]).in_v4(7, DF));
    assert_eq!(found.layout.kinds().len(), MAX_OPTIONS);
    assert_eq!(found.quirks.to_string(), "df,id+,bad");
    assert_eq!(found.pf_options.map(|pf| pf.count), Some(28));
}

#[test]
fn pf_takes_an_option_for_as_long_as_it_says() {
    let pf = |options: &[u8]| features(&Segment::options(options).in_v4(7, DF)).pf_options;
    let long = pf(&[2, 6, 5, 180, 9, 9, 1, 0]).expect("long enough");
    assert_eq!((long.mss, long.count, long.packed), (1460, 2, 0o20));
    let short = pf(&[2, 3, 5, 1, 3, 2, 1, 0]).expect("counted without its value");
    assert_eq!((short.mss, short.window_scale, short.count), (0, 0, 4));
    assert_eq!(pf(&[2, 9, 5, 180]), None);
    assert_eq!(pf(&[2, 1, 5, 180]), None);
    assert_eq!(pf(&[1, 1, 1, 2]), None);
    let zero = pf(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]).expect("whole");
    assert!(zero.zero_timestamp);
}

#[test]
fn data_on_a_syn_is_a_payload() {
    let found = features(
        &Segment {
            payload: 5,
            ..Segment::default()
        }
        .in_v4(7, DF),
    );
    assert_eq!((found.payload_len, found.total_len), (5, 65));
    assert!(found.has_payload());
}

#[test]
fn every_quirk_is_found_by_its_name() {
    for (quirk, name) in Quirks::NAMES {
        assert_eq!(Quirks::named(name), Some(quirk));
        assert_eq!(quirk.to_string(), name);
    }
    assert_eq!(Quirks::named("id"), None);
}

#[test]
fn a_layout_is_built_from_kinds_and_bounded() {
    let built = OptionLayout::new(&[2, 1, 3, 0], 1).expect("short");
    let read = features(&Segment::options(&[2, 4, 5, 180, 1, 3, 3, 7, 0, 0, 0, 0]).in_v4(7, DF));
    assert_eq!(built.to_string(), "mss,nop,ws,eol+1");
    assert_eq!(read.layout.to_string(), "mss,nop,ws,eol+3");
    assert_ne!(built, read.layout);
    assert_eq!(OptionLayout::new(&[1; 25], 0), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = Features::of(&bytes);
    }

    #[test]
    fn no_options_make_it_panic(options in prop::collection::vec(any::<u8>(), 0..=40)) {
        let options = &options[..options.len() / 4 * 4];
        for packet in [
            Segment::options(options).in_v4(7, DF),
            Segment::options(options).in_v6(1, &[]),
        ] {
            let found = features(&packet);
            prop_assert!(found.layout.kinds().len() <= MAX_OPTIONS);
            prop_assert!(found.layout.eol_padding() < 40);
            prop_assert!(found.pf_options.is_none_or(|pf| pf.count <= 40));
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused(cut in 0_usize..60) {
        let packet = Segment::default().in_v4(7, DF);
        prop_assert!(Features::of(&packet[..cut]).is_err());
    }
}
