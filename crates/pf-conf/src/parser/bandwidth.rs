//! Bandwidths: `100Kb`, `5%`, `10M`.

use super::{Parse, Parser};
use crate::diagnostic::Code;
use crate::token::Kind;

/// A share of the parent's bandwidth, or bits in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bandwidth {
    /// Hundredths.
    Percent(u32),
    /// Bits in a second.
    Bits(u64),
}

/// Bytes of a packet that a token bucket is reckoned in: what PF takes for an interface whose MTU
/// it does not know.
const PACKET: u32 = 1500;

impl Bandwidth {
    /// What a queue has that says nothing.
    pub(super) const WHOLE: Self = Self::Percent(100);

    /// Nothing for a percentage: of an interface, it would need the speed of the link.
    pub(super) const fn absolute(self) -> Option<Self> {
        match self {
            Self::Percent(_) => None,
            Self::Bits(_) => Some(self),
        }
    }

    /// As `altq` prints it: two digits behind the point at most.
    pub(super) fn altq(self) -> String {
        let bits = match self {
            Self::Percent(percent) => return format!("{percent}%"),
            Self::Bits(bits) => bits,
        };
        let (divisor, unit) = unit_of(bits);
        let hundredths = u128::from(bits) * 100 / u128::from(divisor);
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        if rest == 0 {
            format!("{whole}{unit}b")
        } else {
            format!("{whole}.{rest:02}{unit}b")
        }
    }

    /// As OpenBSD's `queue` prints it: only thousands that are whole.
    pub(super) fn queue(self) -> String {
        let mut bits = match self {
            Self::Percent(percent) => return format!("{percent}%"),
            Self::Bits(bits) => bits,
        };
        let mut units = ["", "K", "M", "G"].into_iter().peekable();
        while bits >= 1000 && bits.is_multiple_of(1000) && units.len() > 1 {
            bits /= 1000;
            units.next();
        }
        format!("{bits}{}", units.next().unwrap_or_default())
    }

    /// `tbrsize` where it is not given: packets by speed (altq's rule of thumb).
    pub(super) fn token_bucket(self) -> u32 {
        let bits = match self {
            Self::Percent(_) => 0,
            Self::Bits(bits) => bits,
        };
        let packets = match bits {
            0..=1_000_000 => 1,
            1_000_001..=10_000_000 => 4,
            10_000_001..=200_000_000 => 8,
            200_000_001..=2_500_000_000 => 24,
            _ => 128,
        };
        packets * PACKET
    }
}

fn unit_of(bits: u64) -> (u64, &'static str) {
    match bits {
        0..1_000 => (1, ""),
        1_000..1_000_000 => (1_000, "K"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    }
}

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
