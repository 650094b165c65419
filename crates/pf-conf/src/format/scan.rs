//! Text to pieces: as the lexer would cut it, but with comments, line breaks and continuations,
//! and with macros as they are written.

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word or a number.
    Word,
    /// `$name`.
    Macro,
    /// A string with its quotes.
    Quoted,
    /// Punctuation and operators.
    Symbol,
    /// `#` to the end of the line, or a rest of a line that may be a comment once a macro in it
    /// is expanded and that cannot be read otherwise.
    Comment,
    /// A backslash and the end of its line.
    Continuation,
    /// The end of a line.
    Newline,
}

/// A stretch of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) raw: &'a [u8],
    /// Whether blanks stand before it.
    pub(super) gap: bool,
}

impl Piece<'_> {
    pub(super) fn is(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.raw == symbol.as_bytes()
    }
}

/// Operators of two characters, as the lexer has them.
const OPERATORS: [&[u8]; 6] = [b"!=", b"<>", b"<=", b"><", b">=", b"->"];

/// All pieces of `text`.
pub(super) fn pieces(text: &[u8]) -> Vec<Piece<'_>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        gap: false,
        macro_in_line: false,
        pieces: Vec::new(),
    };
    while scanner.at < text.len() {
        scanner.step();
    }
    scanner.pieces
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    gap: bool,
    macro_in_line: bool,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(&first) = rest.first() else { return };
        match first {
            b' ' | b'\t' | b'\x0b' | b'\x0c' | b'\r' => {
                self.at += 1;
                self.gap = true;
            }
            b'\n' => {
                self.macro_in_line = false;
                self.push(Kind::Newline, 1);
            }
            b'\\' => match continuation(rest) {
                Some(len) => self.push(Kind::Continuation, len),
                // Continues nothing, and is nothing.
                None => self.at += 1,
            },
            b'#' => self.push(Kind::Comment, line_len(rest)),
            b'"' | b'\'' => self.quoted(first),
            b'$' => {
                self.macro_in_line = true;
                let name = run_len(&rest[1..], |c| c.is_ascii_alphanumeric() || c == b'_');
                self.push(Kind::Macro, 1 + name);
            }
            c if starts_word(c) => self.push(Kind::Word, run_len(rest, in_word)),
            c if !c.is_ascii() => {
                let len = rest.iter().take_while(|c| !c.is_ascii()).count();
                self.push(Kind::Symbol, len);
            }
            _ => {
                let pair = OPERATORS.iter().any(|operator| rest.starts_with(operator));
                self.push(Kind::Symbol, if pair { 2 } else { 1 });
            }
        }
    }

    /// A string may go on over lines. Behind a macro that begins a comment a quote is none: one
    /// that does not end in its line is not taken for a string there.
    fn quoted(&mut self, quote: u8) {
        let rest = self.rest();
        let len = quoted_len(rest, quote);
        let line = line_len(rest);
        if self.macro_in_line && len.is_none_or(|len| len > line) {
            self.push(Kind::Comment, line);
        } else {
            self.push(Kind::Quoted, len.unwrap_or(rest.len()));
        }
    }

    fn push(&mut self, kind: Kind, len: usize) {
        let end = self.text.len().min(self.at + len);
        self.pieces.push(Piece {
            kind,
            raw: self.text.get(self.at..end).unwrap_or_default(),
            gap: std::mem::take(&mut self.gap),
        });
        self.at = end;
    }
}

/// Length of a continuation at the start of `text`.
fn continuation(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"\\\n") {
        Some(2)
    } else {
        text.starts_with(b"\\\r\n").then_some(3)
    }
}

/// Length of the line that `text` begins with, continued lines included, its end not.
fn line_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\n' => break,
            b'\\' => at += continuation(&text[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    at
}

/// Length of the string that `text` begins with; nothing if it does not end.
fn quoted_len(text: &[u8], quote: u8) -> Option<usize> {
    let mut before = quote;
    for (at, &byte) in text.iter().enumerate().skip(1) {
        if byte == quote && before != b'\\' {
            return Some(at + 1);
        }
        before = byte;
    }
    None
}

/// Length of what belongs to a word at the start of `text`: a backslash in it, or a line break
/// behind one, does not end it.
fn run_len(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let skipped = match rest.first() {
            Some(b'\\') => continuation(rest).unwrap_or(1),
            _ => 0,
        };
        match rest.get(skipped) {
            Some(&next) if belongs(next) => at += skipped + 1,
            _ => return at,
        }
    }
}

const fn starts_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b':' | b'_')
}

const fn in_word(c: u8) -> bool {
    c.is_ascii_graphic()
        && !matches!(
            c,
            b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'!' | b'=' | b'/' | b'#' | b',' | b'\\'
        )
}
