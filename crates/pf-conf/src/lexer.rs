//! Text to tokens. Macros are put in place of `$name` as text, before anything is tokenised, as
//! PF does: a macro whose value is `#` makes a comment of the rest of its line. What comes out of
//! a macro is not looked at for further macros (pf.conf(5), MACROS).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{EXPANSION_COST, MAX_EXPANDED_BYTES};
use crate::names;
use crate::source::{Expansion, Sources, Span};
use crate::token::{Kind, Token};

/// A macro's value.
#[derive(Clone, Debug)]
pub(crate) struct Macro {
    pub(crate) value: Arc<str>,
    pub(crate) defined: Option<Span>,
}

/// A character and where it was.
#[derive(Clone, Copy)]
struct Char {
    c: char,
    span: Span,
}

struct Cursor {
    file: usize,
    text: Arc<str>,
    at: usize,
}

struct Active {
    text: Arc<str>,
    at: usize,
    span: Span,
}

/// Reads tokens from a stack of files.
pub(crate) struct Lexer {
    pub(crate) sources: Sources,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) macros: BTreeMap<String, Macro>,
    /// Macros whose definition had an error.
    pub(crate) misdefined: BTreeSet<String>,
    /// An `include` failed.
    pub(crate) definitions_missing: bool,
    /// All tokens that were taken, if somebody wants them.
    pub(crate) trace: Option<Vec<Token>>,
    cursors: Vec<Cursor>,
    active: Option<Active>,
    ahead: VecDeque<Token>,
    expanded: usize,
    exhausted: bool,
}

/// Two-character operators, before the one-character ones they begin with.
const OPERATORS: [(&str, char, char); 6] = [
    ("!=", '!', '='),
    ("<>", '<', '>'),
    ("<=", '<', '='),
    ("><", '>', '<'),
    (">=", '>', '='),
    ("->", '-', '>'),
];

const SYMBOLS: [&str; 13] = [
    "{", "}", "(", ")", "<", ">", "!", "=", "/", ",", "-", "|", "@",
];

impl Lexer {
    pub(crate) fn new(sources: Sources, macros: BTreeMap<String, Macro>) -> Self {
        Self {
            sources,
            errors: Vec::new(),
            macros,
            misdefined: BTreeSet::new(),
            definitions_missing: false,
            trace: None,
            cursors: Vec::new(),
            active: None,
            ahead: VecDeque::new(),
            expanded: 0,
            exhausted: false,
        }
    }

    /// Reads `file` next; what was being read goes on after it.
    pub(crate) fn enter(&mut self, file: usize) {
        // The end of the file outside is read again after this one.
        self.ahead.retain(|token| token.kind != Kind::End);
        if let Some(source) = self.sources.file(file) {
            self.cursors.push(Cursor {
                file,
                text: Arc::clone(&source.text),
                at: 0,
            });
        }
    }

    /// Files open inside each other.
    pub(crate) fn depth(&self) -> usize {
        self.cursors.len()
    }

    /// Reads nothing more: the next token is the end.
    pub(crate) fn stop(&mut self) {
        self.exhausted = true;
        self.ahead.clear();
    }

    /// The next token, which stays.
    pub(crate) fn peek(&mut self) -> &Token {
        self.peek_at(0)
    }

    /// The token after `index` others. Callers never look beyond the end of a line, because what
    /// the next line means may depend on this one.
    pub(crate) fn peek_at(&mut self, index: usize) -> &Token {
        while self.ahead.len() <= index {
            let token = self.read_token();
            self.ahead.push_back(token);
        }
        &self.ahead[index]
    }

    /// Takes the next token.
    pub(crate) fn next(&mut self) -> Token {
        let token = match self.ahead.pop_front() {
            Some(token) => token,
            None => self.read_token(),
        };
        if let Some(trace) = &mut self.trace {
            trace.push(token.clone());
        }
        token
    }

    fn read_token(&mut self) -> Token {
        if self.exhausted {
            return self.end_token();
        }
        loop {
            self.skip_blanks();
            let Some(start) = self.peek_char() else {
                return self.leave_file();
            };
            match start.c {
                '#' => self.skip_comment(),
                '$' if start.span.expansion.is_none() => {
                    if let Some(invalid) = self.expand_macro() {
                        return invalid;
                    }
                }
                '\n' => {
                    self.bump();
                    let span = Span {
                        hi: start.span.lo,
                        ..start.span
                    };
                    return symbol(Kind::Newline, "\n", span);
                }
                '"' | '\'' => return self.read_quoted(start),
                c if c.is_ascii_digit() => return self.read_number_or_word(),
                c if starts_word(c) => return self.read_word(String::new(), start.span),
                _ => return self.read_symbol(start),
            }
        }
    }

    fn end_token(&self) -> Token {
        let span = self.cursors.last().map_or(
            Span {
                file: 0,
                lo: 0,
                hi: 0,
                expansion: None,
            },
            |cursor| Span {
                file: cursor.file,
                lo: cursor.at,
                hi: cursor.at,
                expansion: None,
            },
        );
        symbol(Kind::End, "", span)
    }

    fn leave_file(&mut self) -> Token {
        let end = self.end_token();
        if self.cursors.len() > 1 {
            self.cursors.pop();
            symbol(Kind::Newline, "\n", end.span)
        } else {
            end
        }
    }

    fn skip_blanks(&mut self) {
        while self
            .peek_char()
            .is_some_and(|next| matches!(next.c, ' ' | '\t' | '\x0b' | '\x0c' | '\r'))
        {
            self.bump();
        }
    }

    fn skip_comment(&mut self) {
        while self.peek_char().is_some_and(|next| next.c != '\n') {
            self.bump();
        }
    }

    /// Puts the value of `$name` in its place. Gives a token only when it cannot.
    fn expand_macro(&mut self) -> Option<Token> {
        let dollar = self.bump()?.span;
        let (name, span) = self.take_while(dollar, |c| c.is_ascii_alphanumeric() || c == '_');
        let Some(found) = self.macros.get(&name).cloned() else {
            return Some(self.undefined_macro(&name, span));
        };
        self.expanded += found.value.len() + EXPANSION_COST;
        if self.expanded > MAX_EXPANDED_BYTES {
            self.stop();
            self.errors.push(Diagnostic::new(
                Code::Limit,
                span,
                format!("macros expand to more than {MAX_EXPANDED_BYTES} bytes"),
            ));
            return Some(symbol(Kind::Invalid, "", span));
        }
        let expansion = self.sources.add_expansion(Expansion {
            name,
            value: Arc::clone(&found.value),
            defined: found.defined,
            at: span,
        });
        self.active = Some(Active {
            text: found.value,
            at: 0,
            span: Span {
                expansion: Some(expansion),
                ..span
            },
        });
        None
    }

    /// A macro whose own definition was wrong is not reported at each of its uses, nor is one
    /// that a file may define which could not be read.
    fn undefined_macro(&mut self, name: &str, span: Span) -> Token {
        self.skip_comment();
        let invalid = symbol(Kind::Invalid, "", span);
        if self.definitions_missing || self.misdefined.contains(name) {
            return invalid;
        }
        let mut error = Diagnostic::new(
            Code::UndefinedMacro,
            span,
            format!("macro '{name}' not defined"),
        );
        error.hint = names::did_you_mean(name, self.macros.keys().map(String::as_str));
        self.errors.push(error);
        invalid
    }

    fn read_quoted(&mut self, quote: Char) -> Token {
        self.bump();
        let mut text = String::new();
        let mut span = quote.span;
        loop {
            let Some(next) = self.bump_raw() else {
                self.errors.push(Diagnostic::new(
                    Code::Syntax,
                    quote.span,
                    "reached end of file while parsing quoted string".to_owned(),
                ));
                return symbol(Kind::Invalid, "", quote.span);
            };
            span = span.to(next.span);
            match next.c {
                '\n' => {}
                '\\' => self.read_escape(quote.c, &mut text),
                c if c == quote.c => break,
                c => text.push(c),
            }
        }
        Token {
            kind: Kind::Quoted,
            text: Cow::Owned(text),
            span,
        }
    }

    /// After a backslash in a quoted string: quotes and blanks lose it, other characters keep it,
    /// the end of a line goes.
    fn read_escape(&mut self, quote: char, text: &mut String) {
        let Some(next) = self.peek_raw() else { return };
        if next.c == quote || matches!(next.c, ' ' | '\t') {
            text.push(next.c);
            self.bump_raw();
        } else if next.c == '\n' {
            self.bump_raw();
        } else {
            text.push('\\');
        }
    }

    /// Digits are a number unless something follows that belongs to a name or an address.
    fn read_number_or_word(&mut self) -> Token {
        let Some(first) = self.peek_char() else {
            return self.end_token();
        };
        let (digits, span) = self.take_while(first.span, |c| c.is_ascii_digit());
        let number = self
            .peek_char()
            .is_none_or(|next| ends_number(next.c) || !in_word(next.c));
        if number {
            Token {
                kind: Kind::Number,
                text: Cow::Owned(digits),
                span,
            }
        } else {
            self.read_word(digits, span)
        }
    }

    fn read_word(&mut self, mut text: String, span: Span) -> Token {
        let (rest, span) = self.take_while(span, in_word);
        text.push_str(&rest);
        Token {
            kind: Kind::Word,
            text: Cow::Owned(text),
            span,
        }
    }

    fn read_symbol(&mut self, first: Char) -> Token {
        self.bump();
        let second = self.peek_char();
        if let Some(second) = second {
            for (text, a, b) in OPERATORS {
                if a == first.c && b == second.c {
                    self.bump();
                    return symbol(Kind::Symbol, text, first.span.to(second.span));
                }
            }
        }
        let mut buffer = [0; 4];
        let spelled: &str = first.c.encode_utf8(&mut buffer);
        match SYMBOLS.iter().find(|known| **known == spelled) {
            Some(known) => symbol(Kind::Symbol, known, first.span),
            None => Token {
                kind: Kind::Symbol,
                text: Cow::Owned(spelled.to_owned()),
                span: first.span,
            },
        }
    }

    fn take_while(&mut self, mut span: Span, belongs: impl Fn(char) -> bool) -> (String, Span) {
        let mut text = String::new();
        while let Some(next) = self.peek_char().filter(|next| belongs(next.c)) {
            text.push(next.c);
            span = span.to(next.span);
            self.bump();
        }
        (text, span)
    }

    /// The next character, line continuations and other backslashes skipped.
    fn peek_char(&mut self) -> Option<Char> {
        loop {
            let next = self.peek_raw()?;
            if next.c != '\\' || next.span.expansion.is_some() {
                return Some(next);
            }
            let cursor = self.cursors.last_mut()?;
            let rest = cursor.text.get(cursor.at..)?;
            if rest.starts_with("\\\n") {
                cursor.at += 2;
            } else if rest.starts_with("\\\r\n") {
                cursor.at += 3;
            } else {
                // PF drops a backslash that continues nothing.
                cursor.at += 1;
                return self.peek_raw();
            }
        }
    }

    fn bump(&mut self) -> Option<Char> {
        self.peek_char()?;
        self.bump_raw()
    }

    fn peek_raw(&mut self) -> Option<Char> {
        if let Some(active) = &self.active {
            if let Some(c) = active.text.get(active.at..).and_then(|t| t.chars().next()) {
                return Some(Char {
                    c,
                    span: active.span,
                });
            }
            self.active = None;
        }
        let cursor = self.cursors.last()?;
        let c = cursor.text.get(cursor.at..)?.chars().next()?;
        Some(Char {
            c,
            span: Span {
                file: cursor.file,
                lo: cursor.at,
                hi: cursor.at + c.len_utf8(),
                expansion: None,
            },
        })
    }

    fn bump_raw(&mut self) -> Option<Char> {
        let next = self.peek_raw()?;
        if let Some(active) = &mut self.active {
            active.at += next.c.len_utf8();
        } else if let Some(cursor) = self.cursors.last_mut() {
            cursor.at += next.c.len_utf8();
        }
        Some(next)
    }
}

fn symbol(kind: Kind, text: &'static str, span: Span) -> Token {
    Token {
        kind,
        text: Cow::Borrowed(text),
        span,
    }
}

const fn starts_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_')
}

/// What may go on inside a word: all printable ASCII but these.
const fn in_word(c: char) -> bool {
    c.is_ascii_graphic()
        && !matches!(
            c,
            '(' | ')' | '{' | '}' | '<' | '>' | '!' | '=' | '/' | '#' | ',' | '\\'
        )
}

/// Whether `text` is read as one word when it stands without quotes.
pub(crate) fn is_plain_word(text: &str) -> bool {
    text.starts_with(starts_word)
        && text.chars().all(in_word)
        && !text.bytes().all(|b| b.is_ascii_digit())
}

const fn ends_number(c: char) -> bool {
    c.is_ascii_whitespace() || matches!(c, ')' | ',' | '/' | '}' | '=')
}
