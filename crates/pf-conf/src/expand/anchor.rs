//! Rules that call anchors, what is in their braces, and what `load anchor` read.

use std::collections::BTreeMap;

use pf_engine::anchor::{AnchorCall, AnchorPath};
use pf_engine::ruleset::{Parts, Ruleset};

use super::numbering::Numbering;
use super::{Expand, Expander, Lines, Load, Numbers, RuleSpans, Section};
use crate::ast::{AnchorName, RuleStatement, Spanned, Statement};
use crate::diagnostic::Code;
use crate::echo::{LoadedFile, indent};
use crate::source::Span;

/// The ruleset of an anchor.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) ruleset: Ruleset,
    pub(crate) origins: RuleSpans,
    pub(crate) numbers: Numbers,
    pub(crate) numbering: BTreeMap<usize, Numbering>,
}

impl Expander<'_> {
    /// What a rule calls by the name.
    pub(super) fn anchor_call(&mut self, name: &AnchorName, span: Span) -> Expand<AnchorCall> {
        match AnchorCall::new(&self.anchor, &name.name) {
            Ok(call) => Ok(AnchorCall {
                inline: name.inline,
                ..call
            }),
            Err(error) => Err(self.error(Code::Conflict, span, &error.to_string(), "")),
        }
    }

    /// Reads what stands in the braces of a rule, if there are any, into the ruleset of its
    /// anchor. Gives what is printed of it: ` {`, the rules, each two blanks further in unless
    /// rules are numbered, and `}`. As in pfctl, a name without rules has no braces.
    pub(super) fn anchor_body(&mut self, statement: &RuleStatement) -> Expand<String> {
        let (Some(body), Some(name)) = (&statement.body, &statement.anchor) else {
            return Ok(String::new());
        };
        let path = self.anchor_call(name, statement.span)?.path;
        let (part, lines) = self.inside(&path, body);
        let bare = part.ruleset.filter.is_empty() && !path.name().starts_with('_');
        self.fill(path, part, statement.span)?;
        if bare {
            return Ok(String::new());
        }
        Ok(self.braces(lines))
    }

    /// ` {`, the lines, `}`. Numbered rules are not further in, but what closes their braces is.
    pub(super) fn braces(&self, lines: Lines) -> String {
        let mut text = String::from(" {\n");
        let lines: Vec<String> = lines.in_order(self.numbered, Parts::ALL).collect();
        for line in lines.iter().flat_map(|lines| lines.lines()) {
            if !self.numbered || line.trim_start() == "}" {
                text.push_str(&indent(1));
            }
            text.push_str(line);
            text.push('\n');
        }
        text + "}"
    }

    /// An anchor has braces once; where a list has multiplied its rule, they are printed with
    /// each, and say the same.
    fn fill(&mut self, path: AnchorPath, part: Part, span: Span) -> Expand<()> {
        let known = self.anchors.get(&path);
        if known.is_some_and(|known| known.ruleset != part.ruleset) {
            let message = format!("inline anchor '{}' already exists", path.name());
            return Err(self.error(Code::Conflict, span, &message, ""));
        }
        self.anchors.insert(path, part);
        Ok(())
    }

    /// `load anchor`: what the file says holds for it alone. It is printed after everything else.
    pub(super) fn loaded(
        &mut self,
        name: &Spanned<String>,
        file: &str,
        body: &[Statement],
    ) -> Expand<()> {
        let call = AnchorName {
            name: name.node.clone(),
            inline: false,
        };
        let path = self.anchor_call(&call, name.span)?.path;
        let told = match self.anchor.to_string() {
            base if base.is_empty() => name.node.clone(),
            base => format!("{base}/{}", name.node),
        };
        let beside = std::mem::take(&mut self.load_order);
        let outer = std::mem::take(&mut self.echo);
        let section = std::mem::replace(&mut self.section, Section::Options);
        let returns = std::mem::take(&mut self.block_returns);
        let defaults = self.state_defaults.take();
        let optimization = self.optimization;
        let (part, lines) = self.inside(&path, body);
        self.optimization = optimization;
        self.state_defaults = defaults;
        self.block_returns = returns;
        self.section = section;
        let echo = std::mem::replace(&mut self.echo, outer);
        let nested = std::mem::replace(&mut self.load_order, beside);
        self.load_order.push(Load {
            told: LoadedFile {
                name: told,
                file: file.to_owned(),
                path: path.clone(),
                echo,
            },
            lines,
            nested,
        });
        // It comes after everything else, in place of what braces have said.
        self.loads.insert(path, part);
        Ok(())
    }

    /// Expands the rules of another ruleset: numbered from 0, with tables of its own.
    pub(super) fn inside(&mut self, path: &AnchorPath, body: &[Statement]) -> (Part, Lines) {
        let inner = Ruleset {
            dialect: self.ruleset.dialect,
            ..Ruleset::default()
        };
        let outer_path = std::mem::replace(&mut self.anchor, path.clone());
        let outer_lines = std::mem::take(&mut self.lines);
        let outer = Part {
            ruleset: std::mem::replace(&mut self.ruleset, inner),
            origins: std::mem::take(&mut self.origins),
            numbers: std::mem::take(&mut self.numbers),
            numbering: std::mem::take(&mut self.numbering),
        };
        for child in body {
            // A failed statement has recorded its error; the others are read all the same.
            let _ = self.statement(child);
        }
        let part = Part {
            ruleset: std::mem::replace(&mut self.ruleset, outer.ruleset),
            origins: std::mem::replace(&mut self.origins, outer.origins),
            numbers: std::mem::replace(&mut self.numbers, outer.numbers),
            numbering: std::mem::replace(&mut self.numbering, outer.numbering),
        };
        self.anchor = outer_path;
        let lines = std::mem::replace(&mut self.lines, outer_lines);
        (part, lines)
    }
}
