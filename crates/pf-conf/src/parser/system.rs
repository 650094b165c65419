//! Operating systems: `set fingerprints`, and `os "…"` behind `from` (pf.conf(5)).

use std::io;
use std::sync::Arc;

use pf_engine::osfp::pfos::{Fingerprints, ReadError};

use super::{Parse, Parser};
use crate::ast::{RuleStatement, SetStatement, Spanned};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;

/// Where PF has its list. Without such a file it is the one that comes with this program.
const STOCK_PATH: &str = "/etc/pf.os";

impl Parser<'_> {
    /// `set fingerprints "file"`. The file is read at once.
    pub(super) fn set_fingerprints(&mut self) -> Parse<()> {
        let path = self.string("a file name")?;
        let fingerprints = self.fingerprints(&path)?;
        self.push_set(SetStatement::Fingerprints(path.node, fingerprints));
        Ok(())
    }

    fn fingerprints(&mut self, path: &Spanned<String>) -> Parse<Arc<Fingerprints>> {
        if path.node == STOCK_PATH
            && let Err(error) = self.files.read(&path.node)
            && error.kind() == io::ErrorKind::NotFound
        {
            return Ok(Fingerprints::stock());
        }
        let bytes = self.read_file(path, |path| format!("error loading fingerprints {path}"))?;
        let file = self.lexer.sources.add(&path.node, &bytes);
        let text = self.lexer.sources.file(file);
        let text = text.map(|file| Arc::clone(&file.text)).unwrap_or_default();
        match Fingerprints::read(&text) {
            Ok(fingerprints) => Ok(Arc::new(fingerprints)),
            Err(errors) => {
                self.bad_signatures(file, errors);
                let message = "no fingerprints can be taken from this file";
                let detail = "every line of it has to be a signature (pf.os(5))".to_owned();
                Err(self.error(Code::File, path.span, message, detail))
            }
        }
    }

    fn bad_signatures(&mut self, file: usize, errors: Vec<ReadError>) {
        let errors = errors.into_iter().map(|ReadError { span, message }| {
            let span = Span {
                file,
                lo: span.start,
                hi: span.end,
                expansion: None,
            };
            Diagnostic::new(Code::Syntax, span, message)
        });
        self.lexer.errors.extend(errors);
    }

    /// `os "…"` behind `from`: names, which are looked up when the rule is made.
    pub(super) fn systems(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        self.list("a system", &mut |parser| {
            rule.systems.push(parser.string("a system")?);
            Ok(())
        })
    }
}
