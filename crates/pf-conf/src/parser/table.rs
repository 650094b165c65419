//! `table <name> …` and table files.

use pf_engine::addr::Prefix;

use super::address::{parse_ip, parse_short_v4};
use super::{Parse, Parser};
use crate::ast::{Host, HostKind, NamedHost, Spanned, Statement, TableContents, TableStatement};
use crate::diagnostic::Code;
use crate::limits::MAX_ERRORS;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn table_statement(&mut self) -> Parse<()> {
        self.next();
        let mut table = TableStatement {
            name: self.table_name()?,
            persist: false,
            constant: false,
            counters: false,
            contents: Vec::new(),
        };
        while !self.peek().ends_line() {
            self.table_option(&mut table)?;
        }
        self.statements.push(Statement::Table(Box::new(table)));
        Ok(())
    }

    fn table_option(&mut self, table: &mut TableStatement) -> Parse<()> {
        if self.eat_word("persist") {
            table.persist = true;
        } else if self.eat_word("const") {
            table.constant = true;
        } else if self.eat_word("counters") {
            table.counters = true;
        } else if self.eat_word("file") {
            let path = self.string("a file name")?;
            table.contents.push(self.table_file(path)?);
        } else if self.at_symbol("{") {
            table
                .contents
                .push(TableContents::Inline(self.table_hosts()?));
        } else {
            return Err(self.unexpected("`persist`, `const`, `counters`, `file` or `{`"));
        }
        Ok(())
    }

    /// `{ [address …] }`; unlike other lists it may be empty.
    fn table_hosts(&mut self) -> Parse<Vec<Host>> {
        let mut hosts = Vec::new();
        self.expect_symbol("{")?;
        loop {
            self.skip_newlines();
            if self.eat_symbol("}") {
                return Ok(hosts);
            }
            self.list("an address", &mut |parser| {
                let host = parser.host()?;
                parser.check_table_host(&host)?;
                hosts.push(host);
                Ok(())
            })?;
            self.skip_newlines();
            self.eat_symbol(",");
        }
    }

    fn check_table_host(&mut self, host: &Host) -> Parse<()> {
        let message = match &host.kind {
            HostKind::Literal { .. } | HostKind::Name(_) => return Ok(()),
            HostKind::Any => "\"any\" is not permitted inside tables",
            HostKind::NoRoute => "\"no-route\" is not permitted inside tables",
            HostKind::UrpfFailed => "\"urpf-failed\" is not permitted inside tables",
            HostKind::Table(_) => "tables cannot contain tables",
            HostKind::Dynamic(_) => "dynamic addresses are not permitted inside tables",
            HostKind::Range(..) => "address ranges are not permitted inside tables",
        };
        Err(self.error(Code::BadAddress, host.span, message, String::new()))
    }

    fn table_file(&mut self, path: Spanned<String>) -> Parse<TableContents> {
        let bytes = self.read_file(&path, |path| format!("cannot load \"{path}\""))?;
        let file = self.lexer.sources.add(&path.node, &bytes);
        let text = self
            .lexer
            .sources
            .file(file)
            .map(|source| std::sync::Arc::clone(&source.text))
            .unwrap_or_default();
        let mut hosts = Vec::new();
        let mut at = 0;
        let mut failed = false;
        for line in text.split_inclusive('\n') {
            let lo = at;
            at += line.len();
            let end = line.find(['#', ';']).unwrap_or(line.len());
            let code = line.get(..end).unwrap_or_default();
            failed |= self.table_line(code, file, lo, &mut hosts).is_err();
            if self.lexer.errors.len() >= MAX_ERRORS {
                break;
            }
        }
        if failed {
            return Err(super::Bail);
        }
        Ok(TableContents::File {
            path: path.node,
            hosts,
        })
    }

    /// Addresses of one line, separated by blanks or commas; `!` may stand apart.
    fn table_line(
        &mut self,
        line: &str,
        file: usize,
        start: usize,
        hosts: &mut Vec<Host>,
    ) -> Parse<()> {
        let mut negated = false;
        let mut offset = 0;
        for word in line.split([' ', '\t', ',', '\r', '\n']) {
            let lo = start + offset;
            offset += word.len() + 1;
            let mut text = word;
            while let Some(rest) = text.strip_prefix('!') {
                negated = !negated;
                text = rest;
            }
            if text.is_empty() {
                continue;
            }
            let span = Span {
                file,
                lo,
                hi: lo + word.len(),
                expansion: None,
            };
            let kind = self.table_word(text, span)?;
            hosts.push(Host {
                negated: std::mem::take(&mut negated),
                kind,
                span,
            });
        }
        Ok(())
    }

    fn table_word(&mut self, text: &str, span: Span) -> Parse<HostKind> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip = parse_ip(address).or_else(|| len.and_then(|_| parse_short_v4(address)));
        let prefix = match (ip, len) {
            (Some(ip), None) => Some(Prefix::host(ip)),
            (Some(ip), Some(len)) => len.parse().ok().and_then(|len| Prefix::new(ip, len)),
            (None, _) => None,
        };
        if let Some(prefix) = prefix {
            return Ok(HostKind::Literal {
                prefix: prefix.masked(),
                scope: None,
            });
        }
        let name = ip.is_none()
            && len.is_none()
            && address
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if name && address.bytes().any(|b| b.is_ascii_alphabetic()) {
            return Ok(HostKind::Name(NamedHost {
                name: address.to_owned(),
                part: pf_engine::rule::DynamicPart::Host,
                no_aliases: false,
                prefix_len: None,
            }));
        }
        let message = "could not parse host specification";
        let detail = format!("`{text}` is no address");
        Err(self.error(Code::BadAddress, span, message, detail))
    }
}
