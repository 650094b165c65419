//! What a rule asks of a packet, in a form that is cheap to compare and to look up.

use std::collections::HashMap;

use pf_engine::addr::{Family, Prefix, Protocol};
use pf_engine::rule::{
    Address, Direction, Endpoint, FlagsMatch, IcmpMatch, InterfaceMatch, PortMatch, Rule,
};

/// The criteria in which rules of one block may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Criteria {
    pub(super) interface: Option<u32>,
    pub(super) direction: Option<Direction>,
    pub(super) family: Option<Family>,
    pub(super) protocol: Option<Protocol>,
    pub(super) source: Place,
    pub(super) destination: Place,
    pub(super) source_port: Option<PortMatch>,
    pub(super) destination_port: Option<PortMatch>,
    pub(super) flags: Option<FlagsMatch>,
    pub(super) icmp: Option<IcmpMatch>,
    pub(super) tos: Option<u8>,
    pub(super) tagged: Option<u32>,
}

/// The address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Any,
    Prefix(Prefix),
    /// A table: looking addresses up in it is counted, so it stays.
    Table(u32),
    /// Anything else, and everything negated: equal or not.
    Other(u32),
}

/// Numbers for what has none, the same for equal values.
#[derive(Debug, Default)]
pub(super) struct Interner {
    interfaces: Numbers<InterfaceMatch>,
    addresses: Numbers<(bool, Address)>,
    tags: Numbers<(bool, String)>,
}

#[derive(Debug)]
struct Numbers<T>(HashMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.0.get(value) {
            return *number;
        }
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.insert(value.clone(), next);
        next
    }
}

impl Interner {
    pub(super) fn criteria(&mut self, rule: &Rule) -> Criteria {
        Criteria {
            interface: rule.interface.as_ref().map(|i| self.interfaces.number(i)),
            direction: rule.direction,
            family: rule.family,
            protocol: rule.protocol,
            source: self.place(&rule.source),
            destination: self.place(&rule.destination),
            source_port: rule.source.port,
            destination_port: rule.destination.port,
            flags: rule.flags,
            icmp: rule.icmp,
            tos: rule.tos,
            tagged: rule.tagged.as_ref().map(|tag| self.tags.number(tag)),
        }
    }

    fn place(&mut self, endpoint: &Endpoint) -> Place {
        match (&endpoint.address, endpoint.negated) {
            (Address::Any, false) => Place::Any,
            (Address::Prefix(prefix), false) => Place::Prefix(prefix.masked()),
            (address, negated) => {
                let number = self.addresses.number(&(negated, address.clone()));
                if matches!(address, Address::Table(_)) {
                    Place::Table(number)
                } else {
                    Place::Other(number)
                }
            }
        }
    }
}
