//! Bridges and their ports.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkInfo, LinkMessage,
};

use super::connection::Connection;
use super::link::{BridgeSettings, PortSettings};

/// Hundredths of a second, the kernel's unit (`USER_HZ`).
const PER_SECOND: u32 = 100;

/// bridge(4): learned addresses are forgotten after 240 seconds.
const DEFAULT_TIMEOUT_SECS: u32 = 240;

/// What stands for `timeout 0`, never: a year. To Linux, 0 means to learn nothing.
const NEVER: u32 = 365 * 24 * 3_600 * PER_SECOND;

/// A port forwards everything but pause frames (01:80:c2:00:00:01), which the kernel insists on:
/// spanning tree, LACP and LLDP of the devices on both sides cross, as on a cable.
pub(crate) const TRANSPARENT: PortSettings = PortSettings {
    group_forward: 0xfffd,
};

/// The settings of a bridge as bridge(4) is: without spanning tree, forwarding from the first
/// moment, sending multicast everywhere and nothing of its own.
/// `timeout_secs` as in bridgename.if.
pub(crate) fn settings(timeout_secs: Option<u32>) -> BridgeSettings {
    let ageing = match timeout_secs.unwrap_or(DEFAULT_TIMEOUT_SECS) {
        0 => NEVER,
        seconds => seconds.saturating_mul(PER_SECOND),
    };
    BridgeSettings {
        stp: false,
        forward_delay: 0,
        ageing,
        snooping: false,
    }
}

/// Makes a bridge, down.
pub(crate) fn create(
    connection: &Connection,
    name: &str,
    settings: BridgeSettings,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), info(settings)];
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    connection.act(RouteNetlinkMessage::NewLink(message), flags)
}

/// Changes the settings of a bridge.
pub(crate) fn change(
    connection: &Connection,
    index: u32,
    settings: BridgeSettings,
) -> io::Result<()> {
    change_link(connection, index, info(settings))
}

/// Changes the settings of a port.
pub(crate) fn change_port(
    connection: &Connection,
    index: u32,
    settings: PortSettings,
) -> io::Result<()> {
    let mask = InfoBridgePort::GroupFwdMask(settings.group_forward);
    let infos = vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![mask])),
    ];
    change_link(connection, index, LinkAttribute::LinkInfo(infos))
}

/// `RTM_NEWLINK` without `NLM_F_CREATE`: `RTM_SETLINK` ignores what is particular to a kind.
pub(super) fn change_link(
    connection: &Connection,
    index: u32,
    attribute: LinkAttribute,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![attribute];
    connection.act(RouteNetlinkMessage::NewLink(message), 0)
}

fn info(settings: BridgeSettings) -> LinkAttribute {
    let stp = if settings.stp {
        BridgeStpState::KernelStp
    } else {
        BridgeStpState::Disabled
    };
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::StpState(stp),
            InfoBridge::ForwardDelay(settings.forward_delay),
            InfoBridge::AgeingTime(settings.ageing),
            InfoBridge::MulticastSnooping(settings.snooping),
        ])),
    ])
}
