//! `-s timeouts`.

use std::fmt::Write;

use pf_engine::rule::{Timeout, Timeouts};
use pf_engine::ruleset::Dialect;

use super::View;

/// `-s timeouts`.
#[must_use]
pub fn timeouts(view: &View<'_>) -> String {
    format(view.engine.timeouts(), view.dialect)
}

/// OpenBSD knows no states of SCTP.
fn is_shown(timeout: Timeout, dialect: Dialect) -> bool {
    dialect == Dialect::FreeBsd || !timeout.name().starts_with("sctp.")
}

fn format(timeouts: &Timeouts, dialect: Dialect) -> String {
    let mut text = String::new();
    for timeout in Timeout::ALL.into_iter().filter(|t| is_shown(*t, dialect)) {
        let in_states = matches!(timeout, Timeout::AdaptiveStart | Timeout::AdaptiveEnd);
        let unit = if in_states { " states" } else { "s" };
        let _ = writeln!(
            text,
            "{:<20} {:>10}{unit}",
            timeout.name(),
            timeouts.value(timeout)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_stand_in_columns_with_their_units() {
        let text = format(&Timeouts::default(), Dialect::OpenBsd);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[0], "tcp.first                   120s");
        assert_eq!(lines[2], "tcp.established           86400s");
        assert_eq!(lines[17], "adaptive.start            60000 states");
        assert_eq!(lines[19], "src.track                     0s");
        let text = format(&Timeouts::default(), Dialect::FreeBsd);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 25);
        assert_eq!(lines[7], "sctp.first                  120s");
        assert_eq!(lines[9], "sctp.established          86400s");
    }
}
