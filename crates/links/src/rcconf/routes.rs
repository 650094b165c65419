//! `defaultrouter`, `ipv6_defaultrouter`, `static_routes` and `ipv6_static_routes`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reader;
use crate::line::{self, Word};
use crate::{ParseError, WantedRoute, hostname_if, is_link_local};

/// Reads all of them.
pub(super) fn read(reader: &mut Reader<'_>) {
    for (name, any) in [
        ("defaultrouter", IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ("ipv6_defaultrouter", IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ] {
        let Some(value) = reader.value(name) else {
            continue;
        };
        let word = value.whole();
        if word.text.is_empty() || word.text.eq_ignore_ascii_case("no") {
            continue;
        }
        match gateway(&word, any.is_ipv6()) {
            Ok((gateway, interface)) => reader.links.routes.push(WantedRoute {
                destination: any,
                prefix_len: 0,
                gateway,
                interface,
            }),
            Err(error) => reader.errors.push(error),
        }
    }
    static_routes(reader, "static_routes", "route_");
    static_routes(reader, "ipv6_static_routes", "ipv6_route_");
}

/// The routes that `list` names, each in a variable of its own. `NAME:IF` stands for one that rc(8) also
/// sets when IF alone is started: at the start it is as any other.
fn static_routes(reader: &mut Reader<'_>, list: &str, prefix: &str) {
    let Some(value) = reader.value(list) else {
        return;
    };
    let words = value.words();
    if words.len() == 1
        && words
            .iter()
            .all(|word| word.text.eq_ignore_ascii_case("no"))
    {
        return;
    }
    for word in words {
        let (name, _) = word.text.split_once(':').unwrap_or((word.text, ""));
        let name = format!("{prefix}{}", name.escape_debug());
        let Some(route) = reader.value(&name) else {
            let error = word.error(format!("{name} is missing"), None);
            reader.errors.push(error);
            continue;
        };
        match route_of(&word, &route.words()) {
            Ok(route) => reader.links.routes.push(route),
            Err(error) => reader.errors.push(error),
        }
    }
}

/// `[-inet6] [-net] NETWORK[/LEN] [-netmask MASK | -prefixlen LEN] [-gateway] GATEWAY`,
/// `-host ADDRESS GATEWAY`, as route(8) has them.
fn route_of(name: &Word<'_>, words: &[Word<'_>]) -> Result<WantedRoute, ParseError> {
    let mut words = words.iter();
    let mut host = false;
    let mut destination = None;
    let mut prefix_len = None;
    let mut next = None;
    while let Some(word) = words.next() {
        match word.text {
            "-net" | "-inet" | "-inet6" => {}
            "-host" => host = true,
            "-netmask" => {
                let mask = line::argument(word, &mut words, "a netmask")?;
                prefix_len = Some(hostname_if::netmask(mask)?);
            }
            "-prefixlen" => {
                let len = line::argument(word, &mut words, "a length")?;
                prefix_len = Some(hostname_if::length(len, len.text, 128)?);
            }
            "-gateway" => next = Some(line::argument(word, &mut words, "a gateway")?),
            "-interface" | "-iface" => {
                return Err(word.error(
                    format!("not supported: '{}', a route without a gateway", word.text),
                    Some("give the interface an address in that network, or name a gateway"),
                ));
            }
            text if text.starts_with('-') => {
                return Err(word.error(
                    format!("not supported: '{}'", text.escape_debug()),
                    Some("known here: -net, -host, -inet6, -netmask, -prefixlen, -gateway"),
                ));
            }
            _ if destination.is_none() => destination = Some(word),
            _ if next.is_none() => next = Some(word),
            other => return Err(word.error(format!("unexpected '{}'", other.escape_debug()), None)),
        }
    }
    let (Some(destination), Some(next)) = (destination, next) else {
        return Err(name.error("a route needs a destination and a gateway", None));
    };
    let (gateway, interface) = gateway(next, next.text.contains(':'))?;
    let (address, len) = network(destination, gateway.is_ipv6())?;
    let bits = if address.is_ipv6() { 128 } else { 32 };
    let len = if host { Some(bits) } else { prefix_len.or(len) };
    let len =
        len.ok_or_else(|| destination.error("the network needs a length: NETWORK/LEN", None))?;
    if len > bits {
        return Err(destination.error(format!("a length of {len} is too long for {address}"), None));
    }
    Ok(WantedRoute {
        destination: address,
        prefix_len: len,
        gateway,
        interface,
    })
}

fn network(word: &Word<'_>, v6: bool) -> Result<(IpAddr, Option<u8>), ParseError> {
    if word.text == "default" {
        let any = if v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        return Ok((any, Some(0)));
    }
    let address = hostname_if::address(word, v6)?;
    let len = word.text.contains('/').then_some(address.prefix_len);
    Ok((address.address, len))
}

/// A next hop, and the interface that a link-local one is at: `fe80::1%em0`.
pub(crate) fn gateway(word: &Word<'_>, v6: bool) -> Result<(IpAddr, Option<String>), ParseError> {
    let (text, scope) = match word.text.split_once('%') {
        Some((text, scope)) => (text, Some(scope)),
        None => (word.text, None),
    };
    let address = text.parse::<IpAddr>().ok();
    let address = address.filter(|address| address.is_ipv6() == v6);
    let address = address.ok_or_else(|| not_of(word, v6))?;
    match (is_link_local(address), scope) {
        (false, None) => Ok((address, None)),
        (false, Some(_)) => Err(word.error(
            format!("{address} is not link-local: it has no interface of its own"),
            Some("write it without '%' and what follows"),
        )),
        (true, Some(scope)) => {
            let named = line::check_name(scope);
            named.map_err(|error| word.error(error.message, error.hint.as_deref()))?;
            Ok((address, Some(scope.to_owned())))
        }
        (true, None) => Err(word.error(
            format!("{address} is link-local: the interface that it is at is missing"),
            Some("write it behind '%', as fe80::1%em0"),
        )),
    }
}

fn not_of(word: &Word<'_>, v6: bool) -> ParseError {
    let family = if v6 { "IPv6" } else { "IPv4" };
    let text = word.text.escape_debug();
    word.error(
        format!("expected an address of {family}, found '{text}'"),
        Some("names are not looked up"),
    )
}
