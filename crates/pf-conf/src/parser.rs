//! Recursive descent over the tokens of all files, collecting errors. After an error the parser
//! goes on at the next line outside of braces.

mod address;
mod altq;
mod anchor;
mod bandwidth;
mod beyond;
mod criteria;
mod ether;
mod limiter;
mod load;
mod option;
mod options;
mod pool;
mod port;
mod queue;
mod queue_tree;
mod rule;
mod scrub;
mod settings;
mod state;
mod system;
mod table;
mod track;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::beyond::NO_DUMMYNET;
use crate::accounts::KnownAccounts;
use crate::ast::{InterfaceName, Spanned, Statement};
use crate::diagnostic::{Code, Diagnostic, shorten};
use crate::lexer::{Lexer, Macro};
use crate::limits::{
    MAX_ERRORS, MAX_FILE_BYTES, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_INTERFACE_BYTES, MAX_LIST_DEPTH,
    MAX_MACRO_BYTES, MAX_QUOTED_CHARS, MAX_STATEMENTS, MAX_TOTAL_BYTES,
};
use crate::names::{did_you_mean, keywords};
use crate::source::{Sources, Span};
use crate::token::{Kind, Token};
use crate::{LoadOptions, SourceReader};

/// An error was recorded; the statement is given up.
#[derive(Debug)]
pub(crate) struct Bail;

/// Where to go for what a `scrub-anchor` does.
const NO_SCRUB_ANCHOR: &str = "put its `scrub` rules into the main ruleset";

type Parse<T> = Result<T, Bail>;

/// What came out of a text.
pub(crate) struct Parsed {
    pub(crate) statements: Vec<Statement>,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) sources: Sources,
    /// Every token that was taken, of [`parse_traced`].
    pub(crate) tokens: Vec<Token>,
}

/// Reads `main` and what it includes.
pub(crate) fn parse(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
    printing: bool,
) -> Parsed {
    read(name, main, files, options, (printing, None))
}

/// As [`parse`] for printing, and keeps the tokens. Accounts are not looked up.
pub(crate) fn parse_traced(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Parsed {
    read(name, main, files, options, (true, Some(Vec::new())))
}

fn read(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
    (printing, trace): (bool, Option<Vec<Token>>),
) -> Parsed {
    let mut sources = Sources::default();
    let fits = main.len() <= MAX_FILE_BYTES;
    let shown = if name == "-" { "stdin" } else { name };
    let file = sources.add(shown, if fits { main } else { &[] });
    let macros = options
        .defines
        .iter()
        .map(|(name, value)| {
            let value = Arc::from(value.as_str());
            (
                name.clone(),
                Macro {
                    value,
                    defined: None,
                },
            )
        })
        .collect();
    let mut parser = Parser::new(Lexer::new(sources, macros), files, options);
    parser.printing = printing;
    parser.lexer.trace = trace;
    parser.lexer.enter(file);
    if fits {
        parser.statements();
        parser.finish_queues();
    } else {
        let span = parser.peek().span;
        parser.file_too_large(span, shown);
    }
    Parsed {
        statements: parser.statements,
        errors: parser.lexer.errors,
        sources: parser.lexer.sources,
        tokens: parser.lexer.trace.unwrap_or_default(),
    }
}

/// Rules of which kind stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Braces {
    /// `ether` rules.
    Frames,
    /// All others.
    Packets,
}

struct Parser<'a> {
    lexer: Lexer,
    files: &'a mut dyn SourceReader,
    accounts: KnownAccounts,
    /// Names given by `-D`: definitions in the file do not change them.
    fixed: BTreeSet<&'a str>,
    statements: Vec<Statement>,
    /// Braces that the statement has opened and not closed.
    braces: usize,
    list_depth: usize,
    /// Anchors that are open.
    anchor_depth: usize,
    /// In the braces of which kind of anchor it is.
    in_braces: Option<Braces>,
    /// Anchors with braces so far: those without a name are called by their number.
    anchors: usize,
    /// Bytes of all files so far.
    total_bytes: usize,
    /// Read also what can be printed but not installed.
    printing: bool,
    /// Queues of ALTQ that have a parent.
    queues: altq::Queues,
    limiters: limiter::Limiters,
    queue_tree: queue_tree::QueueTree,
}

/// The parser itself: tokens, errors, statements.
impl<'a> Parser<'a> {
    fn new(lexer: Lexer, files: &'a mut dyn SourceReader, options: &'a LoadOptions) -> Self {
        Self {
            lexer,
            files,
            accounts: KnownAccounts::new(options.accounts),
            fixed: options
                .defines
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
            statements: Vec::new(),
            braces: 0,
            list_depth: 0,
            anchor_depth: 0,
            in_braces: None,
            anchors: 0,
            total_bytes: 0,
            printing: false,
            queues: altq::Queues::default(),
            limiters: limiter::Limiters::default(),
            queue_tree: queue_tree::QueueTree::default(),
        }
    }

    fn statements(&mut self) {
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return,
                Kind::Newline => {
                    self.next();
                }
                Kind::Word | Kind::Quoted | Kind::Number | Kind::Symbol | Kind::Invalid => {
                    self.braces = 0;
                    self.list_depth = 0;
                    if self.statement().is_err() {
                        self.recover();
                    }
                }
            }
            if self.lexer.errors.len() >= MAX_ERRORS {
                self.give_up(format!(
                    "too many errors ({MAX_ERRORS}), the rest was not read"
                ));
                return;
            }
            if self.statements.len() >= MAX_STATEMENTS {
                self.give_up(format!("more than {MAX_STATEMENTS} statements"));
                return;
            }
        }
    }

    /// Once everything was read without an error.
    fn finish_queues(&mut self) {
        if !self.lexer.errors.is_empty() {
            return;
        }
        match self.queue_tree.finish(&self.statements) {
            Ok(mut lines) => self.statements.append(&mut lines),
            Err(error) => self.report(error),
        }
    }

    fn give_up(&mut self, message: String) {
        let span = self.peek().span;
        self.lexer.stop();
        self.report(Diagnostic::new(Code::Limit, span, message));
    }

    fn statement(&mut self) -> Parse<()> {
        let first = self.peek().clone();
        if first.kind == Kind::Word && self.lexer.peek_at(1).is_symbol("=") {
            let defined = self.macro_definition();
            if defined.is_err() {
                self.lexer.misdefined.insert(first.text.into_owned());
            }
            return defined;
        }
        if first.kind != Kind::Word {
            return Err(self.unexpected("a rule, an option, a table or a macro"));
        }
        if self.in_braces == Some(Braces::Frames) && !first.is_word("ether") {
            return Err(self.unexpected("`ether` or `}`"));
        }
        match first.text.as_ref() {
            "set" => self.set_statement()?,
            "table" => self.table_statement()?,
            "include" => {
                let included = self.include();
                self.lexer.definitions_missing |= included.is_err();
                return included;
            }
            "antispoof" => self.antispoof()?,
            "anchor" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => self.anchor()?,
            "scrub" => self.scrub_rule()?,
            "ether" if self.in_braces != Some(Braces::Packets) => self.ether()?,
            "ether" => return Err(self.unexpected("a rule for packets")),
            "altq" => self.altq()?,
            "queue" => self.queue_statement()?,
            "oldqueue" => self.altq_queue()?,
            "state" | "source" => self.limiter()?,
            "load" => return self.load_anchor(),
            "pass" | "block" | "match" | "nat" | "rdr" | "binat" | "no" => self.rule()?,
            _ => return Err(self.unknown_statement(&first)),
        }
        self.end_of_statement()
    }

    fn unknown_statement(&mut self, first: &Token) -> Bail {
        match first.text.as_ref() {
            "scrub-anchor" => return self.unsupported("scrub-anchor", first.span, NO_SCRUB_ANCHOR),
            "dummynet-anchor" => {
                return self.unsupported("dummynet-anchor", first.span, NO_DUMMYNET);
            }
            _ => {}
        }
        let mut error = self.syntax_error("a rule, an option, a table or a macro");
        error.hint =
            did_you_mean(&first.text, keywords::STATEMENTS.iter().copied()).or_else(|| {
                let comment = first.kind == Kind::Word && self.lexer.peek_at(1).kind == Kind::Word;
                comment.then(|| "a comment begins with `#`".to_owned())
            });
        self.report(error);
        Bail
    }

    /// Takes the rest of a statement that may hold other statements in braces.
    fn skip_block(&mut self) {
        loop {
            let kind = self.peek().kind;
            if kind == Kind::End || (kind == Kind::Newline && self.braces == 0) {
                return;
            }
            self.next();
        }
    }

    fn macro_definition(&mut self) -> Parse<()> {
        let name = self.next();
        if keywords::is_reserved(&name.text) {
            return Err(self.error(
                Code::Syntax,
                name.span,
                "syntax error",
                format!("'{}' is a keyword and cannot be a macro", name.text),
            ));
        }
        self.next();
        let mut value = String::new();
        let mut span = self.peek().span;
        let mut parts = 0;
        while self.at_value() {
            let part = self.next();
            parts += 1;
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str(if part.kind == Kind::Number {
                plain_number(&part.text)
            } else {
                &part.text
            });
            if part.span.expansion.is_some() && span.expansion.is_none() {
                span.expansion = part.span.expansion;
            }
            if value.len() > MAX_MACRO_BYTES {
                let message = format!("macro is longer than {MAX_MACRO_BYTES} bytes");
                return Err(self.error(Code::Limit, name.span, &message, String::new()));
            }
        }
        if parts == 0 || !self.peek().ends_line() {
            return Err(self.macro_value_error());
        }
        self.define(&name.text, value, name.span.to(span), span.expansion);
        Ok(())
    }

    fn at_value(&mut self) -> bool {
        matches!(self.peek().kind, Kind::Quoted | Kind::Number | Kind::Word)
    }

    fn macro_value_error(&mut self) -> Bail {
        if self.peek().kind == Kind::Invalid {
            return Bail;
        }
        let mut error = self.syntax_error("a value");
        error.hint = Some("a value with braces, blanks or slashes must be quoted".to_owned());
        self.report(error);
        Bail
    }

    fn define(&mut self, name: &str, value: String, span: Span, expansion: Option<usize>) {
        if !self.fixed.contains(name) {
            self.lexer.macros.insert(
                name.to_owned(),
                Macro {
                    value: Arc::from(value.as_str()),
                    defined: Some(Span { expansion, ..span }),
                },
            );
        }
        self.statements.push(Statement::Macro {
            name: name.to_owned(),
            value,
        });
    }

    fn include(&mut self) -> Parse<()> {
        self.next();
        let path = self.string("a file name")?;
        if !self.peek().ends_line() {
            return Err(self.unexpected("the end of the line"));
        }
        if self.lexer.depth() >= MAX_INCLUDE_DEPTH {
            let message = format!("include is nested more than {MAX_INCLUDE_DEPTH} deep");
            return Err(self.error(Code::Limit, path.span, &message, String::new()));
        }
        let bytes = self.read_file(&path, |path| format!("failed to include file {path}"))?;
        let file = self.lexer.sources.add(&path.node, &bytes);
        self.lexer.enter(file);
        Ok(())
    }

    /// The bytes of a file that the text names; `failed` says of its path that it cannot be read.
    fn read_file(
        &mut self,
        path: &Spanned<String>,
        failed: impl FnOnce(&str) -> String,
    ) -> Parse<Vec<u8>> {
        if self.lexer.sources.file_count() >= MAX_FILES {
            let message = format!("more than {MAX_FILES} files");
            return Err(self.error(Code::Limit, path.span, &message, String::new()));
        }
        match self.files.read(&path.node) {
            Ok(bytes) if bytes.len() > MAX_FILE_BYTES => {
                Err(self.file_too_large(path.span, &path.node))
            }
            Ok(bytes) => self.count_bytes(bytes, path),
            Err(error) => {
                let message = format!("{}: {}", failed(&path.node), describe_io(&error));
                let mut diagnostic = Diagnostic::new(Code::File, path.span, message);
                if error.kind() == std::io::ErrorKind::NotFound {
                    diagnostic.hint =
                        Some("every file that is named must exist; it may be empty".to_owned());
                }
                self.report(diagnostic);
                Err(Bail)
            }
        }
    }

    fn count_bytes(&mut self, bytes: Vec<u8>, path: &Spanned<String>) -> Parse<Vec<u8>> {
        self.total_bytes += bytes.len();
        if self.total_bytes > MAX_TOTAL_BYTES {
            let message = format!("all files together are larger than {MAX_TOTAL_BYTES} bytes");
            return Err(self.error(Code::Limit, path.span, &message, String::new()));
        }
        Ok(bytes)
    }

    fn file_too_large(&mut self, span: Span, name: &str) -> Bail {
        let message = format!("{name}: larger than {MAX_FILE_BYTES} bytes");
        self.error(Code::Limit, span, &message, String::new())
    }

    fn end_of_statement(&mut self) -> Parse<()> {
        if self.peek().ends_line() {
            Ok(())
        } else {
            Err(self.unexpected("the end of the line"))
        }
    }

    /// Goes to the end of the statement: the next line outside of braces, or one that begins like
    /// a statement, for a brace that was never closed.
    fn recover(&mut self) {
        loop {
            let token = self.peek();
            if token.kind == Kind::End {
                return;
            }
            if token.kind == Kind::Newline {
                self.next();
                if self.braces == 0 || begins_statement(self.peek()) {
                    return;
                }
                continue;
            }
            self.next();
        }
    }

    fn peek(&mut self) -> &Token {
        self.lexer.peek()
    }

    fn next(&mut self) -> Token {
        let token = self.lexer.next();
        if token.is_symbol("{") {
            self.braces += 1;
        } else if token.is_symbol("}") {
            self.braces = self.braces.saturating_sub(1);
        }
        token
    }

    fn at_word(&mut self, word: &str) -> bool {
        self.peek().is_word(word)
    }

    fn at_symbol(&mut self, symbol: &str) -> bool {
        self.peek().is_symbol(symbol)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.next();
        }
        found
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parse<Token> {
        if self.at_symbol(symbol) {
            Ok(self.next())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    fn expect_word(&mut self, word: &str) -> Parse<Token> {
        if self.at_word(word) {
            Ok(self.next())
        } else {
            Err(self.unexpected(&format!("`{word}`")))
        }
    }

    /// A quoted string, or a word that is no keyword.
    fn string(&mut self, expected: &str) -> Parse<Spanned<String>> {
        let token = self.peek();
        let usable = match token.kind {
            Kind::Quoted => true,
            Kind::Word => !keywords::is_reserved(&token.text),
            Kind::Number | Kind::Symbol | Kind::Newline | Kind::End | Kind::Invalid => false,
        };
        if !usable {
            return Err(self.unexpected(expected));
        }
        let token = self.next();
        Ok(Spanned {
            node: token.text.into_owned(),
            span: token.span,
        })
    }

    /// A decimal number of at most 32 bits.
    fn number(&mut self, expected: &str) -> Parse<Spanned<u32>> {
        if self.peek().kind != Kind::Number {
            return Err(self.unexpected(expected));
        }
        let token = self.next();
        let span = token.span;
        let Ok(node) = token.text.parse() else {
            let message = format!("number {} is too large", token.text);
            return Err(self.error(Code::BadNumber, span, &message, String::new()));
        };
        Ok(Spanned { node, span })
    }

    /// A number that may be hexadecimal, octal or in quotes: pfctl reads a word with strtoul(3).
    fn any_number(&mut self, expected: &str) -> Parse<Spanned<u32>> {
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Quoted) || keywords::is_reserved(&token.text) {
            return self.number(expected);
        }
        self.next();
        let span = token.span;
        let text = token.text.as_ref();
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let (digits, radix) = match (hex, text.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            (None, _) => (text, 10),
        };
        let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        match u32::from_str_radix(digits, radix) {
            Ok(node) if is_number => Ok(Spanned { node, span }),
            _ => {
                let (message, detail) = if is_number {
                    (format!("number {text} is too large"), String::new())
                } else {
                    (
                        format!("{text} is not a number"),
                        format!("expected {expected}"),
                    )
                };
                Err(self.error(Code::BadNumber, span, &message, detail))
            }
        }
    }

    /// One item, or `{ item [,] item … }`, or such lists in each other.
    fn list(&mut self, expected: &str, item: &mut dyn FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        if !self.at_symbol("{") {
            return item(self);
        }
        let open = self.next();
        self.list_depth += 1;
        if self.list_depth > MAX_LIST_DEPTH {
            let message = format!("lists are nested more than {MAX_LIST_DEPTH} deep");
            return Err(self.error(Code::Limit, open.span, &message, String::new()));
        }
        self.skip_newlines();
        if self.at_symbol("}") {
            return Err(self.unexpected(expected));
        }
        loop {
            self.list(expected, item)?;
            self.skip_newlines();
            if self.eat_symbol("}") {
                self.list_depth -= 1;
                return Ok(());
            }
            if self.eat_symbol(",") {
                self.skip_newlines();
                if self.eat_symbol("}") {
                    self.list_depth -= 1;
                    return Ok(());
                }
            }
            if self.peek().kind == Kind::End {
                return Err(self.error(
                    Code::Syntax,
                    open.span,
                    "syntax error",
                    "this `{` is never closed".to_owned(),
                ));
            }
        }
    }

    fn skip_newlines(&mut self) {
        while self.peek().kind == Kind::Newline {
            self.next();
        }
    }

    /// The name of an interface or a group, without what may stand before it.
    fn interface_word(&mut self) -> Parse<Spanned<String>> {
        let name = self.string("an interface name")?;
        self.check_interface(&name.node, name.span)?;
        Ok(name)
    }

    fn check_interface(&mut self, name: &str, span: Span) -> Parse<()> {
        if name.len() > MAX_INTERFACE_BYTES {
            let detail = format!("at most {MAX_INTERFACE_BYTES} characters");
            return Err(self.error(Code::Limit, span, "interface name too long", detail));
        }
        Ok(())
    }

    fn interface_name(&mut self) -> Parse<InterfaceName> {
        let negated = self.eat_symbol("!");
        if self.at_word("rdomain") {
            return self.routing_domain(negated);
        }
        let name = if self.at_word("any") {
            let token = self.next();
            Spanned {
                node: token.text.into_owned(),
                span: token.span,
            }
        } else {
            self.interface_word()?
        };
        Ok(InterfaceName {
            negated,
            name: name.node,
            span: name.span,
        })
    }

    fn report(&mut self, error: Diagnostic) {
        self.lexer.errors.push(error);
    }

    /// Records an error; `detail` may be empty.
    fn error(&mut self, code: Code, span: Span, message: &str, detail: String) -> Bail {
        let mut error = Diagnostic::new(code, span, message.to_owned());
        error.detail = Some(shorten(detail, MAX_QUOTED_CHARS)).filter(|text| !text.is_empty());
        self.report(error);
        Bail
    }

    /// An error with a hint where a name is nearly one of `candidates`.
    fn unknown_name<'b>(
        &mut self,
        span: Span,
        message: String,
        name: &str,
        candidates: impl IntoIterator<Item = &'b str>,
    ) -> Bail {
        let mut error = Diagnostic::new(Code::UnknownName, span, message);
        error.hint = did_you_mean(name, candidates);
        self.report(error);
        Bail
    }

    /// A word of PF's that this program has nothing for.
    fn unsupported(&mut self, feature: &str, span: Span, hint: &str) -> Bail {
        let message = format!("not supported: {feature}");
        let mut error = Diagnostic::new(Code::NotSupported, span, message);
        error.detail = Some(format!("Linux has nothing for `{feature}`"));
        error.hint = Some(hint.to_owned());
        self.report(error);
        Bail
    }

    fn syntax_error(&mut self, expected: &str) -> Diagnostic {
        let token = self.peek().clone();
        let mut error = Diagnostic::new(Code::Syntax, token.span, "syntax error".to_owned());
        error.detail = Some(format!("found {}, expected {expected}", token.describe()));
        if token.text == "$" {
            error.hint = Some("macros are not expanded inside quotes or other macros".to_owned());
        }
        error
    }

    /// PF's `syntax error` at the next token. Text that the lexer refused has its error already.
    fn unexpected(&mut self, expected: &str) -> Bail {
        if self.peek().kind != Kind::Invalid {
            let error = self.syntax_error(expected);
            self.report(error);
        }
        Bail
    }
}

/// PF keeps the number, and with it no zeros before it.
fn plain_number(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        number => number,
    }
}

fn begins_statement(token: &Token) -> bool {
    token.kind == Kind::Word && keywords::STATEMENTS.contains(&token.text.as_ref())
}

fn describe_io(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        "No such file or directory".to_owned()
    } else {
        error.to_string()
    }
}
