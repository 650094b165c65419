//! `-s memory`: the limits.

use std::fmt::Write;

use pf_engine::engine::Engine;
use pf_engine::ruleset::{Dialect, Limit};

/// `-s memory`.
#[must_use]
pub fn memory(engine: &Engine) -> String {
    let mut text = String::new();
    let dialect = engine.dialect();
    let shown = |limit: &Limit| match limit {
        // FreeBSD does not count tables any more.
        Limit::Tables => dialect != Dialect::FreeBsd,
        // Before OpenBSD 4.1 anchors had no limit, and frames have rules on FreeBSD alone.
        Limit::Anchors => dialect != Dialect::OpenBsd3,
        Limit::EtherAnchors => dialect == Dialect::FreeBsd,
        Limit::States | Limit::SrcNodes | Limit::Frags | Limit::TableEntries => true,
    };
    for limit in Limit::ALL.into_iter().filter(shown) {
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
             tables        hard limit     1000\n\
             table-entries hard limit   200000\n\
             anchors       hard limit      512\n\
             eth-anchors   hard limit      512\n"
        );
    }
}
