//! `-s memory`: the limits.

use std::fmt::Write;

use pf_engine::engine::Engine;
use pf_engine::ruleset::{Dialect, Limit};

/// `-s memory`.
#[must_use]
pub fn memory(engine: &Engine, dialect: Dialect) -> String {
    let mut text = String::new();
    for limit in Limit::ALL.into_iter().filter(|l| is_shown(*l, dialect)) {
        write_limit(&mut text, limit, engine.limit(limit), dialect);
    }
    text
}

fn is_shown(limit: Limit, dialect: Dialect) -> bool {
    match limit {
        Limit::States | Limit::SrcNodes | Limit::Frags => true,
        // OpenBSD 3.7 had no limits of these.
        Limit::TableEntries | Limit::Anchors => dialect != Dialect::OpenBsd3,
        // FreeBSD does not count tables any more.
        Limit::Tables => dialect == Dialect::OpenBsd,
        // Frames have rules on FreeBSD alone.
        Limit::EtherAnchors => dialect == Dialect::FreeBsd,
    }
}

fn write_limit(text: &mut String, limit: Limit, value: u32, dialect: Dialect) {
    let (name, number) = match dialect {
        Dialect::OpenBsd3 => (10, 6),
        Dialect::FreeBsd | Dialect::OpenBsd => (13, 8),
    };
    let _ = writeln!(text, "{:<name$} hard limit {value:>number$}", limit.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dialect: Dialect) -> String {
        let mut text = String::new();
        for limit in Limit::ALL.into_iter().filter(|l| is_shown(*l, dialect)) {
            write_limit(&mut text, limit, limit.default_value(), dialect);
        }
        text
    }

    #[test]
    fn limits_stand_in_the_columns_of_each_pf() {
        assert_eq!(
            text(Dialect::FreeBsd),
            "states        hard limit   100000\n\
             src-nodes     hard limit    10000\n\
             frags         hard limit     5000\n\
             table-entries hard limit   200000\n\
             anchors       hard limit      512\n\
             eth-anchors   hard limit      512\n"
        );
        assert_eq!(
            text(Dialect::OpenBsd),
            "states        hard limit   100000\n\
             src-nodes     hard limit    10000\n\
             frags         hard limit     5000\n\
             tables        hard limit     1000\n\
             table-entries hard limit   200000\n\
             anchors       hard limit      512\n"
        );
        assert_eq!(
            text(Dialect::OpenBsd3),
            "states     hard limit 100000\n\
             src-nodes  hard limit  10000\n\
             frags      hard limit   5000\n"
        );
    }
}
