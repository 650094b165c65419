//! Interfaces and their addresses, resolved once and kept until something changes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::addr::{Family, Prefix};
use crate::env::{Env, IfIndex, Interface, InterfaceAddress};
use crate::names::{NameId, Names};
use crate::rule::{DynamicAddress, DynamicPart};

/// Number of a [`DynamicAddress`] of the installed ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DynamicId(u32);

/// The interfaces as the rules need them.
#[derive(Debug, Default)]
pub(crate) struct Net {
    fresh: bool,
    /// Ordered by index.
    interfaces: Vec<NetInterface>,
    /// Position in `interfaces` by [`NameId::index`].
    by_name: Vec<Option<u32>>,
    /// Nothing where a number is free.
    dynamics: Vec<Option<DynamicAddress>>,
    resolved: Vec<Vec<DynamicEntry>>,
    /// Ethernet addresses of the box.
    macs: Vec<[u8; 6]>,
}

/// One interface.
#[derive(Debug)]
pub(crate) struct NetInterface {
    pub(crate) index: IfIndex,
    pub(crate) name: NameId,
    /// Its name and its groups.
    memberships: Vec<NameId>,
    /// Whether `set skip` names it.
    pub(crate) skipped: bool,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<InterfaceAddress>,
}

/// One network or address that a [`DynamicAddress`] stands for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DynamicEntry {
    pub(crate) prefix: Prefix,
}

impl NetInterface {
    /// Whether `name` is this interface or one of its groups.
    pub(crate) fn is_in(&self, name: NameId) -> bool {
        self.memberships.contains(&name)
    }

    /// The first address of `family` that others can reach: no IPv6 link-local one if there is
    /// another.
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        let mut own = self
            .addresses
            .iter()
            .map(|a| a.address)
            .filter(|a| Family::of(*a) == family);
        own.clone()
            .find(|a| !is_link_local(*a))
            .or_else(|| own.next())
    }
}

impl Net {
    /// Forgets what was resolved: the next packet resolves it again.
    pub(crate) fn invalidate(&mut self) {
        self.fresh = false;
    }

    /// Forgets the dynamic addresses that no rule in force refers to.
    pub(crate) fn retain_dynamics(&mut self, used: &BTreeSet<DynamicId>) {
        for (at, dynamic) in (0u32..).zip(&mut self.dynamics) {
            if !used.contains(&DynamicId(at)) {
                *dynamic = None;
            }
        }
        self.fresh = false;
    }

    /// The number of `address`, given now if it has none.
    pub(crate) fn register(&mut self, address: &DynamicAddress) -> DynamicId {
        let place = |wanted: Option<&DynamicAddress>| {
            let mut places = self.dynamics.iter();
            places.position(|known| known.as_ref() == wanted)
        };
        let known = place(Some(address)).or_else(|| place(None));
        let at = known.unwrap_or(self.dynamics.len());
        match self.dynamics.get_mut(at) {
            Some(place) => *place = Some(address.clone()),
            None => self.dynamics.push(Some(address.clone())),
        }
        self.fresh = false;
        DynamicId(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// Whether nothing has changed since it was refreshed.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Resolves everything again if something changed, or if `wanted` is an interface that came
    /// without notice.
    pub(crate) fn refresh(
        &mut self,
        names: &mut Names,
        skip: &[String],
        env: &dyn Env,
        wanted: IfIndex,
    ) {
        if self.fresh && (self.interface(wanted).is_some() || env.interface(wanted).is_none()) {
            return;
        }
        self.interfaces = env
            .interfaces()
            .iter()
            .map(|i| resolve(names, skip, i))
            .collect();
        self.interfaces.sort_by_key(|interface| interface.index);
        self.by_name = vec![None; names.len()];
        for (at, interface) in (0u32..).zip(&self.interfaces) {
            if let Some(place) = self.by_name.get_mut(interface.name.index()) {
                *place = Some(at);
            }
        }
        self.resolved = self
            .dynamics
            .iter()
            .map(|d| match d {
                Some(dynamic) => resolve_dynamic(dynamic, env.interfaces()),
                None => Vec::new(),
            })
            .collect();
        self.macs = env.interfaces().iter().filter_map(|i| i.mac).collect();
        self.fresh = true;
    }

    /// Whether `mac` is an Ethernet address of the box.
    pub(crate) fn is_own(&self, mac: [u8; 6]) -> bool {
        self.macs.contains(&mac)
    }

    /// Whether `address` is one of the box's.
    pub(crate) fn is_own_address(&self, address: IpAddr) -> bool {
        let mut all = self.interfaces.iter().flat_map(|i| &i.addresses);
        all.any(|own| own.address == address)
    }

    pub(crate) fn interface(&self, index: IfIndex) -> Option<&NetInterface> {
        let at = self
            .interfaces
            .binary_search_by_key(&index, |i| i.index)
            .ok()?;
        self.interfaces.get(at)
    }

    pub(crate) fn named(&self, name: NameId) -> Option<&NetInterface> {
        let at = self.by_name.get(name.index()).copied().flatten()?;
        self.interfaces.get(at as usize)
    }

    /// The interface whose attached network holds `neighbor`.
    pub(crate) fn attached_to(&self, neighbor: IpAddr) -> Option<&NetInterface> {
        self.interfaces.iter().find(|interface| {
            interface.addresses.iter().any(|a| {
                a.peer == Some(neighbor)
                    || Prefix::new(a.address, a.prefix_len).is_some_and(|p| p.contains(neighbor))
            })
        })
    }

    /// Whether `address` is the broadcast address of an attached network (RFC 922).
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        let mut own = self.interfaces.iter().flat_map(|i| &i.addresses);
        own.any(|own| own.broadcast == Some(address) || is_last_of_network(own, address))
    }

    pub(crate) fn dynamic(&self, id: DynamicId) -> &[DynamicEntry] {
        self.resolved.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether `address` is one of those that `id` stands for.
    pub(crate) fn dynamic_holds(&self, id: DynamicId, address: IpAddr) -> bool {
        self.dynamic(id)
            .iter()
            .any(|entry| entry.prefix.contains(address))
    }
}

fn resolve(names: &mut Names, skip: &[String], interface: &Interface) -> NetInterface {
    let name = names.intern(&interface.name);
    let mut memberships = vec![name];
    memberships.extend(interface.groups.iter().map(|group| names.intern(group)));
    NetInterface {
        index: interface.index,
        name,
        memberships,
        skipped: skip.iter().any(|s| belongs(interface, s)),
        mtu: interface.mtu,
        addresses: interface.addresses.clone(),
    }
}

fn belongs(interface: &Interface, name: &str) -> bool {
    interface.name == name || interface.groups.iter().any(|group| group == name)
}

fn resolve_dynamic(dynamic: &DynamicAddress, interfaces: &[Interface]) -> Vec<DynamicEntry> {
    interfaces
        .iter()
        .filter(|interface| belongs(interface, &dynamic.interface))
        .flat_map(|interface| addresses_of(dynamic, interface))
        .filter_map(|address| part_of(dynamic, address))
        .map(|prefix| DynamicEntry { prefix })
        .collect()
}

/// The addresses that count: with `:0` the first of each family, no link-local one.
fn addresses_of<'a>(
    dynamic: &DynamicAddress,
    interface: &'a Interface,
) -> impl Iterator<Item = &'a InterfaceAddress> {
    let no_aliases = dynamic.no_aliases;
    let mut seen = [false; 2];
    interface.addresses.iter().filter(move |address| {
        if !no_aliases {
            return true;
        }
        let family = usize::from(address.family() == Family::Inet6);
        !is_link_local(address.address)
            && seen
                .get_mut(family)
                .is_some_and(|seen| !std::mem::replace(seen, true))
    })
}

fn part_of(dynamic: &DynamicAddress, address: &InterfaceAddress) -> Option<Prefix> {
    let host = match dynamic.part {
        DynamicPart::Host => address.address,
        DynamicPart::Network => {
            let len = dynamic.prefix_len.unwrap_or(address.prefix_len);
            return Prefix::new(address.address, len).map(|p| p.masked());
        }
        DynamicPart::Broadcast => address.broadcast?,
        DynamicPart::Peer => address.peer?,
    };
    let len = dynamic
        .prefix_len
        .filter(|len| *len <= Family::of(host).bits());
    Some(
        len.and_then(|len| Prefix::new(host, len))
            .map_or(Prefix::host(host), |p| p.masked()),
    )
}

/// Networks of one or two addresses have none for all (RFC 3021).
fn is_last_of_network(own: &InterfaceAddress, address: IpAddr) -> bool {
    let (IpAddr::V4(_), IpAddr::V4(last)) = (own.address, address) else {
        return false;
    };
    let host_mask = !crate::addr::mask_v4(own.prefix_len);
    own.prefix_len < 31
        && last.to_bits() & host_mask == host_mask
        && Prefix::new(own.address, own.prefix_len).is_some_and(|net| net.contains(address))
}

/// IPv6 link-local, `fe80::/10` (RFC 4291, section 2.5.6).
pub(crate) const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}
