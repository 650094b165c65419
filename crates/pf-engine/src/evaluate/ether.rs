//! Which rule for frames matches.

use std::net::IpAddr;

use super::{CompiledEndpoint, Ground, address_matches, interface_matches};
use crate::anchors::Call;
use crate::decision::EtherAddresses;
use crate::ether::{EtherAction, MacMatch};
use crate::installed::RuleId;
use crate::names::NameId;
use crate::net::NetInterface;
use crate::queue::QueueId;
use crate::rule::Direction;
use crate::table::TableId;

/// Number of criteria that rules for frames are skipped by.
pub(crate) const ETHER_SKIP_STEPS: usize = 7;

/// A rule for frames with its names looked up.
#[derive(Clone, Debug)]
pub(crate) struct CompiledEtherRule {
    pub(crate) id: RuleId,
    pub(crate) action: EtherAction,
    /// `on`: the name and whether it is negated.
    pub(crate) interface: Option<(NameId, bool)>,
    pub(crate) direction: Option<Direction>,
    pub(crate) ether_type: Option<u16>,
    pub(crate) source: Option<MacMatch>,
    pub(crate) destination: Option<MacMatch>,
    pub(crate) ip_source: CompiledEndpoint,
    pub(crate) ip_destination: CompiledEndpoint,
    pub(crate) tagged: Option<(bool, NameId)>,
    pub(crate) quick: bool,
    pub(crate) tag: Option<NameId>,
    pub(crate) queue: Option<QueueId>,
    pub(crate) bridge_to: Option<NameId>,
    /// The anchor that it calls.
    pub(crate) call: Option<Call>,
    /// The rule that follows when a criterion fails, for each criterion.
    pub(crate) skip: [usize; ETHER_SKIP_STEPS],
}

impl CompiledEtherRule {
    /// The tables that the rule refers to, each as often as it does.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> {
        let ends = [self.ip_source, self.ip_destination];
        ends.into_iter().filter_map(|end| end.table())
    }
}

/// What rules for frames look at.
pub(crate) struct FrameSubject<'a> {
    pub(crate) direction: Direction,
    /// Nothing for one that nobody knows.
    pub(crate) interface: Option<&'a NetInterface>,
    pub(crate) ether: EtherAddresses,
    pub(crate) ether_type: u16,
    /// Source and destination of the IP packet in it.
    pub(crate) ip: Option<(IpAddr, IpAddr)>,
    pub(crate) tag: Option<NameId>,
}

/// A criterion that failed; by all but the last rules are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtherFailed {
    Interface = 0,
    Direction = 1,
    Type = 2,
    Source = 3,
    Destination = 4,
    IpSource = 5,
    IpDestination = 6,
    Tag,
}

/// Criteria that two rules share, in the order of [`EtherFailed`].
pub(crate) fn same_ether_criteria(
    a: &CompiledEtherRule,
    b: &CompiledEtherRule,
) -> [bool; ETHER_SKIP_STEPS] {
    [
        a.interface == b.interface,
        a.direction == b.direction,
        a.ether_type == b.ether_type,
        a.source == b.source,
        a.destination == b.destination,
        a.ip_source == b.ip_source,
        a.ip_destination == b.ip_destination,
    ]
}

/// Compares in PF's order.
pub(crate) fn test_frame(
    rule: &CompiledEtherRule,
    subject: &FrameSubject<'_>,
    ground: &mut Ground<'_>,
) -> Result<(), EtherFailed> {
    let mac_fails =
        |wanted: Option<MacMatch>, mac| wanted.is_some_and(|wanted| !wanted.matches(mac));
    if !interface_matches(rule.interface, subject.interface) {
        return Err(EtherFailed::Interface);
    }
    if rule.direction.is_some_and(|d| d != subject.direction) {
        return Err(EtherFailed::Direction);
    }
    if rule.ether_type.is_some_and(|t| t != subject.ether_type) {
        return Err(EtherFailed::Type);
    }
    if mac_fails(rule.source, subject.ether.source) {
        return Err(EtherFailed::Source);
    }
    if mac_fails(rule.destination, subject.ether.destination) {
        return Err(EtherFailed::Destination);
    }
    // As in PF, `l3` is not asked of a frame without an IP packet.
    if let Some((source, destination)) = subject.ip {
        if !address_matches(&rule.ip_source, source, subject.interface, ground) {
            return Err(EtherFailed::IpSource);
        }
        if !address_matches(&rule.ip_destination, destination, subject.interface, ground) {
            return Err(EtherFailed::IpDestination);
        }
    }
    match rule.tagged {
        Some((negated, wanted)) if (subject.tag == Some(wanted)) == negated => {
            Err(EtherFailed::Tag)
        }
        _ => Ok(()),
    }
}
