//! Arguments of ifconfig(8), as `rc.conf` gives them: `inet ADDRESS netmask MASK …`, in any order.

use std::net::IpAddr;

use crate::hostname_if;
use crate::line::{self, Word, Words};
use crate::offload::Offload;
use crate::{Device, ParseError, WantedAddress, WantedBridge, WantedInterface, device};

const KNOWN: &str = "known here: inet, inet6, ADDRESS, netmask, prefixlen, broadcast, alias, up, \
    down, mtu N, ether MAC, media auto, description TEXT, [-]rxcsum, [-]txcsum, [-]tso, [-]lro, \
    [-]vlanhwtag";

/// What the arguments are about.
pub(crate) struct Target<'a> {
    pub(crate) interface: &'a mut WantedInterface,
    /// The bridge of that name, if it is one.
    pub(crate) bridge: Option<&'a mut WantedBridge>,
}

/// Carries the arguments out, in turn; every fault of them.
pub(crate) fn arguments(target: &mut Target<'_>, words: &[Word<'_>], errors: &mut Vec<ParseError>) {
    let mut alias = false;
    let mut words = words.iter().peekable();
    line::each_option(&mut words, errors, |word, words| {
        argument(target, &mut alias, word, words)
    });
}

fn argument(
    target: &mut Target<'_>,
    alias: &mut bool,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    if bridge_option(target, word, words)?
        || address_option(target.interface, *alias, word, words)?
        || device::option(target.interface, word, words)?
    {
        return Ok(());
    }
    match word.text {
        "alias" => *alias = true,
        "-alias" | "delete" => {
            return Err(word.error(
                "not supported: taking addresses away in start-up files",
                Some("leave out the line that gives the address"),
            ));
        }
        "ether" | "link" | "lladdr" => {
            let mac = line::argument(word, words, "a MAC address")?;
            target.interface.mac = Some(hostname_if::mac(mac)?);
        }
        _ if hostname_if::option(target.interface, word, words)? => {}
        text => {
            let (offload, on) = Offload::of_word(text).ok_or_else(|| unsupported(word))?;
            target.interface.offloads.insert(offload, on);
        }
    }
    if matches!(word.text, "up" | "down")
        && let Some(bridge) = &mut target.bridge
    {
        bridge.up = word.text == "up";
    }
    Ok(())
}

fn bridge_option(
    target: &mut Target<'_>,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<bool, ParseError> {
    let Some(bridge) = &mut target.bridge else {
        return Ok(false);
    };
    match word.text {
        "addm" => {
            let member = line::argument(word, words, "an interface")?;
            crate::bridgename::add(bridge, member)?;
        }
        "deletem" => {
            let member = line::argument(word, words, "an interface")?;
            crate::bridgename::delete(bridge, member)?;
        }
        "timeout" => {
            let seconds = line::argument(word, words, "seconds")?;
            bridge.timeout_secs = Some(line::number(seconds, "a number of seconds")?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// An address, with or without its family, and what may follow it.
fn address_option(
    interface: &mut WantedInterface,
    alias: bool,
    word: &Word<'_>,
    words: &mut Words<'_, '_>,
) -> Result<bool, ParseError> {
    let is_address = |text: &str| {
        let host = text.split_once('/').map_or(text, |(host, _)| host);
        host.parse::<IpAddr>().is_ok()
    };
    let (first, family) = match word.text {
        "inet" | "inet6" => {
            let next = line::argument(word, words, "an address")?;
            (next, Some(word.text))
        }
        text if is_address(text) => (word, None),
        _ => return Ok(false),
    };
    let v6 = family.map_or_else(|| first.text.contains(':'), |family| family == "inet6");
    let mut address = hostname_if::address(first, v6)?;
    address.alias = alias || !interface.addresses.is_empty();
    address_details(&mut address, words)?;
    interface.up = true;
    interface.addresses.push(address);
    Ok(true)
}

fn address_details(
    address: &mut WantedAddress,
    words: &mut Words<'_, '_>,
) -> Result<(), ParseError> {
    while let Some(word) =
        words.next_if(|word| matches!(word.text, "netmask" | "prefixlen" | "broadcast" | "alias"))
    {
        match word.text {
            "netmask" => {
                let mask = line::argument(word, words, "a netmask")?;
                address.prefix_len = hostname_if::netmask(mask)?;
            }
            "prefixlen" => {
                let len = line::argument(word, words, "a prefix length")?;
                let bits = if address.address.is_ipv4() { 32 } else { 128 };
                address.prefix_len = hostname_if::length(len, len.text, bits)?;
            }
            "broadcast" => {
                let to = line::argument(word, words, "a broadcast address")?;
                address.broadcast = Some(hostname_if::ipv4(to, "a broadcast address")?);
            }
            _ => address.alias = true,
        }
    }
    Ok(())
}

fn unsupported(word: &Word<'_>) -> ParseError {
    let text = word.text.escape_debug();
    let upper = word.text.to_ascii_uppercase();
    match upper.as_str() {
        "DHCP" | "SYNCDHCP" | "NOSYNCDHCP" => word.error(
            format!("not supported: '{text}'"),
            Some("give the address that the DHCP server would give: inet ADDRESS netmask MASK"),
        ),
        "WPA" | "HOSTAP" => word.error(
            format!("not supported: '{text}'"),
            Some("wireless interfaces are set up by wpa_supplicant or hostapd"),
        ),
        "VNET" => word.error(
            "not supported: 'vnet'",
            Some("move the interface with `ip link set dev IF netns NAME`"),
        ),
        _ => word.error(
            format!("not supported: '{text}'"),
            Some(&format!("{KNOWN}, {}, addm IF", device::KNOWN)),
        ),
    }
}

/// Whether an interface with this name is a bridge.
pub(crate) fn is_bridge(interface: &WantedInterface) -> bool {
    interface.device == Device::Bridge
}
