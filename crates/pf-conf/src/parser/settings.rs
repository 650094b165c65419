//! The values of `set` options that have words of their own. Most can be printed but not
//! installed yet.

use pf_engine::ruleset::{DebugLevel, Syncookies};

use super::{Parse, Parser};
use crate::ast::SetStatement;
use crate::diagnostic::Code;
use crate::names::did_you_mean;

/// Percent of the state limit at which adaptive syncookies begin, where only their end is given
/// (`PF_SYNCOOKIES_HIWATPCT`).
const SYNCOOKIES_START: u8 = 25;

impl Parser<'_> {
    pub(super) fn set_debug(&mut self) -> Parse<()> {
        let word = self.one_of(&DebugLevel::NAMES, |text| {
            format!("unknown debug level \"{text}\"")
        })?;
        if let Some(level) = DebugLevel::named(&word) {
            self.push_set(SetStatement::Debug(level));
        }
        Ok(())
    }

    pub(super) fn set_fail_policy(&mut self) -> Parse<()> {
        let word = self.one_of(&["drop", "return"], |text| {
            format!("unknown fail-policy \"{text}\"")
        })?;
        let returns = word == "return";
        self.push_set(SetStatement::FailPolicy { returns });
        Ok(())
    }

    pub(super) fn set_host_id(&mut self) -> Parse<()> {
        let number = self.host_id()?;
        self.push_set(SetStatement::HostId(number));
        Ok(())
    }

    pub(super) fn one_of(
        &mut self,
        known: &[&str],
        wrong: impl FnOnce(&str) -> String,
    ) -> Parse<String> {
        let token = self.peek().clone();
        if token.ends_line() {
            return Err(self.unexpected("a value"));
        }
        self.next();
        if known.contains(&token.text.as_ref()) {
            return Ok(token.text.into_owned());
        }
        let message = wrong(&token.text);
        let bail = self.error(Code::UnknownName, token.span, &message, String::new());
        if let Some(error) = self.lexer.errors.last_mut() {
            error.hint = did_you_mean(&token.text, known.iter().copied());
        }
        Err(bail)
    }

    fn host_id(&mut self) -> Parse<u32> {
        let id = self.peek().clone();
        if id.ends_line() {
            return Err(self.unexpected("a number"));
        }
        self.next();
        let number = match id.text.strip_prefix("0x") {
            None => id.text.parse().ok(),
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
        };
        match number {
            Some(0) => {
                let message = "hostid must be non-zero";
                Err(self.error(Code::BadNumber, id.span, message, String::new()))
            }
            Some(number) => Ok(number),
            None => {
                let message = format!("invalid hostid {}", id.text);
                Err(self.error(Code::BadNumber, id.span, &message, String::new()))
            }
        }
    }

    /// `never`, `always`, `adaptive [(start N%, end N%)]`, and how it is printed. Half of the start
    /// is the end, where nothing is said.
    pub(super) fn syncookies(&mut self) -> Parse<(Syncookies, String)> {
        let word = self.one_of(&["never", "always", "adaptive"], |text| {
            format!("illegal value for syncookies \"{text}\"")
        })?;
        let open = self.peek().span;
        if !self.eat_symbol("(") {
            let mode = match word.as_str() {
                "never" => Syncookies::Never,
                "always" => Syncookies::Always,
                _ => Syncookies::Adaptive {
                    start: SYNCOOKIES_START,
                    end: SYNCOOKIES_START / 2,
                },
            };
            return Ok((mode, word));
        }
        if word != "adaptive" {
            let message = "syncookies start/end only apply to adaptive";
            return Err(self.error(Code::Conflict, open, message, String::new()));
        }
        let (mut start, mut end) = (None, None);
        loop {
            if self.eat_word("start") {
                start = Some(self.percentage()?);
            } else if self.eat_word("end") {
                end = Some(self.percentage()?);
            } else {
                return Err(self.unexpected("`start` or `end`"));
            }
            self.eat_symbol(",");
            if self.eat_symbol(")") {
                break;
            }
        }
        let start = start.unwrap_or(SYNCOOKIES_START);
        let end = end.unwrap_or(start / 2);
        if end >= start {
            let message = "start must be higher than end";
            return Err(self.error(Code::Conflict, open, message, String::new()));
        }
        let text = format!("adaptive (start {start}%, end {end}%)");
        Ok((Syncookies::Adaptive { start, end }, text))
    }

    fn percentage(&mut self) -> Parse<u8> {
        let token = self.peek().clone();
        let number = token.text.strip_suffix('%').and_then(|n| n.parse().ok());
        let Some(number) = number.filter(|number| (1..=100).contains(number)) else {
            return Err(self.unexpected("a percentage"));
        };
        self.next();
        Ok(number)
    }
}
