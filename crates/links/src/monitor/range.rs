//! Ranges of the Monitoring Plugins' guidelines: `[@]start:end`.

use std::fmt;

/// When to alert: outside of `start..=end`, or inside with `@`.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    text: String,
    start: f64,
    end: f64,
    inside: bool,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range\n  hint: 10, 10:, ~:10, 10:20 or @10:20")]
pub struct RangeError(String);

impl Range {
    /// Reads one.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError(text.to_owned());
        let (inside, rest) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (start, end) = match rest.split_once(':') {
            Some((start, end)) => (start, end),
            None => ("0", rest),
        };
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let start = match start {
            "~" => f64::NEG_INFINITY,
            "" => 0.0,
            text => number(text).ok_or_else(wrong)?,
        };
        let end = match end {
            "" if rest.contains(':') => f64::INFINITY,
            text => number(text).ok_or_else(wrong)?,
        };
        if start > end {
            return Err(wrong());
        }
        Ok(Self {
            text: text.to_owned(),
            start,
            end,
            inside,
        })
    }

    /// `N:`.
    #[must_use]
    pub fn at_least(n: u32) -> Self {
        Self {
            text: format!("{n}:"),
            start: f64::from(n),
            end: f64::INFINITY,
            inside: false,
        }
    }

    /// Whether `value` is bad.
    #[must_use]
    pub fn alerts(&self, value: f64) -> bool {
        let within = self.start <= value && value <= self.end;
        within == self.inside
    }
}

/// As it was written.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
