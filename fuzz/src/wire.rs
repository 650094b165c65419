//! The packet parser alone, without an engine around it: faster, and nothing hides behind a rule.

use pf_engine::addr::Family;
use pf_engine::decision::DropReason;
use pf_engine::generate::{self, IcmpError, MAX_ERROR_LEN_V6};
use pf_engine::norm;
use pf_engine::wire::{Meta, Quoted, Rewrite, WireError, checksum};

/// Where the packets of rewriting tests go, by family.
const ELSEWHERE: (&str, &str) = ("192.0.2.77", "2001:db8::77");

/// Reads bytes as one packet and does to it all that the engine does to packets.
///
/// # Panics
/// When what was parsed lies outside of the packet, or a rewritten packet is not what it was
/// told to be.
pub fn wire(data: &[u8]) {
    let mut copy = data.to_vec();
    let _ = checksum::complete(&mut copy);
    match Meta::parse(data) {
        Ok(meta) => one_packet(data, meta),
        Err(WireError { reason }) => assert!(
            matches!(
                reason,
                DropReason::Short
                    | DropReason::IpOption
                    | DropReason::Fragment
                    | DropReason::Normalize
            ),
            "{reason:?}"
        ),
    }
}

/// Whether these are the bytes of a whole packet with right checksums.
pub(crate) fn is_sound(bytes: &[u8]) -> bool {
    Meta::parse(bytes).is_ok_and(|meta| {
        !meta.is_fragment()
            && checksum::ip_header_valid(bytes, &meta)
            && checksum::transport_valid(bytes, &meta)
    })
}

fn one_packet(data: &[u8], meta: Meta) {
    assert!(meta.ip_header_len <= meta.l4_offset && meta.l4_offset <= meta.payload_offset);
    assert!(meta.payload_offset <= meta.total_len && meta.total_len <= data.len());
    if let Some(tcp) = meta.tcp() {
        assert!(tcp.options(data).count() <= 20);
    }
    check_answers(data, &meta);
    if let Ok(pieces) = norm::fragment(data, &meta, 96, 1) {
        for piece in pieces {
            assert!(piece.len() <= 96 && Meta::parse(&piece).is_ok());
        }
    }
    let mut bytes = data.to_vec();
    rewrite_quoted(&mut bytes, &meta);
    rewrite(&mut bytes, meta);
}

/// What is sent back is a packet, to the sender, and never longer than allowed.
fn check_answers(data: &[u8], meta: &Meta) {
    let too_big = IcmpError::TooBig { mtu: 1400 };
    let reset = generate::reset(meta, data, meta, 0);
    let error = generate::icmp_error(data, meta, too_big, meta.destination);
    for answer in reset.into_iter().chain(error) {
        assert!(answer.len() <= MAX_ERROR_LEN_V6);
        let parsed = Meta::parse(&answer).expect("ours is well formed");
        assert_eq!(parsed.destination, meta.source);
        assert!(checksum::transport_valid(&answer, &parsed));
    }
}

fn rewrite_quoted(bytes: &mut [u8], meta: &Meta) {
    let Ok(mut quoted) = Quoted::parse(bytes, meta) else {
        return;
    };
    let other = elsewhere(meta.family);
    let fits = "an address of the packet's family";
    quoted.set_source(bytes, other).expect(fits);
    quoted.set_destination(bytes, other).expect(fits);
    let _ = quoted.set_source_port(bytes, 9);
    let _ = quoted.set_icmp_id(bytes, 9);
    let _ = quoted.set_tcp_seq(bytes, 9);
    let _ = quoted.set_tcp_ack(bytes, 9);
    assert_eq!(Quoted::parse(bytes, meta), Ok(quoted));
}

/// A checksum that was right is right afterwards.
fn rewrite(bytes: &mut [u8], mut meta: Meta) {
    let header_valid = checksum::ip_header_valid(bytes, &meta);
    let transport_valid = checksum::transport_valid(bytes, &meta);
    let other = elsewhere(meta.family);
    let fits = "an address of the packet's family";
    meta.set_source(bytes, other).expect(fits);
    meta.set_destination(bytes, other).expect(fits);
    meta.set_tos(bytes, 9).expect("every packet has one");
    meta.set_ttl(bytes, 9).expect("every packet has one");
    let _ = meta.set_source_port(bytes, 9);
    let _ = meta.set_destination_port(bytes, 9);
    let _ = meta.set_icmp_id(bytes, 9);
    let _ = meta.set_tcp_seq(bytes, 9);
    let _ = meta.set_tcp_ack(bytes, 9);
    let _ = meta.add_to_sack_edges(bytes, 9);
    let _ = meta.lower_mss(bytes, 9);
    meta.set_ip_id(bytes, 9).expect("IPv6 has none");
    meta.clear_dont_fragment(bytes).expect("IPv6 has none");
    assert_eq!(Meta::parse(bytes), Ok(meta));
    assert_eq!(checksum::ip_header_valid(bytes, &meta), header_valid);
    assert!(checksum::transport_valid(bytes, &meta) || !transport_valid);
}

fn elsewhere(family: Family) -> std::net::IpAddr {
    let text = match family {
        Family::Inet => ELSEWHERE.0,
        Family::Inet6 => ELSEWHERE.1,
    };
    text.parse().expect("an address")
}
