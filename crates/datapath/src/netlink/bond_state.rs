//! How the kernel's bonds stand, in the words of lagg(4). All of it is told to everybody.

use links::lacp::State;
use links::lagg::flags;
use links::plan::mac_text;
use links::status::{LacpStatus, LaggStatus, PortStatus};
use links::{Protocol, WantedLagg};
use netlink_packet_route::link::{BondAdInfo, InfoBond, InfoBondPort, MiiStatus};

/// A bond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BondState {
    /// The port that carries all when it can.
    pub(crate) primary: Option<u32>,
    /// The port that carries all now.
    active: Option<u32>,
    /// The aggregator in use, and whether anybody is at its other end.
    aggregator: Option<u16>,
    has_partner: bool,
}

/// A port of a bond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BondPortState {
    up: bool,
    own_mac: Vec<u8>,
    failures: u32,
    aggregator: Option<u16>,
    /// LACP's octets.
    actor: State,
    partner: State,
}

impl BondState {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "bonding has many more settings"
    )]
    pub(super) fn of(settings: &[InfoBond]) -> Self {
        let mut state = Self::default();
        for setting in settings {
            match setting {
                InfoBond::Primary(port) => state.primary = Some(*port),
                InfoBond::ActivePort(port) => state.active = Some(*port),
                InfoBond::AdInfo(infos) => state.take_aggregator(infos),
                _ => {}
            }
        }
        state
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keys do not matter here")]
    fn take_aggregator(&mut self, infos: &[BondAdInfo]) {
        for info in infos {
            match info {
                BondAdInfo::Aggregator(id) => self.aggregator = Some(*id),
                BondAdInfo::PartnerMac(mac) => self.has_partner = *mac != [0; 6],
                _ => {}
            }
        }
    }

    /// The status of the bond `name` with these settings and ports (number, name, state).
    pub(super) fn status(
        &self,
        (name, carrier): (&str, bool),
        settings: &WantedLagg,
        ports: &[(u32, &str, &BondPortState)],
    ) -> LaggStatus {
        let port = |(index, name, port): &(u32, &str, &BondPortState)| PortStatus {
            name: (*name).to_owned(),
            own_mac: own_mac(&port.own_mac),
            link: port.up,
            flags: self.flags(settings.protocol, *index, port),
            flaps: port.failures.into(),
            lacp: (settings.protocol == Protocol::Lacp).then(|| self.lacp(port)),
            ..PortStatus::default()
        };
        LaggStatus {
            name: name.to_owned(),
            protocol: settings.protocol.name().to_owned(),
            hash: settings.hash.text(),
            fast: settings.fast,
            round_robin_frames: settings.round_robin_frames,
            up: carrier,
            ports: ports.iter().map(port).collect(),
            ..LaggStatus::default()
        }
    }

    fn flags(&self, protocol: Protocol, index: u32, port: &BondPortState) -> u8 {
        let on = |bit, is: bool| if is { bit } else { 0 };
        match protocol {
            Protocol::Failover => {
                on(flags::MASTER, self.primary == Some(index))
                    | on(flags::ACTIVE, port.up && self.active == Some(index))
            }
            Protocol::Lacp => {
                on(flags::ACTIVE, self.carries(port))
                    | on(flags::COLLECTING, port.actor.has(State::COLLECTING))
                    | on(flags::DISTRIBUTING, port.actor.has(State::DISTRIBUTING))
            }
            Protocol::LoadBalance | Protocol::RoundRobin | Protocol::Broadcast => {
                on(flags::ACTIVE, port.up)
            }
            Protocol::None => 0,
        }
    }

    fn carries(&self, port: &BondPortState) -> bool {
        port.up && self.aggregator.is_some() && port.aggregator == self.aggregator
    }

    fn lacp(&self, port: &BondPortState) -> LacpStatus {
        LacpStatus {
            state: port.actor.0,
            partner_state: port.partner.0,
            has_partner: self.has_partner && port.actor.has(State::SYNC),
            ..LacpStatus::default()
        }
    }
}

impl BondPortState {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a port has more settings")]
    pub(super) fn of(settings: &[InfoBondPort]) -> Self {
        let mut state = Self::default();
        for setting in settings {
            match setting {
                InfoBondPort::MiiStatus(status) => state.up = *status == MiiStatus::Up,
                InfoBondPort::PermHwaddr(mac) => mac.clone_into(&mut state.own_mac),
                InfoBondPort::LinkFailureCount(count) => state.failures = *count,
                InfoBondPort::AdAggregatorId(id) => state.aggregator = Some(*id),
                InfoBondPort::AdActorOperPortState(bits) => state.actor = State(bits.bits()),
                InfoBondPort::AdPartnerOperPortState(bits) => state.partner = State(bits.bits()),
                _ => {}
            }
        }
        state
    }
}

fn own_mac(mac: &[u8]) -> String {
    mac.try_into().map(mac_text).unwrap_or_default()
}
