//! Links and hooks, kept as configured while interfaces vanish and return.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use datapath::netlink::{Applied, Netlink, Route};
use datapath::{Datapath, Error};
use links::WantedLinks;
use pf_engine::env::{IfIndex, Interface};
use tracing::{debug, info, warn};

use super::carrier::{Coupling, Seen};
use super::claims::Claims;
use super::env::as_configured;
use crate::links::Watch;

/// Knows which interfaces should be there and which carry hooks.
#[derive(Debug)]
pub(super) struct LinkKeeper {
    netlink: Netlink,
    wanted: WantedLinks,
    managed: Vec<String>,
    /// Interfaces that matter and are there, by name.
    present: BTreeMap<String, IfIndex>,
    couplings: Vec<Coupling>,
    watch: Watch,
    claims: Claims,
}

/// What came and went between two looks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    gone: Vec<(String, IfIndex)>,
    come: Vec<(String, IfIndex)>,
}

impl LinkKeeper {
    /// For links that are to be made; `claims`: who makes some of them is told by it.
    pub(super) fn new(
        netlink: Netlink,
        wanted: WantedLinks,
        managed: Vec<String>,
        claims: Claims,
    ) -> Self {
        Self {
            netlink,
            wanted,
            managed,
            present: BTreeMap::new(),
            couplings: Vec::new(),
            watch: Watch::default(),
            claims,
        }
    }

    /// From now on these pairs of ports have a carrier together.
    pub(super) fn couple(mut self, pairs: Vec<[String; 2]>) -> Self {
        self.couplings = pairs.into_iter().map(Coupling::new).collect();
        self
    }

    /// Passes the loss and the return of carriers on, after a notice.
    pub(super) fn carriers_changed(&mut self, now: Duration) {
        if !self.couplings.is_empty() {
            self.watch.told(now);
            self.pass_carriers(now);
        }
    }

    /// The same without a notice, if it is time for that.
    pub(super) fn look_at_carriers(&mut self, now: Duration) {
        let mut deadlines = self.couplings.iter().filter_map(Coupling::deadline);
        if self.watch.is_due(now) || deadlines.any(|at| at <= now) {
            self.pass_carriers(now);
        }
    }

    fn pass_carriers(&mut self, now: Duration) {
        let links = match self.netlink.link_states() {
            Ok(links) => links,
            Err(error) => return warn!("carriers are not passed on: {error}"),
        };
        for coupling in &mut self.couplings {
            let seen = |name: &String| {
                let link = links.iter().find(|link| link.name == *name);
                link.map_or(Seen::default(), |link| Seen {
                    up: link.up,
                    carrier: link.carrier,
                })
            };
            let seen = coupling.ports.each_ref().map(seen);
            for (port, up) in coupling.step(seen, now) {
                let [first, second] = &coupling.ports;
                let (name, other) = if port == 0 {
                    (first, second)
                } else {
                    (second, first)
                };
                set_port(&mut self.netlink, name, other, up);
            }
        }
    }

    /// When [`LinkKeeper::look_at_carriers`] has something to do.
    pub(super) fn carrier_deadline(&self) -> Option<Duration> {
        let couplings = self.couplings.iter().filter_map(Coupling::deadline);
        couplings.chain(self.watch.deadline()).min()
    }

    /// Brings up what is held down for the sake of another port's carrier.
    pub(super) fn release_carriers(&mut self) {
        for coupling in &mut self.couplings {
            if let Some(name) = coupling.end()
                && let Err(error) = self.netlink.set_up(name, true)
            {
                warn!("{error}");
            }
        }
    }

    /// Makes the links, with a line of log for each step.
    pub(super) fn apply(&mut self) -> Result<Applied> {
        let applied = self.netlink.apply(&self.wanted);
        let applied = applied.context("cannot set up the links")?;
        log_steps(&applied);
        Ok(applied)
    }

    /// Takes back what [`LinkKeeper::apply`] did.
    pub(super) fn undo(mut self, applied: Applied) {
        self.netlink.undo(applied);
    }

    /// The interfaces as rules see them.
    pub(super) fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        Ok(as_configured(self.netlink.interfaces()?, &self.wanted))
    }

    /// The routes, for rules that ask about them.
    pub(super) fn routes(&mut self) -> Result<Vec<Route>, Error> {
        self.netlink.routes()
    }

    /// Puts the hooks on all managed interfaces that are there, and then tells so.
    pub(super) fn attach(
        &mut self,
        datapath: &mut Datapath,
        interfaces: &[Interface],
    ) -> Result<()> {
        let present = relevant(&self.names(), interfaces);
        for (_, index) in compare(&self.present, &present).gone {
            datapath.detach(index);
        }
        self.present = present;
        for name in &self.managed {
            if let Some(index) = self.present.get(name) {
                datapath
                    .attach(*index)
                    .with_context(|| format!("cannot filter {name}"))?;
            }
        }
        self.claims.tell(&self.present)
    }

    /// Nothing is filtered any more.
    pub(super) fn end_claims(&mut self) {
        self.claims.end();
    }

    /// Things are as before a start that failed.
    pub(super) fn abandon_claims(&mut self) {
        self.claims.abandon();
    }

    fn tell_claims(&mut self) {
        if let Err(error) = self.claims.tell(&self.present) {
            warn!("{error:#}");
        }
    }

    /// After a notice that something changed: takes hooks off what is gone, sets up what has
    /// returned. One line of log for each.
    pub(super) fn refresh(&mut self, datapath: &mut Datapath) -> Result<Vec<Interface>, Error> {
        let mut interfaces = self.interfaces()?;
        let changes = compare(&self.present, &relevant(&self.names(), &interfaces));
        for (name, _) in &changes.gone {
            self.present.remove(name);
        }
        self.tell_claims();
        for (name, index) in &changes.gone {
            datapath.detach(*index);
            warn!("{name} is gone");
        }
        let someone_came = !changes.come.is_empty();
        // Hooks first: what we make here must not carry a packet that nobody has looked at.
        for (name, index) in changes.come {
            self.welcome(datapath, name, index);
        }
        self.tell_claims();
        if someone_came {
            self.apply_again(&interfaces);
            interfaces = self.interfaces()?;
        }
        self.tell_bridges(datapath);
        Ok(interfaces)
    }

    fn apply_again(&mut self, interfaces: &[Interface]) {
        match self.netlink.apply(&possible(&self.wanted, interfaces)) {
            Ok(applied) => log_steps(&applied),
            Err(error) => warn!("cannot set the links up again: {error}"),
        }
    }

    /// An interface that cannot be filtered stays unknown, so that the next notice tries again.
    fn welcome(&mut self, datapath: &mut Datapath, name: String, index: IfIndex) {
        if self.managed.contains(&name) {
            match datapath.attach(index) {
                Ok(()) => info!("{name} is back and filtered"),
                Err(error) => {
                    warn!("{name} is back but cannot be filtered: {error}");
                    return;
                }
            }
        }
        self.present.insert(name, index);
    }

    /// A port may have another bridge than when it got its hooks. One that is gone by now is in
    /// the next notice.
    fn tell_bridges(&self, datapath: &mut Datapath) {
        for name in &self.managed {
            if let Some(index) = self.present.get(name)
                && let Err(error) = datapath.attach(*index)
            {
                debug!("{name}: {error}");
            }
        }
    }

    /// All interfaces that the configuration names.
    fn names(&self) -> BTreeSet<&str> {
        let configured = self.wanted.interfaces.iter().map(|i| &i.name);
        let bridges = self.wanted.bridges.iter().map(|bridge| &bridge.name);
        let members = self.wanted.bridges.iter().flat_map(|b| &b.members);
        let all = self.managed.iter().chain(configured).chain(bridges);
        all.chain(members).map(String::as_str).collect()
    }
}

fn set_port(netlink: &mut Netlink, name: &str, other: &str, up: bool) {
    match netlink.set_up(name, up) {
        Ok(()) if up => info!("{name} is brought up"),
        Ok(()) => warn!("{other} has no carrier: {name} is taken down"),
        Err(error) => warn!("{error}"),
    }
}

fn log_steps(applied: &Applied) {
    for step in &applied.steps {
        info!("{step}");
    }
}

fn relevant(names: &BTreeSet<&str>, interfaces: &[Interface]) -> BTreeMap<String, IfIndex> {
    interfaces
        .iter()
        .filter(|interface| names.contains(interface.name.as_str()))
        .map(|interface| (interface.name.clone(), interface.index))
        .collect()
}

/// An interface that vanished and returned between two looks has another number: gone and come.
fn compare(before: &BTreeMap<String, IfIndex>, after: &BTreeMap<String, IfIndex>) -> Changes {
    let missing_in = |other: &BTreeMap<String, IfIndex>, (name, index): (&String, &IfIndex)| {
        (other.get(name) != Some(index)).then(|| (name.clone(), *index))
    };
    Changes {
        gone: before
            .iter()
            .filter_map(|entry| missing_in(after, entry))
            .collect(),
        come: after
            .iter()
            .filter_map(|entry| missing_in(before, entry))
            .collect(),
    }
}

/// The part of `wanted` that can be had with these interfaces.
fn possible(wanted: &WantedLinks, interfaces: &[Interface]) -> WantedLinks {
    let there: BTreeSet<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    let mut possible = wanted.clone();
    possible
        .interfaces
        .retain(|interface| there.contains(interface.name.as_str()));
    for bridge in &mut possible.bridges {
        bridge.members.retain(|name| there.contains(name.as_str()));
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(entries: &[(&str, u32)]) -> BTreeMap<String, IfIndex> {
        let entry = |(name, index): &(&str, u32)| ((*name).to_owned(), IfIndex(*index));
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_replaced_interface_is_gone_and_come() {
        let before = present(&[("em0", 2), ("em1", 3), ("fxp0", 4)]);
        let after = present(&[("em0", 2), ("em1", 7), ("em2", 8)]);
        let changes = compare(&before, &after);
        assert_eq!(
            changes.gone,
            [("em1".into(), IfIndex(3)), ("fxp0".into(), IfIndex(4))]
        );
        assert_eq!(
            changes.come,
            [("em1".into(), IfIndex(7)), ("em2".into(), IfIndex(8))]
        );
        assert_eq!(compare(&after, &after), Changes::default());
    }

    #[test]
    fn only_links_whose_interfaces_are_there_are_applied_again() {
        let wanted = WantedLinks {
            interfaces: vec![
                links::hostname_if::parse("em1", "up\n").expect("parses"),
                links::hostname_if::parse("fxp0", "up\n").expect("parses"),
            ],
            bridges: vec![
                links::bridgename::parse("bridge0", "add em1\nadd fxp0\nup\n").expect("parses"),
            ],
            ..WantedLinks::default()
        };
        let em1 = Interface::new(IfIndex(3), "em1");
        let possible = possible(&wanted, &[em1]);
        assert_eq!(possible.interfaces.len(), 1);
        assert_eq!(possible.bridges[0].members, ["em1"]);
    }
}
