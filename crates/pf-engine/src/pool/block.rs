//! Consecutive addresses of a pool.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Choice;
use crate::addr::{Family, Prefix};
use crate::names::NameId;

/// Consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    interface: Option<NameId>,
    /// No address: the interface alone.
    absent: bool,
    pub(super) family: Family,
    first: u128,
    /// Number of addresses less one.
    pub(super) last: u128,
    pub(super) weight: u16,
    /// An entry of a table or an address of an interface, which is drawn by its first address.
    pub(super) is_entry: bool,
}

impl Block {
    pub(super) fn of_prefix(interface: Option<NameId>, prefix: Prefix) -> Self {
        let prefix = prefix.masked();
        let host_bits = u32::from(prefix.family().bits().saturating_sub(prefix.prefix_len()));
        Self {
            interface,
            absent: false,
            family: prefix.family(),
            first: to_bits(prefix.address()),
            last: 1u128
                .checked_shl(host_bits)
                .map_or(u128::MAX, |size| size.wrapping_sub(1)),
            weight: 1,
            is_entry: false,
        }
    }

    pub(super) fn of_range(interface: Option<NameId>, first: IpAddr, last: IpAddr) -> Self {
        Self {
            interface,
            absent: false,
            family: Family::of(first),
            first: to_bits(first),
            last: to_bits(last).saturating_sub(to_bits(first)),
            weight: 1,
            is_entry: false,
        }
    }

    pub(super) const fn of_interface(interface: Option<NameId>, family: Family) -> Self {
        Self {
            interface,
            absent: true,
            family,
            first: 0,
            last: 0,
            weight: 1,
            is_entry: false,
        }
    }

    /// The same addresses as an entry of a table.
    pub(super) const fn as_entry(self) -> Self {
        Self {
            is_entry: true,
            ..self
        }
    }

    /// The same addresses with another weight.
    pub(super) const fn weighing(self, weight: u16) -> Self {
        Self { weight, ..self }
    }

    pub(super) fn at(&self, offset: u128) -> IpAddr {
        from_bits(self.family, self.first.wrapping_add(offset.min(self.last)))
    }

    pub(super) fn choice(&self, offset: u128) -> Choice {
        Choice {
            address: (!self.absent).then(|| self.at(offset)),
            interface: self.interface,
        }
    }

    pub(super) fn holds(&self, choice: &Choice) -> bool {
        choice.interface == self.interface
            && choice.address.map_or(self.absent, |address| {
                let bits = to_bits(address);
                !self.absent
                    && Family::of(address) == self.family
                    && bits >= self.first
                    && bits.wrapping_sub(self.first) <= self.last
            })
    }

    /// The number of addresses, as far as it can be told.
    pub(super) const fn size(&self) -> u128 {
        self.last.saturating_add(1)
    }
}

pub(super) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::Inet => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}
