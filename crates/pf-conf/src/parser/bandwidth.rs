//! Bandwidths: `100Kb`, `5%`, `10M`.

use pf_engine::queue::Bandwidth;

use super::{Parse, Parser};
use crate::diagnostic::Code;
use crate::token::Kind;

impl Parser<'_> {
    /// `N`, `N.N`, with `b`, `Kb`, `Mb`, `Gb`, `K`, `M`, `G` or `%`.
    pub(super) fn bandwidth(&mut self) -> Parse<Bandwidth> {
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Number | Kind::Quoted) {
            return Err(self.unexpected("a bandwidth"));
        }
        self.next();
        let text = token.text.as_ref();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
        let Ok(number) = digits.parse::<f64>() else {
            let message = format!("invalid bandwidth {text}");
            return Err(self.error(Code::BadNumber, token.span, &message, String::new()));
        };
        let factor = match unit {
            "" | "b" => 1.0,
            "Kb" | "K" => 1e3,
            "Mb" | "M" => 1e6,
            "Gb" | "G" => 1e9,
            "%" if number <= 100.0 => return Ok(Bandwidth::Percent(whole(number))),
            "%" => {
                let message = "bandwidth spec out of range";
                return Err(self.error(Code::BadNumber, token.span, message, String::new()));
            }
            other => {
                let message = format!("unknown unit {other}");
                return Err(self.error(Code::UnknownName, token.span, &message, String::new()));
            }
        };
        let bits = number * factor;
        if bits >= 1e15 {
            let message = format!("bandwidth {text} is too large");
            return Err(self.error(Code::BadNumber, token.span, &message, String::new()));
        }
        Ok(Bandwidth::Bits(bits_of(bits)))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100"
)]
const fn whole(percent: f64) -> u32 {
    percent as u32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 10^15"
)]
const fn bits_of(bits: f64) -> u64 {
    bits.round() as u64
}
