//! One rule to many: lists multiplied in PF's order, families compared.

use pf_engine::addr::{Family, Protocol};
use pf_engine::criteria::{Criteria, OwnerMatch};
use pf_engine::engine::RuleList;
use pf_engine::osfp::pfos::SystemMatch;
use pf_engine::rule::{
    Action, Address, BlockReply, Direction, Endpoint, FlagsMatch, FragmentMode, IcmpMatch,
    InterfaceMatch, Pool, PoolKind, PoolTarget, PortMatch, Route, RouteKind, Rule, StateMode,
    StateOptions, StatePolicy, Timeout,
};
use pf_engine::ruleset::Dialect;

use super::host::{Resolved, fitted};
use super::numbering::Numbering;
use super::pool::{BinatSide, Candidates, Purpose, binat_misfit, binat_side, fits};
use super::{Bail, Expand, Expander, label};
use crate::ast::{AfTo, Divert, Flags, InterfaceName, RuleStatement, Spanned, Verb};
use crate::diagnostic::{Code, Diagnostic, NOTHING_LEFT};
use crate::extras::Extras;
use crate::limits::{MAX_LABEL_BYTES, MAX_RULES, MAX_RULES_PER_RULE, MAX_TAG_BYTES};
use crate::print::{before_loading, with_extras};

/// Combinations of a statement that are looked at for one that does, once others are wrong.
const SKIPPED_MAX: usize = 1_000;

/// The lists of a statement, each with at least one member.
struct Lists {
    interfaces: Vec<Option<InterfaceName>>,
    protocols: Vec<Option<Protocol>>,
    icmp: Vec<Option<IcmpMatch>>,
    sources: Vec<Resolved>,
    source_ports: Vec<Option<PortMatch>>,
    destinations: Vec<Resolved>,
    destination_ports: Vec<Option<PortMatch>>,
    systems: Vec<Option<SystemMatch>>,
    users: Vec<Option<OwnerMatch>>,
    groups: Vec<Option<OwnerMatch>>,
}

impl Lists {
    /// How many combinations there are, if they can be counted.
    fn product(&self) -> Option<usize> {
        [
            self.interfaces.len(),
            self.protocols.len(),
            self.icmp.len(),
            self.sources.len(),
            self.source_ports.len(),
            self.destinations.len(),
            self.destination_ports.len(),
            self.systems.len(),
            self.users.len(),
            self.groups.len(),
        ]
        .into_iter()
        .try_fold(1_usize, usize::checked_mul)
    }
}

/// One member of each list.
#[derive(Clone, Copy)]
pub(super) struct Combination<'a> {
    interface: Option<&'a InterfaceName>,
    protocol: Option<Protocol>,
    icmp: Option<IcmpMatch>,
    source: &'a Resolved,
    source_port: Option<PortMatch>,
    destination: &'a Resolved,
    destination_port: Option<PortMatch>,
    system: Option<&'a SystemMatch>,
    user: Option<OwnerMatch>,
    group: Option<OwnerMatch>,
}

impl Pools {
    /// The family that the rule has where it names none. A `nat` or `rdr` rule takes that of the first address
    /// that it names, even where others are of the other family: its source, else its destination, else its pool.
    fn family_for(&self, statement: &RuleStatement, lists: &Lists) -> Option<Family> {
        let translates = matches!(statement.verb, Verb::Nat { .. } | Verb::Rdr { .. });
        if !translates || statement.anchor.is_some() {
            return self.common_family();
        }
        let first = |hosts: &[Resolved]| hosts.first()?.family_of_all();
        let pool = self.nat.as_ref().or(self.rdr.as_ref());
        first(&lists.sources)
            .or_else(|| first(&lists.destinations))
            .or_else(|| pool?.leading_family())
    }

    /// A family that one of the pools forces on the rule.
    fn common_family(&self) -> Option<Family> {
        // Packets are routed in the family that `af-to` leads to.
        let route = self.route.as_ref().filter(|_| self.af_from.is_none());
        let others = [&self.nat, &self.rdr, &self.binat, &self.divert];
        let others = others.into_iter().flatten();
        route
            .into_iter()
            .chain(others)
            .find_map(Candidates::common_family)
    }
}

impl Combination<'_> {
    const ANY: Self = Self {
        interface: None,
        protocol: None,
        icmp: None,
        source: &Resolved::ANY,
        source_port: None,
        destination: &Resolved::ANY,
        destination_port: None,
        system: None,
        user: None,
        group: None,
    };
}

/// Resolved pools of a statement.
struct Pools {
    route: Option<Candidates>,
    nat: Option<Candidates>,
    rdr: Option<Candidates>,
    binat: Option<Candidates>,
    /// `from` of `af-to`.
    af_from: Option<Candidates>,
    /// `to` of `af-to`.
    af_to: Option<Candidates>,
    /// Of OpenBSD's `divert-to`.
    divert: Option<Candidates>,
}

impl Expander<'_> {
    pub(super) fn rule(&mut self, statement: &RuleStatement) -> Expand<()> {
        self.body = self.anchor_body(statement)?;
        let lists = self.lists(statement)?;
        let product = lists.product().unwrap_or(usize::MAX);
        if product > MAX_RULES_PER_RULE {
            let message = format!("lists multiply to more than {MAX_RULES_PER_RULE} rules");
            let detail = "a table holds many addresses in one rule";
            return Err(self.error(Code::Limit, statement.span, &message, detail));
        }
        let pools = self.pools(statement)?;
        if let (Verb::Binat { .. }, family) = (statement.verb, statement.family) {
            let sides = [&lists.sources, &lists.destinations];
            self.check_binat_sides(statement, sides, pools.binat.as_ref(), family)?;
            let mut hosts = sides.into_iter().flatten();
            let named = family.is_some() || hosts.any(|host| host.family.is_some());
            let of_pool = || pools.binat.as_ref()?.leading_family();
            if statement.anchor.is_none() && !named && of_pool().is_none() {
                let message = "address family (inet/inet6) undefined";
                let detail = "neither the rule nor an address says which";
                return Err(self.error(Code::Conflict, statement.span, message, detail));
            }
        }
        let other = |af_to: &Spanned<AfTo>| af_to.node.family.other();
        let family = statement
            .family
            .or_else(|| statement.af_to.as_ref().map(other))
            .or_else(|| pools.family_for(statement, &lists));
        let mut count = 0;
        // The errors up to that of the first combination that is skipped, and how many were since.
        let mut skipped: Option<(usize, usize)> = None;
        for combination in combinations(&lists, self.ruleset.dialect) {
            let Some((family, scope)) = common_family(&combination, family) else {
                continue;
            };
            let one = self.one_rule(statement, &combination, &pools, family, scope);
            match (one, &mut skipped) {
                (Ok(()), _) => count += 1,
                (Err(bail), None) => {
                    if !self.errors.last().is_some_and(Diagnostic::skips) {
                        return Err(bail);
                    }
                    skipped = Some((self.errors.len(), 0));
                }
                (Err(_), Some((errors, since))) => {
                    self.errors.truncate(*errors);
                    *since += 1;
                    if *since > SKIPPED_MAX {
                        break;
                    }
                }
            }
        }
        if let Some((errors, _)) = skipped {
            self.errors.truncate(errors);
            if let Some(error) = self.errors.last_mut().filter(|_| count == 0) {
                error.skips_all();
            }
            return Err(Bail);
        }
        if count == 0 {
            let message = NOTHING_LEFT;
            let detail = "no two of its addresses and its family fit together";
            return Err(self.error(Code::NoCombination, statement.span, message, detail));
        }
        Ok(())
    }

    fn lists(&mut self, statement: &RuleStatement) -> Expand<Lists> {
        Ok(Lists {
            interfaces: or_none(statement.interfaces.iter().cloned()),
            protocols: or_none(statement.protocols.iter().map(|p| p.node)),
            icmp: or_none(statement.icmp.iter().map(|i| i.node)),
            sources: self.hosts(&statement.source.hosts)?,
            source_ports: or_none(statement.source.ports.iter().map(|p| p.node)),
            destinations: self.hosts(&statement.destination.hosts)?,
            destination_ports: or_none(statement.destination.ports.iter().map(|p| p.node)),
            systems: self.systems(statement)?,
            users: or_none(statement.users.iter().copied()),
            groups: or_none(statement.groups.iter().copied()),
        })
    }

    fn pools(&mut self, statement: &RuleStatement) -> Expand<Pools> {
        let open = self.ruleset.dialect == Dialect::OpenBsd;
        let af_to = statement.af_to.as_ref().map(|af_to| &af_to.node);
        let mut resolve = |pool: Option<&crate::ast::PoolStatement>| {
            pool.map(|pool| self.candidates(pool)).transpose()
        };
        Ok(Pools {
            route: resolve(statement.route.as_ref().map(|(_, pool)| pool))?,
            nat: resolve(statement.nat.as_ref())?,
            rdr: resolve(statement.rdr.as_ref())?,
            binat: resolve(statement.binat.as_ref())?,
            af_from: resolve(af_to.map(|af_to| &af_to.from))?,
            af_to: resolve(af_to.and_then(|af_to| af_to.to.as_ref()))?,
            divert: resolve(diverted_to(statement).filter(|_| open))?,
        })
    }

    fn one_rule(
        &mut self,
        statement: &RuleStatement,
        combination: &Combination<'_>,
        pools: &Pools,
        family: Option<Family>,
        scope: Option<&str>,
    ) -> Expand<()> {
        let hosts = [combination.source, combination.destination];
        self.check_netmask(hosts, statement.span)
            .map_err(|bail| self.skipping(bail))?;
        let mut rule = self.match_part(statement, combination, family, scope);
        rule.once = statement.once.is_some();
        if let Some(name) = &statement.anchor {
            rule.anchor = Some(self.anchor_call(name, statement.span)?);
        }
        self.state_part(&mut rule, statement);
        self.pool_part(&mut rule, statement, pools)?;
        let extras = self.extras(&mut rule, statement)?;
        self.check(&rule, statement)?;
        if statement.binat.is_some() && !statement.verb.is_translation() {
            return self.binat_to(&rule, statement, pools, &extras);
        }
        self.push(rule, statement, &extras)
    }

    /// Everything that is compared with a packet, and the action.
    fn match_part(
        &self,
        statement: &RuleStatement,
        combination: &Combination<'_>,
        family: Option<Family>,
        scope: Option<&str>,
    ) -> Rule {
        let mut rule = Rule::new(self.action(statement.verb));
        rule.nat_pass = statement.nat_pass;
        rule.direction = statement.direction;
        rule.log = statement.log;
        rule.quick = statement.quick;
        rule.interface = interface_match(combination.interface, scope);
        rule.protocol = combination.protocol;
        rule.source = endpoint(combination.source, combination.source_port);
        rule.destination = endpoint(combination.destination, combination.destination_port);
        for end in [&mut rule.source, &mut rule.destination] {
            end.address = fitted(&end.address, family);
        }
        rule.icmp = combination.icmp;
        rule.tos = statement.tos.filter(|tos| *tos != 0);
        rule.max_packet_rate = statement.max_packet_rate;
        rule.max_packet_size = statement.max_packet_size;
        rule.state_limiter = statement.state_limiter;
        rule.source_limiter = statement.source_limiter;
        rule.fragment = statement.fragment.is_some();
        rule.scrub = statement.scrub;
        rule.fragments = self.fragment_mode(statement.fragments);
        rule.set_tos = statement.set_tos;
        rule.allow_options = statement.allow_options.is_some();
        rule.criteria = Criteria {
            received_on: statement.received_on.clone(),
            user: combination.user,
            group: combination.group,
            priority: statement.priority,
            probability: statement.probability,
            system: combination.system.cloned(),
        };
        rule.treatment = statement.treatment;
        rule.queue.clone_from(&statement.queue);
        rule.identifier = statement.identifier;
        rule.family = family;
        rule
    }

    /// FreeBSD reads `crop` and `drop-ovl` as `reassemble`, and prints that.
    fn fragment_mode(&self, written: FragmentMode) -> FragmentMode {
        if self.ruleset.dialect != Dialect::OpenBsd3 && written.reassembles() {
            FragmentMode::Reassemble
        } else {
            written
        }
    }

    const fn action(&self, verb: Verb) -> Action {
        match verb {
            Verb::Pass => Action::Pass,
            Verb::Match | Verb::Anchor => Action::Match,
            Verb::Scrub { no: false } => Action::Scrub,
            Verb::Scrub { no: true } => Action::NoScrub,
            Verb::Block(Some(reply)) => Action::Block(reply),
            Verb::Block(None) if self.block_returns => Action::Block(BlockReply::Return),
            Verb::Block(None) => Action::Block(BlockReply::Drop),
            Verb::Nat { no: false } => Action::Nat,
            Verb::Nat { no: true } => Action::NoNat,
            Verb::Rdr { no: false } => Action::Rdr,
            Verb::Rdr { no: true } => Action::NoRdr,
            Verb::Binat { no: false } => Action::Binat,
            Verb::Binat { no: true } => Action::NoBinat,
        }
    }

    /// State and flags. Since OpenBSD 4.1 a pass rule has `flags S/SA keep state` unless it says
    /// otherwise; flags are for TCP alone, and so is modulation.
    fn state_part(&self, rule: &mut Rule, statement: &RuleStatement) {
        let implicit = self.ruleset.dialect != Dialect::OpenBsd3 && rule.action == Action::Pass;
        let mode = match &statement.state {
            Some(state) => state.mode,
            None if implicit => StateMode::Keep,
            None => StateMode::None,
        };
        let options = self.state_of(statement).map(|state| state.options.clone());
        let options = options.unwrap_or_default();
        let tcp = rule.protocol.is_none_or(|p| p == Protocol::TCP);
        rule.state = if tcp || mode == StateMode::None {
            mode
        } else {
            StateMode::Keep
        };
        rule.state_options = state_options(rule.state, options, self.state_policy);
        let default = implicit && rule.state != StateMode::None && !rule.fragment;
        let given = match statement.flags.as_ref().map(|flags| flags.node) {
            Some(Flags::Any) => None,
            Some(Flags::Match(flags)) => Some(flags),
            None => default.then_some(FlagsMatch::SYN_OF_SYN_ACK),
        };
        rule.flags = given.filter(|_| tcp);
    }

    /// Pools, and the family that a translation address forces.
    fn pool_part(
        &mut self,
        rule: &mut Rule,
        statement: &RuleStatement,
        pools: &Pools,
    ) -> Expand<()> {
        if rule.family.is_none() {
            rule.family = [&pools.nat, &pools.rdr, &pools.binat]
                .into_iter()
                .flatten()
                .find_map(Candidates::first_family);
        }
        self.af_to_part(rule, statement, pools)?;
        let family = rule.family;
        let port = rule.destination.port;
        if let (Some((kind, pool)), Some(candidates)) = (&statement.route, &pools.route) {
            // `reply-to` is for answers, which are in the rule's own family.
            let family = match &rule.af_to {
                Some(af_to) if *kind != RouteKind::ReplyTo => Some(af_to.family),
                _ => family,
            };
            rule.route = Some(Route {
                kind: *kind,
                pool: self.pool(pool, candidates, Purpose::Route, family, None)?,
            });
        }
        if let (Some(pool), Some(candidates)) = (&statement.nat, &pools.nat) {
            rule.nat = Some(self.pool(pool, candidates, Purpose::Nat, family, None)?);
        }
        if let (Some(pool), Some(candidates)) = (&statement.rdr, &pools.rdr) {
            rule.rdr = Some(self.pool(pool, candidates, Purpose::Rdr, family, port)?);
        }
        if let (Some(pool), Some(candidates)) = (&statement.binat, &pools.binat) {
            self.check_binat(rule, statement, candidates)?;
            rule.nat = Some(self.pool(pool, candidates, Purpose::Binat, family, None)?);
        }
        Ok(())
    }

    /// `af-to`: its pools are of the family that it leads to.
    fn af_to_part(
        &mut self,
        rule: &mut Rule,
        statement: &RuleStatement,
        pools: &Pools,
    ) -> Expand<()> {
        let (Some(af_to), Some(from)) = (&statement.af_to, &pools.af_from) else {
            return Ok(());
        };
        let family = Some(af_to.node.family);
        let from = self.pool(&af_to.node.from, from, Purpose::AfFrom, family, None)?;
        let to = match (&af_to.node.to, &pools.af_to) {
            (Some(to), Some(pool)) => Some(self.pool(to, pool, Purpose::AfTo, family, None)?),
            _ => None,
        };
        rule.af_to = Some(pf_engine::rule::AfTo {
            family: af_to.node.family,
            from,
            to,
        });
        Ok(())
    }

    /// A `binat` rule has one address on each side, of one family, and none that is several.
    fn check_binat_sides(
        &mut self,
        statement: &RuleStatement,
        sides: [&Vec<Resolved>; 2],
        target: Option<&Candidates>,
        family: Option<Family>,
    ) -> Expand<()> {
        let source = sides[0].iter().map(|host| &host.address);
        let source = source.filter_map(|address| binat_misfit(address, "source address"));
        let target = target.iter().flat_map(|target| target.addresses());
        let target = target.filter_map(|address| binat_misfit(address, "redirect address"));
        let fitting = |side: &Vec<Resolved>| side.iter().filter(|host| fits(host, family)).count();
        let families = sides.into_iter().flatten().filter_map(|host| host.family);
        let mut families = families.chain(family);
        let message = if let Some(message) = source.chain(target).next() {
            message
        } else if sides.into_iter().any(|side| fitting(side) > 1) {
            "multiple binat ip addresses".to_owned()
        } else if families
            .next()
            .is_some_and(|first| families.any(|other| other != first))
        {
            "binat ip versions must match".to_owned()
        } else {
            return Ok(());
        };
        Err(self.error(Code::Conflict, statement.span, &message, ""))
    }

    /// Both sides of `binat` are one host or networks of one size.
    fn check_binat(
        &mut self,
        rule: &Rule,
        statement: &RuleStatement,
        candidates: &Candidates,
    ) -> Expand<()> {
        let span = statement.binat.as_ref().map_or(statement.span, |b| b.span);
        let source = binat_side(&rule.source.address);
        let target = candidates
            .single(rule.family)
            .and_then(|host| binat_side(&host.address));
        let any = rule.source.address == Address::Any;
        let message = match (source, target) {
            _ if rule.source.negated => "'binat' source cannot be negated",
            (None, Some(_)) if rule.action == Action::Binat && any => return Ok(()),
            (None, _) => "'binat' source must be a single address or network",
            (_, None) => "'binat' target must be a single address or network",
            (Some(BinatSide::Length(a)), Some(BinatSide::Length(b))) if a != b => {
                "'binat' source mask and redirect mask must be the same"
            }
            _ => return Ok(()),
        };
        Err(self.error(Code::Conflict, span, message, ""))
    }

    /// `binat-to` is a `nat-to` on the way out and an `rdr-to` on the way in.
    fn binat_to(
        &mut self,
        rule: &Rule,
        statement: &RuleStatement,
        pools: &Pools,
        extras: &Extras,
    ) -> Expand<()> {
        let (Some(pool), Some(candidates)) = (&rule.nat, &pools.binat) else {
            return Ok(());
        };
        if statement.direction.is_some() {
            let message = "binat-to works in both directions; the rule must not name one";
            return Err(self.error(Code::Conflict, statement.span, message, ""));
        }
        let Some(target) = candidates.single(rule.family).cloned() else {
            return Ok(());
        };
        let network = matches!(&rule.source.address, Address::Prefix(prefix) if !prefix.is_host());
        let kind = if network {
            PoolKind::Bitmask
        } else {
            pool.kind
        };
        let mut out = rule.clone();
        out.direction = Some(Direction::Out);
        out.nat = Some(Pool {
            static_port: true,
            kind,
            ..pool.clone()
        });
        let mut inward = rule.clone();
        inward.direction = Some(Direction::In);
        inward.nat = None;
        inward.rdr = Some(Pool {
            targets: vec![PoolTarget {
                interface: None,
                address: rule.source.address.clone(),
                weight: None,
            }],
            kind: if matches!(rule.source.address, Address::Dynamic(_)) {
                PoolKind::RoundRobin
            } else {
                kind
            },
            ..pool.clone()
        });
        inward.source = Endpoint {
            port: None,
            ..rule.destination.clone()
        };
        inward.destination = endpoint(&target, rule.source.port);
        inward.source.port = rule.destination.port;
        self.push(out, statement, extras)?;
        self.push(inward, statement, extras)
    }

    /// Adds a rule to its ruleset, with its labels and tags.
    fn push(&mut self, mut rule: Rule, statement: &RuleStatement, extras: &Extras) -> Expand<()> {
        if self.rules >= MAX_RULES {
            let message = format!("more than {MAX_RULES} rules");
            return Err(self.error(Code::Limit, statement.span, &message, ""));
        }
        self.rules += 1;
        let number = self.ruleset.filter.len();
        self.names_part(&mut rule, statement, number)?;
        let list = RuleList::of(&rule.action);
        let counted = self.numbers.next(list);
        if let Some(print) = self.print {
            let line = if self.numbered {
                with_extras(&before_loading(&rule), extras, print)
            } else {
                with_extras(&rule, extras, print)
            };
            self.lines.rules.push(list, (counted, line + &self.body));
        }
        self.ruleset.list_mut(list).push(rule);
        self.origins.push(list, statement.span);
        self.numbers.push(list, counted);
        Ok(())
    }

    fn names_part(
        &mut self,
        rule: &mut Rule,
        statement: &RuleStatement,
        number: usize,
    ) -> Expand<()> {
        let mut names = Numbering::default();
        for text in &statement.labels {
            let expanded = self.fitting(rule, text, number, "label", MAX_LABEL_BYTES)?;
            if !expanded.is_empty() {
                names.labels.push(expanded);
            }
        }
        if let Some(text) = &statement.tag {
            names.tag = Some(self.fitting(rule, text, number, "tag", MAX_TAG_BYTES)?);
        }
        if let Some((negated, text)) = &statement.tagged {
            names.tagged = Some(self.fitting(rule, text, number, "tag", MAX_TAG_BYTES)?);
            rule.tagged = Some((*negated, String::new()));
        }
        names.apply(rule, number);
        let filters = matches!(rule.action, Action::Pass | Action::Block(_) | Action::Match);
        if filters && names.is_needed() && self.print.is_none() {
            self.numbering.insert(number, names);
        }
        Ok(())
    }

    /// The text with everything in place but the number, once it is sure to fit with it.
    fn fitting(
        &mut self,
        rule: &Rule,
        written: &Spanned<String>,
        number: usize,
        what: &str,
        max: usize,
    ) -> Expand<String> {
        let template = label::expand(&written.node, rule);
        let expanded = template.replace(label::NUMBER, &number.to_string());
        if label::has_macro(&expanded) {
            let message = format!("{what} would be expanded again");
            let detail = format!("it expands to `{expanded}`");
            return Err(self.error(Code::Conflict, written.span, &message, &detail));
        }
        if expanded.len() > max {
            let message = format!("{what} too long (max {max} chars)");
            let detail = format!("it expands to `{expanded}`");
            return Err(self.error(Code::Limit, written.span, &message, &detail));
        }
        Ok(template)
    }
}

fn state_options(mode: StateMode, mut options: StateOptions, policy: StatePolicy) -> StateOptions {
    if mode == StateMode::None {
        return StateOptions::default();
    }
    if policy == StatePolicy::IfBound {
        options.policy.get_or_insert(policy);
    }
    // A rule's own limit scales its timeouts as the global one does (pf.conf(5), `max`); PF
    // divides first, and zero stands for none.
    let adaptive = |(timeout, _): &(Timeout, u32)| timeout.is_adaptive();
    if let Some(max) = options.max
        && !options.timeouts.iter().any(adaptive)
    {
        let start = (max / 10).saturating_mul(6);
        let end = (max / 10).saturating_mul(12);
        if start > 0 {
            options.timeouts.push((Timeout::AdaptiveStart, start));
            options.timeouts.push((Timeout::AdaptiveEnd, end));
        }
    }
    options.timeouts.sort_by_key(|(timeout, _)| *timeout);
    options
}

pub(super) fn or_none<T>(items: impl Iterator<Item = T>) -> Vec<Option<T>> {
    let list: Vec<Option<T>> = items.map(Some).collect();
    if list.is_empty() { vec![None] } else { list }
}

fn diverted_to(statement: &RuleStatement) -> Option<&crate::ast::PoolStatement> {
    match &statement.divert.as_ref()?.node {
        Divert::To(pool, _) => pool.as_deref(),
        Divert::Reply | Divert::Packet(_) => None,
    }
}

/// All combinations, outermost first: interface, protocol, ICMP type, and what is of the two ends.
fn combinations(lists: &Lists, dialect: Dialect) -> impl Iterator<Item = Combination<'_>> {
    let sides = move || -> Box<dyn Iterator<Item = Combination<'_>>> {
        match dialect {
            Dialect::FreeBsd | Dialect::OpenBsd3 => Box::new(sides(lists)),
            Dialect::OpenBsd => Box::new(sides_of_openbsd(lists)),
        }
    };
    lists.interfaces.iter().flat_map(move |interface| {
        lists.protocols.iter().flat_map(move |protocol| {
            lists.icmp.iter().flat_map(move |icmp| {
                sides().map(move |sides| Combination {
                    interface: interface.as_ref(),
                    protocol: *protocol,
                    icmp: *icmp,
                    ..sides
                })
            })
        })
    })
}

/// Source, source port, system, destination, destination port, user, group.
fn sides(lists: &Lists) -> impl Iterator<Item = Combination<'_>> {
    lists.sources.iter().flat_map(move |source| {
        lists.source_ports.iter().flat_map(move |source_port| {
            lists.systems.iter().flat_map(move |system| {
                destinations(lists).map(move |destination| Combination {
                    source,
                    source_port: *source_port,
                    system: system.as_ref(),
                    ..destination
                })
            })
        })
    })
}

fn destinations(lists: &Lists) -> impl Iterator<Item = Combination<'_>> {
    lists.destinations.iter().flat_map(move |destination| {
        lists.destination_ports.iter().flat_map(move |port| {
            owners(lists).map(move |owners| Combination {
                destination,
                destination_port: *port,
                ..owners
            })
        })
    })
}

fn owners(lists: &Lists) -> impl Iterator<Item = Combination<'_>> {
    lists.users.iter().flat_map(move |user| {
        lists.groups.iter().map(move |group| Combination {
            user: *user,
            group: *group,
            ..Combination::ANY
        })
    })
}

/// Source, destination, source port, destination port, system, user, group.
fn sides_of_openbsd(lists: &Lists) -> impl Iterator<Item = Combination<'_>> {
    lists.sources.iter().flat_map(move |source| {
        lists.destinations.iter().flat_map(move |destination| {
            ports_of_openbsd(lists).map(move |ports| Combination {
                source,
                destination,
                ..ports
            })
        })
    })
}

fn ports_of_openbsd(lists: &Lists) -> impl Iterator<Item = Combination<'_>> {
    lists.source_ports.iter().flat_map(move |source_port| {
        lists.destination_ports.iter().flat_map(move |port| {
            lists.systems.iter().flat_map(move |system| {
                owners(lists).map(move |owners| Combination {
                    source_port: *source_port,
                    destination_port: *port,
                    system: system.as_ref(),
                    ..owners
                })
            })
        })
    })
}

/// The family of a combination and the interface that its link-local addresses bind it to, or
/// nothing when its parts do not fit together.
fn common_family<'a>(
    combination: &Combination<'a>,
    family: Option<Family>,
) -> Option<(Option<Family>, Option<&'a str>)> {
    let mut common = family;
    for host in [combination.source, combination.destination] {
        match (common, host.family) {
            (Some(a), Some(b)) if a != b => return None,
            (None, forced) => common = forced,
            (Some(_), _) => {}
        }
    }
    let mut scope = combination.interface.map(|i| i.name.as_str());
    for host in [combination.source, combination.destination] {
        match (scope, host.scope.as_deref()) {
            (Some(a), Some(b)) if a != b => return None,
            (None, bound) => scope = bound,
            (Some(_), _) => {}
        }
    }
    Some((common, scope))
}

pub(super) fn interface_match(
    interface: Option<&InterfaceName>,
    scope: Option<&str>,
) -> Option<InterfaceMatch> {
    match (interface, scope) {
        (Some(interface), _) => Some(InterfaceMatch {
            negated: interface.negated,
            name: interface.name.clone(),
        }),
        (None, Some(name)) => Some(InterfaceMatch {
            negated: false,
            name: name.to_owned(),
        }),
        (None, None) => None,
    }
}

pub(super) fn endpoint(host: &Resolved, port: Option<PortMatch>) -> Endpoint {
    Endpoint {
        negated: host.negated,
        address: host.address.clone(),
        port,
    }
}
