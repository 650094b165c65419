//! IPv4 addresses inside of IPv6 addresses (RFC 6052).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::{Family, Prefix, Protocol, mask_v6};
use crate::wire::{icmp, icmp6};

/// Length of the prefix where a rule names none that can hold an IPv4 address: that of the
/// well-known one, `64:ff9b::/96` (RFC 6052, section 2.1).
pub(crate) const WELL_KNOWN_LEN: u8 = 96;

/// Prefix lengths behind which an IPv4 address may stand (RFC 6052, section 2.2).
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// Bits below the reserved octet, which is zero: bits 64 to 71 from the left.
const BELOW_RESERVED: u32 = 56;
/// Bits above and with it.
const RESERVED: u32 = 8;

/// Whether an IPv4 address may stand behind a prefix of this length.
pub(crate) fn can_hold(len: u8) -> bool {
    LENGTHS.contains(&len)
}

/// How far the address would have to be moved to the left in a 128-bit number that had no
/// reserved octet.
fn shift(len: u8) -> u32 {
    96_u32.saturating_sub(u32::from(len))
}

/// The IPv6 address of `address` behind the prefix of `len` bits of `prefix`.
pub(crate) fn embed(prefix: Ipv6Addr, len: u8, address: Ipv4Addr) -> Ipv6Addr {
    let network = prefix.to_bits() & mask_v6(len);
    let host = u128::from(address.to_bits()).wrapping_shl(shift(len));
    Ipv6Addr::from_bits(network | around_reserved(len, host))
}

/// The IPv4 address behind a prefix of `len` bits.
pub(crate) fn extract(address: Ipv6Addr, len: u8) -> Ipv4Addr {
    let bits = address.to_bits();
    let joined = if len == WELL_KNOWN_LEN {
        bits
    } else {
        let below = bits & mask_low(BELOW_RESERVED);
        let above = bits.wrapping_shr(BELOW_RESERVED.saturating_add(RESERVED));
        above.wrapping_shl(BELOW_RESERVED.saturating_add(RESERVED)) | below.wrapping_shl(RESERVED)
    };
    let address = joined.wrapping_shr(shift(len)) & u128::from(u32::MAX);
    Ipv4Addr::from_bits(u32::try_from(address).unwrap_or_default())
}

/// Moves what would lie on and below the reserved octet by one octet to the right.
fn around_reserved(len: u8, host: u128) -> u128 {
    if len == WELL_KNOWN_LEN {
        return host;
    }
    let low = mask_low(BELOW_RESERVED.saturating_add(RESERVED));
    (host & !low) | (host & low).wrapping_shr(RESERVED)
}

const fn mask_low(bits: u32) -> u128 {
    1_u128.wrapping_shl(bits).wrapping_sub(1)
}

/// The prefix that addresses from `first` to `last` are, if an IPv4 address may stand behind it.
pub(crate) fn prefix_of(first: IpAddr, last: IpAddr) -> Option<(Ipv6Addr, u8)> {
    let prefix = Prefix::spanning(first, last)?;
    let IpAddr::V6(network) = prefix.address() else {
        return None;
    };
    can_hold(prefix.prefix_len()).then_some((network, prefix.prefix_len()))
}

/// The protocol number in `family` (RFC 7915, sections 4.1 and 5.1).
pub(crate) const fn protocol_in(family: Family, protocol: Protocol) -> Protocol {
    match (family, protocol) {
        (Family::Inet, Protocol::ICMPV6) => Protocol::ICMP,
        (Family::Inet6, Protocol::ICMP) => Protocol::ICMPV6,
        (Family::Inet | Family::Inet6, other) => other,
    }
}

/// The type in `family` of an ICMP query of the other one: echoes alone have one.
pub(crate) const fn query_in(family: Family, kind: u8) -> Option<u8> {
    match (family, kind) {
        (Family::Inet, icmp6::ECHO_REQUEST) => Some(icmp::ECHO_REQUEST),
        (Family::Inet, icmp6::ECHO_REPLY) => Some(icmp::ECHO_REPLY),
        (Family::Inet6, icmp::ECHO_REQUEST) => Some(icmp6::ECHO_REQUEST),
        (Family::Inet6, icmp::ECHO_REPLY) => Some(icmp6::ECHO_REPLY),
        _ => None,
    }
}

/// Whether packets to an IPv4 address may come out of a translation: nobody but the box itself
/// sends to its own loopback, and groups stay on their link.
pub(crate) fn is_reachable(address: IpAddr) -> bool {
    crate::route::is_routable(address)
        && match address {
            IpAddr::V4(a) => !a.is_loopback() && a.to_bits() >> 28 != 0xf && a.octets()[0] != 0,
            IpAddr::V6(a) => !a.is_loopback(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6052, section 2.4.
    const EXAMPLES: [(&str, u8, &str); 6] = [
        ("2001:db8::", 32, "2001:db8:c000:221::"),
        ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
    ];

    #[test]
    fn addresses_are_embedded_as_in_the_examples_of_rfc_6052() {
        for (prefix, len, embedded) in EXAMPLES {
            let address = Ipv4Addr::new(192, 0, 2, 33);
            let wanted: Ipv6Addr = embedded.parse().unwrap();
            assert_eq!(
                embed(prefix.parse().unwrap(), len, address),
                wanted,
                "/{len}"
            );
            assert_eq!(extract(wanted, len), address, "/{len}");
        }
    }

    #[test]
    fn nothing_is_sent_to_the_loopback_or_to_groups() {
        for address in [
            "127.0.0.1",
            "0.1.2.3",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
        ] {
            assert!(!is_reachable(address.parse().unwrap()), "{address}");
        }
        assert!(is_reachable("192.0.2.1".parse().unwrap()));
    }
}
