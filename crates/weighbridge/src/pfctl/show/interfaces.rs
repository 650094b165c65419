//! `-s Interfaces`.

use std::collections::BTreeSet;
use std::fmt::Write;

use pf_engine::env::Interface;

use super::View;

/// `-s Interfaces`: interfaces and groups by name; with `-v` which of them are skipped.
#[must_use]
pub fn interfaces(view: &View<'_>) -> String {
    format(
        view.interfaces,
        &view.engine.options().skip,
        view.style.verbose,
    )
}

fn format(interfaces: &[Interface], skip: &[String], verbose: u8) -> String {
    let names = interfaces.iter().map(|interface| &interface.name);
    let groups = interfaces.iter().flat_map(|interface| &interface.groups);
    let all: BTreeSet<&str> = names.chain(groups).map(String::as_str).collect();
    let mut text = String::new();
    for name in all.into_iter().chain(["all"]).collect::<BTreeSet<_>>() {
        let skipped = verbose >= 1 && skip.iter().any(|skipped| skipped == name);
        let _ = writeln!(text, "{name}{}", if skipped { " (skip)" } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use pf_engine::env::IfIndex;

    use super::*;

    #[test]
    fn names_and_groups_are_listed_once_with_skip_marks() {
        let all = [(1, "lo0"), (2, "em1"), (3, "em0")]
            .map(|(index, name)| Interface::new(IfIndex(index), name));
        let skip = ["lo".to_owned()];
        assert_eq!(format(&all, &skip, 0), "all\nem\nem0\nem1\nlo\nlo0\n");
        assert_eq!(
            format(&all, &skip, 1),
            "all\nem\nem0\nem1\nlo (skip)\nlo0\n"
        );
    }
}
