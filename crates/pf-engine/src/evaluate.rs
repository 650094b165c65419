//! Rule evaluation: which rule of a list matches a packet next.
//!
//! Rules are compared in PF's order of criteria; a criterion that fails skips all following
//! rules that ask for the same (PF's skip steps), which shows in the evaluation counters.

pub(crate) mod ether;
pub(crate) mod index;

use std::net::IpAddr;

use crate::addr::{Family, Prefix, Protocol};
use crate::anchors::Call;
use crate::compile::CompiledAfTo;
use crate::criteria::{OwnerMatch, Probability, Treatment};
use crate::decision::{Consulted, DropReason};
use crate::env::{Env, RouteLookup, SocketOwner, SocketQuery};
use crate::explain::Criterion;
use crate::installed::{RuleId, Rules};
use crate::key::Tuple;
use crate::limiter::Limiters;
use crate::names::NameId;
use crate::net::{DynamicId, Net, NetInterface};
use crate::osfp::pfos::{System, SystemMatch};
use crate::pool::CompiledPool;
use crate::replay::{Record, Touch};
use crate::rule::{
    BlockReply, Direction, FlagsMatch, FragmentMode, IcmpMatch, LimiterUse, Log, PortMatch,
    RouteKind, Scrub, SourceTrack, StateMode, WhenLimited,
};
use crate::table::{TableId, Tables};
use crate::time::Instant;
use crate::wire::Meta;

/// The bits of type of service that congestion notification uses (RFC 3168, section 5).
const ECN: u8 = 0b11;

/// Number of criteria that can be skipped by.
pub(crate) const SKIP_STEPS: usize = 8;

/// A rule with its names looked up.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub(crate) struct CompiledRule {
    pub(crate) id: RuleId,
    pub(crate) verb: Verb,
    /// `on`: the name and whether it is negated.
    pub(crate) interface: Option<(NameId, bool)>,
    pub(crate) direction: Option<Direction>,
    pub(crate) family: Option<Family>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) source: CompiledEndpoint,
    pub(crate) destination: CompiledEndpoint,
    pub(crate) flags: Option<FlagsMatch>,
    pub(crate) icmp: Option<IcmpMatch>,
    pub(crate) tos: Option<u8>,
    /// `os`.
    pub(crate) system: Option<SystemMatch>,
    /// `fragment`: matches fragments only, those that are not reassembled.
    pub(crate) fragment: bool,
    pub(crate) tagged: Option<(bool, NameId)>,
    pub(crate) has_packet_rate: bool,
    pub(crate) max_packet_size: Option<u16>,
    pub(crate) state_limiter: Option<LimiterUse>,
    pub(crate) source_limiter: Option<LimiterUse>,
    pub(crate) quick: bool,
    pub(crate) log: Option<Log>,
    pub(crate) tag: Option<NameId>,
    pub(crate) allow_options: bool,
    pub(crate) keep: Keep,
    /// What it normalises, `set ( tos )` included.
    pub(crate) scrub: Scrub,
    /// Of a `scrub` rule: what becomes of fragments.
    pub(crate) fragments: FragmentMode,
    pub(crate) nat: Option<CompiledPool>,
    pub(crate) rdr: Option<CompiledPool>,
    pub(crate) af_to: Option<CompiledAfTo>,
    pub(crate) route: Option<(RouteKind, CompiledPool)>,
    /// The anchor that it calls.
    pub(crate) call: Option<Call>,
    /// `once`.
    pub(crate) once: bool,
    pub(crate) asked: Asked,
    pub(crate) treatment: Treatment,
    /// The rule that follows when a criterion fails, for each criterion.
    pub(crate) skip: [usize; SKIP_STEPS],
    /// Where it stands in long stretches of rules that differ in addresses or ports.
    pub(crate) runs: index::Runs,
}

impl CompiledRule {
    /// Whether it has a pool to translate to.
    pub(crate) const fn translates(&self) -> bool {
        self.nat.is_some() || self.rdr.is_some() || self.af_to.is_some()
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Pass,
    Block(BlockReply),
    /// `match`, and `scrub` in its own list.
    Match,
    /// Old grammar; `pass`: without filter rules.
    Translate {
        pass: bool,
    },
    /// Old grammar, `no`: neither translate nor, in the list of `scrub` rules, normalise.
    DoNotTranslate,
}

/// What a rule asks beside the packet's headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The name, nothing for any, and whether it is negated.
    pub(crate) received_on: Option<(Option<NameId>, bool)>,
    pub(crate) user: Option<OwnerMatch>,
    pub(crate) group: Option<OwnerMatch>,
    pub(crate) priority: Option<u8>,
    pub(crate) probability: Option<Probability>,
}

/// The owner of the packet's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum OwnerLookup {
    /// Nobody has asked for it.
    #[default]
    NotYet,
    /// What came of it.
    Done(Option<SocketOwner>),
}

impl OwnerLookup {
    /// Looks it up, once a packet.
    pub(crate) fn owner(
        &mut self,
        tuple: &Tuple,
        direction: Direction,
        env: &dyn Env,
    ) -> Option<SocketOwner> {
        if let Self::Done(owner) = *self {
            return owner;
        }
        let (local, remote) = match direction {
            Direction::In => (tuple.destination, tuple.source),
            Direction::Out => (tuple.source, tuple.destination),
        };
        let query = SocketQuery {
            protocol: tuple.protocol,
            local,
            remote,
        };
        let owner = if has_owner(tuple.protocol) {
            env.socket_owner(&query)
        } else {
            None
        };
        *self = Self::Done(owner);
        owner
    }
}

/// The packet as its socket knows it: what comes in has been translated when it gets there, what
/// goes out has not.
pub(crate) const fn socket_side<'t>(
    direction: Direction,
    before: &'t Tuple,
    after: &'t Tuple,
) -> &'t Tuple {
    match direction {
        Direction::In => after,
        Direction::Out => before,
    }
}

/// pf.conf(5), `user`: "only TCP and UDP packets can be associated with users".
fn has_owner(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP)
}

/// How a rule keeps state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) mode: StateMode,
    pub(crate) max: Option<u32>,
    pub(crate) if_bound: bool,
    pub(crate) sloppy: bool,
    /// Whose sources are counted, if they are.
    pub(crate) track: Option<SourceTrack>,
    /// The table of `overload`.
    pub(crate) overload: Option<TableId>,
}

/// `from` or `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompiledEndpoint {
    pub(crate) negated: bool,
    pub(crate) address: CompiledAddress,
    pub(crate) port: Option<PortMatch>,
}

/// The address part of a [`CompiledEndpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompiledAddress {
    Any,
    Prefix(Prefix),
    Range(IpAddr, IpAddr),
    Dynamic(DynamicId),
    Table(TableId),
    NoRoute,
    UrpfFailed,
}

/// What rules look at.
pub(crate) struct Subject<'a> {
    pub(crate) direction: Direction,
    pub(crate) content: Content,
    /// Nothing for one that nobody knows.
    pub(crate) interface: Option<&'a NetInterface>,
    pub(crate) tuple: Tuple,
    /// As it came, before translation.
    pub(crate) identity: Tuple,
    /// TCP flags.
    pub(crate) flags: Option<u8>,
    /// ICMP type and code.
    pub(crate) icmp: Option<(u8, u8)>,
    pub(crate) tos: u8,
    /// What a SYN may be of; nothing for one that is unknown, and for everything else.
    pub(crate) systems: &'a [System],
    pub(crate) tag: Option<NameId>,
    /// The interface by which the packet came in; nothing for one that the box has sent.
    pub(crate) received_on: Option<&'a NetInterface>,
    /// The priority of its frame, if it has one.
    pub(crate) priority: Option<u8>,
}

/// What rules know of a packet behind its IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// All of it.
    Whole,
    /// Nothing: it is a fragment that is filtered as it is.
    Fragment,
    /// A fragment that `scrub` rules are asked about: their ports do not count, for they decide
    /// about all of its datagram.
    Unscrubbed,
}

impl Content {
    pub(crate) const fn of(meta: &Meta) -> Self {
        if meta.is_fragment() {
            Self::Fragment
        } else {
            Self::Whole
        }
    }
}

/// What evaluation counts in and asks.
pub(crate) struct Ground<'a> {
    pub(crate) rules: &'a mut Rules,
    pub(crate) tables: &'a mut Tables,
    pub(crate) net: &'a Net,
    pub(crate) env: &'a mut dyn Env,
    pub(crate) owner: &'a mut OwnerLookup,
    pub(crate) consulted: &'a mut Consulted,
    pub(crate) record: &'a mut Record,
    pub(crate) limiters: &'a mut Limiters,
    pub(crate) now: Instant,
    /// Why the packet is dropped although the rule matches: its limiter blocks.
    pub(crate) refused: &'a mut Option<DropReason>,
}

/// Somebody who watches an evaluation. Nobody, `()`, costs nothing.
pub(crate) trait Tracer {
    /// Whether rules that a look-up rules out are looked at as well.
    const SEES_ALL: bool = true;

    /// The rule at `at` was compared; the next that may match is at `next`.
    fn tested(&mut self, at: usize, next: usize, outcome: Result<(), Criterion>);
}

impl Tracer for () {
    const SEES_ALL: bool = false;

    fn tested(&mut self, _: usize, _: usize, _: Result<(), Criterion>) {}
}

/// The first rule from `from` on that matches.
pub(crate) fn next_match<T: Tracer>(
    rules: &[CompiledRule],
    from: usize,
    subject: &Subject<'_>,
    ground: &mut Ground<'_>,
    tracer: &mut T,
) -> Option<usize> {
    let mut at = from;
    while let Some(rule) = rules.get(at) {
        if rule.once && ground.rules.is_expired(rule.id) {
            at += 1;
            continue;
        }
        ground.rules.count_evaluation(rule.id, 1);
        ground.record.touch(Touch::Rule(rule.id));
        let outcome = test(rule, subject, ground);
        let next = match outcome {
            Ok(()) => at + 1,
            Err(failed) => {
                let next = rule.skip.get(failed as usize).copied().unwrap_or(at + 1);
                if T::SEES_ALL {
                    next
                } else {
                    index::pass_over(rule, failed, next, subject, ground)
                }
            }
        };
        tracer.tested(at, next, outcome);
        if outcome.is_ok() {
            return Some(at);
        }
        at = next;
    }
    None
}

/// Sets the skip steps of a whole list.
pub(crate) fn set_skip_steps(rules: &mut [CompiledRule]) {
    let steps = skip_steps(rules, same_criteria);
    for (rule, steps) in rules.iter_mut().zip(steps) {
        rule.skip = steps;
    }
}

/// For each rule of a list and each criterion: the next rule that does not ask for the same.
pub(crate) fn skip_steps<T, const N: usize>(
    rules: &[T],
    same: impl Fn(&T, &T) -> [bool; N],
) -> Vec<[usize; N]> {
    let mut steps = vec![[rules.len(); N]; rules.len()];
    for (at, pair) in rules.windows(2).enumerate().rev() {
        let [rule, next] = pair else {
            continue;
        };
        let same = same(rule, next);
        let behind = steps[at + 1];
        steps[at] = std::array::from_fn(|step| if same[step] { behind[step] } else { at + 1 });
    }
    steps
}

/// Criteria that two rules share, in the order of [`Criterion`].
fn same_criteria(a: &CompiledRule, b: &CompiledRule) -> [bool; SKIP_STEPS] {
    let same_address = |a: &CompiledEndpoint, b: &CompiledEndpoint| {
        a.address == b.address && a.negated == b.negated
    };
    [
        a.interface == b.interface,
        a.direction == b.direction,
        a.family == b.family,
        a.protocol == b.protocol,
        same_address(&a.source, &b.source),
        same_address(&a.destination, &b.destination),
        a.source.port == b.source.port,
        a.destination.port == b.destination.port,
    ]
}

fn test(
    rule: &CompiledRule,
    subject: &Subject<'_>,
    ground: &mut Ground<'_>,
) -> Result<(), Criterion> {
    test_place(rule, subject)?;
    let tuple = &subject.tuple;
    let at = subject.interface;
    if !address_matches(&rule.source, tuple.source.address, at, ground) {
        return Err(Criterion::SourceAddress);
    }
    if !address_matches(&rule.destination, tuple.destination.address, at, ground) {
        return Err(Criterion::DestinationAddress);
    }
    if !port_matches(rule.source.port, subject, tuple.source.port) {
        return Err(Criterion::SourcePort);
    }
    if !port_matches(rule.destination.port, subject, tuple.destination.port) {
        return Err(Criterion::DestinationPort);
    }
    test_rest(rule, subject, ground.consulted)?;
    test_asked(&rule.asked, subject, ground)?;
    test_limits(rule, subject, ground)
}

fn test_place(rule: &CompiledRule, subject: &Subject<'_>) -> Result<(), Criterion> {
    if !interface_matches(rule.interface, subject.interface) {
        return Err(Criterion::Interface);
    }
    if rule
        .direction
        .is_some_and(|direction| direction != subject.direction)
    {
        return Err(Criterion::Direction);
    }
    if rule
        .family
        .is_some_and(|family| family != subject.tuple.family())
    {
        return Err(Criterion::Family);
    }
    if rule
        .protocol
        .is_some_and(|protocol| protocol != subject.tuple.protocol)
    {
        return Err(Criterion::Protocol);
    }
    Ok(())
}

/// `on [!] name`.
fn interface_matches(wanted: Option<(NameId, bool)>, at: Option<&NetInterface>) -> bool {
    wanted.is_none_or(|(name, negated)| at.is_some_and(|at| at.is_in(name)) != negated)
}

/// The criteria that are not skipped by.
fn test_rest(
    rule: &CompiledRule,
    subject: &Subject<'_>,
    consulted: &mut Consulted,
) -> Result<(), Criterion> {
    if rule.fragment && subject.content == Content::Whole {
        return Err(Criterion::Fragment);
    }
    if !flags_match(rule, subject, consulted) {
        return Err(Criterion::Flags);
    }
    if !system_matches(rule, subject, consulted) {
        return Err(Criterion::System);
    }
    if !icmp_matches(rule, subject, consulted) {
        return Err(Criterion::Icmp);
    }
    if !tos_matches(rule, subject, consulted) {
        return Err(Criterion::Tos);
    }
    if !tag_matches(rule, subject, consulted) {
        return Err(Criterion::Tag);
    }
    Ok(())
}

/// What lies outside of the packet's headers. The draw comes last: what a rule does not take for
/// another reason, it does not take by chance.
fn test_asked(
    asked: &Asked,
    subject: &Subject<'_>,
    ground: &mut Ground<'_>,
) -> Result<(), Criterion> {
    if !owner_matches(asked, subject, ground) {
        return Err(Criterion::Owner);
    }
    if let Some(wanted) = asked.priority {
        ground.consulted.priority = true;
        if subject.priority != Some(wanted) {
            return Err(Criterion::Priority);
        }
    }
    if let Some((wanted, negated)) = asked.received_on {
        ground.consulted.received_on = true;
        let is_in = |interface: &NetInterface| wanted.is_none_or(|name| interface.is_in(name));
        if subject.received_on.is_some_and(is_in) == negated {
            return Err(Criterion::ReceivedOn);
        }
    }
    if let Some(probability) = asked.probability {
        ground.consulted.random = true;
        if !probability.takes(ground.env.random()) {
            return Err(Criterion::Probability);
        }
    }
    Ok(())
}

/// What is counted. Last, because only what matches otherwise counts.
fn test_limits(
    rule: &CompiledRule,
    subject: &Subject<'_>,
    ground: &mut Ground<'_>,
) -> Result<(), Criterion> {
    let limited =
        rule.has_packet_rate || rule.state_limiter.is_some() || rule.source_limiter.is_some();
    if !limited {
        return Ok(());
    }
    ground.consulted.limits = true;
    if let Some(used) = rule.state_limiter
        && ground.limiters.check_states(used.id, ground.now).is_err()
    {
        return ground.exhausted(used, DropReason::StateLimit, Criterion::StateLimiter);
    }
    let source = subject.tuple.source.address;
    if let Some(used) = rule.source_limiter
        && ground
            .limiters
            .check_source(used.id, source, ground.now)
            .is_err()
    {
        return ground.exhausted(used, DropReason::SrcLimit, Criterion::SourceLimiter);
    }
    if rule.has_packet_rate && !ground.rules.takes_packet(rule.id, ground.now) {
        return Err(Criterion::PacketRate);
    }
    Ok(())
}

impl Ground<'_> {
    /// What a rule does whose limiter is exhausted.
    const fn exhausted(
        &mut self,
        used: LimiterUse,
        reason: DropReason,
        failed: Criterion,
    ) -> Result<(), Criterion> {
        match used.when_limited {
            WhenLimited::NoMatch => Err(failed),
            WhenLimited::Block => {
                *self.refused = Some(reason);
                Ok(())
            }
        }
    }
}

/// `user` and `group` say nothing about packets that have none. SCTP has sockets, of which nothing is
/// known, as in PF.
fn owner_matches(asked: &Asked, subject: &Subject<'_>, ground: &mut Ground<'_>) -> bool {
    let is_asked = asked.user.is_some() || asked.group.is_some();
    if !is_asked || !subject.tuple.protocol.has_ports() {
        return true;
    }
    ground.consulted.owner = true;
    let tuple = socket_side(subject.direction, &subject.identity, &subject.tuple);
    let owner = ground.owner.owner(tuple, subject.direction, ground.env);
    let matches = |wanted: Option<OwnerMatch>, id| wanted.is_none_or(|wanted| wanted.matches(id));
    matches(asked.user, owner.map(|owner| owner.user))
        && matches(asked.group, owner.and_then(|owner| owner.group))
}

/// `flags` says nothing about packets that are not TCP; those of a fragment are not known.
fn flags_match(rule: &CompiledRule, subject: &Subject<'_>, consulted: &mut Consulted) -> bool {
    if subject.content == Content::Fragment && subject.tuple.protocol == Protocol::TCP {
        return rule.flags.is_none();
    }
    let (Some(wanted), Some(flags)) = (rule.flags, subject.flags) else {
        return true;
    };
    consulted.tcp_flags |= wanted.mask;
    flags & wanted.mask == wanted.set
}

/// `os` is about TCP alone; a packet of it that is no SYN is as unknown as a SYN can be.
fn system_matches(rule: &CompiledRule, subject: &Subject<'_>, consulted: &mut Consulted) -> bool {
    let Some(wanted) = &rule.system else {
        return true;
    };
    consulted.system = true;
    subject.tuple.protocol == Protocol::TCP && wanted.matches(subject.systems)
}

fn icmp_matches(rule: &CompiledRule, subject: &Subject<'_>, consulted: &mut Consulted) -> bool {
    let Some(wanted) = rule.icmp else {
        return true;
    };
    consulted.icmp = true;
    consulted.icmp_code |= wanted.code.is_some();
    subject.icmp.is_some_and(|(kind, code)| {
        kind == wanted.kind && wanted.code.is_none_or(|wanted| wanted == code)
    })
}

fn tos_matches(rule: &CompiledRule, subject: &Subject<'_>, consulted: &mut Consulted) -> bool {
    let Some(wanted) = rule.tos else {
        return true;
    };
    consulted.tos = true;
    // FreeBSD leaves the bits of ECN (RFC 3168) out; who asks for them shall find them.
    wanted == subject.tos || wanted == subject.tos & !ECN
}

fn tag_matches(rule: &CompiledRule, subject: &Subject<'_>, consulted: &mut Consulted) -> bool {
    let Some((negated, wanted)) = rule.tagged else {
        return true;
    };
    consulted.tag = true;
    (subject.tag == Some(wanted)) != negated
}

/// Ports are those of TCP, UDP and SCTP only.
fn port_matches(wanted: Option<PortMatch>, subject: &Subject<'_>, port: u16) -> bool {
    let has_ports = subject.tuple.protocol.has_ports();
    wanted.is_none_or(|wanted| match subject.content {
        Content::Whole => has_ports && wanted.matches(port),
        Content::Fragment => false,
        Content::Unscrubbed => has_ports,
    })
}

fn address_matches(
    endpoint: &CompiledEndpoint,
    address: IpAddr,
    interface: Option<&NetInterface>,
    ground: &mut Ground<'_>,
) -> bool {
    let found = match endpoint.address {
        CompiledAddress::Any => true,
        CompiledAddress::Prefix(prefix) => prefix.contains(address),
        CompiledAddress::Range(first, last) => {
            Family::of(first) == Family::of(address) && first <= address && address <= last
        }
        CompiledAddress::Dynamic(id) => {
            ground.consulted.interface_addresses = true;
            ground.net.dynamic_holds(id, address)
        }
        CompiledAddress::Table(id) => {
            ground.consulted.table = true;
            let found = ground.tables.matches(id, address);
            ground.record.touch(Touch::Table(id, found));
            found
        }
        CompiledAddress::NoRoute => {
            ground.consulted.interface_addresses = true;
            !is_of_link(address) && ground.env.route(address) == RouteLookup::Unreachable
        }
        CompiledAddress::UrpfFailed => {
            ground.consulted.interface_addresses = true;
            !is_of_link(address) && arrives_elsewhere(ground.env.route(address), interface)
        }
    };
    found != endpoint.negated
}

/// Whether the address means something on its own link alone (RFC 4291, sections 2.5.6, 2.7): there is a
/// way to it wherever it is, and routes without the link do not tell it.
fn is_of_link(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else {
        return false;
    };
    let [first, second, ..] = address.octets();
    let is_group_of_link = first == 0xff && matches!(second & 0x0f, 1 | 2);
    address.is_unicast_link_local() || is_group_of_link
}

/// pf.conf(5), `urpf-failed`: the route back to the source does not lead to where the packet
/// came in.
fn arrives_elsewhere(route: RouteLookup, interface: Option<&NetInterface>) -> bool {
    match route {
        RouteLookup::Unknown => false,
        RouteLookup::Unreachable => true,
        RouteLookup::Via(index) => interface.is_none_or(|interface| interface.index != index),
    }
}
