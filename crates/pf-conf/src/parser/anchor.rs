//! `anchor`, `nat-anchor`, `rdr-anchor` and `binat-anchor` (pf.conf(5), ANCHORS): their names, what
//! is in their braces, and the options that mean nothing on them.

use pf_engine::rule::{PortMatch, StateMode};

use super::{Braces, Parse, Parser};
use crate::ast::{AnchorName, RuleStatement, Spanned, Statement, Verb};
use crate::diagnostic::Code;
use crate::limits::{MAX_ANCHOR_DEPTH, MAX_ERRORS};
use crate::names::keywords;
use crate::source::Span;
use crate::token::Kind;

impl Parser<'_> {
    /// `anchor [name] … [{ … }]`, `nat-anchor name …` and its kin.
    pub(super) fn anchor(&mut self) -> Parse<()> {
        let keyword = self.next();
        let verb = match keyword.text.as_ref() {
            "nat-anchor" => Verb::Nat { no: false },
            "rdr-anchor" => Verb::Rdr { no: false },
            "binat-anchor" => Verb::Binat { no: false },
            _ => Verb::Anchor,
        };
        let mut rule = RuleStatement::new(verb, keyword.span);
        let name = self.anchor_name()?;
        if verb == Verb::Anchor {
            self.filter(&mut rule)?;
            self.check_anchor(&rule)?;
            let number = self.anchors + usize::from(self.at_symbol("{"));
            self.anchors = number;
            rule.body = self.inline_body(name.as_ref(), keyword.span, Braces::Packets)?;
            let inline = rule.body.is_some();
            let name = name.map_or_else(|| format!("_{number}"), |name| name.node);
            rule.anchor = Some(AnchorName { name, inline });
        } else {
            let Some(name) = name else {
                return Err(self.unexpected("the name of an anchor"));
            };
            self.translation_anchor(&mut rule)?;
            rule.anchor = Some(AnchorName {
                name: name.node,
                inline: false,
            });
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    /// The name, if there is one.
    pub(super) fn anchor_name(&mut self) -> Parse<Option<Spanned<String>>> {
        let token = self.peek();
        let word = token.kind == Kind::Word && !keywords::is_reserved(&token.text);
        if !word && token.kind != Kind::Quoted {
            return Ok(None);
        }
        let token = self.next();
        let message = if token.text.is_empty() {
            "anchor name must not be empty"
        } else if token.text.starts_with('_') || token.text.contains("/_") {
            "anchor names beginning with '_' are reserved for internal use"
        } else {
            return Ok(Some(Spanned {
                node: token.text.into_owned(),
                span: token.span,
            }));
        };
        let bail = self.error(Code::Conflict, token.span, message, String::new());
        self.skip_block();
        Err(bail)
    }

    /// The rules in braces, or nothing for an anchor with a name.
    pub(super) fn inline_body(
        &mut self,
        name: Option<&Spanned<String>>,
        keyword: Span,
        kind: Braces,
    ) -> Parse<Option<Vec<Statement>>> {
        let inline = self.at_symbol("{");
        let conflict = match name {
            Some(name) if inline && leads_elsewhere(&name.node) => (
                "anchor paths containing '/' cannot be used for inline anchors.",
                name.span,
            ),
            None if !inline => (
                "anchors without explicit rules must specify a name",
                keyword,
            ),
            Some(_) | None if inline => return self.anchor_body(kind).map(Some),
            Some(_) | None => return Ok(None),
        };
        let (message, span) = conflict;
        let bail = self.error(Code::Conflict, span, message, String::new());
        self.skip_block();
        Err(bail)
    }

    fn anchor_body(&mut self, kind: Braces) -> Parse<Vec<Statement>> {
        let open = self.next();
        if self.anchor_depth == MAX_ANCHOR_DEPTH {
            let message = format!("anchors are nested more than {MAX_ANCHOR_DEPTH} deep");
            return Err(self.error(Code::Limit, open.span, &message, String::new()));
        }
        self.anchor_depth += 1;
        let outer = std::mem::take(&mut self.statements);
        let around = self.in_braces.replace(kind);
        let closed = self.anchor_statements(open.span);
        self.in_braces = around;
        self.anchor_depth -= 1;
        let body = std::mem::replace(&mut self.statements, outer);
        closed.map(|()| body)
    }

    fn anchor_statements(&mut self, open: Span) -> Parse<()> {
        loop {
            self.skip_newlines();
            if self.eat_symbol("}") {
                return Ok(());
            }
            if self.peek().kind == Kind::End || self.lexer.errors.len() >= MAX_ERRORS {
                let detail = "this `{` is never closed".to_owned();
                return Err(self.error(Code::Syntax, open, "syntax error", detail));
            }
            let braces = std::mem::take(&mut self.braces);
            let read = if self.at_word("set") {
                Err(self.unexpected("a rule; options stand outside of anchors"))
            } else {
                self.statement()
            };
            let closed = read.is_err() && self.recover_in_anchor();
            self.braces = braces;
            if closed {
                return Ok(());
            }
        }
    }

    /// As [`Parser::recover`], but a `}` that closes the anchor ends it all the same. Gives whether
    /// there was one.
    fn recover_in_anchor(&mut self) -> bool {
        loop {
            if self.peek().kind == Kind::End {
                return false;
            }
            let open = self.braces;
            let token = self.next();
            let line_ends = token.kind == Kind::Newline;
            if line_ends && (open == 0 || super::begins_statement(self.peek())) {
                return false;
            }
            if open == 0 && token.is_symbol("}") {
                return true;
            }
        }
    }

    /// Options that PF refuses on an anchor, and those that would mean nothing there.
    pub(super) fn check_anchor(&mut self, rule: &RuleStatement) -> Parse<()> {
        let state = rule
            .state
            .iter()
            .find(|state| state.mode != StateMode::None);
        let pools = [&rule.nat, &rule.rdr, &rule.binat];
        let pool = pools.into_iter().flatten().next();
        let af_to = rule.af_to.as_ref().map(|af_to| af_to.node.from.span);
        let (message, span) = if let Some(state) = state {
            ("cannot specify state handling on anchors", state.span)
        } else if let Some((_, pool)) = &rule.route {
            ("cannot specify route handling on anchors", pool.span)
        } else if let Some(span) = pool.map(|pool| pool.span).or(af_to) {
            ("cannot specify translation on anchors", span)
        } else if let Some(divert) = &rule.divert {
            ("cannot specify divert on anchors", divert.span)
        } else {
            return Ok(());
        };
        let detail = "the rules in the anchor decide that".to_owned();
        let bail = self.error(Code::Conflict, span, message, detail);
        self.skip_block();
        Err(bail)
    }

    /// What follows the name in `nat-anchor`, `rdr-anchor` and `binat-anchor`.
    pub(super) fn translation_anchor(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.translation_match(rule)?;
        if self.at_word("rtable") {
            self.rtable(rule)?;
        }
        let ports = &rule.destination.ports;
        let source = rule.source.ports.first();
        let conflict = match rule.verb {
            Verb::Rdr { .. } => match (source, ports.as_slice()) {
                (Some(port), _) => Some((
                    "source port parameter not supported in rdr-anchor",
                    port.span,
                )),
                (None, [_, second, ..]) => Some((
                    "destination port list expansion not supported in rdr-anchor",
                    second.span,
                )),
                (None, [port]) if !matches!(port.node, PortMatch::Eq(_)) => Some((
                    "destination port operators not supported in rdr-anchor",
                    port.span,
                )),
                (None, _) => None,
            },
            Verb::Binat { .. } => binat_conflict(rule),
            Verb::Pass
            | Verb::Block(_)
            | Verb::Match
            | Verb::Anchor
            | Verb::Scrub { .. }
            | Verb::Nat { .. } => None,
        };
        match conflict {
            Some((message, span)) => Err(self.error(Code::Conflict, span, message, String::new())),
            None => Ok(()),
        }
    }
}

/// Rules in braces are of an anchor in the ruleset at hand, and of one only.
fn leads_elsewhere(name: &str) -> bool {
    name.contains('/') || matches!(name, ".." | "*")
}

/// `binat-anchor` takes one protocol and no addresses.
fn binat_conflict(rule: &RuleStatement) -> Option<(&'static str, Span)> {
    if let [_, second, ..] = rule.protocols.as_slice() {
        let message = "proto list expansion not supported in binat-anchor";
        return Some((message, second.span));
    }
    let sides = [&rule.source, &rule.destination];
    let spans = sides.into_iter().flat_map(|side| {
        let hosts = side.hosts.iter().map(|host| host.span);
        hosts.chain(side.ports.iter().map(|port| port.span))
    });
    let first = spans.into_iter().next()?;
    Some(("fromto parameter not supported in binat-anchor", first))
}
