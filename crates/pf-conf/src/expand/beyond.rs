//! What a rule prints and cannot install: see [`crate::extras`].

use std::net::{IpAddr, SocketAddr};

use pf_engine::criteria;
use pf_engine::rule::{Action, Address, Direction, Rule, StateMode};
use pf_engine::ruleset::Dialect;

use super::{Expand, Expander};
use crate::ast::{Divert, PoolStatement, RuleStatement, Spanned, State};
use crate::diagnostic::Code;
use crate::extras::{Extras, Slot};
use crate::source::Span;

impl Expander<'_> {
    /// What is printed and not installed.
    pub(super) fn extras(&mut self, rule: &mut Rule, statement: &RuleStatement) -> Expand<Extras> {
        let mut extras = statement.extras.clone();
        if let Some(state) = self
            .state_of(statement)
            .filter(|_| rule.state != StateMode::None)
        {
            extras.add_state(&state.extras);
        }
        if let Some(divert) = &statement.divert {
            self.divert(rule, divert, &mut extras)?;
        }
        Ok(extras)
    }

    /// The state of a rule: that of `set state-defaults` where it names none.
    pub(super) fn state_of<'a>(&'a self, statement: &'a RuleStatement) -> Option<&'a State> {
        statement.state.as_ref().or(self.state_defaults.as_ref())
    }

    /// FreeBSD diverts to a socket of its own kind, OpenBSD to one that listens at an address.
    fn divert(
        &mut self,
        rule: &mut Rule,
        divert: &Spanned<Divert>,
        extras: &mut Extras,
    ) -> Expand<()> {
        let open = self.ruleset.dialect == Dialect::OpenBsd;
        if matches!(rule.action, Action::Match) {
            let message = "divert is not supported on match rules";
            return Err(self.error(Code::Conflict, divert.span, message, ""));
        }
        let text = match &divert.node {
            Divert::Reply if open && rule.direction == Some(Direction::In) => {
                let message = "divert-reply used with incoming rule";
                return Err(self.error(Code::Conflict, divert.span, message, ""));
            }
            Divert::Reply if open => {
                rule.treatment.divert = Some(criteria::Divert::Reply);
                return Ok(());
            }
            Divert::Reply => {
                let message = "divert-reply has no meaning in FreeBSD pf(4)";
                return Err(self.error(Code::Conflict, divert.span, message, ""));
            }
            Divert::To(pool, port) if open => {
                let address = self.diverted_to(rule, divert.span, pool.as_deref())?;
                let to = SocketAddr::new(address, *port);
                rule.treatment.divert = Some(criteria::Divert::To(to));
                return Ok(());
            }
            Divert::To(_, port) => format!("divert-to {port}"),
            Divert::Packet(port) => format!("divert-packet port {port}"),
        };
        if self.print.is_none() {
            let message = "not supported: divert-to";
            let detail = "Linux has nothing for FreeBSD's `divert-to`, which leads to a divert(4) \
                          socket";
            let bail = self.error(Code::NotSupported, divert.span, message, detail);
            if let Some(error) = self.errors.last_mut() {
                error.hint = Some(super::NO_DIVERT_SOCKETS.to_owned());
            }
            return Err(bail);
        }
        extras.push(Slot::Divert, text);
        Ok(())
    }

    fn diverted_to(
        &mut self,
        rule: &Rule,
        span: Span,
        pool: Option<&PoolStatement>,
    ) -> Expand<IpAddr> {
        let Some(pool) = pool else {
            let message = "divert-to needs an address and a port";
            return Err(self.error(Code::Syntax, span, message, ""));
        };
        if rule.direction == Some(Direction::Out) {
            let message = "divert-to used with outgoing rule";
            return Err(self.error(Code::Conflict, span, message, ""));
        }
        let candidates = self.candidates(pool)?;
        let host = candidates.first(rule.family).map(|host| &host.address);
        let Some(Address::Prefix(prefix)) = host else {
            let message = "divert-to address family mismatch";
            return Err(self.error(Code::Conflict, span, message, ""));
        };
        Ok(prefix.address())
    }
}
