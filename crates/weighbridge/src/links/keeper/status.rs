//! What the keeper publishes.

use std::time::Duration;

use links::lacp::{self, Churn, Info, Receive};
use links::plan::mac_text;
use links::status::{LacpStatus, LaggStatus, PortStatus, Status, VERSION, VlanStatus};

use super::super::state::unix_now;
use super::{Keeper, KeptLagg};

impl Keeper {
    /// How all devices stand.
    pub(in super::super) fn status(&self) -> Status {
        let now = self.now();
        let vlans = self.vlans.iter().map(|vlan| VlanStatus {
            name: vlan.device.name().to_owned(),
            parent: vlan.settings.parent.clone(),
            id: vlan.settings.id,
            priority: vlan.settings.priority,
            shut: !vlan.device.is_open(),
        });
        Status {
            version: VERSION,
            pid: std::process::id(),
            time: unix_now(),
            laggs: self.laggs.iter().map(|kept| kept.status(now)).collect(),
            vlans: vlans.collect(),
        }
    }
}

impl KeptLagg {
    fn status(&self, now: Duration) -> LaggStatus {
        let totals = self.lagg.totals();
        let ago = |at: Duration| unix_now() - now.saturating_sub(at).as_secs_f64();
        LaggStatus {
            name: self.device.name().to_owned(),
            protocol: self.settings.protocol.name().to_owned(),
            hash: self.settings.hash.text(),
            strict: self.settings.strict,
            fast: self.settings.fast,
            active: self.settings.active,
            round_robin_frames: self.settings.round_robin_frames,
            up: self.lagg.is_up(),
            shut: !self.device.is_open(),
            failovers: totals.failovers,
            failovers_last_hour: u64::try_from(self.recent.len()).unwrap_or(u64::MAX),
            last_failover: totals.last_failover.map(ago),
            refused: totals.refused,
            unsent: totals.unsent,
            probe: self.probe.map(|target| target.address.to_string()),
            ports: self.ports(now),
        }
    }

    fn ports(&self, now: Duration) -> Vec<PortStatus> {
        let lacp = self.lagg.lacp().unwrap_or_default();
        let port = |(at, port): (usize, &super::KeptPort)| PortStatus {
            name: port.name.clone(),
            own_mac: mac_text(port.own_mac),
            link: port.link,
            silent: self.lagg.is_silent(at, now),
            flags: self.lagg.flags(at),
            flaps: self.lagg.flaps(at),
            lacp: lacp.get(at).map(lacp_status),
        };
        self.ports.iter().enumerate().map(port).collect()
    }
}

fn lacp_status(port: &lacp::PortStatus) -> LacpStatus {
    let churned = [port.actor_churn, port.partner_churn].contains(&Churn::Churned);
    LacpStatus {
        state: port.actor.state.0,
        partner_state: port.partner.state.0,
        actor: text(&port.actor),
        partner: text(&port.partner),
        has_partner: port.receive == Receive::Current,
        receive: format!("{:?}", port.receive),
        mux: format!("{:?}", port.mux),
        churned,
        received: port.counters.received,
        sent: port.counters.sent,
        malformed: port.counters.malformed,
        loops: port.counters.loops,
    }
}

/// `(8000,00-05-5D-71-8D-B8,0146,8000,0003)`, as ifconfig(8) prints one side of a link.
fn text(info: &Info) -> String {
    let system = info.system.map(|byte| format!("{byte:02X}")).join("-");
    format!(
        "({:04X},{system},{:04X},{:04X},{:04X})",
        info.system_priority, info.key, info.port_priority, info.port
    )
}
