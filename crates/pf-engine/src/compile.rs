//! From a checked ruleset to rules with their names looked up.

mod ether;

use crate::addr::Family;
use crate::anchor::AnchorPath;
use crate::anchors::{Anchors, Call};
use crate::criteria::Treatment;
use crate::engine::RuleList;
use crate::engine::prefix_len;
use crate::evaluate::ether::CompiledEtherRule;
use crate::evaluate::{
    Asked, CompiledAddress, CompiledEndpoint, CompiledRule, Keep, SKIP_STEPS, Verb, index,
    set_skip_steps,
};
use crate::installed::Rules;
use crate::installed::ether::EtherRules;
use crate::names::Names;
use crate::net::{DynamicId, Net};
use crate::pool::{CompiledPool, Target, TargetAddress};
use crate::queue::QueueNumbers;
use crate::rule::{
    Action, Address, AfTo, Direction, Endpoint, InterfaceMatch, Pool, PoolTarget, Rule, Scrub,
    StatePolicy,
};
use crate::ruleset::{Parts, Ruleset};
use crate::table::{TableId, Tables};
use crate::time::Instant;

/// `af-to` with its names looked up.
#[derive(Clone, Debug)]
pub(crate) struct CompiledAfTo {
    pub(crate) family: Family,
    pub(crate) from: CompiledPool,
    pub(crate) to: Option<CompiledPool>,
    /// Length of the prefix that IPv4 destinations stand behind.
    pub(crate) prefix_len: u8,
}

/// A list as it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// As it was read; `binat` rules are those for outbound packets.
    Read(RuleList),
    /// `binat` for inbound packets.
    BinatIn,
    /// Rules for frames, which are no [`CompiledRule`]s: see [`Lists::ether`].
    Ether,
}

/// The rules in force of one ruleset, list by list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    /// Rules for frames.
    pub(crate) ether: Vec<CompiledEtherRule>,
    pub(crate) scrub: Vec<CompiledRule>,
    pub(crate) nat: Vec<CompiledRule>,
    pub(crate) rdr: Vec<CompiledRule>,
    /// `binat` for outbound packets.
    pub(crate) binat_out: Vec<CompiledRule>,
    /// The same rules turned round, for inbound packets: source and destination have changed
    /// places, and the destination is the address that the rule translates to.
    pub(crate) binat_in: Vec<CompiledRule>,
    pub(crate) filter: Vec<CompiledRule>,
}

impl Lists {
    /// The rules of all lists, each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CompiledRule> {
        RuleList::ALL.into_iter().flat_map(|list| self.list(list))
    }

    /// The rules of one list, as they were read.
    pub(crate) fn list(&self, list: RuleList) -> &[CompiledRule] {
        match list {
            RuleList::Scrub => &self.scrub,
            RuleList::Nat => &self.nat,
            RuleList::Rdr => &self.rdr,
            RuleList::Binat => &self.binat_out,
            RuleList::Filter => &self.filter,
        }
    }

    /// The rules of one list, as they are evaluated.
    pub(crate) fn of(&self, kind: ListKind) -> &[CompiledRule] {
        match kind {
            ListKind::Read(list) => self.list(list),
            ListKind::BinatIn => &self.binat_in,
            ListKind::Ether => &[],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iter().next().is_none() && self.ether.is_empty()
    }

    /// Takes the lists that are not among `parts` from `old`, where they are in force.
    pub(crate) fn complete(&mut self, parts: Parts, old: &Self) {
        if !parts.ether {
            self.ether.clone_from(&old.ether);
        }
        if !parts.translation {
            self.nat.clone_from(&old.nat);
            self.rdr.clone_from(&old.rdr);
            self.binat_out.clone_from(&old.binat_out);
            self.binat_in.clone_from(&old.binat_in);
        }
        if !parts.filter {
            self.scrub.clone_from(&old.scrub);
            self.filter.clone_from(&old.filter);
        }
    }
}

impl CompiledRule {
    /// Its pools.
    fn pools(&self) -> impl Iterator<Item = &CompiledPool> {
        let route = self.route.as_ref().map(|(_, pool)| pool);
        let from = self.af_to.as_ref().map(|af_to| &af_to.from);
        let to = self.af_to.as_ref().and_then(|af_to| af_to.to.as_ref());
        let pools = [self.nat.as_ref(), self.rdr.as_ref(), from, to, route];
        pools.into_iter().flatten()
    }

    /// The tables that the rule refers to, each as often as it does.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> {
        let ends = [&self.source, &self.destination]
            .into_iter()
            .filter_map(CompiledEndpoint::table);
        let targets = self.pools().flat_map(|pool| &pool.targets);
        let overload = self.keep.overload;
        ends.chain(overload)
            .chain(targets.filter_map(|target| match target.address {
                TargetAddress::Table(id) => Some(id),
                TargetAddress::Absent | TargetAddress::Range(..) | TargetAddress::Dynamic(_) => {
                    None
                }
            }))
    }

    /// The addresses of interfaces that the rule refers to.
    pub(crate) fn dynamics(&self) -> impl Iterator<Item = DynamicId> {
        let ends = [self.source, self.destination];
        let ends = ends.into_iter().filter_map(|end| end.dynamic());
        let targets = self.pools().flat_map(|pool| &pool.targets);
        ends.chain(targets.filter_map(|target| match target.address {
            TargetAddress::Dynamic(id) => Some(id),
            TargetAddress::Absent | TargetAddress::Range(..) | TargetAddress::Table(_) => None,
        }))
    }
}

impl CompiledEtherRule {
    /// The addresses of interfaces that the rule refers to.
    pub(crate) fn dynamics(&self) -> impl Iterator<Item = DynamicId> {
        let ends = [self.ip_source, self.ip_destination];
        ends.into_iter().filter_map(|end| end.dynamic())
    }
}

impl CompiledEndpoint {
    pub(crate) const fn table(&self) -> Option<TableId> {
        if let CompiledAddress::Table(id) = self.address {
            Some(id)
        } else {
            None
        }
    }

    const fn dynamic(&self) -> Option<DynamicId> {
        if let CompiledAddress::Dynamic(id) = self.address {
            Some(id)
        } else {
            None
        }
    }
}

/// Looks up names and puts rules into force.
pub(crate) struct Compiler<'a> {
    pub(crate) now: Instant,
    pub(crate) names: &'a mut Names,
    pub(crate) net: &'a mut Net,
    pub(crate) tables: &'a mut Tables,
    pub(crate) rules: &'a mut Rules,
    pub(crate) ether_rules: &'a mut EtherRules,
    pub(crate) anchors: &'a mut Anchors,
    /// The ruleset that the rules are of.
    pub(crate) anchor: AnchorPath,
    pub(crate) state_policy: StatePolicy,
    pub(crate) queue_numbers: &'a mut QueueNumbers,
}

impl Compiler<'_> {
    /// Installs the rules of `ruleset` that are among `parts`.
    pub(crate) fn lists(&mut self, mut ruleset: Ruleset, parts: Parts) -> Lists {
        if !parts.translation {
            for list in [&mut ruleset.nat, &mut ruleset.rdr, &mut ruleset.binat] {
                list.clear();
            }
        }
        if !parts.filter {
            ruleset.scrub.clear();
            ruleset.filter.clear();
        }
        if !parts.ether {
            ruleset.ether.clear();
        }
        let binat_out = self.list(ruleset.binat);
        let mut binat_in: Vec<CompiledRule> =
            binat_out.iter().filter_map(Self::turned_round).collect();
        self.order(&mut binat_in);
        Lists {
            ether: self.ether_list(ruleset.ether),
            scrub: self.list(ruleset.scrub),
            nat: self.list(ruleset.nat),
            rdr: self.list(ruleset.rdr),
            binat_out,
            binat_in,
            filter: self.list(ruleset.filter),
        }
    }

    fn list(&mut self, rules: Vec<Rule>) -> Vec<CompiledRule> {
        let mut compiled: Vec<CompiledRule> = (0u32..)
            .zip(rules)
            .map(|(number, rule)| self.rule(number, rule))
            .collect();
        self.order(&mut compiled);
        compiled
    }

    /// How a whole list is gone through.
    fn order(&mut self, rules: &mut [CompiledRule]) {
        set_skip_steps(rules);
        index::index(rules, self.rules);
    }

    fn rule(&mut self, number: u32, rule: Rule) -> CompiledRule {
        let source = self.endpoint(&rule.source);
        let destination = self.endpoint(&rule.destination);
        let tables = [&source, &destination]
            .map(|endpoint| endpoint.table().map(|id| (id, endpoint.negated)));
        CompiledRule {
            verb: verb(&rule),
            interface: self.interface(rule.interface.as_ref()),
            direction: rule.direction,
            family: rule.family,
            protocol: rule.protocol,
            source,
            destination,
            flags: rule.flags,
            icmp: rule.icmp,
            tos: rule.tos,
            system: rule.criteria.system.clone(),
            fragment: rule.fragment,
            tagged: rule
                .tagged
                .as_ref()
                .map(|(no, tag)| (*no, self.names.intern(tag))),
            has_packet_rate: rule.max_packet_rate.is_some(),
            max_packet_size: rule.max_packet_size,
            state_limiter: rule.state_limiter,
            source_limiter: rule.source_limiter,
            quick: rule.quick,
            log: rule.log,
            tag: rule.tag.as_ref().map(|tag| self.names.intern(tag)),
            allow_options: rule.allow_options,
            keep: self.keep(&rule),
            scrub: scrub(&rule),
            fragments: rule.fragments,
            nat: rule.nat.as_ref().map(|pool| self.pool(pool)),
            rdr: rule.rdr.as_ref().map(|pool| self.pool(pool)),
            af_to: rule.af_to.as_ref().map(|af_to| self.af_to(af_to, &rule)),
            route: rule
                .route
                .as_ref()
                .map(|route| (route.kind, self.pool(&route.pool))),
            call: rule.anchor.as_ref().and_then(|call| self.call(call)),
            once: rule.once,
            asked: self.asked(&rule),
            treatment: self.treatment(&rule),
            skip: [0; SKIP_STEPS],
            runs: index::Runs::default(),
            id: self.rules.install(rule, (&self.anchor, number), tables),
        }
    }

    /// With the numbers of its queues.
    fn treatment(&mut self, rule: &Rule) -> Treatment {
        let mut queue = None;
        if let Some(choice) = &rule.queue
            && let Some(normal) = self.queue_numbers.intern(&choice.normal)
        {
            let urgent = choice.urgent.as_deref();
            let urgent = urgent.and_then(|name| self.queue_numbers.intern(name));
            queue = Some((normal, urgent.unwrap_or(normal)));
        }
        Treatment {
            queue,
            ..rule.treatment
        }
    }

    /// One more rule calls the anchor.
    fn call(&mut self, call: &crate::anchor::AnchorCall) -> Option<Call> {
        self.anchors.call(call)
    }

    /// `on any` asks for nothing.
    fn interface(
        &mut self,
        interface: Option<&InterfaceMatch>,
    ) -> Option<(crate::names::NameId, bool)> {
        let interface = interface?;
        let is_any = interface.name == "any" && !interface.negated;
        (!is_any).then(|| (self.names.intern(&interface.name), interface.negated))
    }

    fn asked(&mut self, rule: &Rule) -> Asked {
        let criteria = &rule.criteria;
        let received_on = criteria.received_on.as_ref();
        Asked {
            received_on: received_on.map(|interface| {
                let any = interface.name == "any";
                let name = (!any).then(|| self.names.intern(&interface.name));
                (name, interface.negated)
            }),
            user: criteria.user,
            group: criteria.group,
            priority: criteria.priority,
            probability: criteria.probability,
        }
    }

    fn keep(&mut self, rule: &Rule) -> Keep {
        let source = &rule.state_options.source;
        let policy = rule.state_options.policy.unwrap_or(self.state_policy);
        Keep {
            mode: rule.state,
            max: rule.state_options.max,
            if_bound: policy == StatePolicy::IfBound,
            sloppy: rule.state_options.sloppy,
            track: source.track,
            overload: source.overload.as_ref().map(|o| self.table(&o.table)),
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) -> CompiledEndpoint {
        CompiledEndpoint {
            negated: endpoint.negated,
            address: self.address(&endpoint.address),
            port: endpoint.port,
        }
    }

    fn address(&mut self, address: &Address) -> CompiledAddress {
        match address {
            Address::Any => CompiledAddress::Any,
            Address::Prefix(prefix) => CompiledAddress::Prefix(*prefix),
            Address::Range(first, last) => CompiledAddress::Range(*first, *last),
            Address::Dynamic(dynamic) => CompiledAddress::Dynamic(self.net.register(dynamic)),
            Address::Table(name) => CompiledAddress::Table(self.table(name)),
            Address::NoRoute => CompiledAddress::NoRoute,
            Address::UrpfFailed => CompiledAddress::UrpfFailed,
        }
    }

    /// One more rule refers to the table.
    fn table(&mut self, name: &str) -> TableId {
        let id = self.tables.ensure(self.now, &self.anchor, name);
        if let Some(table) = self.tables.get_mut(id) {
            table.references = table.references.saturating_add(1);
        }
        id
    }

    fn pool(&mut self, pool: &Pool) -> CompiledPool {
        let targets = pool.targets.iter();
        let targets = targets.filter_map(|target| self.target(target)).collect();
        CompiledPool::new(pool, targets)
    }

    fn af_to(&mut self, af_to: &AfTo, rule: &Rule) -> CompiledAfTo {
        CompiledAfTo {
            family: af_to.family,
            from: self.pool(&af_to.from),
            to: af_to.to.as_ref().map(|pool| self.pool(pool)),
            prefix_len: prefix_len(&rule.destination.address),
        }
    }

    fn target(&mut self, target: &PoolTarget) -> Option<Target> {
        let address = match &target.address {
            Address::Any => TargetAddress::Absent,
            Address::Prefix(prefix) => TargetAddress::prefix(*prefix),
            Address::Range(first, last) => TargetAddress::Range(*first, *last),
            Address::Dynamic(dynamic) => TargetAddress::Dynamic(self.net.register(dynamic)),
            Address::Table(name) => TargetAddress::Table(self.table(name)),
            Address::NoRoute | Address::UrpfFailed => return None,
        };
        Some(Target {
            interface: target
                .interface
                .as_ref()
                .map(|name| self.names.intern(name)),
            address,
            weight: target.weight.unwrap_or(1).max(1),
        })
    }

    /// A `binat` rule for inbound packets: `from` and `to` change places. `no binat` asks for
    /// source and destination as they are (`pf_match_translation`).
    fn turned_round(rule: &CompiledRule) -> Option<CompiledRule> {
        let mut turned = rule.clone();
        turned.runs = index::Runs::default();
        if rule.call.is_some() {
            (turned.source, turned.destination) = (rule.destination, rule.source);
            return Some(turned);
        }
        if let Verb::Translate { .. } = rule.verb {
            turned.source = rule.destination;
            turned.destination = CompiledEndpoint {
                negated: false,
                address: external(rule.nat.as_ref()?.targets.first()?),
                port: None,
            };
            turned.direction = rule.direction.map(Direction::reverse);
        }
        Some(turned)
    }
}

fn external(target: &Target) -> CompiledAddress {
    match target.address {
        TargetAddress::Absent => CompiledAddress::Any,
        TargetAddress::Range(first, last) => CompiledAddress::Range(first, last),
        TargetAddress::Dynamic(id) => CompiledAddress::Dynamic(id),
        TargetAddress::Table(id) => CompiledAddress::Table(id),
    }
}

/// Everything that the rule normalises.
const fn scrub(rule: &Rule) -> Scrub {
    let mut scrub = rule.scrub;
    if rule.set_tos.is_some() {
        scrub.set_tos = rule.set_tos;
    }
    scrub
}

const fn verb(rule: &Rule) -> Verb {
    match rule.action {
        Action::Pass => Verb::Pass,
        Action::Block(reply) => Verb::Block(reply),
        Action::Match | Action::Scrub => Verb::Match,
        Action::Nat | Action::Rdr | Action::Binat => Verb::Translate {
            pass: rule.nat_pass,
        },
        Action::NoNat | Action::NoRdr | Action::NoBinat | Action::NoScrub => Verb::DoNotTranslate,
    }
}
