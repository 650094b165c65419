//! `set …`.

use pf_engine::rule::{Reassemble, StatePolicy, Timeout};
use pf_engine::ruleset::Limit;

use super::beyond::NO_DUMMYNET;
use super::{Parse, Parser};
use crate::ast::{InterfaceName, SetStatement, Statement};
use crate::diagnostic::Code;
use crate::names::did_you_mean;
use crate::optimize::Optimization;
use crate::source::Span;
use crate::token::Kind;

/// Options that this program can read.
const OPTIONS: &[&str] = &[
    "block-policy",
    "debug",
    "fail-policy",
    "fingerprints",
    "hostid",
    "keepcounters",
    "limit",
    "loginterface",
    "optimization",
    "reassemble",
    "require-order",
    "ruleset-optimization",
    "skip",
    "state-defaults",
    "state-policy",
    "syncookies",
    "timeout",
];

/// Limits of one PF or another that are not [`Limit`]s.
const UNSUPPORTED_LIMITS: &[&str] = &["pktdelay-pkts"];

const OPTIMIZATIONS: &[&str] = &[
    "normal",
    "default",
    "satellite",
    "high-latency",
    "aggressive",
    "conservative",
];

impl Parser<'_> {
    pub(super) fn set_statement(&mut self) -> Parse<()> {
        self.next();
        if self.peek().kind != Kind::Word {
            return Err(self.unexpected("an option"));
        }
        let option = self.next();
        match option.text.as_ref() {
            "skip" => self.set_skip(),
            "block-policy" => self.set_block_policy(),
            "state-policy" => self.set_state_policy(),
            "require-order" => self.set_require_order(),
            "optimization" => self.set_optimization(),
            "ruleset-optimization" => self.set_ruleset_optimization(),
            "loginterface" => self.set_loginterface(),
            "debug" => self.set_debug(),
            "fail-policy" => self.set_fail_policy(),
            "fingerprints" => self.set_fingerprints(),
            "hostid" => self.set_host_id(),
            "keepcounters" => {
                self.push_set(SetStatement::KeepCounters);
                Ok(())
            }
            "limit" => self.list("a limit", &mut Self::set_limit),
            "timeout" => self.list("a timeout", &mut Self::set_timeout),
            "reassemble" => self.set_reassemble(),
            "state-defaults" => self.set_state_defaults(option.span),
            "syncookies" => self.set_syncookies(),
            other => {
                let hint = did_you_mean(other, OPTIONS.iter().copied());
                let detail = format!("found `{other}`, expected an option");
                let bail = self.error(Code::Syntax, option.span, "syntax error", detail);
                if let Some(error) = self.lexer.errors.last_mut() {
                    error.hint = hint;
                }
                Err(bail)
            }
        }
    }

    pub(super) fn push_set(&mut self, statement: SetStatement) {
        self.statements.push(Statement::Set(statement));
    }

    /// The interfaces of a `statement` that is `on` some and cannot be on all others.
    pub(super) fn interface_names(&mut self, statement: &str) -> Parse<Vec<InterfaceName>> {
        let mut interfaces = Vec::new();
        self.list("an interface name", &mut |parser| {
            interfaces.push(parser.interface_name()?);
            Ok(())
        })?;
        if let Some(negated) = interfaces.iter().find(|interface| interface.negated) {
            let message = format!("{statement} on ! <interface> is not supported");
            return Err(self.error(Code::Conflict, negated.span, &message, String::new()));
        }
        Ok(interfaces)
    }

    fn set_skip(&mut self) -> Parse<()> {
        self.expect_word("on")?;
        let interfaces = self.interface_names("skip")?;
        self.push_set(SetStatement::Skip(interfaces));
        Ok(())
    }

    fn set_block_policy(&mut self) -> Parse<()> {
        let returns = if self.eat_word("drop") {
            false
        } else if self.eat_word("return") {
            true
        } else {
            return Err(self.unexpected("`drop` or `return`"));
        };
        self.push_set(SetStatement::BlockPolicy { returns });
        Ok(())
    }

    fn set_state_policy(&mut self) -> Parse<()> {
        let policy = if self.eat_word("if-bound") {
            StatePolicy::IfBound
        } else if self.eat_word("floating") {
            StatePolicy::Floating
        } else if self.at_word("group-bound") {
            let span = self.next().span;
            self.impossible("group-bound", span, super::beyond::NO_GROUP_BOUND)?;
            let echo = "set state-policy group-bound".to_owned();
            self.push_set(SetStatement::Printed(echo));
            return Ok(());
        } else {
            return Err(self.unexpected("`if-bound` or `floating`"));
        };
        self.push_set(SetStatement::StatePolicy(policy));
        Ok(())
    }

    fn set_require_order(&mut self) -> Parse<()> {
        let required = if self.eat_word("yes") {
            true
        } else if self.eat_word("no") {
            false
        } else {
            return Err(self.unexpected("`yes` or `no`"));
        };
        self.push_set(SetStatement::RequireOrder(required));
        Ok(())
    }

    fn set_optimization(&mut self) -> Parse<()> {
        let name = self.string("an optimization")?;
        // Case makes no difference here, nor to timeouts and limits; pfctl tells the name as it is written.
        let mut known = OPTIMIZATIONS.iter();
        if !known.any(|known| known.eq_ignore_ascii_case(&name.node)) {
            let message = format!("unknown optimization {}", name.node);
            let known = OPTIMIZATIONS.iter().copied();
            return Err(self.unknown_name(name.span, message, &name.node, known));
        }
        self.push_set(SetStatement::Optimization(name.node));
        Ok(())
    }

    fn set_ruleset_optimization(&mut self) -> Parse<()> {
        let name = self.string("`none`, `basic` or `profile`")?;
        let Some(level) = Optimization::named(&name.node) else {
            let message = format!("unknown ruleset-optimization {}", name.node);
            let known = ["none", "basic", "profile"].into_iter();
            return Err(self.unknown_name(name.span, message, &name.node, known));
        };
        self.push_set(SetStatement::RulesetOptimization(level));
        Ok(())
    }

    fn set_loginterface(&mut self) -> Parse<()> {
        let name = if self.eat_word("all") {
            "all".to_owned()
        } else {
            self.string("an interface name")?.node
        };
        let interface = (name != "none").then_some(name);
        self.push_set(SetStatement::LogInterface(interface));
        Ok(())
    }

    /// `yes|no [no-df]`.
    fn set_reassemble(&mut self) -> Parse<()> {
        let word = self.one_of(&["yes", "no"], |text| {
            format!("invalid value '{text}', expected 'yes' or 'no'")
        })?;
        let reassemble = Reassemble {
            enabled: word == "yes",
            no_df: self.eat_word("no-df"),
        };
        self.push_set(SetStatement::Reassemble(reassemble));
        Ok(())
    }

    fn set_limit(&mut self) -> Parse<()> {
        let name = self.string("a limit")?;
        let value = self.number("a number")?;
        if UNSUPPORTED_LIMITS.contains(&name.node.as_str()) {
            self.impossible(&format!("set limit {}", name.node), name.span, NO_DUMMYNET)?;
            let echo = format!("set limit {} {}", name.node, value.node);
            self.push_set(SetStatement::Printed(echo));
            return Ok(());
        }
        let is_named = |limit: &Limit| limit.name().eq_ignore_ascii_case(&name.node);
        let Some(limit) = Limit::ALL.into_iter().find(is_named) else {
            let message = format!("unable to set limit {} {}", name.node, value.node);
            let known = Limit::ALL.map(Limit::name);
            return Err(self.unknown_name(name.span, message, &name.node, known));
        };
        self.push_set(SetStatement::Limit(limit, value, name.node));
        Ok(())
    }

    fn set_timeout(&mut self) -> Parse<()> {
        let (timeout, value, name) = self.timeout(str::eq_ignore_ascii_case)?;
        self.push_set(SetStatement::Timeout(timeout, value, name));
        Ok(())
    }

    /// `set state-defaults option, …`.
    fn set_state_defaults(&mut self, span: Span) -> Parse<()> {
        let defaults = self.state_defaults(span)?;
        self.push_set(SetStatement::StateDefaults(Box::new(defaults)));
        Ok(())
    }

    fn set_syncookies(&mut self) -> Parse<()> {
        let (mode, text) = self.syncookies()?;
        self.push_set(SetStatement::Syncookies(mode, text));
        Ok(())
    }

    /// A timeout of states, in parentheses: those of the whole filter have no point in their names.
    pub(super) fn state_timeout(&mut self) -> Parse<(Timeout, u32)> {
        let span = self.peek().span;
        let (timeout, value, _) = self.timeout(|known, name| known == name)?;
        if !timeout.name().contains('.') {
            let message = format!("illegal state timeout {}", timeout.name());
            return Err(self.error(Code::Conflict, span, &message, String::new()));
        }
        Ok((timeout, value))
    }

    /// `name seconds`, and how the name is written.
    fn timeout(&mut self, is_same: fn(&str, &str) -> bool) -> Parse<(Timeout, u32, String)> {
        let name = self.string("a timeout")?;
        let is_named = |timeout: &Timeout| is_same(timeout.name(), &name.node);
        let Some(timeout) = Timeout::ALL.into_iter().find(is_named) else {
            let message = format!("unknown timeout {}", name.node);
            let known = Timeout::ALL.map(Timeout::name);
            return Err(self.unknown_name(name.span, message, &name.node, known));
        };
        let value = self.number("a number of seconds")?;
        Ok((timeout, value.node, name.node))
    }
}
