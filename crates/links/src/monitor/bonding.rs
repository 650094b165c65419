//! `/proc/net/bonding/IF` of Linux.

use super::{Bundle, BundlePort, lacp_faults};

const NOBODY: &str = "00:00:00:00:00:00";

#[derive(Default)]
struct Slave {
    name: String,
    up: bool,
    failures: u64,
    aggregator: String,
    partner: Option<String>,
    churned: bool,
    /// What follows is about the partner.
    at_partner: bool,
}

#[derive(Default)]
struct Bond {
    mode: String,
    active: String,
    primary: String,
    aggregator: String,
    slaves: Vec<Slave>,
}

/// Reads the file of the bond `name`. Nothing if it is no such file.
#[must_use]
pub fn read(name: &str, text: &str) -> Option<Bundle> {
    let mut bond = Bond::default();
    for line in text.lines() {
        if line.trim() == "details partner lacp pdu:" {
            if let Some(slave) = bond.slaves.last_mut() {
                slave.at_partner = true;
            }
        } else if let Some((key, value)) = line.trim().split_once(": ") {
            bond.take(key.trim(), value.trim());
        }
    }
    if bond.mode.is_empty() {
        return None;
    }
    Some(bond.bundle(name))
}

impl Bond {
    fn take(&mut self, key: &str, value: &str) {
        if key == "Slave Interface" {
            self.slaves.push(Slave {
                name: value.to_owned(),
                ..Slave::default()
            });
            return;
        }
        if let Some(slave) = self.slaves.last_mut() {
            slave.take(key, value);
            return;
        }
        match key {
            "Bonding Mode" => value.clone_into(&mut self.mode),
            "Currently Active Slave" => value.clone_into(&mut self.active),
            "Aggregator ID" => value.clone_into(&mut self.aggregator),
            "Primary Slave" => {
                let name = value.split_whitespace().next().unwrap_or_default();
                if name != "None" {
                    name.clone_into(&mut self.primary);
                }
            }
            _ => {}
        }
    }

    /// Which aggregator is in use is told to root only; the one with the most working ports, then.
    fn largest_aggregator(&self) -> String {
        let up = |id: &str| {
            let slaves = self.slaves.iter();
            slaves.filter(|s| s.up && s.aggregator == id).count()
        };
        let ids = self.slaves.iter().map(|slave| slave.aggregator.as_str());
        let largest = ids.rev().max_by_key(|id| up(id));
        largest.unwrap_or_default().to_owned()
    }

    fn bundle(mut self, name: &str) -> Bundle {
        let lacp = self.mode.contains("802.3ad");
        if self.aggregator.is_empty() {
            self.aggregator = self.largest_aggregator();
        }
        let one_at_a_time = self.mode.contains("active-backup");
        let mode = self
            .mode
            .split_once('(')
            .and_then(|(_, mode)| mode.split_once(')'));
        let short = mode.map_or(self.mode.as_str(), |(mode, _)| mode).to_owned();
        let failures = self
            .slaves
            .iter()
            .map(|slave| slave.failures)
            .fold(0, u64::saturating_add);
        let ports = self.slaves.iter().map(|slave| BundlePort {
            name: slave.name.clone(),
            link: slave.up,
            carries: slave.up
                && if one_at_a_time {
                    slave.name == self.active
                } else {
                    !lacp || slave.aggregator == self.aggregator
                },
            master: one_at_a_time && slave.name == self.primary,
            faults: if lacp {
                slave.faults(&self.aggregator)
            } else {
                Vec::new()
            },
        });
        Bundle {
            name: name.to_owned(),
            mode: short,
            one_at_a_time,
            ports: ports.collect(),
            failovers: Some(failures),
            ..Bundle::default()
        }
    }
}

impl Slave {
    fn take(&mut self, key: &str, value: &str) {
        match key {
            "MII Status" => self.up = value == "up",
            "Link Failure Count" => self.failures = value.parse().unwrap_or_default(),
            "Aggregator ID" => value.clone_into(&mut self.aggregator),
            "Actor Churn State" | "Partner Churn State" => self.churned |= value == "churned",
            "system mac address" if self.at_partner => self.partner = Some(value.to_owned()),
            _ => {}
        }
    }

    fn faults(&self, active: &str) -> Vec<String> {
        let has_partner = self.partner.as_deref() != Some(NOBODY);
        let mut faults = lacp_faults(has_partner, self.churned, false);
        if !active.is_empty() && self.aggregator != active {
            faults.push("is in another aggregator".to_owned());
        }
        faults
    }
}
