//! A DNS-based list of addresses (RFC 5782): names to answers, without sockets.
//!
//! Two zones, each optional. The *blocking* zone lists addresses whose mail is nearly all
//! rejected. The *information* zone answers for every address that was seen, with its system and
//! counts: they are apart, or somebody would block all known hosts.

pub mod export;
pub mod message;
pub mod rate;
pub mod service;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that every list has, to be tested with (RFC 5782, section 5).
const TEST_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The same for IPv6: `::FFFF:7F00:2`.
const TEST_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 2);
/// What the A record of a listed address says, and of one that is known.
pub const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Labels of a reversed IPv4 address.
const LABELS_V4: usize = 4;
/// Labels of a reversed IPv6 address.
const LABELS_V6: usize = 32;
/// Characters of a zone's name: those of a reversed IPv6 address still fit before it (RFC 1035,
/// section 2.3.4: 255 octets in all).
const ZONE_MAX: usize = 189;
/// Bytes of a string in a TXT record (RFC 1035, section 3.3.14).
pub const TXT_MAX: usize = 255;

/// What a zone knows.
pub trait Listings {
    /// The text of the TXT record of `address`, if it is in the zone.
    fn listing(&mut self, address: IpAddr) -> Option<String>;
}

/// Type of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryType {
    /// A.
    A,
    /// TXT.
    Txt,
    /// SOA.
    Soa,
    /// NS.
    Ns,
    /// ANY, answered as the A record alone (RFC 8482).
    Any,
    /// AXFR or IXFR: the whole zone, which nobody gets (RFC 5936, section 2.2.1).
    Transfer,
    /// Anything else.
    Other,
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// This A record.
    A(Ipv4Addr),
    /// This TXT record.
    Txt(String),
    /// The zone's SOA record, at its top.
    Soa,
    /// Its NS record, at its top.
    Ns,
    /// The name exists, such a record does not: no answer, SOA in the authority section.
    NoData,
    /// There is no such name: NXDOMAIN, SOA in the authority section.
    NoName,
    /// Not our zone, or nothing that anybody is told: REFUSED.
    Refused,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its labels, from the leftmost, in lower case.
    origin: Vec<String>,
}

impl Zone {
    /// The zone called `name`; nothing when that is no name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let origin: Vec<String> = name.split('.').map(str::to_owned).collect();
        let good = |label: &String| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        (name.len() <= ZONE_MAX && origin.iter().all(good)).then_some(Self { origin })
    }

    /// Its labels, from the leftmost, in lower case.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.origin
    }

    /// Its name with the final dot.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.", self.origin.join("."))
    }

    /// The answer for the name of these labels, from the leftmost.
    #[must_use]
    pub fn answer(&self, labels: &[&str], kind: QueryType, listings: &mut dyn Listings) -> Reply {
        let Some(rest) = self.below(labels) else {
            return Reply::Refused;
        };
        if kind == QueryType::Transfer {
            return Reply::Refused;
        }
        if rest.is_empty() {
            return match kind {
                QueryType::Soa | QueryType::Any => Reply::Soa,
                QueryType::Ns => Reply::Ns,
                QueryType::A | QueryType::Txt | QueryType::Transfer | QueryType::Other => {
                    Reply::NoData
                }
            };
        }
        match read(rest) {
            Name::Address(address) => {
                let reply = answer_for(address, kind, listings);
                // Four single digits are the beginning of addresses of IPv6 as well (`1.0.0.2` that of
                // 2001::/16): a resolver that asks label by label must not stop there.
                if reply == Reply::NoName && is_partial(rest) {
                    Reply::NoData
                } else {
                    reply
                }
            }
            // Part of an address: the name exists because names below it may (RFC 8020).
            Name::Partial => Reply::NoData,
            Name::Other => Reply::NoName,
        }
    }

    /// Whether the name of these labels lies in it.
    #[must_use]
    pub fn holds(&self, labels: &[&str]) -> bool {
        self.below(labels).is_some()
    }

    /// The labels before the zone's own.
    fn below<'l>(&self, labels: &'l [&'l str]) -> Option<&'l [&'l str]> {
        let count = labels.len().checked_sub(self.origin.len())?;
        let (rest, top) = labels.split_at(count);
        let same = top
            .iter()
            .zip(&self.origin)
            .all(|(label, own)| label.eq_ignore_ascii_case(own));
        same.then_some(rest)
    }
}

fn answer_for(address: IpAddr, kind: QueryType, listings: &mut dyn Listings) -> Reply {
    let text = match address {
        IpAddr::V4(TEST_V4) | IpAddr::V6(TEST_V6) => Some("test entry (RFC 5782)".to_owned()),
        IpAddr::V4(address) if address.is_loopback() => None,
        IpAddr::V6(address) if is_test_network(address) => None,
        IpAddr::V4(_) | IpAddr::V6(_) => listings.listing(address),
    };
    match (text, kind) {
        (None, _) => Reply::NoName,
        (Some(_), QueryType::A | QueryType::Any) => Reply::A(LISTED),
        (Some(text), QueryType::Txt) => Reply::Txt(bounded(&text)),
        (Some(_), QueryType::Soa | QueryType::Ns | QueryType::Transfer | QueryType::Other) => {
            Reply::NoData
        }
    }
}

/// `::FFFF:7F00:0/112`: loopback, of which only the test entry is listed.
fn is_test_network(address: Ipv6Addr) -> bool {
    address
        .to_ipv4_mapped()
        .is_some_and(|address| address.is_loopback())
}

/// Printable ASCII, as long as a TXT string can be.
fn bounded(text: &str) -> String {
    let printable = text.chars().filter(|c| matches!(c, ' '..='~'));
    printable.take(TXT_MAX).collect()
}

enum Name {
    Address(IpAddr),
    Partial,
    Other,
}

/// A reversed address: decimal octets, or nibbles.
fn read(labels: &[&str]) -> Name {
    let octets: Option<Vec<u8>> = labels.iter().rev().map(|label| octet(label)).collect();
    let nibbles: Option<Vec<u8>> = labels.iter().rev().map(|label| nibble(label)).collect();
    if let Some(nibbles) = &nibbles
        && nibbles.len() == LABELS_V6
    {
        let number = nibbles
            .iter()
            .fold(0_u128, |number, nibble| number << 4 | u128::from(*nibble));
        return Name::Address(Ipv6Addr::from(number).into());
    }
    if let Some(octets) = &octets
        && octets.len() <= LABELS_V4
    {
        let whole = <[u8; LABELS_V4]>::try_from(octets.as_slice());
        return whole.map_or(Name::Partial, |octets| Name::Address(octets.into()));
    }
    if is_partial(labels) {
        return Name::Partial;
    }
    Name::Other
}

/// Whether names of IPv6 addresses may lie below.
fn is_partial(labels: &[&str]) -> bool {
    labels.len() < LABELS_V6 && labels.iter().all(|label| nibble(label).is_some())
}

/// A decimal octet without leading zeros.
fn octet(label: &str) -> Option<u8> {
    let plain = label.bytes().all(|byte| byte.is_ascii_digit())
        && (label == "0" || !label.starts_with('0'));
    label.parse().ok().filter(|_| plain)
}

fn nibble(label: &str) -> Option<u8> {
    let mut chars = label.chars();
    let digit = chars.next()?.to_digit(16)?;
    u8::try_from(digit).ok().filter(|_| chars.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(Vec<IpAddr>);

    impl Listings for List {
        fn listing(&mut self, address: IpAddr) -> Option<String> {
            let found = self.0.contains(&address);
            found.then(|| format!("seen {address}\u{7}{}", "x".repeat(300)))
        }
    }

    fn ask(name: &str, kind: QueryType) -> Reply {
        let zone = Zone::new("os.bl.Example").expect("a zone");
        let mut list = List(vec![
            [192, 0, 2, 1].into(),
            "2001:db8::1".parse().expect("an address"),
            [127, 0, 0, 1].into(),
        ]);
        let labels: Vec<&str> = name.split('.').collect();
        zone.answer(&labels, kind, &mut list)
    }

    #[test]
    fn a_listed_address_has_an_a_and_a_bounded_txt_record() {
        assert_eq!(
            ask("1.2.0.192.os.bl.example", QueryType::A),
            Reply::A(LISTED)
        );
        assert_eq!(
            ask("1.2.0.192.OS.BL.EXAMPLE", QueryType::Any),
            Reply::A(LISTED)
        );
        let Reply::Txt(text) = ask("1.2.0.192.os.bl.example", QueryType::Txt) else {
            panic!("a text");
        };
        assert_eq!(text.len(), TXT_MAX);
        assert!(text.starts_with("seen 192.0.2.1xxx"));
        assert_eq!(
            ask("1.2.0.192.os.bl.example", QueryType::Other),
            Reply::NoData
        );
        assert_eq!(ask("2.2.0.192.os.bl.example", QueryType::A), Reply::NoName);
    }

    #[test]
    fn ipv6_addresses_are_nibbles() {
        let zeros = "0.".repeat(23);
        let name = format!("1.{zeros}8.b.d.0.1.0.0.2.os.bl.example");
        assert_eq!(ask(&name, QueryType::A), Reply::A(LISTED));
    }

    #[test]
    fn the_test_entries_are_there_and_loopback_is_not() {
        assert_eq!(
            ask("2.0.0.127.os.bl.example", QueryType::A),
            Reply::A(LISTED)
        );
        assert_eq!(ask("1.0.0.127.os.bl.example", QueryType::A), Reply::NoName);
        let mapped = |last: char| {
            let zeros = "0.".repeat(20);
            let name = format!("{last}.0.0.0.0.0.f.7.f.f.f.f.{zeros}os.bl.example");
            ask(&name, QueryType::A)
        };
        assert_eq!(mapped('2'), Reply::A(LISTED));
        assert_eq!(mapped('1'), Reply::NoName);
    }

    #[test]
    fn part_of_an_address_exists_and_other_names_do_not() {
        for partial in [
            "192.os.bl.example",
            "0.192.os.bl.example",
            "8.b.d.0.1.0.0.2.os.bl.example",
            // Of IPv4 2.0.0.1, which is not listed, and of 2001::/16, of which an address is.
            "1.0.0.2.os.bl.example",
        ] {
            assert_eq!(ask(partial, QueryType::A), Reply::NoData, "{partial}");
        }
        for other in [
            "www.os.bl.example",
            "256.0.0.192.os.bl.example",
            "01.2.0.192.os.bl.example",
            "10.0.0.2.os.bl.example",
            "g.0.0.2.os.bl.example",
        ] {
            assert_eq!(ask(other, QueryType::A), Reply::NoName, "{other}");
        }
    }

    #[test]
    fn the_top_of_the_zone_has_soa_and_ns_and_others_are_refused() {
        assert_eq!(ask("os.bl.example", QueryType::Soa), Reply::Soa);
        assert_eq!(ask("os.bl.example", QueryType::Ns), Reply::Ns);
        assert_eq!(ask("os.bl.example", QueryType::A), Reply::NoData);
        assert_eq!(ask("1.2.0.192.example.org", QueryType::A), Reply::Refused);
        assert_eq!(ask("bl.example", QueryType::A), Reply::Refused);
        for name in ["os.bl.example", "1.2.0.192.os.bl.example"] {
            assert_eq!(ask(name, QueryType::Transfer), Reply::Refused);
        }
    }
}
