//! `hostname.if` (hostname.if(5), OpenBSD 3.5 to today).
//!
//! A line is `inet|inet6 [alias] address [netmask|prefixlen] [broadcast|NONE] [options]`, or a
//! list of ifconfig(8) options such as `up media auto`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::line::{self, Word, Words};
use crate::{ParseError, WantedAddress, WantedInterface, device};

/// Prefix length of an IPv6 address whose line names none (ifconfig(8): 64).
const DEFAULT_INET6_PREFIX_LEN: u8 = 64;
/// Smallest MTU that Linux takes for an Ethernet device, in bytes.
const MIN_MTU: u32 = 68;
const KNOWN: &str = "known here: inet, inet6, up, down, mtu N, lladdr MAC, media auto, description TEXT, \
     trunkproto, trunkport, vlan, vlandev, vnetid, parent";

/// Reads the file for interface `name`.
///
/// # Errors
/// Every word that cannot be carried out, with its place.
pub fn parse(name: &str, text: &str) -> Result<WantedInterface, Vec<ParseError>> {
    line::check_name(name).map_err(|error| vec![error])?;
    let mut interface = WantedInterface {
        name: name.to_owned(),
        ..WantedInterface::default()
    };
    line::all_options(text, |word, words| statement(&mut interface, word, words))?;
    Ok(interface)
}

fn statement(
    interface: &mut WantedInterface,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    match word.text {
        "inet" => inet(interface, word, words),
        "inet6" => inet6(interface, word, words),
        "lladdr" => {
            interface.mac = Some(mac(line::argument(word, words, "a MAC address")?)?);
            Ok(())
        }
        _ if option(interface, word, words)? || device::option(interface, word, words)? => Ok(()),
        other => {
            if other.starts_with('!') {
                // The whole line is a command.
                words.by_ref().for_each(drop);
            }
            Err(unsupported(word, other))
        }
    }
}

/// An option that ifconfig(8) has on all systems. False if `word` is none.
pub(crate) fn option(
    interface: &mut WantedInterface,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<bool, ParseError> {
    match word.text {
        "up" => interface.up = true,
        "down" => interface.up = false,
        "mtu" => interface.mtu = Some(mtu(line::argument(word, words, "a number of bytes")?)?),
        "media" => {
            interface.media = Some(line::argument(word, words, "a medium")?.text.to_owned());
        }
        "mediaopt" => {
            let option = line::argument(word, words, "an option of a medium")?.text;
            let media = interface.media.take();
            interface.media = Some(format!(
                "{} mediaopt {option}",
                media.as_deref().unwrap_or("auto")
            ));
        }
        "description" | "descr" => {
            let text = line::argument(word, words, "a text")?.text;
            interface.description = Some(text.trim_matches('"').to_owned());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn unsupported(word: &Word<'_>, text: &str) -> ParseError {
    let (message, hint) = match text {
        "bridge" => (
            "bridges are configured in bridgename files".to_owned(),
            "see bridgename.bridge0",
        ),
        "dhcp" | "autoconf" => (
            format!("not supported: '{text}'"),
            "give the address that the DHCP server would give: inet ADDRESS NETMASK NONE",
        ),
        _ if text.starts_with('!') => (
            "not supported: commands in start-up files".to_owned(),
            "run it from a unit that comes before weighbridge",
        ),
        _ => (format!("not supported: '{}'", text.escape_debug()), KNOWN),
    };
    word.error(message, Some(hint))
}

fn inet(
    interface: &mut WantedInterface,
    keyword: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    let alias = words.next_if(|word| word.text == "alias").is_some();
    let word = line::argument(keyword, words, "an address")?;
    let (address, slash) = address_and_length::<Ipv4Addr>(word, "an IPv4 address", 32)?;
    let prefix_len = match slash {
        Some(len) => len,
        None => match words.next_if(|word| starts_netmask(word.text)) {
            Some(mask) => netmask(mask)?,
            None => classful_prefix_len(address),
        },
    };
    let broadcast = broadcast(words)?;
    interface.up = true;
    interface.addresses.push(WantedAddress {
        address: IpAddr::V4(address),
        prefix_len,
        broadcast,
        alias,
    });
    Ok(())
}

fn inet6(
    interface: &mut WantedInterface,
    keyword: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    let alias = words.next_if(|word| word.text == "alias").is_some();
    let word = line::argument(keyword, words, "an address")?;
    let (address, slash) = address_and_length::<Ipv6Addr>(word, "an IPv6 address", 128)?;
    let prefix_len = match slash {
        Some(len) => len,
        None => match words.next_if(|word| word.text.parse::<u8>().is_ok()) {
            Some(len) => length(len, len.text, 128)?,
            None => DEFAULT_INET6_PREFIX_LEN,
        },
    };
    interface.up = true;
    interface.addresses.push(WantedAddress {
        address: IpAddr::V6(address),
        prefix_len,
        broadcast: None,
        alias,
    });
    Ok(())
}

/// An address with or without its length; the family's usual length where none is given.
pub(crate) fn address(word: &Word<'_>, v6: bool) -> Result<WantedAddress, ParseError> {
    let (address, prefix_len) = if v6 {
        let (address, len) = address_and_length::<Ipv6Addr>(word, "an IPv6 address", 128)?;
        (IpAddr::V6(address), len.unwrap_or(DEFAULT_INET6_PREFIX_LEN))
    } else {
        let (address, len) = address_and_length::<Ipv4Addr>(word, "an IPv4 address", 32)?;
        let len = len.unwrap_or_else(|| classful_prefix_len(address));
        (IpAddr::V4(address), len)
    };
    Ok(WantedAddress {
        address,
        prefix_len,
        broadcast: None,
        alias: false,
    })
}

/// An address of IPv4.
pub(crate) fn ipv4(word: &Word<'_>, what: &str) -> Result<Ipv4Addr, ParseError> {
    word.text.parse().map_err(|_| {
        word.error(
            format!("expected {what}, found '{}'", word.text.escape_debug()),
            None,
        )
    })
}

fn address_and_length<A: std::str::FromStr>(
    word: &Word<'_>,
    what: &str,
    bits: u8,
) -> Result<(A, Option<u8>), ParseError> {
    let (host, len) = match word.text.split_once('/') {
        Some((host, len)) => (host, Some(length(word, len, bits)?)),
        None => (word.text, None),
    };
    let address = host.parse().map_err(|_| {
        word.error(
            format!("expected {what}, found '{}'", word.text.escape_debug()),
            None,
        )
    })?;
    Ok((address, len))
}

pub(crate) fn length(word: &Word<'_>, text: &str, bits: u8) -> Result<u8, ParseError> {
    text.parse().ok().filter(|len| *len <= bits).ok_or_else(|| {
        word.error(
            format!(
                "expected a prefix length of 0 to {bits}, found '{}'",
                text.escape_debug()
            ),
            None,
        )
    })
}

fn starts_netmask(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// `255.255.252.0` or `0xfffffc00`.
pub(crate) fn netmask(word: &Word<'_>) -> Result<u8, ParseError> {
    let bits = match word.text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => word.text.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits),
    };
    let contiguous = bits.filter(|bits| bits.leading_ones() + bits.trailing_zeros() >= 32);
    contiguous
        .and_then(|bits| u8::try_from(bits.leading_ones()).ok())
        .ok_or_else(|| {
            word.error(
                format!("expected a netmask, found '{}'", word.text.escape_debug()),
                Some("for example 255.255.255.0 or 0xffffff00"),
            )
        })
}

/// The mask of an address whose line names none (ifconfig(8): by class).
fn classful_prefix_len(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        192..=255 => 24,
    }
}

fn broadcast(words: &mut Words<'_, '_>) -> Result<Option<Ipv4Addr>, ParseError> {
    if words.next_if(|word| word.text == "NONE").is_some() {
        return Ok(None);
    }
    let Some(word) = words.next_if(|word| starts_netmask(word.text)) else {
        return Ok(None);
    };
    ipv4(word, "a broadcast address").map(Some)
}

fn mtu(word: &Word<'_>) -> Result<u32, ParseError> {
    let mtu = line::number(word, "a number of bytes")?;
    if mtu < MIN_MTU {
        return Err(word.error(format!("mtu {mtu} is below the least, {MIN_MTU}"), None));
    }
    Ok(mtu)
}

pub(crate) fn mac(word: &Word<'_>) -> Result<[u8; 6], ParseError> {
    let mut bytes = word.text.split(':').map(|byte| match byte.len() {
        1 | 2 => u8::from_str_radix(byte, 16).ok(),
        _ => None,
    });
    let mut mac = [0; 6];
    for byte in &mut mac {
        *byte = bytes.next().flatten().ok_or_else(|| no_mac(word))?;
    }
    if bytes.next().is_some() {
        Err(no_mac(word))
    } else {
        Ok(mac)
    }
}

fn no_mac(word: &Word<'_>) -> ParseError {
    word.error(
        format!(
            "expected a MAC address, found '{}'",
            word.text.escape_debug()
        ),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::faults;

    fn v4(address: &str, prefix_len: u8) -> WantedAddress {
        WantedAddress {
            address: address.parse().unwrap(),
            prefix_len,
            broadcast: None,
            alias: false,
        }
    }

    #[test]
    fn the_article_files_give_their_addresses() {
        let fxp0 = parse("fxp0", "inet 216.123.123.123 255.255.252.0 NONE\n").unwrap();
        assert_eq!(fxp0.addresses, [v4("216.123.123.123", 22)]);
        assert!(fxp0.up);
        let em0 = parse("em0", "inet 192.168.1.64 255.255.0.0 NONE").unwrap();
        assert_eq!(em0.addresses, [v4("192.168.1.64", 16)]);
        let em1 = parse("em1", "up media auto").unwrap();
        assert_eq!(
            (em1.up, em1.media.as_deref(), em1.addresses.len()),
            (true, Some("auto"), 0)
        );
    }

    #[test]
    fn aliases_hex_masks_prefixes_and_inet6_are_read() {
        let text = "inet 10.0.0.1 0xffffff00 10.0.0.255 mtu 1400\n\
                    inet alias 10.0.1.1/25\n\
                    inet6 2001:db8::1 48\n\
                    inet6 alias 2001:db8:1::1\n\
                    lladdr 0:1:2:a:b:c\n";
        let interface = parse("em0", text).unwrap();
        let read: Vec<_> = interface
            .addresses
            .iter()
            .map(|a| (a.address.to_string(), a.prefix_len, a.alias))
            .collect();
        assert_eq!(
            read,
            [
                ("10.0.0.1".into(), 24, false),
                ("10.0.1.1".into(), 25, true),
                ("2001:db8::1".into(), 48, false),
                ("2001:db8:1::1".into(), 64, true),
            ]
        );
        assert_eq!(
            interface.addresses[0].broadcast,
            Some(Ipv4Addr::new(10, 0, 0, 255))
        );
        assert_eq!(interface.mtu, Some(1400));
        assert_eq!(interface.mac, Some([0, 1, 2, 10, 11, 12]));
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let text =
            "inet 300.1.1.1 255.0.0.0\ninet 10.0.0.1 255.0.255.0\ndhcp\n!route add\nmtu 10\ninet\n";
        assert_eq!(
            faults(parse("em0", text)),
            [
                "1:6: expected an IPv4 address, found '300.1.1.1'",
                "2:15: expected a netmask, found '255.0.255.0'",
                "3:1: not supported: 'dhcp'",
                "4:1: not supported: commands in start-up files",
                "5:5: mtu 10 is below the least, 68",
                "6:1: 'inet' needs an address",
            ]
        );
    }

    #[test]
    fn every_fault_of_a_line_is_told() {
        let text = "inet 300.1.1.1 255.255.255.0 NONE mtu 10 wpakey \"se cret\" dhcp up lladdr 1:2\n\
                    !route add default 10.0.0.1\n";
        assert_eq!(
            faults(parse("em0", text)),
            [
                "1:6: expected an IPv4 address, found '300.1.1.1'",
                "1:39: mtu 10 is below the least, 68",
                "1:42: not supported: 'wpakey'",
                "1:59: not supported: 'dhcp'",
                "1:74: expected a MAC address, found '1:2'",
                "2:1: not supported: commands in start-up files",
            ]
        );
    }

    #[test]
    fn trunks_and_vlans_are_read_in_openbsds_words() {
        let text = "trunkproto failover trunkport em0 trunkport em1 10.0.0.1";
        assert!(
            parse("trunk0", text).is_err(),
            "an address needs its family"
        );
        let trunk = parse(
            "trunk0",
            "trunkport em0 trunkport em1\ninet 10.0.0.1/24\nup",
        )
        .unwrap();
        let crate::Device::Lagg(lagg) = &trunk.device else {
            panic!("no trunk");
        };
        assert_eq!(lagg.protocol, crate::Protocol::RoundRobin);
        assert_eq!(lagg.ports, ["em0", "em1"]);
        let vlan = parse("vlan7", "vnetid 7 parent trunk0 up").unwrap();
        let crate::Device::Vlan(vlan) = &vlan.device else {
            panic!("no vlan");
        };
        assert_eq!((vlan.id, vlan.parent.as_str()), (7, "trunk0"));
    }

    #[test]
    fn a_name_that_linux_cannot_have_is_refused() {
        assert!(parse("a/b", "up").is_err());
        assert!(parse("much-too-long-for-linux", "up").is_err());
    }
}
