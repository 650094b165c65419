//! One step, and how it is told.

use std::fmt;

use super::Maker;
use crate::offload::Offload;
use crate::{Protocol, WantedAddress, WantedLagg, WantedRoute, WantedVlan};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a bridge.
    MakeBridge {
        /// Its name.
        name: String,
        /// When learned addresses are forgotten, as in bridgename.if.
        timeout_secs: Option<u32>,
    },
    /// Make a lagg, without ports.
    MakeLagg {
        /// Its name.
        name: String,
        /// Its settings.
        lagg: WantedLagg,
        /// Who makes it.
        maker: Maker,
    },
    /// Make a VLAN.
    MakeVlan {
        /// Its name.
        name: String,
        /// Its parent and number.
        vlan: WantedVlan,
        /// Who makes it.
        maker: Maker,
    },
    /// Remove a device.
    Remove {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// Set the MTU.
    SetMtu {
        /// The interface.
        name: String,
        /// In bytes.
        mtu: u32,
    },
    /// Set the MAC address.
    SetMac {
        /// The interface.
        name: String,
        /// The address.
        mac: [u8; 6],
    },
    /// Set the description.
    SetDescription {
        /// The interface.
        name: String,
        /// The text.
        text: String,
    },
    /// Have the hardware do something, or not.
    SetOffload {
        /// The interface.
        name: String,
        /// What it does.
        offload: Offload,
        /// It does.
        on: bool,
    },
    /// Make an interface a port.
    AddPort {
        /// Of this bridge or lagg.
        of: String,
        /// The interface.
        port: String,
    },
    /// Release a port.
    RemovePort {
        /// Of this lagg.
        of: String,
        /// The interface.
        port: String,
    },
    /// Bring an interface up.
    Up {
        /// Its name.
        name: String,
    },
    /// Give an address.
    AddAddress {
        /// The interface.
        name: String,
        /// The address.
        address: WantedAddress,
    },
    /// Make a route.
    AddRoute {
        /// The route.
        route: WantedRoute,
        /// Next hop of the route that it replaces.
        instead_of: Option<String>,
    },
    /// Forward packets between interfaces, or stop to.
    Forward {
        /// Of IPv6.
        v6: bool,
        /// Forward.
        on: bool,
    },
}

impl Step {
    /// The netlink message, or the sysctl, that does it.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::MakeLagg {
                maker: Maker::Own, ..
            }
            | Self::MakeVlan {
                maker: Maker::Own, ..
            } => "TUNSETIFF",
            Self::MakeBridge { .. } | Self::MakeLagg { .. } | Self::MakeVlan { .. } => {
                "RTM_NEWLINK"
            }
            Self::Remove { .. } => "RTM_DELLINK",
            Self::SetMtu { .. }
            | Self::SetMac { .. }
            | Self::SetDescription { .. }
            | Self::AddPort { .. }
            | Self::RemovePort { .. }
            | Self::Up { .. } => "RTM_SETLINK",
            Self::SetOffload { .. } => "SIOCETHTOOL",
            Self::AddAddress { .. } => "RTM_NEWADDR",
            Self::AddRoute { .. } => "RTM_NEWROUTE",
            Self::Forward { .. } => "sysctl",
        }
    }

    /// The interface that it changes; none for routes and forwarding.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::MakeBridge { name, .. }
            | Self::MakeLagg { name, .. }
            | Self::MakeVlan { name, .. }
            | Self::Remove { name, .. }
            | Self::SetMtu { name, .. }
            | Self::SetMac { name, .. }
            | Self::SetDescription { name, .. }
            | Self::SetOffload { name, .. }
            | Self::Up { name }
            | Self::AddAddress { name, .. } => Some(name),
            Self::AddPort { port, .. } | Self::RemovePort { port, .. } => Some(port),
            Self::AddRoute { .. } | Self::Forward { .. } => None,
        }
    }
}

/// As `RTM_NEWLINK lagg0: bond, active-backup`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message())?;
        if let Some(name) = self.interface() {
            write!(f, " {name}")?;
        }
        f.write_str(": ")?;
        match self {
            Self::MakeBridge { .. } => f.write_str("make a bridge"),
            Self::MakeLagg { lagg, maker, .. } => made_lagg(f, lagg, *maker),
            Self::MakeVlan { vlan, .. } => {
                write!(f, "make VLAN {} of {}", vlan.id, vlan.parent)
            }
            Self::Remove { why, .. } => write!(f, "remove, {why}"),
            Self::SetMtu { mtu, .. } => write!(f, "MTU {mtu}"),
            Self::SetMac { mac, .. } => write!(f, "address {}", mac_text(*mac)),
            Self::SetDescription { text, .. } => write!(f, "description {text:?}"),
            Self::SetOffload { offload, on, .. } => f.write_str(&offload.switched(*on)),
            Self::AddPort { of, .. } => write!(f, "a port of {of}"),
            Self::RemovePort { of, .. } => write!(f, "no port of {of} any more"),
            Self::Up { .. } => f.write_str("up"),
            Self::AddAddress { address, .. } => {
                write!(f, "{}/{}", address.address, address.prefix_len)
            }
            Self::AddRoute { route, instead_of } => {
                write!(f, "{}/{}", route.destination, route.prefix_len)?;
                write!(f, " by {}", route.next_hop())?;
                instead_of
                    .as_ref()
                    .map_or(Ok(()), |other| write!(f, " instead of {other}"))
            }
            Self::Forward { v6, on } => {
                let key = if *v6 {
                    "net.ipv6.conf.all.forwarding"
                } else {
                    "net.ipv4.ip_forward"
                };
                write!(f, "{key} = {}", u8::from(*on))
            }
        }
    }
}

fn made_lagg(f: &mut fmt::Formatter<'_>, lagg: &WantedLagg, maker: Maker) -> fmt::Result {
    if maker == Maker::Own {
        return write!(f, "make a lagg, {}", lagg.protocol.name());
    }
    let mode = bonding_mode(lagg.protocol).unwrap_or("none");
    write!(f, "make a bond, {mode}")
}

/// The name of Linux's bonding for a protocol; it has nothing for `none`.
#[must_use]
pub fn bonding_mode(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Failover => Some("active-backup"),
        Protocol::Lacp => Some("802.3ad"),
        Protocol::LoadBalance => Some("balance-xor"),
        Protocol::RoundRobin => Some("balance-rr"),
        Protocol::Broadcast => Some("broadcast"),
        Protocol::None => None,
    }
}

/// `00:05:5d:71:8d:b8`.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
