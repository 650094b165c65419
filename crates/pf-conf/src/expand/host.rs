//! Addresses: interface names to the addresses that the interfaces have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pf_engine::addr::{Family, Prefix};
use pf_engine::env::{Interface, InterfaceAddress};
use pf_engine::rule::{Address, DynamicPart};
use pf_engine::ruleset::Dialect;

use super::{Expand, Expander};
use crate::ast::{Host, HostKind, NamedHost};
use crate::diagnostic::Code;
use crate::names::did_you_mean;
use crate::source::Span;

/// An address as a rule can hold it.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) negated: bool,
    pub(super) address: Address,
    /// The family that it forces.
    pub(super) family: Option<Family>,
    /// The interface of a link-local address.
    pub(super) scope: Option<String>,
    /// `weight N`, of an address of a pool.
    pub(super) weight: Option<u16>,
    /// A prefix length that was given for an IPv4 address and is none.
    pub(super) netmask: Option<u8>,
}

impl Resolved {
    pub(super) const ANY: Self = Self {
        negated: false,
        address: Address::Any,
        family: None,
        scope: None,
        weight: None,
        netmask: None,
    };

    /// Its family, unless it is an address of one link.
    pub(super) fn family_of_all(&self) -> Option<Family> {
        self.family.filter(|_| self.scope.is_none())
    }
}

impl Expander<'_> {
    /// All addresses of a list; `any` alone for an empty one.
    pub(super) fn hosts(&mut self, hosts: &[Host]) -> Expand<Vec<Resolved>> {
        if hosts.is_empty() {
            return Ok(vec![Resolved::ANY]);
        }
        let mut resolved = Vec::with_capacity(hosts.len());
        for host in hosts {
            self.host(host, &mut resolved)?;
        }
        // As pfctl's grammars have it, `any` is all of a list for OpenBSD, and adds nothing for the others.
        let is_any = |host: &Resolved| host.address == Address::Any && host.family.is_none();
        let open = self.ruleset.dialect == Dialect::OpenBsd;
        if resolved.iter().all(is_any) || (open && resolved.iter().any(is_any)) {
            return Ok(vec![Resolved::ANY]);
        }
        resolved.retain(|host| !is_any(host));
        Ok(resolved)
    }

    /// Adds what `host` stands for to `into`.
    pub(super) fn host(&mut self, host: &Host, into: &mut Vec<Resolved>) -> Expand<()> {
        let mut push = |address, family, scope| {
            into.push(Resolved {
                weight: None,
                netmask: None,
                negated: host.negated,
                address,
                family,
                scope,
            });
        };
        match &host.kind {
            HostKind::Any => push(Address::Any, None, None),
            HostKind::NoRoute => push(Address::NoRoute, None, None),
            HostKind::UrpfFailed => push(Address::UrpfFailed, None, None),
            HostKind::Table(name) => push(Address::Table(name.clone()), None, None),
            HostKind::Dynamic(dynamic) => push(Address::Dynamic(dynamic.clone()), None, None),
            HostKind::Range(a, b) => push(Address::Range(*a, *b), Some(Family::of(*a)), None),
            HostKind::Literal { prefix, scope } => {
                push(
                    prefix_address(*prefix, host.negated),
                    Some(prefix.family()),
                    scope.clone(),
                );
            }
            HostKind::Name(named) => {
                let len = named.prefix_len;
                for (prefix, scope) in self.named(named, host.span)? {
                    let bits = prefix.family().bits();
                    into.push(Resolved {
                        weight: None,
                        netmask: len.filter(|len| *len > bits),
                        negated: host.negated,
                        address: prefix_address(prefix, host.negated),
                        family: Some(prefix.family()),
                        scope,
                    });
                }
            }
        }
        Ok(())
    }

    /// Addresses of an interface, a group, `self` or `localhost`.
    fn named(&mut self, named: &NamedHost, span: Span) -> Expand<Vec<(Prefix, Option<String>)>> {
        let interfaces = self.interfaces;
        let members: Vec<&Interface> = interfaces
            .iter()
            .filter(|interface| {
                named.name == "self"
                    || interface.name == named.name
                    || (interface.groups.contains(&named.name)
                        && !interfaces.iter().any(|other| other.name == named.name))
            })
            .collect();
        if members.is_empty() && named.name == "localhost" {
            return Ok(vec![
                (Prefix::host(Ipv4Addr::LOCALHOST.into()), None),
                (Prefix::host(Ipv6Addr::LOCALHOST.into()), None),
            ]);
        }
        let mut found = Vec::new();
        for interface in &members {
            addresses(interface, named, &mut found);
        }
        if found.is_empty() {
            return Err(self.no_address(named, members.is_empty(), span));
        }
        Ok(found)
    }

    fn no_address(&mut self, named: &NamedHost, unknown: bool, span: Span) -> super::Bail {
        let name = &named.name;
        let detail = if unknown {
            format!("no IP address found for {name}: there is no interface or group of that name")
        } else {
            format!("no IP address found for {name}: the interface has no such address")
        };
        let hint = if unknown {
            let known = self.interfaces.iter().map(|i| i.name.as_str());
            did_you_mean(name, known)
                .or_else(|| Some("host names are not looked up; write the address".to_owned()))
        } else {
            Some(format!(
                "`({name})` follows the interface's addresses as they come and go"
            ))
        };
        let message = "could not parse host specification";
        let bail = self.error(Code::BadAddress, span, message, &detail);
        if let Some(error) = self.errors.last_mut() {
            error.hint = hint;
        }
        bail
    }

    /// pfctl's `check_netmask`.
    pub(super) fn check_netmask<'h>(
        &mut self,
        hosts: impl IntoIterator<Item = &'h Resolved>,
        span: Span,
    ) -> Expand<()> {
        let Some(len) = hosts.into_iter().find_map(|host| host.netmask) else {
            return Ok(());
        };
        let message = format!("netmask {len} invalid for IPv4 address");
        Err(self.error(Code::BadAddress, span, &message, ""))
    }

    /// Whether an interface of that name is known to loop back.
    pub(super) fn is_loopback(&self, name: &str) -> bool {
        let mut interfaces = self.interfaces.iter();
        interfaces.any(|interface| interface.name == name && interface.loopback)
    }

    /// Whether there is an interface or group of that name.
    pub(super) fn is_interface(&self, name: &str) -> bool {
        let mut interfaces = self.interfaces.iter();
        interfaces.any(|i| i.name == name || i.groups.iter().any(|group| group == name))
    }
}

/// A network of length 0 is `any`, of its family. `! any` cannot be written.
fn prefix_address(prefix: Prefix, negated: bool) -> Address {
    if prefix.prefix_len() == 0 && !negated {
        Address::Any
    } else {
        Address::Prefix(prefix)
    }
}

/// The address in a rule of `family`: the length of a whole address says nothing, and an IPv4 one is at most
/// 32 bits long.
pub(super) fn fitted(address: &Address, family: Option<Family>) -> Address {
    let Address::Dynamic(dynamic) = address else {
        return address.clone();
    };
    let bits = family.unwrap_or(Family::Inet6).bits();
    let mut dynamic = dynamic.clone();
    dynamic.prefix_len = dynamic.prefix_len.filter(|len| *len < bits);
    Address::Dynamic(dynamic)
}

/// The addresses of one interface that the modifiers ask for (pf.conf(5), PARAMETERS).
fn addresses(interface: &Interface, named: &NamedHost, found: &mut Vec<(Prefix, Option<String>)>) {
    let mut seen = [false; 2];
    for address in &interface.addresses {
        let link_local = is_link_local(address.address);
        let first = !std::mem::replace(&mut seen[usize::from(address.address.is_ipv6())], true);
        if named.no_aliases && (!first || link_local) {
            // A link-local address in front does not make the next one an alias.
            seen[usize::from(address.address.is_ipv6())] = !(first && link_local);
            continue;
        }
        let Some(prefix) = part_of(address, named) else {
            continue;
        };
        let scope = link_local.then(|| interface.name.clone());
        found.push((prefix, scope));
    }
}

fn part_of(address: &InterfaceAddress, named: &NamedHost) -> Option<Prefix> {
    let ip = match named.part {
        DynamicPart::Host => address.address,
        DynamicPart::Network if is_link_local(address.address) => return None,
        DynamicPart::Network => {
            return Some(Prefix::new(address.address, address.prefix_len)?.masked());
        }
        DynamicPart::Broadcast => address.broadcast.filter(IpAddr::is_ipv4)?,
        DynamicPart::Peer => address.peer?,
    };
    let bits = Family::of(ip).bits();
    let len = named.prefix_len.unwrap_or(bits).min(bits);
    Some(Prefix::new(ip, len)?.masked())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
