//! `-s Tables` and `-T show`.

use std::fmt::Write;

use pf_engine::anchor::AnchorPath;
use pf_engine::counters::Traffic;
use pf_engine::ruleset::{Dialect, TableEntry};
use pf_engine::time::Instant;
use pf_engine::view::{AddressCounters, TableView};

use super::{View, time};

/// `-s Tables`: names; with `-v` flags, with `-vv` counters.
#[must_use]
pub fn tables(view: &View<'_>) -> String {
    let mut text = String::new();
    for table in view.engine.tables() {
        let anchor = AnchorPath::new(table.anchor).unwrap_or_default();
        if view.scope.holds(&anchor) {
            write_table(&mut text, &table, view);
        }
    }
    text
}

fn write_table(text: &mut String, table: &TableView<'_>, view: &View<'_>) {
    if view.style.verbose >= 1 {
        let _ = write!(text, "{}\t", flags(table));
    }
    text.push_str(table.name);
    if !table.anchor.is_empty() {
        let old = view.dialect == Dialect::OpenBsd3;
        text.push(if old { '\t' } else { '@' });
        text.push_str(table.anchor);
    }
    text.push('\n');
    if view.style.verbose >= 2 {
        write_statistics(text, table, view);
    }
}

/// const, persist, active, inactive, referenced, referenced from an anchor, counters. A table that
/// is not active is only named by a rule, and not shown.
fn flags(table: &TableView<'_>) -> String {
    let marks = [
        (table.constant, 'c'),
        (table.persist, 'p'),
        (true, 'a'),
        (false, 'i'),
        (table.referenced, 'r'),
        (table.anchor_references > 0, 'h'),
        (table.counters, 'C'),
    ];
    let mark = |(set, mark)| if set { mark } else { '-' };
    marks.into_iter().map(mark).collect()
}

fn write_statistics(text: &mut String, table: &TableView<'_>, view: &View<'_>) {
    let _ = writeln!(text, "\tAddresses:   {}", table.len);
    write_cleared(text, table.cleared, view.origin);
    write_pair(
        text,
        "References:",
        "Anchors",
        table.anchor_references.into(),
        "Rules",
        table.references.into(),
    );
    write_pair(
        text,
        "Evaluations:",
        "NoMatch",
        table.misses,
        "Match",
        table.matches,
    );
    let openbsd = view.dialect == Dialect::OpenBsd;
    let (passed, blocked) = (&table.passed, &table.blocked);
    let (matched, xpassed) = (&table.matched, &table.xpassed);
    let incoming = |traffic: &Traffic| (traffic.packets_in, traffic.bytes_in);
    let outgoing = |traffic: &Traffic| (traffic.packets_out, traffic.bytes_out);
    for (name, (packets, bytes), shown) in [
        ("In/Block:", incoming(blocked), true),
        ("In/Match:", incoming(matched), openbsd),
        ("In/Pass:", incoming(passed), true),
        ("In/XPass:", incoming(xpassed), true),
        ("Out/Block:", outgoing(blocked), true),
        ("Out/Match:", outgoing(matched), openbsd),
        ("Out/Pass:", outgoing(passed), true),
        ("Out/XPass:", outgoing(xpassed), true),
    ] {
        if shown {
            write_pair(text, name, "Packets", packets, "Bytes", bytes);
        }
    }
}

pub(super) fn write_pair(text: &mut String, title: &str, left: &str, a: u64, right: &str, b: u64) {
    let _ = writeln!(text, "\t{title:<12} [ {left}: {a:<18} {right}: {b:<18} ]");
}

pub(super) fn write_cleared(text: &mut String, cleared: Instant, origin: u64) {
    let moment = origin.saturating_add(cleared.since_origin().as_secs());
    let _ = writeln!(text, "\tCleared:     {}", time::date(moment));
}

/// A line of `-T show`, `-T test -v` and of the feedback of other table commands: `mark` (blank,
/// or what happened to the address), sign, address.
pub fn write_entry(text: &mut String, mark: char, entry: &TableEntry) {
    let sign = if entry.negated { '!' } else { ' ' };
    let _ = writeln!(text, "{mark} {sign}{}", entry.prefix);
}

/// A line of `-T test -vv`: the address, and the entry of the table that decides about it.
pub fn write_tested(
    text: &mut String,
    matches: bool,
    entry: &TableEntry,
    found: Option<&TableEntry>,
) {
    let mark = if matches { 'M' } else { ' ' };
    let sign = |entry: &TableEntry| if entry.negated { '!' } else { ' ' };
    let _ = write!(text, "{mark} {}{}\t", sign(entry), entry.prefix);
    let _ = match found {
        Some(found) => writeln!(text, "{}{}", sign(found), found.prefix),
        None => writeln!(text, " nomatch"),
    };
}

/// What `-T show` prints below each address with `-v`; `counters` if the table keeps them.
#[must_use]
pub fn entry_statistics(
    cleared: Instant,
    origin: u64,
    counters: Option<AddressCounters>,
    dialect: Dialect,
) -> String {
    let mut text = String::new();
    write_cleared(&mut text, cleared, origin);
    let Some(counters) = counters else {
        return text;
    };
    let AddressCounters {
        passed,
        blocked,
        matched,
    } = counters;
    let openbsd = dialect == Dialect::OpenBsd;
    for (name, packets, bytes, shown) in [
        ("In/Block:", blocked.packets_in, blocked.bytes_in, true),
        ("In/Match:", matched.packets_in, matched.bytes_in, openbsd),
        ("In/Pass:", passed.packets_in, passed.bytes_in, true),
        ("Out/Block:", blocked.packets_out, blocked.bytes_out, true),
        (
            "Out/Match:",
            matched.packets_out,
            matched.bytes_out,
            openbsd,
        ),
        ("Out/Pass:", passed.packets_out, passed.bytes_out, true),
    ] {
        if shown {
            write_pair(&mut text, name, "Packets", packets, "Bytes", bytes);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use datapath::queues::QueueStatistics;
    use pf_engine::engine::{Engine, EngineConfig};

    use super::super::{LoadedBy, Scope, Style};
    use super::*;
    use crate::text::parse_table_entry;

    #[test]
    fn an_address_has_counters_if_its_table_keeps_them() {
        let counters = AddressCounters {
            passed: Traffic {
                packets_in: 3,
                bytes_in: 252,
                ..Traffic::default()
            },
            ..AddressCounters::default()
        };
        let lines = |counters| {
            let text = entry_statistics(Instant::default(), 0, counters, Dialect::FreeBsd);
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(None), [""; 0]);
        assert_eq!(
            lines(Some(counters)),
            [
                "\tIn/Block:    [ Packets: 0                  Bytes: 0                  ]",
                "\tIn/Pass:     [ Packets: 3                  Bytes: 252                ]",
                "\tOut/Block:   [ Packets: 0                  Bytes: 0                  ]",
                "\tOut/Pass:    [ Packets: 0                  Bytes: 0                  ]",
            ]
        );
    }

    fn table() -> TableView<'static> {
        let passed = Traffic {
            packets_in: 3,
            bytes_in: 252,
            packets_out: 3,
            bytes_out: 252,
        };
        TableView {
            name: "foo",
            anchor: "",
            anchor_references: 0,
            constant: false,
            persist: false,
            referenced: true,
            counters: true,
            len: 2,
            references: 2,
            cleared: Instant::from_secs(100),
            matches: 6,
            misses: 10,
            passed,
            blocked: Traffic::default(),
            matched: Traffic::default(),
            xpassed: Traffic::default(),
        }
    }

    fn print(dialect: Dialect, verbose: u8) -> String {
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 1,
        };
        let engine = Engine::new(Instant::from_secs(0), config);
        let view = View {
            queues: &QueueStatistics::new(),
            engine: &engine,
            now: Instant::from_secs(200),
            origin: 1_763_885_000,
            loaded_by: LoadedBy::default(),
            lost: crate::pfctl::show::Lost::default(),
            interfaces: &[],
            interface: None,
            dialect,
            scope: &Scope::default(),
            style: Style {
                verbose,
                ..Style::default()
            },
        };
        let mut text = String::new();
        write_table(&mut text, &table(), &view);
        text
    }

    #[test]
    fn names_flags_and_counters_have_pfs_columns() {
        assert_eq!(print(Dialect::FreeBsd, 0), "foo\n");
        assert_eq!(print(Dialect::FreeBsd, 1), "--a-r-C\tfoo\n");
        assert_eq!(
            print(Dialect::FreeBsd, 2),
            "--a-r-C\tfoo\n\
             \tAddresses:   2\n\
             \tCleared:     Sun Nov 23 08:05:00 2025\n\
             \tReferences:  [ Anchors: 0                  Rules: 2                  ]\n\
             \tEvaluations: [ NoMatch: 10                 Match: 6                  ]\n\
             \tIn/Block:    [ Packets: 0                  Bytes: 0                  ]\n\
             \tIn/Pass:     [ Packets: 3                  Bytes: 252                ]\n\
             \tIn/XPass:    [ Packets: 0                  Bytes: 0                  ]\n\
             \tOut/Block:   [ Packets: 0                  Bytes: 0                  ]\n\
             \tOut/Pass:    [ Packets: 3                  Bytes: 252                ]\n\
             \tOut/XPass:   [ Packets: 0                  Bytes: 0                  ]\n"
        );
    }

    #[test]
    fn openbsd_counts_match_rules_too() {
        let text = print(Dialect::OpenBsd, 2);
        assert!(text.contains("\n\tIn/Match:    [ Packets: 0 "));
        assert_eq!(text.lines().count(), 13);
    }

    #[test]
    fn entries_have_mark_sign_and_address() {
        let mut text = String::new();
        for (mark, entry) in [
            (' ', "192.0.2.1"),
            (' ', "!192.0.2.0/24"),
            ('A', "2001:db8::/32"),
        ] {
            write_entry(&mut text, mark, &parse_table_entry(entry).expect("valid"));
        }
        assert_eq!(text, "   192.0.2.1\n  !192.0.2.0/24\nA  2001:db8::/32\n");
    }
}
