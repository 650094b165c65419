//! Steering packets through the kernel's routing by marks: routing tables (`rtable`) and sockets of
//! this box (`divert-to`).
//!
//! The kernel is told what a mark means when one is used for the first time, and to forget it at
//! the orderly end. What a dead daemon leaves concerns no packet, because nobody sets the marks.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use pf_engine::env::IfIndex;

use crate::Error;
use crate::netlink::connection::Connection;
use crate::program::{DivertData, Program};

/// The bits of a mark that are the number of a routing table.
const TABLE_MASK: u32 = 0x00ff_0000;
const TABLE_SHIFT: u32 = 16;

/// A packet with this bit goes to a socket of this box; its low bits are an entry of the
/// program's map, from 1.
const DIVERT: u32 = 0x8000_0000;

/// Entries of the program's map (`DIVERTS_MAX`): more listeners no ruleset is likely to name.
const DIVERTS_MAX: usize = 256;

/// The routing table by which diverted packets are local, and the priority of all our rules
/// (before that of the main table, 32766). Any number that nobody else has will do.
const OUR_TABLE: u32 = 22_338;
const RULE_PRIORITY: u32 = 22_338;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Number of `lo`, in every network namespace.
const LOOPBACK: u32 = 1;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// What the kernel was told.
#[derive(Debug, Default)]
pub(crate) struct Steer {
    tables: BTreeSet<u8>,
    diverts: Vec<SocketAddr>,
    diverts_are_local: bool,
    /// Bridges that hand what is diverted to its socket.
    bridges: BTreeSet<IfIndex>,
}

impl Steer {
    /// The mark of a packet that goes by a routing table. 0 is the ordinary one, as on FreeBSD.
    pub(crate) fn table(&mut self, table: u8, connection: &Connection) -> Result<u32, Error> {
        let mark = u32::from(table) << TABLE_SHIFT;
        if table != 0 && !self.tables.contains(&table) {
            add_rules(connection, mark, TABLE_MASK, table.into())
                .map_err(|error| not_steered("the routing table", error))?;
            self.tables.insert(table);
        }
        Ok(mark)
    }

    /// The mark of a packet that goes to a socket: to the one that listens at `listener`, unless
    /// it belongs to a connection.
    pub(crate) fn divert(
        &mut self,
        listener: Option<SocketAddr>,
        connection: &Connection,
        program: &mut Program,
    ) -> Result<u32, Error> {
        self.make_local(connection)
            .map_err(|error| not_steered("a divert", error))?;
        let Some(listener) = listener else {
            return Ok(DIVERT);
        };
        let known = self.diverts.iter().position(|known| *known == listener);
        let at = match known {
            Some(at) => at,
            None => self
                .tell(listener, program)
                .map_err(|error| not_steered("a divert", error))?,
        };
        let entry = u32::try_from(at + 1).unwrap_or_default();
        Ok(DIVERT | entry)
    }

    /// Whether the bridge does not yet hand what is diverted to its socket.
    pub(crate) fn is_new(&self, bridge: IfIndex) -> bool {
        !self.bridges.contains(&bridge)
    }

    /// It does from now on.
    pub(crate) fn note(&mut self, bridge: IfIndex) {
        self.bridges.insert(bridge);
    }

    fn tell(&mut self, listener: SocketAddr, program: &mut Program) -> io::Result<usize> {
        let at = self.diverts.len();
        let number = u32::try_from(at).map_err(io::Error::other)?;
        if at >= DIVERTS_MAX {
            return Err(io::Error::other("too many addresses are diverted to"));
        }
        program.set_divert(number, divert_data(listener))?;
        self.diverts.push(listener);
        Ok(at)
    }

    fn make_local(&mut self, connection: &Connection) -> io::Result<()> {
        if self.diverts_are_local {
            return Ok(());
        }
        for family in FAMILIES {
            crate::netlink::route::add(connection, everything_is_local(family))?;
        }
        add_rules(connection, DIVERT, DIVERT, OUR_TABLE)?;
        self.diverts_are_local = true;
        Ok(())
    }

    /// Has the kernel forget it all.
    pub(crate) fn release(&mut self, connection: &Connection) {
        let mut told: Vec<(u32, u32, u32)> = Vec::new();
        for table in std::mem::take(&mut self.tables) {
            let number = u32::from(table);
            told.push((number << TABLE_SHIFT, TABLE_MASK, number));
        }
        if std::mem::take(&mut self.diverts_are_local) {
            told.push((DIVERT, DIVERT, OUR_TABLE));
            for family in FAMILIES {
                let route = everything_is_local(family);
                forget(connection, RouteNetlinkMessage::DelRoute(route));
            }
        }
        for (mark, bits, table) in told {
            for family in FAMILIES {
                let rule = rule(family, mark, bits, table);
                forget(connection, RouteNetlinkMessage::DelRule(rule));
            }
        }
        self.diverts.clear();
    }
}

fn forget(connection: &Connection, message: RouteNetlinkMessage) {
    if let Err(error) = connection.act(message, 0) {
        tracing::debug!(%error, "a rule of routing was gone already");
    }
}

fn add_rules(connection: &Connection, mark: u32, bits: u32, table: u32) -> io::Result<()> {
    for family in FAMILIES {
        let message = RouteNetlinkMessage::NewRule(rule(family, mark, bits, table));
        match connection.act(message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

fn rule(family: AddressFamily, mark: u32, bits: u32, table: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    rule.attributes = vec![
        RuleAttribute::Priority(RULE_PRIORITY),
        RuleAttribute::FwMark(mark),
        RuleAttribute::FwMask(bits),
        RuleAttribute::Table(table),
    ];
    rule
}

fn everything_is_local(family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.kind = RouteType::Local;
    route.header.scope = RouteScope::Host;
    route.header.protocol = RouteProtocol::Static;
    route.attributes = vec![
        RouteAttribute::Table(OUR_TABLE),
        RouteAttribute::Oif(LOOPBACK),
    ];
    route
}

fn divert_data(listener: SocketAddr) -> DivertData {
    let mut data = DivertData::default();
    let family = match listener.ip() {
        IpAddr::V4(address) => {
            data[..4].copy_from_slice(&address.octets());
            AF_INET
        }
        IpAddr::V6(address) => {
            data[..16].copy_from_slice(&address.octets());
            AF_INET6
        }
    };
    data[16..20].copy_from_slice(&family.to_ne_bytes());
    data[20..22].copy_from_slice(&listener.port().to_be_bytes());
    data
}

fn not_steered(what: &str, source: io::Error) -> Error {
    Error::kernel(
        format!("cannot tell the kernel's routing of {what}"),
        source,
        "the kernel needs CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES",
    )
}
