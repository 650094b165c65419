//! `keep state (…)`.

use pf_engine::rule::{StateMode, StatePolicy};

use super::track::{self, track_as_long_as_measured};
use super::{Parse, Parser};
use crate::ast::{RuleStatement, State};
use crate::diagnostic::Code;
use crate::source::Span;
use crate::token::{Kind, Token};

/// State options of one PF or another that are not in this program.
const UNSUPPORTED: &[&str] = &["pflow", "group-bound"];

impl Parser<'_> {
    /// `keep state`, `modulate state`, `synproxy state`, `no state`, with options.
    pub(super) fn state(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let mode = match keyword.text.as_ref() {
            "keep" => StateMode::Keep,
            "modulate" => StateMode::Modulate,
            "synproxy" => StateMode::Synproxy,
            _ => StateMode::None,
        };
        self.expect_word("state")?;
        if rule.state.is_some() {
            let message = "modulate or keep cannot be redefined";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        }
        let mut state = State {
            mode,
            options: pf_engine::rule::StateOptions::default(),
            extras: crate::extras::Extras::NONE,
            track_given: false,
            track_is_said: false,
            span: keyword.span,
        };
        if mode != StateMode::None && self.at_symbol("(") {
            self.state_parentheses(&mut state)?;
        }
        rule.state = Some(state);
        Ok(())
    }

    /// The options of `set state-defaults`, which stand without parentheses.
    pub(super) fn state_defaults(&mut self, span: Span) -> Parse<State> {
        let mut state = State {
            mode: StateMode::Keep,
            options: pf_engine::rule::StateOptions::default(),
            extras: crate::extras::Extras::NONE,
            track_given: false,
            track_is_said: false,
            span,
        };
        loop {
            self.state_option(&mut state)?;
            self.eat_symbol(",");
            if self.peek().ends_line() {
                track_as_long_as_measured(&mut state);
                return Ok(state);
            }
        }
    }

    /// `(option [,] …)`.
    pub(super) fn state_parentheses(&mut self, state: &mut State) -> Parse<()> {
        self.expect_symbol("(")?;
        self.state_options(state)?;
        track_as_long_as_measured(state);
        Ok(())
    }

    fn state_options(&mut self, state: &mut State) -> Parse<()> {
        loop {
            self.state_option(state)?;
            let comma = self.eat_symbol(",");
            if self.eat_symbol(")") {
                return Ok(());
            }
            if !comma && self.peek().kind != Kind::Word {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
    }

    fn state_option(&mut self, state: &mut State) -> Parse<()> {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return Err(self.unexpected("a state option"));
        }
        let once_more = match token.text.as_ref() {
            "max" => {
                self.next();
                let max = self.number("a number of states")?.node;
                if max == 0 {
                    let message = "max must be greater than 0";
                    return Err(self.error(Code::BadNumber, token.span, message, String::new()));
                }
                state.options.max.replace(max).is_some()
            }
            "sloppy" => {
                self.next();
                std::mem::replace(&mut state.options.sloppy, true)
            }
            "no-sync" => {
                self.next();
                std::mem::replace(&mut state.options.no_sync, true)
            }
            "allow-related" => {
                self.next();
                std::mem::replace(&mut state.options.allow_related, true)
            }
            "if-bound" => self.state_policy(state, StatePolicy::IfBound),
            "floating" => self.state_policy(state, StatePolicy::Floating),
            other if track::OPTIONS.contains(&other) => self.source_option(state, &token)?,
            other if UNSUPPORTED.contains(&other) => self.beyond_state_option(state, &token)?,
            _ => {
                let (timeout, value) = self.state_timeout()?;
                let known = state.options.timeouts.iter().any(|(t, _)| *t == timeout);
                state.options.timeouts.push((timeout, value));
                known
            }
        };
        self.respecified(once_more, &token)
    }

    fn respecified(&mut self, once_more: bool, token: &Token) -> Parse<()> {
        if once_more {
            let message = format!("state option '{}' multiple definitions", token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        Ok(())
    }

    fn state_policy(&mut self, state: &mut State, policy: StatePolicy) -> bool {
        self.next();
        state.options.policy.replace(policy).is_some()
    }
}
