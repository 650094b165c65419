//! `--interface NAME=ADDRESS/LENGTH,…`.

use std::net::{IpAddr, Ipv4Addr};

use pf_engine::addr::{Family, mask_v4};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};

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
