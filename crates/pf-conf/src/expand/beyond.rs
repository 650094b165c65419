//! What a rule prints and cannot install yet: see [`crate::extras`].

use pf_engine::rule::{Action, Direction, Rule, StateMode};
use pf_engine::ruleset::Dialect;

use super::pool::{Purpose, beyond_words};
use super::rule::Combination;
use super::{Expand, Expander};
use crate::ast::{Divert, RuleStatement, Spanned, State};
use crate::diagnostic::Code;
use crate::extras::{Extras, Slot};
use crate::print::address::print_address;

impl Expander<'_> {
    /// What is printed and not installed.
    pub(super) fn extras(
        &mut self,
        rule: &Rule,
        statement: &RuleStatement,
        combination: &Combination<'_>,
    ) -> Expand<Extras> {
        let mut extras = statement.extras.clone();
        for (purpose, weights) in std::mem::take(&mut self.weights) {
            let slot = match purpose {
                Purpose::Nat | Purpose::Binat => Slot::NatPool,
                Purpose::Rdr => Slot::RdrPool,
                Purpose::Route => Slot::RoutePool,
                Purpose::AfFrom => Slot::AfTo,
                Purpose::AfTo => continue,
            };
            extras.set_weights(slot, weights);
        }
        if let Some(state) = self
            .state_of(statement)
            .filter(|_| rule.state != StateMode::None)
        {
            extras.add_state(&state.extras);
        }
        for (slot, text) in [
            (Slot::Os, combination.system),
            (Slot::User, combination.user),
            (Slot::Group, combination.group),
        ] {
            if let Some(text) = text {
                extras.push(slot, text.clone());
            }
        }
        let pools = [
            (Slot::NatPool, &statement.nat),
            (Slot::RdrPool, &statement.rdr),
        ];
        for (slot, pool) in pools {
            for word in pool.iter().flat_map(beyond_words) {
                extras.push(slot, word);
            }
        }
        let route = statement.route.iter();
        for word in route.flat_map(|(_, pool)| beyond_words(pool)) {
            extras.push(Slot::RoutePool, word);
        }
        let af_to = statement.af_to.iter();
        for word in af_to.flat_map(|af_to| beyond_words(&af_to.node.from)) {
            extras.push(Slot::AfTo, word);
        }
        if let Some(divert) = &statement.divert {
            let text = self.divert(rule, divert)?;
            extras.push(Slot::Divert, text);
        }
        Ok(extras)
    }

    /// The state of a rule: that of `set state-defaults` where it names none.
    pub(super) fn state_of<'a>(&'a self, statement: &'a RuleStatement) -> Option<&'a State> {
        statement.state.as_ref().or(self.state_defaults.as_ref())
    }

    /// FreeBSD diverts to a port of its own, OpenBSD to an address and a port.
    fn divert(&mut self, rule: &Rule, divert: &Spanned<Divert>) -> Expand<String> {
        let open = self.ruleset.dialect == Dialect::OpenBsd;
        if matches!(rule.action, Action::Match) {
            let message = "divert is not supported on match rules";
            return Err(self.error(Code::Conflict, divert.span, message, ""));
        }
        let (pool, port) = match &divert.node {
            Divert::Reply if open && rule.direction == Some(Direction::In) => {
                let message = "divert-reply used with incoming rule";
                return Err(self.error(Code::Conflict, divert.span, message, ""));
            }
            Divert::Reply if open => return Ok("divert-reply".to_owned()),
            Divert::Reply => {
                let message = "divert-reply has no meaning in FreeBSD pf(4)";
                return Err(self.error(Code::Conflict, divert.span, message, ""));
            }
            Divert::Packet(port) => return Ok(format!("divert-packet port {port}")),
            Divert::To(pool, port) => (pool, port),
        };
        let Some(pool) = pool.as_ref().filter(|_| open) else {
            if open {
                let message = "divert-to needs an address and a port";
                return Err(self.error(Code::Syntax, divert.span, message, ""));
            }
            return Ok(format!("divert-to {port}"));
        };
        if rule.direction == Some(Direction::Out) {
            let message = "divert-to used with outgoing rule";
            return Err(self.error(Code::Conflict, divert.span, message, ""));
        }
        let candidates = self.candidates(pool)?;
        let Some(host) = candidates.first(rule.family) else {
            let message = "divert-to address family mismatch";
            return Err(self.error(Code::Conflict, divert.span, message, ""));
        };
        Ok(format!(
            "divert-to {} port {port}",
            print_address(&host.address)
        ))
    }
}
