//! `port …`.

use pf_engine::rule::PortMatch;

use super::{Bail, Parse, Parser};
use crate::ast::Spanned;
use crate::diagnostic::{Code, Diagnostic};
use crate::names::{did_you_mean, services};
use crate::source::Span;
use crate::token::Kind;

/// A port, or both ends of a range; `None` in the second place is `*`.
pub(super) enum PortWord {
    Single(u16),
    Range(u16, u16),
    Open(u16),
}

impl Parser<'_> {
    /// What follows `port`.
    pub(super) fn ports(&mut self) -> Parse<Vec<Spanned<PortMatch>>> {
        let mut ports = Vec::new();
        self.list("a port", &mut |parser| {
            ports.push(parser.port()?);
            Ok(())
        })?;
        Ok(ports)
    }

    fn port(&mut self) -> Parse<Spanned<PortMatch>> {
        let start = self.peek().span;
        if let Some(operator) = self.unary_operator() {
            let (word, span) = self.port_word()?;
            let PortWord::Single(port) = word else {
                let message = "':' cannot be used with an other port operator";
                return Err(self.error(Code::Syntax, span, message, String::new()));
            };
            return Ok(Spanned {
                node: operator(port),
                span: start.to(span),
            });
        }
        let (word, span) = self.port_word()?;
        self.port_match(word, span)
    }

    fn unary_operator(&mut self) -> Option<fn(u16) -> PortMatch> {
        let token = self.peek();
        if token.kind != Kind::Symbol {
            return None;
        }
        let operator = match token.text.as_ref() {
            "=" => PortMatch::Eq,
            "!=" => PortMatch::Ne,
            "<" => PortMatch::Lt,
            "<=" => PortMatch::Le,
            ">" => PortMatch::Gt,
            ">=" => PortMatch::Ge,
            _ => return None,
        };
        self.next();
        Some(operator)
    }

    /// A port without an operator before it: alone, a range, or the left of `><` and `<>`.
    fn port_match(&mut self, word: PortWord, span: Span) -> Parse<Spanned<PortMatch>> {
        let operator: Option<fn(u16, u16) -> PortMatch> = if self.eat_symbol("><") {
            Some(PortMatch::Inside)
        } else if self.eat_symbol("<>") {
            Some(PortMatch::Outside)
        } else {
            None
        };
        let (node, span) = match (operator, word) {
            (None, PortWord::Single(port)) => (PortMatch::Eq(port), span),
            (None, PortWord::Range(a, b)) => (PortMatch::Range(a, b), span),
            (Some(operator), PortWord::Single(a)) => {
                let (right, right_span) = self.port_word()?;
                let PortWord::Single(b) = right else {
                    return Err(self.range_with_operator(right_span));
                };
                let span = span.to(right_span);
                let node = operator(a, b);
                let is_inside = matches!(node, PortMatch::Inside(..));
                if a > b || (is_inside && a == b) {
                    let detail = format!("{a} is not less than {b}");
                    return Err(self.error(Code::BadNumber, span, "invalid port range", detail));
                }
                (node, span)
            }
            (None, PortWord::Open(_)) => {
                let detail = "`*` is only for the port of a redirection".to_owned();
                return Err(self.error(Code::Syntax, span, "syntax error", detail));
            }
            (Some(_), PortWord::Range(..) | PortWord::Open(_)) => {
                return Err(self.range_with_operator(span));
            }
        };
        Ok(Spanned { node, span })
    }

    fn range_with_operator(&mut self, span: Span) -> Bail {
        let message = "':' cannot be used with an other port operator";
        self.error(Code::Syntax, span, message, String::new())
    }

    /// `22`, `ssh`, `1024:2048`, `8000:*`.
    pub(super) fn port_word(&mut self) -> Parse<(PortWord, Span)> {
        let token = self.peek();
        if !matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Number) {
            return Err(self.unexpected("a port"));
        }
        let token = self.next();
        let span = token.span;
        let Some((first, last)) = token.text.split_once(':') else {
            return Ok((PortWord::Single(self.port_value(&token.text, span)?), span));
        };
        let first = self.port_value(first, span)?;
        if last == "*" {
            return Ok((PortWord::Open(first), span));
        }
        let last = self.port_value(last, span)?;
        if last < first {
            let detail = format!("{first} is more than {last}");
            return Err(self.error(Code::BadNumber, span, "invalid port range", detail));
        }
        Ok((PortWord::Range(first, last), span))
    }

    fn port_value(&mut self, text: &str, span: Span) -> Parse<u16> {
        let number = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() => {
                Some(text.parse().unwrap_or(u64::MAX))
            }
            None => None,
        };
        if let Some(number) = number {
            return u16::try_from(number).map_err(|_| {
                let message = format!("illegal port value {text}");
                self.error(Code::BadNumber, span, &message, "at most 65535".to_owned())
            });
        }
        services::number(text).ok_or_else(|| {
            let mut error =
                Diagnostic::new(Code::UnknownName, span, format!("unknown port {text}"));
            error.hint = did_you_mean(text, services::all())
                .or_else(|| Some("a port that has no name here is given by its number".to_owned()));
            self.report(error);
            Bail
        })
    }
}
