//! An evaluation under way, and what translation rules do to it (pf.conf(5), TRANSLATION).
//!
//! The packet itself is rewritten only once it may pass.

use std::net::IpAddr;

use std::sync::Arc;

use crate::addr::{Family, Prefix, Protocol};
use crate::compile::ListKind;
use crate::criteria::Treatment;
use crate::decision::{Consulted, DropReason};
use crate::engine::packet::{Place, Refused, Work};
use crate::engine::test::length;
use crate::engine::walk::Walk;
use crate::engine::{Engine, RuleList};
use crate::env::{Env, IfIndex};
use crate::evaluate::{CompiledRule, Content, OwnerLookup, Verb, socket_side};
use crate::hops::NO_DEAD_HOPS;
use crate::installed::{PoolUse, RuleId};
use crate::key::{Tuple, request_of};
use crate::limiter::LimiterRef;
use crate::names::NameId;
use crate::nat::{NAT_PORTS, Ports, anywhere, redirected_port, towards};
use crate::osfp::pfos::SignatureId;
use crate::pool::{Choice, Chooser, CompiledPool, LoadKey, TargetAddress};
use crate::rule::{Address, Direction, PoolKind, Scrub};
use crate::ruleset::Dialect;
use crate::source::{NodeUse, SourceKey};
use crate::state::State;
use crate::view::HostPort;
use crate::wire::{Icmp, IcmpBody, icmp6};

/// Addresses of a pool that NAT tries for one connection when all ports of one are taken. PF
/// tries all of them; a pool may be a /8.
const MAX_NAT_ADDRESSES: usize = 64;

/// What is wanted of a pool.
#[derive(Clone, Copy)]
struct Wanted {
    family: Family,
    /// Whose hash decides, and whose choice sticks.
    source: IpAddr,
    /// Whose host part is kept.
    host_part: IpAddr,
    /// A choice that sticks is asked for, and not only remembered.
    is_held_to: bool,
}

impl Wanted {
    /// For a packet from `source`.
    const fn of(family: Family, source: IpAddr) -> Self {
        Self {
            family,
            source,
            host_part: source,
            is_held_to: true,
        }
    }
}

/// An evaluation of the rules under way.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one evaluation"
)]
pub(super) struct Course {
    pub(super) place: Place,
    /// The tuple by which a state without translation is found.
    pub(super) identity: Tuple,
    /// Addresses and ports as the next rule sees them.
    pub(super) tuple: Tuple,
    pub(super) flags: Option<u8>,
    pub(super) icmp: Option<(u8, u8)>,
    pub(super) tos: u8,
    /// The signature that the SYN matches, if a rule asks.
    pub(super) signature: Option<SignatureId>,
    pub(super) content: Content,
    /// What the packet, and the state that it makes, is normalised to.
    pub(super) scrub: Scrub,
    pub(super) tag: Option<NameId>,
    /// The interface by which the packet came in.
    pub(super) received_on: Option<IfIndex>,
    pub(super) priority: Option<u8>,
    pub(super) owner: OwnerLookup,
    /// What the rules so far do to the packet.
    pub(super) treatment: Treatment,
    pub(super) consulted: Consulted,
    /// A rule translated, if only to what it was before.
    pub(super) translated: bool,
    /// NAT gives its source one outside address and port towards all.
    pub(super) endpoint_independent: bool,
    /// In which direction its answers are met.
    pub(super) answers: Direction,
    /// Where it will leave, if the rule says.
    pub(super) exit: Option<NameId>,
    /// Length of the packet in bytes, as it came.
    pub(super) bytes: u64,
    /// The packet itself has been rewritten.
    pub(super) applied: bool,
    pub(super) translation_rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor which the rule at hand is in.
    pub(super) anchor: Option<RuleId>,
    pub(super) nat_pass: bool,
    pub(super) match_rules: Vec<RuleId>,
    /// Source nodes that the state will have, with what sticky pools chose.
    pub(super) nodes: Vec<NodeUse>,
    /// What `least-states` pools chose.
    pub(super) loads: Vec<LoadKey>,
    /// Limiters of `match` rules that matched.
    pub(super) limiters: Vec<LimiterRef>,
    /// `allow-opts` of the rule that decides, or of a `match` rule.
    pub(super) allow_options: bool,
    /// `max-pkt-size` of the last rule that says it.
    pub(super) max_packet_size: Option<u16>,
    /// Why a rule that matched drops the packet all the same.
    pub(super) refused: Option<DropReason>,
    /// The source that the rule which decided has seen.
    pub(super) matched_source: IpAddr,
    /// A `match` rule with `log (all)` matched.
    pub(super) log_all: bool,
    /// N of each `pflogN` of `match` rules with `log (matches)` that matched.
    pub(super) log_matches: Vec<u8>,
    /// What the source was made to in the closed connection in whose place this one comes.
    pub(super) former_source: Option<HostPort>,
    /// There is no such packet: it is about the state that it would make.
    pub(super) is_imagined: bool,
    /// A `scrub` rule follows the connection, which takes a state whatever the filter rule says.
    pub(super) is_followed: bool,
    is_echo_request: bool,
    is_translatable: bool,
}

/// An address that a pool gave.
pub(super) struct Taken {
    pub(super) choice: Choice,
    /// Where a sticky pool remembers it.
    pub(super) sticky: Option<NodeUse>,
    /// Where a `least-states` pool counts it.
    pub(super) load: Option<LoadKey>,
}

impl Course {
    /// What the state will have to refer to.
    pub(super) fn remember(&mut self, taken: &Taken) {
        self.nodes.extend(taken.sticky);
        self.loads.extend(taken.load);
    }

    pub(super) fn new(place: Place, work: &Work<'_>) -> Self {
        let meta = &work.meta;
        let identity = Tuple::of(meta, work.bytes);
        let mut tuple = identity;
        tuple.source.address = meta.source;
        tuple.destination.address = meta.destination;
        let icmp = meta.icmp().copied();
        Self {
            place,
            identity,
            tuple,
            flags: meta.tcp().map(|tcp| tcp.flags),
            icmp: icmp.map(|icmp| (icmp.kind, icmp.code)),
            tos: meta.tos,
            signature: None,
            content: Content::of(meta),
            scrub: work.scrub,
            tag: work.tag,
            received_on: work.received_at(place),
            priority: work.priority,
            owner: OwnerLookup::default(),
            treatment: Treatment::NONE,
            consulted: Consulted::default(),
            translated: false,
            endpoint_independent: false,
            answers: place.direction.reverse(),
            exit: None,
            bytes: length(meta),
            applied: false,
            translation_rule: None,
            anchor: None,
            nat_pass: false,
            match_rules: Vec::new(),
            nodes: Vec::new(),
            loads: Vec::new(),
            limiters: Vec::new(),
            allow_options: false,
            max_packet_size: None,
            refused: None,
            matched_source: meta.source,
            log_all: false,
            log_matches: Vec::new(),
            former_source: work.former_source,
            is_imagined: work.is_imagined,
            is_followed: meta.tcp().is_some() && work.scrub.reassemble_tcp,
            is_echo_request: icmp.is_some_and(|icmp| is_request(meta.family, icmp)),
            // What is no query has no identifier, and neighbor discovery stays on its link.
            // Nor has a fragment ports.
            is_translatable: !meta.is_fragment()
                && icmp.is_none_or(|i| matches!(i.body, IcmpBody::Query { .. })),
        }
    }
}

impl Course {
    /// Whether there is anything in it that translation could tell it apart by.
    pub(super) const fn is_translatable(&self) -> bool {
        self.is_translatable
    }

    /// Whether `af-to` is for it: not for neighbor discovery, which stays on its link.
    pub(super) fn may_change_family(&self) -> bool {
        let discovery = |(kind, _): (u8, u8)| icmp6::is_discovery(kind);
        self.identity.family() == Family::Inet || !self.icmp.is_some_and(discovery)
    }

    /// Addresses as the rule that decided has seen them.
    pub(super) fn seen(&self) -> &Tuple {
        if self.tuple.family() == self.identity.family() {
            &self.tuple
        } else {
            &self.identity
        }
    }

    /// The user that owns the packet's socket, if there is one.
    pub(super) fn user(&mut self, env: &dyn Env) -> Option<u32> {
        let direction = self.place.direction;
        let tuple = socket_side(direction, &self.identity, &self.tuple);
        let owner = self.owner.owner(tuple, direction, env);
        owner.map(|owner| owner.user)
    }
}

const fn is_request(family: Family, icmp: Icmp) -> bool {
    matches!(icmp.body, IcmpBody::Query { .. }) && request_of(family, icmp.kind).is_none()
}

impl Engine {
    /// The old grammar: `rdr` and `binat` for packets that come in, `binat` and `nat` for those
    /// that go out. The first rule that matches decides.
    pub(super) fn translate_by_lists(
        &mut self,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let order = match course.place.direction {
            Direction::In => [ListKind::Read(RuleList::Rdr), ListKind::BinatIn],
            Direction::Out => [RuleList::Binat, RuleList::Nat].map(ListKind::Read),
        };
        for kind in order {
            let mut walk = Walk::new(kind, Arc::clone(&self.lists));
            let Some(found) = self.next_found(&mut walk, course, env)? else {
                continue;
            };
            let Some(rule) = found.rule() else {
                continue;
            };
            course.anchor = found.anchor;
            course.tag = rule.tag.or(course.tag);
            course.treatment = course.treatment.overridden_by(rule.treatment);
            let Verb::Translate { pass } = rule.verb else {
                return Ok(());
            };
            course.translation_rule = Some(rule.id);
            course.nat_pass = pass;
            if matches!(kind, ListKind::BinatIn | ListKind::Read(RuleList::Binat)) {
                self.translate_both_ways(rule, course)?;
            } else {
                self.translate_by_rule(rule, course, env)?;
            }
            self.trace_translation(rule, course);
            return Ok(());
        }
        Ok(())
    }

    /// `rdr-to` and `nat-to` of a rule, or the pool of an old `rdr` or `nat`.
    pub(super) fn translate_by_rule(
        &mut self,
        rule: &CompiledRule,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        if !course.is_translatable {
            return Ok(());
        }
        course.consulted.pool |= rule.translates();
        if let Some(pool) = &rule.rdr {
            self.translate_destination(rule, pool, course, env)?;
        }
        if let Some(pool) = &rule.nat {
            self.translate_source(rule.id, pool, course, env)?;
        }
        Ok(())
    }

    fn translate_source(
        &mut self,
        rule: RuleId,
        pool: &CompiledPool,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let ports = Ports::of(pool, course.tuple.protocol, course.is_echo_request);
        let source = course.tuple.source.address;
        let known = if is_mapped(pool, course) {
            self.mappings.of(course.tuple.source)
        } else {
            None
        };
        if let Some(outside) = known
            && self.offers(rule, pool, outside.address, source)
        {
            return self.map_again(outside, course);
        }
        let independent = is_mapped(pool, course) && known.is_none();
        let mut first = None;
        for _ in 0..MAX_NAT_ADDRESSES {
            let taken = self
                .take(rule, PoolUse::Nat, pool, source, source, env)
                .ok_or(DropReason::MapFailed)?;
            let address = taken.choice.address.ok_or(DropReason::MapFailed)?;
            if first == Some(address) {
                break;
            }
            first = first.or(Some(address));
            let mut candidate = course.tuple;
            candidate.source.address = address;
            if let Some(port) = self.free_source_port(ports, candidate, course, independent, env) {
                candidate.source.port = port;
                course.tuple = candidate;
                course.translated = true;
                course.endpoint_independent = independent;
                course.remember(&taken);
                return Ok(());
            }
            if !matches!(
                pool.kind,
                PoolKind::Single | PoolKind::RoundRobin | PoolKind::Random | PoolKind::LeastStates
            ) {
                break;
            }
        }
        Err(DropReason::MapFailed.into())
    }

    /// The outside address and port that the source has already (`endpoint-independent`).
    fn map_again(&mut self, outside: HostPort, course: &mut Course) -> Result<(), Refused> {
        let mut candidate = course.tuple;
        candidate.source = outside;
        if self.is_taken(candidate, course.answers) {
            return Err(DropReason::MapFailed.into());
        }
        course.tuple = candidate;
        course.translated = true;
        course.endpoint_independent = true;
        Ok(())
    }

    /// Whether the pool has this address for `source`.
    fn offers(&self, owner: RuleId, pool: &CompiledPool, address: IpAddr, source: IpAddr) -> bool {
        let owner = (owner, PoolUse::Nat);
        let chooser = Chooser {
            pool,
            tables: &self.tables,
            net: &self.net,
            dead: &NO_DEAD_HOPS,
            loads: &self.loads,
            owner,
            family: Family::of(source),
            source,
            host_part: source,
        };
        chooser.offers(&Choice {
            address: Some(address),
            interface: None,
        })
    }

    /// A port with which no state's answers would be mistaken for this one's.
    fn free_source_port(
        &mut self,
        ports: Ports,
        candidate: Tuple,
        course: &Course,
        independent: bool,
        env: &mut dyn Env,
    ) -> Option<u16> {
        let answers = course.answers;
        let direction = answers.reverse();
        let own = candidate.source.port;
        let key = if independent {
            anywhere(candidate, direction)
        } else {
            towards(candidate, direction)
        };
        let are_few = ports.are_few();
        if !are_few && self.full.holds(self.now, key, ports) {
            return None;
        }
        let of_port = |port| {
            let mut candidate = candidate;
            candidate.source.port = port;
            candidate
        };
        let is_mapped =
            |engine: &Self, tuple: Tuple| independent && engine.mappings.is_taken(tuple.source);
        let mut is_free = |port| {
            let tuple = of_port(port);
            !is_mapped(self, tuple) && !self.is_taken(tuple, answers)
        };
        // Whoever it is connected to may remember the closed connection, and takes its next one from the same
        // port alone for what it is (RFC 6191).
        let former = course.former_source;
        if let Some(former) = former.filter(|former| former.address == candidate.source.address)
            && ports.contain(former.port, own)
            && is_free(former.port)
        {
            return Some(former.port);
        }
        let mut random = || env.random();
        let found = if are_few {
            ports.find(own, &mut random, is_free)
        } else {
            let guessed = ports.guess(own, &mut random, &mut is_free);
            // So many that nobody is asked about each.
            let is_free = |port| {
                let tuple = of_port(port);
                !is_mapped(self, tuple) && !self.seems_taken(tuple, answers)
            };
            guessed.or_else(|| ports.find(own, &mut random, is_free))
        };
        if found.is_none() && !are_few {
            self.full.note(self.now, key, ports);
        }
        found
    }

    /// Whether answers to `tuple`, which are met in the direction `answers`, would be taken for
    /// those of another connection.
    pub(super) fn is_taken(&mut self, tuple: Tuple, answers: Direction) -> bool {
        // The cache may know of later packets than we do, and of ends that have closed.
        self.read_key(answers, &tuple.key(answers.reverse()));
        self.meets(tuple, answers, |_| false)
    }

    /// The same without asking the cache: what is there counts, though it may be over.
    fn seems_taken(&self, tuple: Tuple, answers: Direction) -> bool {
        self.meets(tuple, answers, |state| state.flow.is_held())
    }

    fn meets(
        &self,
        tuple: Tuple,
        answers: Direction,
        lives_elsewhere: impl Fn(&State) -> bool,
    ) -> bool {
        let lifetimes = self.lifetimes();
        let is_live = |state: &State| lives_elsewhere(state) || !lifetimes.is_over(state);
        let crosses = |state: &State| state.changes_family() && is_live(state);
        let key = tuple.key(answers.reverse());
        let plain = self.states.find(answers, &key, is_live);
        let crossing = || {
            let key = tuple.key(answers);
            self.states.find(answers.reverse(), &key, crosses)
        };
        plain.is_some() || (answers == Direction::In && crossing().is_some())
    }

    /// A source port for `candidate`, which leaves by `af-to`.
    pub(super) fn free_port_of(
        &mut self,
        pool: &CompiledPool,
        candidate: Tuple,
        course: &Course,
        env: &mut dyn Env,
    ) -> Option<u16> {
        let ports = Ports::of(pool, candidate.protocol, course.is_echo_request);
        self.free_source_port(ports, candidate, course, false, env)
    }

    fn translate_destination(
        &mut self,
        rule: &CompiledRule,
        pool: &CompiledPool,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let tuple = course.tuple;
        let (source, host_part) = (tuple.source.address, tuple.destination.address);
        let taken = self
            .take(rule.id, PoolUse::Rdr, pool, source, host_part, env)
            .ok_or(DropReason::MapFailed)?;
        let mut new = tuple;
        new.destination.address = taken.choice.address.ok_or(DropReason::MapFailed)?;
        // PF leaves the ports of SCTP alone.
        if tuple.protocol.has_ports() && tuple.protocol != Protocol::SCTP {
            new.destination.port =
                redirected_port(pool.ports, rule.destination.port, tuple.destination.port);
            // Two connections from one port to two redirected addresses: the second moves.
            new.source.port = self
                .free_source_port(Ports::Keep, new, course, false, env)
                .or_else(|| {
                    let others = Ports::Range(NAT_PORTS.0, NAT_PORTS.1);
                    self.free_source_port(others, new, course, false, env)
                })
                .ok_or(DropReason::MapFailed)?;
        }
        course.tuple = new;
        course.translated = true;
        course.remember(&taken);
        Ok(())
    }

    /// `binat`: one address for one, in both directions.
    fn translate_both_ways(
        &mut self,
        rule: &CompiledRule,
        course: &mut Course,
    ) -> Result<(), Refused> {
        if !course.is_translatable {
            return Ok(());
        }
        let target = rule.nat.as_ref().and_then(|pool| pool.targets.first());
        let external = target.and_then(|target| self.external_prefix(target.address, course));
        let entry = self.rules.get(rule.id);
        let internal = entry.and_then(|entry| host_prefix(&entry.rule.source.address));
        let (from, to) = match course.place.direction {
            Direction::Out => (&mut course.tuple.source.address, external),
            Direction::In => (&mut course.tuple.destination.address, internal),
        };
        *from = to
            .and_then(|prefix| with_host_part(prefix, *from))
            .ok_or(DropReason::MapFailed)?;
        course.translated = true;
        Ok(())
    }

    fn external_prefix(&self, address: TargetAddress, course: &Course) -> Option<Prefix> {
        let family = course.tuple.family();
        match address {
            TargetAddress::Range(first, last) => Prefix::spanning(first, last),
            TargetAddress::Dynamic(id) => {
                let entries = self.net.dynamic(id).iter().map(|entry| entry.prefix);
                entries.into_iter().find(|prefix| prefix.family() == family)
            }
            TargetAddress::Absent | TargetAddress::Table(_) => None,
        }
    }

    /// Puts the addresses of a pool's tables in order, where they have changed.
    pub(super) fn prepare_tables(&mut self, pool: &CompiledPool) {
        for target in &pool.targets {
            if let TargetAddress::Table(id) = target.address
                && let Some(id) = self.tables.meant(id)
                && let Some(table) = self.tables.get_mut(id)
            {
                table.prepare_prefixes();
            }
        }
    }

    /// Takes an address of the source's family from a pool.
    pub(super) fn take(
        &mut self,
        rule: RuleId,
        pool_use: PoolUse,
        pool: &CompiledPool,
        source: IpAddr,
        host_part: IpAddr,
        env: &mut dyn Env,
    ) -> Option<Taken> {
        let wanted = Wanted {
            host_part,
            ..Wanted::of(Family::of(source), source)
        };
        self.take_wanted(rule, pool_use, pool, wanted, env)
    }

    /// Takes a next hop from the pool of a route for packets of `family`. It sticks to the source.
    pub(super) fn take_hop(
        &mut self,
        family: Family,
        rule: RuleId,
        pool: &CompiledPool,
        source: IpAddr,
        env: &mut dyn Env,
    ) -> Option<Taken> {
        let wanted = Wanted::of(family, source);
        self.take_wanted(rule, PoolUse::Route, pool, wanted, env)
    }

    /// Takes an address of `family`, not the source's, from a pool. FreeBSD looks for what sticks in
    /// the other family and does not find it: the node remembers its first address, and counts.
    pub(super) fn take_of(
        &mut self,
        family: Family,
        rule: RuleId,
        pool_use: PoolUse,
        pool: &CompiledPool,
        source: IpAddr,
        env: &mut dyn Env,
    ) -> Option<Taken> {
        let wanted = Wanted {
            is_held_to: self.dialect() != Dialect::FreeBsd,
            ..Wanted::of(family, source)
        };
        self.take_wanted(rule, pool_use, pool, wanted, env)
    }

    /// Takes an address from a pool. With `sticky-address` the one that
    /// the source has already.
    fn take_wanted(
        &mut self,
        rule: RuleId,
        pool_use: PoolUse,
        pool: &CompiledPool,
        wanted: Wanted,
        env: &mut dyn Env,
    ) -> Option<Taken> {
        self.prepare_tables(pool);
        let dead = match pool_use {
            PoolUse::Route => &self.dead_hops,
            PoolUse::Nat | PoolUse::Rdr => &NO_DEAD_HOPS,
        };
        let chooser = Chooser {
            pool,
            tables: &self.tables,
            net: &self.net,
            dead,
            loads: &self.loads,
            owner: (rule, pool_use),
            family: wanted.family,
            source: wanted.source,
            host_part: wanted.host_part,
        };
        let key = pool
            .sticky
            .then_some(SourceKey::sticky(rule, pool_use, wanted.source));
        let least = pool.kind == PoolKind::LeastStates;
        let remembered = key.and_then(|key| self.sources.search(&key)?.choice);
        let known = remembered.filter(|choice| chooser.offers(choice));
        let stale = remembered.filter(|_| known.is_none());
        let first = known.filter(|_| !wanted.is_held_to);
        let taken = |choice| Taken {
            choice,
            sticky: key.map(|key| NodeUse {
                key,
                choice: first.or(Some(choice)),
                stale,
            }),
            load: least.then_some(LoadKey {
                rule,
                pool: pool_use,
                choice,
            }),
        };
        let known = known.filter(|_| wanted.is_held_to);
        if let Some(choice) = known.filter(|choice| chooser.is_usable(choice)) {
            return Some(taken(choice));
        }
        let cursor = self.rules.get_mut(rule)?.cursor(pool_use);
        let choice = chooser.choose(cursor, &mut || env.random())?;
        // Where no next hop works, moving to another is for nothing.
        let moves = chooser.is_usable(&choice);
        Some(taken(known.filter(|_| !moves).unwrap_or(choice)))
    }
}

/// `endpoint-independent` is about UDP alone.
fn is_mapped(pool: &CompiledPool, course: &Course) -> bool {
    pool.endpoint_independent && course.tuple.protocol == Protocol::UDP
}

/// The inside address of a `binat` rule, a prefix always.
const fn host_prefix(address: &Address) -> Option<Prefix> {
    if let Address::Prefix(prefix) = address {
        Some(*prefix)
    } else {
        None
    }
}

/// The network part of `prefix`, the host part of `address`.
fn with_host_part(prefix: Prefix, address: IpAddr) -> Option<IpAddr> {
    let network = prefix.masked().address();
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let host = address.to_bits() & !crate::addr::mask_v4(prefix.prefix_len());
            Some(IpAddr::V4((network.to_bits() | host).into()))
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let host = address.to_bits() & !crate::addr::mask_v6(prefix.prefix_len());
            Some(IpAddr::V6((network.to_bits() | host).into()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}
