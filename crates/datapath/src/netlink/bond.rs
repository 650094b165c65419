//! Linux bonding and 802.1Q, where the kernel has them.

use std::fs;
use std::io;

use links::{HashLayers, Protocol, WantedLagg};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BondLacpRate, BondMode, BondXmitHashPolicy, InfoBond, InfoData, InfoKind, InfoVlan,
    LinkAttribute, LinkInfo, LinkMessage,
};

use super::bridge::change_link;
use super::connection::Connection;
use super::link;

/// How often bonding looks whether a link is up, in milliseconds; its own default is never.
const MONITOR_MILLIS: u32 = 100;

/// The module, once it is loaded.
const MODULE: &str = "/sys/module/bonding";
/// The bond that the module makes by itself when it is loaded without settings.
const UNASKED: &str = "bond0";

/// Makes a bond, down and without ports.
pub(super) fn create(connection: &Connection, name: &str, lagg: &WantedLagg) -> io::Result<()> {
    let loaded = fs::exists(MODULE).unwrap_or(false);
    create_bond(connection, name, lagg)?;
    if !loaded && name != UNASKED {
        remove_unasked(connection);
    }
    Ok(())
}

/// What loading the module has made beside the bond that was asked for.
fn remove_unasked(connection: &Connection) {
    if let Ok(Some(unasked)) = link::find(connection, UNASKED)
        && unasked.bond.is_some()
        && !unasked.up
        && let Err(error) = link::delete(connection, unasked.index)
    {
        tracing::warn!("{UNASKED}, which nobody has asked for, stays: {error}");
    }
}

fn create_bond(connection: &Connection, name: &str, lagg: &WantedLagg) -> io::Result<()> {
    let mut settings = vec![
        InfoBond::Mode(mode(lagg.protocol)?),
        InfoBond::MiiMon(MONITOR_MILLIS),
    ];
    match lagg.protocol {
        Protocol::Lacp => {
            let rate = if lagg.fast {
                BondLacpRate::Fast
            } else {
                BondLacpRate::Slow
            };
            settings.push(InfoBond::AdLacpRate(rate));
            settings.push(InfoBond::XmitHashPolicy(policy(lagg.hash)));
        }
        Protocol::LoadBalance => settings.push(InfoBond::XmitHashPolicy(policy(lagg.hash))),
        Protocol::RoundRobin => settings.push(InfoBond::PacketsPerPort(lagg.round_robin_frames)),
        Protocol::Failover | Protocol::Broadcast | Protocol::None => {}
    }
    make(
        connection,
        name,
        InfoKind::Bond,
        InfoData::Bond(settings),
        None,
    )
}

/// Makes a VLAN, down.
pub(super) fn create_vlan(
    connection: &Connection,
    name: &str,
    parent: u32,
    id: u16,
) -> io::Result<()> {
    let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
    make(connection, name, InfoKind::Vlan, data, Some(parent))
}

fn make(
    connection: &Connection,
    name: &str,
    kind: InfoKind,
    data: InfoData,
    parent: Option<u32>,
) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    message.attributes.extend(parent.map(LinkAttribute::Link));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    connection.act(RouteNetlinkMessage::NewLink(message), flags)
}

/// Makes a port the one that carries all when it can.
pub(super) fn set_primary(connection: &Connection, bond: u32, port: u32) -> io::Result<()> {
    let infos = vec![
        LinkInfo::Kind(InfoKind::Bond),
        LinkInfo::Data(InfoData::Bond(vec![InfoBond::Primary(port)])),
    ];
    change_link(connection, bond, LinkAttribute::LinkInfo(infos))
}

fn mode(protocol: Protocol) -> io::Result<BondMode> {
    match protocol {
        Protocol::Failover => Ok(BondMode::ActiveBackup),
        Protocol::Lacp => Ok(BondMode::Ieee8023Ad),
        Protocol::LoadBalance => Ok(BondMode::BalanceXor),
        Protocol::RoundRobin => Ok(BondMode::BalanceRr),
        Protocol::Broadcast => Ok(BondMode::Broadcast),
        Protocol::None => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn policy(layers: HashLayers) -> BondXmitHashPolicy {
    match (layers.l3, layers.l4) {
        (_, true) => BondXmitHashPolicy::Layer34,
        (true, false) => BondXmitHashPolicy::Layer23,
        (false, false) => BondXmitHashPolicy::Layer2,
    }
}

/// The settings of a bond that is there, without its ports. A mode that lagg(4) has not counts as
/// `none`, which never is what files ask of the kernel.
pub(super) fn settings(settings: &[InfoBond]) -> WantedLagg {
    let mut lagg = WantedLagg::default();
    for setting in settings {
        take(&mut lagg, setting);
    }
    lagg
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "bonding has many more settings"
)]
fn take(lagg: &mut WantedLagg, setting: &InfoBond) {
    match setting {
        InfoBond::Mode(mode) => {
            lagg.protocol = match mode {
                BondMode::ActiveBackup => Protocol::Failover,
                BondMode::Ieee8023Ad => Protocol::Lacp,
                BondMode::BalanceXor => Protocol::LoadBalance,
                BondMode::BalanceRr => Protocol::RoundRobin,
                BondMode::Broadcast => Protocol::Broadcast,
                _ => Protocol::None,
            }
        }
        InfoBond::XmitHashPolicy(policy) => {
            let (l2, l3, l4) = match policy {
                BondXmitHashPolicy::Layer2 => (true, false, false),
                BondXmitHashPolicy::Layer23 => (true, true, false),
                _ => (true, true, true),
            };
            lagg.hash = HashLayers { l2, l3, l4 };
        }
        InfoBond::AdLacpRate(rate) => lagg.fast = *rate == BondLacpRate::Fast,
        InfoBond::PacketsPerPort(frames) => lagg.round_robin_frames = *frames,
        _ => {}
    }
    if !matches!(lagg.protocol, Protocol::Lacp | Protocol::LoadBalance) {
        lagg.hash = HashLayers::default();
    }
    if lagg.protocol != Protocol::Lacp {
        lagg.fast = true;
    }
}
