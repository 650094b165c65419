//! Addresses of interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use links::WantedAddress;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use pf_engine::env::InterfaceAddress;

use super::connection::Connection;

/// An address as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    /// Number of the interface.
    pub(crate) interface: u32,
    pub(crate) address: InterfaceAddress,
    /// All that the kernel told, to restore it.
    pub(crate) message: AddressMessage,
}

impl Assigned {
    fn from_message(message: AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut far = None;
        let mut broadcast = None;
        for attribute in &message.attributes {
            if let AddressAttribute::Local(address) = attribute {
                local = Some(*address);
            } else if let AddressAttribute::Address(address) = attribute {
                far = Some(*address);
            } else if let AddressAttribute::Broadcast(address) = attribute {
                broadcast = Some(IpAddr::V4(*address));
            }
        }
        let address = local.or(far)?;
        Some(Self {
            interface: message.header.index,
            address: InterfaceAddress {
                address,
                prefix_len: message.header.prefix_len,
                broadcast,
                peer: far.filter(|far| *far != address),
            },
            message,
        })
    }

    /// Whether it is good beyond its link.
    pub(crate) fn is_global(&self) -> bool {
        self.message.header.scope == AddressScope::Universe
    }

    pub(crate) fn is(&self, interface: u32, wanted: &WantedAddress) -> bool {
        self.interface == interface
            && self.address.address == wanted.address
            && self.address.prefix_len == wanted.prefix_len
    }
}

/// All addresses of all interfaces, in the kernel's order.
pub(crate) fn list(connection: &Connection) -> io::Result<Vec<Assigned>> {
    let answers = connection.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let addresses = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return None;
        };
        Assigned::from_message(message)
    });
    Ok(addresses.collect())
}

/// What asks the kernel for an address on an interface.
pub(crate) fn message(interface: u32, wanted: &WantedAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = interface;
    message.header.prefix_len = wanted.prefix_len;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Local(wanted.address),
        AddressAttribute::Address(wanted.address),
    ];
    match wanted.address {
        IpAddr::V4(address) => {
            message.header.family = AddressFamily::Inet;
            let broadcast = wanted
                .broadcast
                .or_else(|| broadcast(address, wanted.prefix_len));
            message
                .attributes
                .extend(broadcast.map(AddressAttribute::Broadcast));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Usable at once, as the rules that name it expect; it was given by hand.
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
    }
    message
}

/// The last address of the network, as ifconfig(8) sets it; none on point-to-point links (RFC
/// 3021).
fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    if prefix_len > 30 {
        return None;
    }
    let hosts = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    Some(Ipv4Addr::from(u32::from(address) | hosts))
}

/// Gives an address. One that is there by now is as wanted: the daemon and `weighbridge links run` set the same
/// device up at the same time when it comes back.
pub(crate) fn add(connection: &Connection, message: AddressMessage) -> io::Result<()> {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    match connection.act(RouteNetlinkMessage::NewAddress(message), flags) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

pub(crate) fn remove(connection: &Connection, message: AddressMessage) -> io::Result<()> {
    connection.act(RouteNetlinkMessage::DelAddress(message), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broadcast_address_is_the_last_of_the_network() {
        let address = Ipv4Addr::new(216, 123, 123, 123);
        assert_eq!(
            broadcast(address, 22),
            Some(Ipv4Addr::new(216, 123, 123, 255))
        );
        assert_eq!(broadcast(address, 0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(address, 31), None);
    }
}
