//! The blocking zone as files for other name servers: rbldnsd and BIND.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use pf_engine::addr::Prefix;

use super::{LISTED, Zone};
use crate::throttle;

/// Seconds that an answer may be kept.
pub const TTL: u32 = 300;

/// Times of a zone's SOA record (RFC 1035, section 3.3.13), in seconds.
const TIMES: &str = "3600 600 86400 300";

/// Bits of a nibble, which is a label of a reversed IPv6 address.
const NIBBLE_BITS: u8 = 4;

/// An entry: a host (a network of IPv6) and the text of its TXT record, printable ASCII.
pub type Entry = (Prefix, String);

/// The two data sets of rbldnsd(8): `ip4trie` and `ip6trie`.
#[must_use]
pub fn rbldnsd(server: &str, serial: u32, entries: &[Entry]) -> [(&'static str, String); 2] {
    let head = format!(
        "$SOA {TTL} {server} hostmaster.{server} {serial} {TIMES}\n$NS {TTL} {server}\n$TTL {TTL}\n"
    );
    let mut four = format!("{head}127.0.0.2 :{LISTED}:test entry (RFC 5782)\n");
    let mut six = format!("{head}::ffff:7f00:2 :{LISTED}:test entry (RFC 5782)\n");
    for (host, text) in entries {
        // rbldnsd replaces a dollar sign by the address.
        let text = text.replace('$', "\\$");
        let file = match host.address() {
            IpAddr::V4(_) => &mut four,
            IpAddr::V6(_) => &mut six,
        };
        let _ = writeln!(file, "{} :{LISTED}:{text}", throttle::text(host));
    }
    [("ip4trie", four), ("ip6trie", six)]
}

/// A zone file of BIND.
#[must_use]
pub fn bind(zone: &Zone, server: &str, serial: u32, entries: &[Entry]) -> String {
    let mut text = format!(
        "$ORIGIN {}\n$TTL {TTL}\n@ IN SOA {server}. hostmaster.{server}. {serial} {TIMES}\n\
         @ IN NS {server}.\n",
        zone.name()
    );
    let mut entry = |host: &Prefix, why: &str| {
        let name = reversed(host);
        let why = why.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "{name} IN A {LISTED}\n{name} IN TXT \"{why}\"");
    };
    for test in [super::TEST_V4.into(), super::TEST_V6.into()] {
        entry(&Prefix::host(test), "test entry (RFC 5782)");
    }
    for (host, why) in entries {
        entry(host, why);
    }
    text
}

/// Octets or nibbles from the last; a network of IPv6 is a wildcard below its own (RFC 4592).
fn reversed(host: &Prefix) -> String {
    match host.address() {
        IpAddr::V4(address) => {
            let octets = address.octets();
            let labels: Vec<String> = octets.iter().rev().map(u8::to_string).collect();
            labels.join(".")
        }
        IpAddr::V6(address) => nibbles(address, usize::from(host.prefix_len() / NIBBLE_BITS)),
    }
}

fn nibbles(address: Ipv6Addr, count: usize) -> String {
    let digits = format!("{:032x}", u128::from(address));
    let some = digits.chars().take(count).collect::<Vec<_>>();
    let mut labels: Vec<String> = some.into_iter().rev().map(String::from).collect();
    if count < digits.len() {
        labels.insert(0, "*".to_owned());
    }
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let host = |text: &str| throttle::host_of(text.parse().expect("an address"));
        vec![
            (host("192.0.2.1"), "97% of $50 \"mail\"".to_owned()),
            (host("2001:db8::1"), "x".to_owned()),
        ]
    }

    #[test]
    fn rbldnsd_gets_two_sets_with_test_entries() {
        let [(_, four), (_, six)] = rbldnsd("ns.example", 7, &entries());
        assert!(
            four.starts_with("$SOA 300 ns.example hostmaster.ns.example 7 3600 600 86400 300\n")
        );
        assert!(four.contains("\n127.0.0.2 :127.0.0.2:test"));
        assert!(four.contains("\n192.0.2.1 :127.0.0.2:97% of \\$50 \"mail\"\n"));
        assert!(six.contains("\n2001:db8::/64 :127.0.0.2:x\n") && !six.contains("192.0.2.1"));
    }

    #[test]
    fn bind_gets_reversed_names() {
        let zone = Zone::new("bl.example").expect("a zone");
        let text = bind(&zone, "ns.example", 7, &entries());
        assert!(text.contains("\n1.2.0.192 IN A 127.0.0.2\n"));
        assert!(text.contains("\n1.2.0.192 IN TXT \"97% of $50 \\\"mail\\\"\"\n"));
        let six = format!("\n*.{}8.b.d.0.1.0.0.2 IN A 127.0.0.2\n", "0.".repeat(8));
        assert!(text.contains(&six), "{text}");
        let entry = format!(
            "\n2.0.0.0.0.0.f.7.f.f.f.f.{}0 IN A 127.0.0.2\n",
            "0.".repeat(19)
        );
        assert!(text.contains(&entry), "{text}");
    }
}
