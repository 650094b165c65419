//! `-s timeouts`.

use std::fmt::Write;

use pf_engine::engine::Engine;
use pf_engine::rule::{Timeout, Timeouts};

/// `-s timeouts`.
#[must_use]
pub fn timeouts(engine: &Engine) -> String {
    format(engine.timeouts())
}

fn format(timeouts: &Timeouts) -> String {
    let mut text = String::new();
    for timeout in Timeout::ALL {
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
        let text = format(&Timeouts::default());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[0], "tcp.first                   120s");
        assert_eq!(lines[2], "tcp.established           86400s");
        assert_eq!(lines[17], "adaptive.start            60000 states");
        assert_eq!(lines[19], "src.track                     0s");
    }
}
