//! `ether` rules: lists multiplied, and what is in the braces of their anchors.

use pf_engine::addr::Family;
use pf_engine::anchor::AnchorPath;
use pf_engine::ether::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, EtherRule, MacMatch};
use pf_engine::rule::Address;

use super::host::Resolved;
use super::rule::{endpoint, interface_match, or_none};
use super::{Expand, Expander, Section};
use crate::ast::{EtherStatement, InterfaceName, RuleStatement};
use crate::diagnostic::Code;
use crate::extras::Slot;
use crate::limits::{MAX_LABEL_BYTES, MAX_RULES, MAX_RULES_PER_RULE};
use crate::print::ether::print_ether_rule;
use crate::source::Span;

/// What a rule is multiplied by, outermost first.
struct Lists {
    interfaces: Vec<Option<InterfaceName>>,
    types: Vec<Option<u16>>,
    sources: Vec<Option<MacMatch>>,
    destinations: Vec<Option<MacMatch>>,
    ip_sources: Vec<Resolved>,
    ip_destinations: Vec<Resolved>,
}

impl Lists {
    fn product(&self) -> usize {
        let lengths = [
            self.interfaces.len(),
            self.types.len(),
            self.sources.len(),
            self.destinations.len(),
            self.ip_sources.len(),
            self.ip_destinations.len(),
        ];
        lengths.into_iter().fold(1, usize::saturating_mul)
    }

    /// The criteria of each rule, in PF's order.
    fn rules(&self, plain: &EtherRule) -> Vec<EtherRule> {
        let mut rules = vec![plain.clone()];
        multiply(&mut rules, &self.interfaces, |rule, on| {
            rule.interface = interface_match(on.as_ref(), None);
        });
        multiply(&mut rules, &self.types, |rule, kind| {
            rule.ether_type = *kind;
        });
        multiply(&mut rules, &self.sources, |rule, mac| rule.source = *mac);
        multiply(&mut rules, &self.destinations, |rule, mac| {
            rule.destination = *mac;
        });
        multiply(&mut rules, &self.ip_sources, |rule, host| {
            rule.ip_source = endpoint(host, None);
            rule.ether_type = rule.ether_type.or(type_of(host));
        });
        multiply(&mut rules, &self.ip_destinations, |rule, host| {
            rule.ip_destination = endpoint(host, None);
            rule.ether_type = rule.ether_type.or(type_of(host));
        });
        rules
    }
}

/// As in PF, a rule that names an IP address and no type is for frames with such packets.
fn type_of(host: &Resolved) -> Option<u16> {
    Some(match host.family? {
        Family::Inet => ETHER_TYPE_IPV4,
        Family::Inet6 => ETHER_TYPE_IPV6,
    })
}

fn multiply<T>(rules: &mut Vec<EtherRule>, by: &[T], change: impl Fn(&mut EtherRule, &T)) {
    let each = std::mem::take(rules).into_iter().flat_map(|rule| {
        let change = &change;
        by.iter().map(move |item| {
            let mut rule = rule.clone();
            change(&mut rule, item);
            rule
        })
    });
    *rules = each.collect();
}

impl Expander<'_> {
    pub(super) fn ether(&mut self, statement: &EtherStatement) -> Expand<()> {
        let written = &statement.rule;
        self.enter(Section::Ether, written.span)?;
        let body = self.ether_body(written)?;
        let plain = self.plain(statement)?;
        let lists = self.ether_lists(statement)?;
        let rules = lists.product();
        if rules > MAX_RULES_PER_RULE {
            let message = format!("lists multiply to more than {MAX_RULES_PER_RULE} rules");
            let detail = "a table holds many addresses in one rule";
            return Err(self.error(Code::Limit, written.span, &message, detail));
        }
        self.rules = self.rules.saturating_add(rules);
        if self.rules > MAX_RULES {
            let message = format!("more than {MAX_RULES} rules");
            return Err(self.error(Code::Limit, written.span, &message, ""));
        }
        let pipes = written.extras.words(Slot::Pipe).iter();
        let pipes = pipes.fold(String::new(), |text, pipe| text + " " + pipe);
        for rule in lists.rules(&plain) {
            if self.print.is_some() {
                let line = print_ether_rule(&rule) + &pipes + &body;
                self.lines.ether.push((self.ruleset.ether.len(), line));
            }
            self.ruleset.ether.push(rule);
        }
        Ok(())
    }

    /// Everything that no list multiplies. As in PF, nothing is put in the place of macros in
    /// labels.
    fn plain(&mut self, statement: &EtherStatement) -> Expand<EtherRule> {
        let written = &statement.rule;
        let mut rule = EtherRule::new(statement.action);
        rule.direction = written.direction;
        rule.quick = written.quick;
        rule.bridge_to.clone_from(&statement.bridge_to);
        rule.identifier = written.identifier;
        rule.tag = written.tag.as_ref().map(|tag| tag.node.clone());
        rule.tagged = written
            .tagged
            .as_ref()
            .map(|(no, tag)| (*no, tag.node.clone()));
        for label in &written.labels {
            if label.node.len() > MAX_LABEL_BYTES {
                let message = format!("label too long (max {MAX_LABEL_BYTES} chars)");
                return Err(self.error(Code::Limit, label.span, &message, ""));
            }
            rule.labels.push(label.node.clone());
        }
        if let Some(queue) = &written.queue {
            if queue.urgent.is_some() {
                let message = "an ether rule has one queue";
                return Err(self.error(Code::Conflict, written.span, message, ""));
            }
            rule.queue = Some(queue.normal.clone());
        }
        if let Some(name) = &written.anchor {
            rule.anchor = Some(self.anchor_call(name, written.span)?);
        }
        Ok(rule)
    }

    fn ether_lists(&mut self, statement: &EtherStatement) -> Expand<Lists> {
        let written = &statement.rule;
        let ports = written
            .source
            .ports
            .iter()
            .chain(&written.destination.ports);
        if let Some(port) = ports.into_iter().next() {
            let message = "an ether rule has no ports";
            return Err(self.error(Code::Conflict, port.span, message, ""));
        }
        if !written.systems.is_empty() {
            let message = "an ether rule has no os";
            return Err(self.error(Code::Conflict, written.span, message, ""));
        }
        let ip_sources = self.hosts(&written.source.hosts)?;
        let ip_destinations = self.hosts(&written.destination.hosts)?;
        for (word, hosts) in [("from", &ip_sources), ("to", &ip_destinations)] {
            self.check_hosts(word, hosts, written.span)?;
        }
        Ok(Lists {
            interfaces: or_none(written.interfaces.iter().cloned()),
            types: or_none(statement.types.iter().copied()),
            sources: or_none(statement.sources.iter().copied()),
            destinations: or_none(statement.destinations.iter().copied()),
            ip_sources,
            ip_destinations,
        })
    }

    fn check_hosts(&mut self, word: &str, hosts: &[Resolved], span: Span) -> Expand<()> {
        let fits = |host: &Resolved| {
            matches!(
                host.address,
                Address::Any | Address::Prefix(_) | Address::Table(_)
            )
        };
        if hosts.iter().all(fits) {
            return Ok(());
        }
        let message = format!("{word} must be an address or table");
        Err(self.error(Code::Conflict, span, &message, ""))
    }

    /// As `anchor_body`, for rules for frames: those of an anchor with braces.
    fn ether_body(&mut self, written: &RuleStatement) -> Expand<String> {
        let (Some(body), Some(name)) = (&written.body, &written.anchor) else {
            return Ok(String::new());
        };
        let path = self.anchor_call(name, written.span)?.path;
        let (part, lines) = self.inside(&path, body);
        self.fill_ether(path, part.ruleset.ether, written.span)?;
        Ok(self.braces(lines))
    }

    /// Puts rules for frames into the rulesets of their anchors, beside what those have already.
    pub(super) fn join_ether(&mut self) {
        for (path, rules) in std::mem::take(&mut self.ether_anchors) {
            let part = self.anchors.entry(path).or_default();
            part.ruleset.dialect = self.ruleset.dialect;
            part.ruleset.ether = rules;
        }
    }

    /// An anchor has braces once for rules for frames, and once for others.
    fn fill_ether(&mut self, path: AnchorPath, rules: Vec<EtherRule>, span: Span) -> Expand<()> {
        let known = self.ether_anchors.get(&path);
        if known.is_some_and(|known| *known != rules) {
            let message = format!("inline anchor '{}' already exists", path.name());
            return Err(self.error(Code::Conflict, span, &message, ""));
        }
        self.ether_anchors.insert(path, rules);
        Ok(())
    }
}
