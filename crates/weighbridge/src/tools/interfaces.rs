//! `--interface NAME=ADDRESS/LENGTH,…` and `--route DESTINATION=INTERFACE,GATEWAY`.

use std::net::{IpAddr, Ipv4Addr};

use pf_engine::addr::{Family, Prefix, mask_v4};
use pf_engine::env::{Env, FixedEnv, IfIndex, Interface, InterfaceAddress};

use crate::text::parse_prefix;

/// A route of the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    destination: Prefix,
    /// The interface that it leads out of.
    pub(super) interface: String,
    gateway: IpAddr,
}

/// All described routes.
///
/// # Errors
/// What is wrong with the first that cannot be read.
pub(super) fn parse_routes(given: &[String]) -> Result<Vec<Route>, String> {
    let one = |text: &String| {
        parse_route(text).ok_or_else(|| {
            format!("--route {text}: use DESTINATION/LENGTH=INTERFACE,GATEWAY, as 0.0.0.0/0=em0,192.0.2.254, or default=em0,192.0.2.254")
        })
    };
    given.iter().map(one).collect()
}

fn parse_route(text: &str) -> Option<Route> {
    let (destination, way) = text.split_once('=')?;
    let (interface, gateway) = way.split_once(',')?;
    let gateway: IpAddr = gateway.parse().ok()?;
    let destination = match destination {
        "default" => Prefix::new(Family::of(gateway).unspecified(), 0),
        prefix => parse_prefix(prefix),
    };
    let is_name = !interface.is_empty() && !interface.contains(char::is_whitespace);
    Some(Route {
        destination: destination.filter(|_| is_name)?,
        interface: interface.to_owned(),
        gateway,
    })
}

/// `env` with the routes whose interface it has.
pub(super) fn add_routes(mut env: FixedEnv, routes: &[Route]) -> FixedEnv {
    for route in routes {
        let interface = env.interface_named(&route.interface).map(|i| i.index);
        if let Some(interface) = interface {
            env = env.with_route(route.destination, interface, route.gateway);
        }
    }
    env
}

/// All described interfaces, numbered in their order.
///
/// # Errors
/// What is wrong with the first that cannot be read.
pub(super) fn parse_all(given: &[String]) -> Result<Vec<Interface>, String> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for (index, text) in (1..).zip(given) {
        let interface = parse(text, index)?;
        if interfaces.iter().any(|known| known.name == interface.name) {
            return Err(format!(
                "--interface {text}: {} is given twice",
                interface.name
            ));
        }
        interfaces.push(interface);
    }
    Ok(interfaces)
}

fn parse(text: &str, index: u32) -> Result<Interface, String> {
    let (name, addresses) = match text.split_once('=') {
        Some((name, addresses)) => (name, addresses),
        None => (text, ""),
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!(
            "--interface {text}: use NAME or NAME=ADDRESS/LENGTH,..."
        ));
    }
    let mut interface = Interface::new(IfIndex(index), name);
    for address in addresses.split(',').filter(|address| !address.is_empty()) {
        let parsed = parse_address(address).ok_or_else(|| {
            format!("--interface {text}: `{address}` is not ADDRESS/LENGTH, as 192.0.2.1/24")
        })?;
        interface.addresses.push(parsed);
    }
    Ok(interface)
}

fn parse_address(text: &str) -> Option<InterfaceAddress> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = Family::of(address).bits();
    let prefix_len = len.map_or(Some(bits), |len| len.parse().ok())?;
    (prefix_len <= bits).then(|| InterfaceAddress {
        address,
        prefix_len,
        broadcast: broadcast(address, prefix_len),
        peer: None,
    })
}

/// The last address of an IPv4 network that has room for one.
fn broadcast(address: IpAddr, prefix_len: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) if prefix_len < 31 => {
            let all = v4.to_bits() | !mask_v4(prefix_len);
            Some(Ipv4Addr::from_bits(all).into())
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_a_name_and_addresses() {
        let given = [
            "em0=192.0.2.1/24,2001:db8::1/64".to_owned(),
            "em1".to_owned(),
        ];
        let parsed = parse_all(&given).expect("read");
        assert_eq!(parsed[0].addresses.len(), 2);
        let broadcast = parsed[0].addresses[0].broadcast.expect("one");
        assert_eq!(broadcast.to_string(), "192.0.2.255");
        assert_eq!(parsed[0].addresses[1].prefix_len, 64);
        assert_eq!(
            (parsed[1].name.as_str(), parsed[1].index),
            ("em1", IfIndex(2))
        );
        assert_eq!(parsed[1].groups, ["em"]);
    }

    #[test]
    fn a_route_has_a_destination_an_interface_and_a_gateway() {
        let given = [
            "default=em0,192.0.2.254".to_owned(),
            "64:ff9b::/96=em1,2001:db8::1".to_owned(),
        ];
        let routes = parse_routes(&given).expect("read");
        assert_eq!(routes[0].destination.to_string(), "0.0.0.0/0");
        assert_eq!(routes[1].destination.to_string(), "64:ff9b::/96");
        let known = parse_all(&["em0".to_owned()]).expect("read");
        let env = add_routes(FixedEnv::new(known, 1), &routes);
        let hop = env.next_hop([203, 0, 113, 1].into()).expect("a route");
        assert_eq!(hop, (IfIndex(1), [192, 0, 2, 254].into()));
        for wrong in ["default=em0", "10/8=em0,192.0.2.1", "default=,192.0.2.1"] {
            let error = parse_routes(&[wrong.to_owned()]).expect_err("refused");
            assert!(error.contains("use DESTINATION/LENGTH="), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let refused = |text: &str| parse_all(&[text.to_owned()]).expect_err("refused");
        assert!(refused("=192.0.2.1").contains("use NAME"));
        assert!(refused("em0=192.0.2.1/33").contains("`192.0.2.1/33` is not"));
        let twice = ["em0".to_owned(), "em0".to_owned()];
        assert!(
            parse_all(&twice)
                .expect_err("refused")
                .contains("given twice")
        );
    }
}
