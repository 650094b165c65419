//! Routes: which interfaces lead out, and keeping routes when an address moves.

use std::io;
use std::net::IpAddr;

use links::WantedRoute;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use pf_engine::addr::{Family, Prefix};
use pf_engine::env::IfIndex;

use super::connection::Connection;

/// One way to everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// Number of the interface.
    pub(crate) interface: u32,
    pub(crate) gateway: Option<IpAddr>,
}

/// A route of the main table, as far as a look-up needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub destination: Prefix,
    /// The next hop; nothing for an attached network.
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by.
    pub interface: IfIndex,
}

/// The ways that the main table's routes lead, longest destination first.
pub(crate) fn main_table(routes: &[RouteMessage]) -> Vec<Route> {
    let is_main = |route: &&RouteMessage| route.header.table == RouteHeader::RT_TABLE_MAIN;
    let mut all: Vec<Route> = routes.iter().filter(is_main).flat_map(leading).collect();
    all.sort_by_key(|route| std::cmp::Reverse(route.destination.prefix_len()));
    all
}

fn leading(route: &RouteMessage) -> Vec<Route> {
    let Some(destination) = destination(route) else {
        return Vec::new();
    };
    let way = |way: DefaultRoute| Route {
        destination,
        gateway: way.gateway,
        interface: IfIndex(way.interface),
    };
    ways(route).into_iter().map(way).collect()
}

fn destination(route: &RouteMessage) -> Option<Prefix> {
    let len = route.header.destination_prefix_length;
    let given = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            return Some(IpAddr::V4(*address));
        }
        if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            return Some(IpAddr::V6(*address));
        }
        None
    });
    // A default route names no destination.
    let family = if route.header.address_family == AddressFamily::Inet {
        Family::Inet
    } else {
        Family::Inet6
    };
    Prefix::new(given.unwrap_or(family.unspecified()), len)
}

/// All unicast routes of both families.
pub(crate) fn list(connection: &Connection) -> io::Result<Vec<RouteMessage>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        for answer in connection.dump(&RouteNetlinkMessage::GetRoute(message))? {
            if let RouteNetlinkMessage::NewRoute(route) = answer
                && route.header.kind == RouteType::Unicast
            {
                routes.push(route);
            }
        }
    }
    Ok(routes)
}

/// All ways to everywhere.
pub(crate) fn defaults(routes: &[RouteMessage]) -> Vec<DefaultRoute> {
    routes
        .iter()
        .filter(|route| route.header.destination_prefix_length == 0)
        .flat_map(ways)
        .collect()
}

fn ways(route: &RouteMessage) -> Vec<DefaultRoute> {
    let own = way(interface(route), &route.attributes);
    let shared = route.attributes.iter().flat_map(|attribute| {
        let RouteAttribute::MultiPath(hops) = attribute else {
            return Vec::new();
        };
        let ways = hops
            .iter()
            .filter_map(|hop| way(Some(hop.interface_index), &hop.attributes));
        ways.collect()
    });
    own.into_iter().chain(shared).collect()
}

fn way(interface: Option<u32>, attributes: &[RouteAttribute]) -> Option<DefaultRoute> {
    let gateway = attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
            return Some(IpAddr::V4(*address));
        }
        if let RouteAttribute::Gateway(RouteAddress::Inet6(address)) = attribute {
            return Some(IpAddr::V6(*address));
        }
        // A next hop of the other family (RFC 8950).
        if let RouteAttribute::Via(RouteVia::Inet6(address)) = attribute {
            return Some(IpAddr::V6(*address));
        }
        if let RouteAttribute::Via(RouteVia::Inet(address)) = attribute {
            return Some(IpAddr::V4(*address));
        }
        None
    });
    interface.map(|interface| DefaultRoute { interface, gateway })
}

fn interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Oif(interface) = attribute else {
            return None;
        };
        Some(*interface)
    })
}

/// The routes out of an interface that someone made: those that are lost with its address.
pub(crate) fn made_through(routes: &[RouteMessage], through: u32) -> Vec<RouteMessage> {
    routes
        .iter()
        .filter(|route| route.header.protocol != RouteProtocol::Kernel)
        .filter(|route| interface(route) == Some(through))
        .map(reusable)
        .collect()
}

/// Without what only the kernel may say.
fn reusable(route: &RouteMessage) -> RouteMessage {
    let mut route = route.clone();
    route.header.flags &= RouteFlags::Onlink;
    route
        .attributes
        .retain(|attribute| !matches!(attribute, RouteAttribute::CacheInfo(_)));
    route
}

/// The same route out of another interface.
pub(crate) fn moved(route: &RouteMessage, to: u32) -> RouteMessage {
    let mut route = route.clone();
    for attribute in &mut route.attributes {
        if let RouteAttribute::Oif(interface) = attribute {
            *interface = to;
        }
    }
    route
}

/// Makes a route by a next hop, at this interface where its address does not tell; one to the same destination
/// is replaced. Returns it.
pub(crate) fn replace(
    connection: &Connection,
    wanted: &WantedRoute,
    interface: Option<u32>,
) -> io::Result<RouteMessage> {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    let mut route = RouteMessage::default();
    route.header.address_family = match wanted.gateway {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    route.header.destination_prefix_length = wanted.prefix_len;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    if wanted.prefix_len > 0 {
        let destination = RouteAttribute::Destination(address(wanted.destination));
        route.attributes.push(destination);
    }
    let gateway = RouteAttribute::Gateway(address(wanted.gateway));
    route.attributes.push(gateway);
    route.attributes.extend(interface.map(RouteAttribute::Oif));
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    connection.act(RouteNetlinkMessage::NewRoute(route.clone()), flags)?;
    Ok(route)
}

pub(crate) fn remove(connection: &Connection, route: RouteMessage) -> io::Result<()> {
    connection.act(RouteNetlinkMessage::DelRoute(route), 0)
}

/// Adds a route, unless it is there.
pub(crate) fn add(connection: &Connection, route: RouteMessage) -> io::Result<()> {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    match connection.act(RouteNetlinkMessage::NewRoute(route), flags) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
