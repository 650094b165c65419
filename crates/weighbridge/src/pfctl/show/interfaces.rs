//! `-s Interfaces`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use pf_engine::counters::Traffic;
use pf_engine::env::Interface;
use pf_engine::view::{AddressCounters, InterfaceCounters, InterfaceReferences};

use super::tables::{write_cleared, write_pair};
use super::{Style, View};

/// `-s Interfaces`: interfaces and groups by name; with `-v` which of them are skipped, with
/// `-vv` what crossed them. A group has the sums of its members.
#[must_use]
pub fn interfaces(view: &View<'_>) -> String {
    let references = if view.style.verbose >= 2 {
        view.engine.interface_references()
    } else {
        BTreeMap::new()
    };
    let skip = &view.engine.options().skip;
    let mut text = String::new();
    for name in names(view.interfaces, view.interface) {
        write_name(&mut text, name, skip, view.style);
        if view.style.verbose >= 2 {
            let counters = counters(view, name);
            let references = references.get(name).copied().unwrap_or_default();
            write_cleared(&mut text, counters.cleared, view.origin);
            write_counters(&mut text, &counters, references);
        }
    }
    text
}

/// All names, or with `-i` that one and, for a group, its members.
fn names<'a>(interfaces: &'a [Interface], only: Option<&'a str>) -> BTreeSet<&'a str> {
    let all = interfaces.iter().flat_map(|interface| {
        let own = std::iter::once(&interface.name).chain(&interface.groups);
        let meant = |name: &str| {
            only.is_none_or(|only| {
                name == only
                    || (name == interface.name && interface.groups.iter().any(|g| g == only))
            })
        };
        own.map(String::as_str).filter(move |name| meant(name))
    });
    let everything = ["all"]
        .into_iter()
        .filter(|name| only.is_none_or(|only| only == *name));
    all.chain(everything).collect()
}

fn write_name(text: &mut String, name: &str, skip: &[String], style: Style) {
    let skipped = style.verbose >= 1 && skip.iter().any(|skipped| skipped == name);
    let _ = writeln!(text, "{name}{}", if skipped { " (skip)" } else { "" });
}

fn counters(view: &View<'_>, name: &str) -> InterfaceCounters {
    let members = view
        .interfaces
        .iter()
        .filter(|i| i.name == name || i.groups.iter().any(|g| g == name) || name == "all");
    let counters = members.map(|member| view.engine.interface_counters(&member.name));
    counters
        .reduce(InterfaceCounters::plus)
        .unwrap_or_else(|| view.engine.interface_counters(name))
}

fn write_counters(
    text: &mut String,
    counters: &InterfaceCounters,
    references: InterfaceReferences,
) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    // One more blank than in the other lines, as in PF.
    let states = count(references.states);
    let rules = count(references.rules);
    let _ = writeln!(
        text,
        "\tReferences:  [ States:  {states:<18} Rules: {rules:<18} ]"
    );
    for (
        family,
        AddressCounters {
            passed, blocked, ..
        },
    ) in [("4", &counters.inet), ("6", &counters.inet6)]
    {
        let incoming = |traffic: &Traffic| (traffic.packets_in, traffic.bytes_in);
        let outgoing = |traffic: &Traffic| (traffic.packets_out, traffic.bytes_out);
        for (name, (packets, bytes)) in [
            (format!("In{family}/Pass:"), incoming(passed)),
            (format!("In{family}/Block:"), incoming(blocked)),
            (format!("Out{family}/Pass:"), outgoing(passed)),
            (format!("Out{family}/Block:"), outgoing(blocked)),
        ] {
            write_pair(text, &name, "Packets", packets, "Bytes", bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use pf_engine::env::IfIndex;

    use super::*;

    #[test]
    fn names_and_groups_are_listed_once_with_skip_marks() {
        let all = [(1, "lo0"), (2, "em1"), (3, "em0")]
            .map(|(index, name)| Interface::new(IfIndex(index), name));
        let listed = |only| names(&all, only).into_iter().collect::<Vec<_>>();
        assert_eq!(listed(None), ["all", "em", "em0", "em1", "lo", "lo0"]);
        assert_eq!(listed(Some("em")), ["em", "em0", "em1"]);
        assert_eq!(listed(Some("em1")), ["em1"]);
        assert_eq!(listed(Some("all")), ["all"]);
        let skip = ["lo".to_owned()];
        let line = |name, verbose| {
            let mut text = String::new();
            let style = Style {
                verbose,
                ..Style::default()
            };
            write_name(&mut text, name, &skip, style);
            text
        };
        assert_eq!(line("lo", 1), "lo (skip)\n");
        assert_eq!(line("lo", 0), "lo\n");
        assert_eq!(line("lo0", 1), "lo0\n");
    }

    #[test]
    fn counters_stand_by_family_direction_and_verdict() {
        let traffic = Traffic {
            packets_in: 3,
            bytes_in: 252,
            packets_out: 2,
            bytes_out: 168,
        };
        let counters = InterfaceCounters {
            inet: AddressCounters {
                passed: traffic,
                ..AddressCounters::default()
            },
            ..InterfaceCounters::default()
        };
        let references = InterfaceReferences {
            states: 1,
            rules: 2,
        };
        let mut text = String::new();
        write_counters(&mut text, &counters, references);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(
            lines[..4],
            [
                "\tReferences:  [ States:  1                  Rules: 2                  ]",
                "\tIn4/Pass:    [ Packets: 3                  Bytes: 252                ]",
                "\tIn4/Block:   [ Packets: 0                  Bytes: 0                  ]",
                "\tOut4/Pass:   [ Packets: 2                  Bytes: 168                ]",
            ]
        );
        assert!(lines[8].starts_with("\tOut6/Block:  [ Packets: 0 "));
    }
}
