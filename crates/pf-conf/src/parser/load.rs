//! `load anchor name from "file"` (pf.conf(5), ANCHORS).

use super::{Parse, Parser};
use crate::ast::Statement;
use crate::diagnostic::Code;
use crate::limits::{MAX_ERRORS, MAX_INCLUDE_DEPTH, MAX_STATEMENTS};

impl Parser<'_> {
    /// Reads the file at once. It has its own macros, besides those of `-D`, and its own queues;
    /// what comes of it is printed after everything else.
    pub(super) fn load_anchor(&mut self) -> Parse<()> {
        self.next();
        self.expect_word("anchor")?;
        let Some(name) = self.anchor_name()? else {
            return Err(self.unexpected("the name of an anchor"));
        };
        self.expect_word("from")?;
        let path = self.string("a file name")?;
        self.end_of_statement()?;
        if self.lexer.depth() >= MAX_INCLUDE_DEPTH {
            let message = format!("include is nested more than {MAX_INCLUDE_DEPTH} deep");
            return Err(self.error(Code::Limit, path.span, &message, String::new()));
        }
        let bytes = self.read_file(&path, str::to_owned)?;
        let outside = self.lexer.sources.set_loading(true);
        let file = self.lexer.sources.add(&path.node, &bytes);
        // The end of this line stands before the file's first.
        self.skip_newline();
        let macros = self.lexer.macros.clone();
        self.lexer
            .macros
            .retain(|name, _| self.fixed.contains(name.as_str()));
        let outer = std::mem::take(&mut self.statements);
        let queues = std::mem::take(&mut self.queues);
        let limiters = std::mem::take(&mut self.limiters);
        self.lexer.enter(file);
        self.loaded_statements(self.lexer.depth());
        self.lexer.sources.set_loading(outside);
        self.queues = queues;
        self.limiters = limiters;
        let body = std::mem::replace(&mut self.statements, outer);
        self.lexer.macros = macros;
        self.statements.push(Statement::LoadAnchor {
            name,
            file: path.node,
            body,
        });
        Ok(())
    }

    fn skip_newline(&mut self) {
        if self.peek().kind == crate::token::Kind::Newline {
            self.next();
        }
    }

    /// Statements until the file that was entered at `depth` ends.
    fn loaded_statements(&mut self, depth: usize) {
        loop {
            self.skip_newlines_of(depth);
            if self.lexer.depth() < depth
                || self.peek().kind == crate::token::Kind::End
                || self.lexer.errors.len() >= MAX_ERRORS
                || self.statements.len() >= MAX_STATEMENTS
            {
                return;
            }
            self.braces = 0;
            self.list_depth = 0;
            if self.statement().is_err() {
                self.recover();
            }
        }
    }

    fn skip_newlines_of(&mut self, depth: usize) {
        while self.lexer.depth() >= depth && self.peek().kind == crate::token::Kind::Newline {
            self.next();
        }
    }
}
