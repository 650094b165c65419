//! Network devices: reading and changing them.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use links::WantedLagg;

use super::bond;
use super::bond_state::{BondPortState, BondState};
use super::connection::Connection;

/// What we need to know about a network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property of its own"
)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) mac: Vec<u8>,
    pub(crate) alias: String,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    /// Whether its frames begin with an Ethernet header.
    pub(crate) ethernet: bool,
    /// The device it is a port of (a bridge, a bond, …).
    pub(crate) controller: Option<u32>,
    /// Settings, if it is a bridge.
    pub(crate) bridge: Option<BridgeSettings>,
    /// Settings, if it is a port of a bridge.
    pub(crate) port: Option<PortSettings>,
    /// Whether it is a port of a bridge that passes its frames on.
    pub(crate) forwards: bool,
    /// Packets that its queue had no room for.
    pub(crate) tx_dropped: u64,
    /// `IFF_*` of `linux/if.h`.
    pub(crate) flags: u32,
    /// Whether the link works: a cable, and what is at its other end.
    pub(crate) carrier: bool,
    /// The device that it is on top of (a VLAN's).
    pub(crate) parent: Option<u32>,
    /// Its number, if it is a VLAN.
    pub(crate) vlan: Option<u16>,
    /// Settings, if it is a bond.
    pub(crate) bond: Option<WantedLagg>,
    /// How it stands, if it is a bond.
    pub(crate) bond_state: BondState,
    /// How it stands, if it is a port of a bond.
    pub(crate) bond_port: Option<BondPortState>,
    /// Whether it is one end of a virtual pair.
    pub(crate) is_veth: bool,
    /// Whether it is a TAP.
    pub(crate) tap: bool,
}

/// Settings of a bridge, as the kernel keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BridgeSettings {
    pub(crate) stp: bool,
    /// In hundredths of a second.
    pub(crate) forward_delay: u32,
    /// In hundredths of a second; 0: nothing is learned.
    pub(crate) ageing: u32,
    /// Whether it listens to who wants which multicast, and says something itself for that.
    pub(crate) snooping: bool,
}

/// Settings of a port of a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortSettings {
    /// Which of the addresses 01:80:c2:00:00:0x it forwards, one bit each.
    pub(crate) group_forward: u16,
}

impl Link {
    fn from_message(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            flags: message.header.flags.bits(),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ethernet: matches!(
                message.header.link_layer_type,
                LinkLayerType::Ether | LinkLayerType::Loopback
            ),
            ..Self::default()
        };
        for attribute in message.attributes {
            link.take(attribute);
        }
        link
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kernel tells far more than we need"
    )]
    fn take(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::IfAlias(alias) => self.alias = alias,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::Address(mac) => self.mac = mac,
            LinkAttribute::Controller(index) => self.controller = Some(index),
            LinkAttribute::Carrier(carrier) => self.carrier = carrier != 0,
            LinkAttribute::Link(parent) => self.parent = Some(parent),
            LinkAttribute::Stats64(statistics) => self.tx_dropped = statistics.tx_dropped,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    self.take_info(info);
                }
            }
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only devices that are made of others matter"
    )]
    fn take_info(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) => {
                self.bridge.get_or_insert_default();
            }
            LinkInfo::Data(InfoData::Bridge(settings)) => {
                let bridge = self.bridge.get_or_insert_default();
                for setting in &settings {
                    bridge.take(setting);
                }
            }
            LinkInfo::Kind(InfoKind::Tun) => self.tap = true,
            LinkInfo::Kind(InfoKind::Veth) => self.is_veth = true,
            LinkInfo::Data(InfoData::Vlan(settings)) => {
                self.vlan = settings.iter().find_map(|setting| match setting {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Bond(settings)) => {
                self.bond = Some(bond::settings(&settings));
                self.bond_state = BondState::of(&settings);
            }
            LinkInfo::PortData(InfoPortData::BondPort(settings)) => {
                self.bond_port = Some(BondPortState::of(&settings));
            }
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
                let forwarding = InfoBridgePort::State(BridgePortState::Forwarding);
                self.forwards = settings.contains(&forwarding);
                let port = self.port.get_or_insert_default();
                for setting in &settings {
                    port.take(setting);
                }
            }
            _ => {}
        }
    }
}

impl BridgeSettings {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a bridge has many more settings"
    )]
    fn take(&mut self, setting: &InfoBridge) {
        match setting {
            InfoBridge::StpState(state) => self.stp = u32::from(*state) != 0,
            InfoBridge::ForwardDelay(delay) => self.forward_delay = *delay,
            InfoBridge::AgeingTime(ageing) => self.ageing = *ageing,
            InfoBridge::MulticastSnooping(snooping) => self.snooping = *snooping,
            _ => {}
        }
    }
}

impl PortSettings {
    fn take(&mut self, setting: &InfoBridgePort) {
        if let InfoBridgePort::GroupFwdMask(mask) = setting {
            self.group_forward = *mask;
        }
    }
}

/// All devices, ordered by number.
pub(crate) fn list(connection: &Connection) -> io::Result<Vec<Link>> {
    let answers = connection.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(links_of(answers))
}

/// Those that answers tell of, ordered by number.
pub(super) fn links_of(answers: Vec<RouteNetlinkMessage>) -> Vec<Link> {
    let mut links: Vec<Link> = answers.into_iter().filter_map(link_of).collect();
    links.sort_by_key(|link| link.index);
    links
}

/// The device with this number.
pub(crate) fn by_index(connection: &Connection, index: u32) -> io::Result<Link> {
    one(connection, message(index))
}

/// Whether the device with this number has this name.
pub(crate) fn is_called(connection: &Connection, index: u32, name: &str) -> bool {
    by_index(connection, index).is_ok_and(|link| link.name == name)
}

/// The device with this name.
pub(crate) fn by_name(connection: &Connection, name: &str) -> io::Result<Link> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    one(connection, message)
}

/// The device with this name, if there is one.
pub(crate) fn find(connection: &Connection, name: &str) -> io::Result<Option<Link>> {
    match by_name(connection, name) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        found => found.map(Some),
    }
}

fn one(connection: &Connection, message: LinkMessage) -> io::Result<Link> {
    let answers = connection.ask(RouteNetlinkMessage::GetLink(message))?;
    answers
        .into_iter()
        .find_map(link_of)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn link_of(answer: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = answer else {
        return None;
    };
    Some(Link::from_message(message))
}

fn message(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// Changes attributes of a device.
pub(crate) fn set(
    connection: &Connection,
    index: u32,
    attributes: Vec<LinkAttribute>,
) -> io::Result<()> {
    let mut message = message(index);
    message.attributes = attributes;
    connection.act(RouteNetlinkMessage::SetLink(message), 0)
}

/// Sets those flags of `mask` that are in `flags`, clears the others of `mask`.
pub(crate) fn set_flags(
    connection: &Connection,
    index: u32,
    flags: LinkFlags,
    mask: LinkFlags,
) -> io::Result<()> {
    let mut message = message(index);
    message.header.flags = flags;
    message.header.change_mask = mask;
    connection.act(RouteNetlinkMessage::SetLink(message), 0)
}

/// Brings a device up or down.
pub(crate) fn set_up(connection: &Connection, index: u32, up: bool) -> io::Result<()> {
    let flags = if up {
        LinkFlags::Up
    } else {
        LinkFlags::empty()
    };
    set_flags(connection, index, flags, LinkFlags::Up)
}

/// Removes a device.
pub(crate) fn delete(connection: &Connection, index: u32) -> io::Result<()> {
    connection.act(RouteNetlinkMessage::DelLink(message(index)), 0)
}
