//! `antispoof for …` (pf.conf(5), BLOCKING SPOOFED TRAFFIC).

use pf_engine::rule::{BlockReply, Direction, DynamicAddress, DynamicPart};

use super::{Expand, Expander};
use crate::ast::{
    AntispoofStatement, Host, HostKind, InterfaceName, NamedHost, RuleStatement, Verb,
};

impl Expander<'_> {
    /// For each interface: nothing from its network may enter by another one, and nothing may
    /// come from its own address.
    pub(super) fn antispoof(&mut self, antispoof: &AntispoofStatement) -> Expand<()> {
        for (interface, dynamic) in &antispoof.interfaces {
            let mut network = statement(antispoof);
            network.interfaces.push(InterfaceName {
                negated: true,
                ..interface.clone()
            });
            network.source.hosts = vec![host(interface, *dynamic, DynamicPart::Network)];
            self.antispoof_rule(&network, interface, *dynamic)?;
            if !self.is_loopback(&interface.name) {
                let mut own = statement(antispoof);
                own.source.hosts = vec![host(interface, *dynamic, DynamicPart::Host)];
                self.antispoof_rule(&own, interface, *dynamic)?;
            }
        }
        Ok(())
    }

    /// An interface without a fitting address needs no rule.
    fn antispoof_rule(
        &mut self,
        rule: &RuleStatement,
        interface: &InterfaceName,
        dynamic: bool,
    ) -> Expand<()> {
        if !dynamic && self.is_interface(&interface.name) {
            let errors = self.errors.len();
            let mut found = Vec::new();
            let nothing = rule
                .source
                .hosts
                .iter()
                .any(|host| self.host(host, &mut found).is_err())
                || !found
                    .iter()
                    .any(|host| rule.family.is_none() || host.family == rule.family);
            self.errors.truncate(errors);
            if nothing {
                return Ok(());
            }
        }
        self.rule(rule)
    }
}

fn statement(antispoof: &AntispoofStatement) -> RuleStatement {
    let mut rule = RuleStatement::new(Verb::Block(Some(BlockReply::Drop)), antispoof.span);
    rule.direction = Some(Direction::In);
    rule.log = antispoof.log;
    rule.quick = antispoof.quick;
    rule.family = antispoof.family;
    rule.labels.clone_from(&antispoof.labels);
    rule.treatment = antispoof.treatment;
    rule.identifier = antispoof.identifier;
    rule
}

fn host(interface: &InterfaceName, dynamic: bool, part: DynamicPart) -> Host {
    let name = interface.name.clone();
    let kind = if dynamic {
        HostKind::Dynamic(DynamicAddress {
            interface: name,
            part,
            no_aliases: false,
            prefix_len: None,
        })
    } else {
        HostKind::Name(NamedHost {
            name,
            part,
            no_aliases: false,
            prefix_len: None,
        })
    };
    Host {
        negated: false,
        kind,
        span: interface.span,
    }
}
