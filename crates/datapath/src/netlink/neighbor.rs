//! The kernel's neighbours: having one asked for its link-layer address, and whether it answered.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::connection::Connection;

/// Has the neighbour asked: by a probe to the address that is known of it, or by resolving it.
pub(crate) fn ask(connection: &Connection, interface: u32, address: IpAddr) -> io::Result<()> {
    let known = find(connection, interface, address)?;
    let link_layer = known.as_ref().and_then(link_layer_address);
    let mut message = message(interface, address);
    match link_layer {
        Some(link_layer) => {
            message.header.state = NeighbourState::Probe;
            let attribute = NeighbourAttribute::LinkLayerAddress(link_layer);
            message.attributes.push(attribute);
        }
        // As if a packet were to be sent there.
        None => message.header.flags = NeighbourFlags::Use,
    }
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    connection.act(RouteNetlinkMessage::NewNeighbour(message), flags)
}

/// Whether the neighbour has answered the last question. One that the administrator has put into
/// the table is not asked.
pub(crate) fn has_answered(
    connection: &Connection,
    interface: u32,
    address: IpAddr,
) -> io::Result<bool> {
    let state = find(connection, interface, address)?.map(|known| known.header.state);
    Ok(matches!(
        state,
        Some(NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp)
    ))
}

fn find(
    connection: &Connection,
    interface: u32,
    address: IpAddr,
) -> io::Result<Option<NeighbourMessage>> {
    let question = RouteNetlinkMessage::GetNeighbour(message(interface, address));
    let answers = match connection.ask(question) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        answers => answers?,
    };
    Ok(answers.into_iter().find_map(|answer| {
        if let RouteNetlinkMessage::NewNeighbour(neighbour) = answer {
            return Some(neighbour);
        }
        None
    }))
}

fn message(interface: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = interface;
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    message
}

/// Nothing while it is not known.
fn link_layer_address(neighbour: &NeighbourMessage) -> Option<Vec<u8>> {
    let unknown = [
        NeighbourState::None,
        NeighbourState::Incomplete,
        NeighbourState::Failed,
    ];
    if unknown.contains(&neighbour.header.state) {
        return None;
    }
    neighbour.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::LinkLayerAddress(address) = attribute {
            return Some(address.clone());
        }
        None
    })
}
