//! Tripwires: counters in the far hosts' own kernels, of packets that no verdict lets get there.

use std::time::Duration;

use super::attack::FORGED_TTL;
use super::rules::ports;
use super::world::World;
use crate::counters::named;
use crate::roles::DslLine;
use crate::{Lab, Role, clock};

/// One packet in so many is lost behind the box, each way, in thousandths.
const LOST_PER_MILLE: u32 = 15;
/// How often tripwires are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One tripwire: where, its counter's name, and what it counts in nft's words.
struct Trip {
    role: Role,
    name: &'static str,
    rule: String,
}

fn trips(lines: &[DslLine]) -> Vec<Trip> {
    let trip = |role, name, rule: String| Trip { role, name, rule };
    let (closed, second, udp) = (ports::CLOSED, ports::SECOND, ports::CLOSED_UDP);
    let forged = format!(
        "ip ttl {}-{FORGED_TTL} tcp flags & rst == rst",
        FORGED_TTL - 2
    );
    let opens = "tcp flags & (syn | ack) == syn";
    let mut all = vec![
        trip(
            Role::Cisco,
            "closed",
            format!("iifname lan tcp dport {closed}"),
        ),
        trip(
            Role::Cisco,
            "closed_udp",
            format!("iifname lan udp dport {udp}"),
        ),
        trip(
            Role::Cisco,
            "refused",
            format!("iifname lan ip saddr 216.28.123.10 tcp dport {second}"),
        ),
        trip(
            Role::Cisco,
            "astray",
            format!(
                "iifname lan ip saddr 216.28.123.99 ip daddr 198.51.100.0/24 tcp dport \
                 {{ 80, {second} }}"
            ),
        ),
        trip(
            Role::Cisco,
            "astray_pool",
            "iifname lan ip saddr 216.28.123.34 ip daddr 198.51.100.0/24 tcp dport 8080".to_owned(),
        ),
        trip(Role::Cisco, "forged", format!("iifname lan {forged}")),
        trip(Role::H34, "inbound", format!("iifname eth0 {opens}")),
    ];
    all.extend(Role::INSIDE.map(|role| trip(role, "forged", format!("iifname eth0 {forged}"))));
    for line in lines {
        let own = line.box_v4.split('/').next().unwrap_or_default();
        let untranslated = format!("iifname lan ip saddr != {own}");
        all.push(trip(line.modem, "untranslated", untranslated));
        all.push(trip(line.modem, "forged", format!("iifname lan {forged}")));
        let due = if line.number == 1 {
            "80, 143, 8080"
        } else {
            "80, 443, 8080"
        };
        let astray = format!("iifname lan tcp dport != {{ {due} }}");
        all.push(trip(line.modem, "astray", astray));
    }
    all
}

/// Lays the tripwires, and lets the roads behind the box lose packets.
pub(super) fn lay(lab: &Lab) -> anyhow::Result<()> {
    let all = trips(lab.dsl_lines());
    let mut hosts: Vec<Role> = all.iter().map(|trip| trip.role).collect();
    hosts.sort();
    hosts.dedup();
    for role in hosts {
        let here = || all.iter().filter(|trip| trip.role == role);
        let counters: Vec<_> = here()
            .map(|t| format!("counter {} {{ }}", t.name))
            .collect();
        let rules: Vec<_> = here()
            .map(|t| format!("{} counter name {}", t.rule, t.name))
            .collect();
        let (counters, rules) = (counters.join("\n "), rules.join("\n  "));
        lab.namespace(role).nft(&format!(
            "table inet trips {{\n {counters}\n counter crossed {{ }}\n chain come {{\n  type filter \
             hook prerouting priority -300\n  {rules}\n  iifname lan counter name crossed\n }}\n}}\n",
        ))?;
    }
    for role in lossy(lab) {
        lab.namespace(role).nft(&format!(
            "table inet loss {{\n counter lost {{ }}\n chain through {{\n  type filter hook forward \
             priority -200\n  numgen random mod 1000 < {LOST_PER_MILLE} counter name lost drop\n \
             }}\n}}\n",
        ))?;
    }
    Ok(())
}

fn lossy(lab: &Lab) -> Vec<Role> {
    let modems = lab.dsl_lines().iter().map(|line| line.modem);
    [Role::Cisco].into_iter().chain(modems).collect()
}

/// Packets that the roads have lost.
pub(super) fn lost(lab: &Lab) -> anyhow::Result<u64> {
    let counts = lossy(lab)
        .into_iter()
        .map(|role| Ok(named(lab.namespace(role), "inet loss", "lost")?.packets));
    counts.sum()
}

/// Packets that have come to the Cisco out of the box.
pub(super) fn crossed(lab: &Lab) -> anyhow::Result<u64> {
    Ok(named(lab.namespace(Role::Cisco), "inet trips", "crossed")?.packets)
}

/// Looks at all tripwires until the soak ends, and once more.
pub(super) fn watch(world: &World) -> anyhow::Result<()> {
    let all = trips(world.lab.dsl_lines());
    let mut seen = vec![0; all.len()];
    loop {
        let last = world.ledger.is_stopped();
        let began = clock::now();
        for (trip, seen) in all.iter().zip(&mut seen) {
            let count = named(world.lab.namespace(trip.role), "inet trips", trip.name)?.packets;
            if count > *seen {
                let (more, where_) = (count - *seen, trip.role.name());
                let outcome = format!("{more} packets at {where_} of `{}`", trip.rule);
                world.ledger.wrong("tripwire", began, outcome);
                *seen = count;
            }
        }
        if last {
            return Ok(());
        }
        world.ledger.pause(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tripwires_of_one_host_have_names_of_their_own() {
        let all = trips(&DslLine::ALL[..2]);
        let mut names: Vec<_> = all.iter().map(|trip| (trip.role, trip.name)).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
