//! `-s memory`: the limits.

use std::fmt::Write;

use pf_engine::engine::Engine;
use pf_engine::ruleset::Limit;

/// `-s memory`.
#[must_use]
pub fn memory(engine: &Engine) -> String {
    let mut text = String::new();
    for limit in Limit::ALL {
        write_limit(&mut text, limit, engine.limit(limit));
    }
    text
}

fn write_limit(text: &mut String, limit: Limit, value: u32) {
    let _ = writeln!(text, "{:<13} {:<10} {value:>8}", limit.name(), "hard limit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_columns() {
        let mut text = String::new();
        for limit in Limit::ALL {
            write_limit(&mut text, limit, limit.default_value());
        }
        assert_eq!(
            text,
            "states        hard limit   100000\n\
             src-nodes     hard limit    10000\n\
             frags         hard limit     5000\n\
             table-entries hard limit   200000\n"
        );
    }
}
