//! Tokens.

use std::borrow::Cow;

use crate::diagnostic::shorten;
use crate::source::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unquoted word: a keyword, a name, an address.
    Word,
    /// A quoted string; `text` is without its quotes.
    Quoted,
    /// Decimal digits alone.
    Number,
    /// Punctuation and operators.
    Symbol,
    /// End of a line.
    Newline,
    /// End of the main file.
    End,
    /// What could not be read; its error is already recorded.
    Invalid,
}

/// A token and where it was.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: Cow<'static, str>,
    pub(crate) span: Span,
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    pub(crate) const fn ends_line(&self) -> bool {
        matches!(self.kind, Kind::Newline | Kind::End)
    }

    /// How it is called in a message.
    pub(crate) fn describe(&self) -> String {
        match self.kind {
            Kind::Word | Kind::Number | Kind::Symbol => {
                format!("`{}`", shorten(self.text.to_string(), 60))
            }
            Kind::Quoted => format!("\"{}\"", shorten(self.text.to_string(), 60)),
            Kind::Newline => "end of line".to_owned(),
            Kind::End => "end of file".to_owned(),
            Kind::Invalid => "text that cannot be read".to_owned(),
        }
    }
}
