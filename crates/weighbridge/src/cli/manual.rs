//! The manual and the command line say the same; help fits its lines.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};

use super::Cli;
use crate::{pfctl, plugin};

const MANUAL: &str = include_str!("../../../../docs/man/weighbridge.8");
/// clap folds longer lines of help, which makes rags of them.
const COLUMNS: usize = 100;
/// Those that clap adds to each command.
const OF_EVERY_COMMAND: [&str; 2] = ["help", "version"];

/// Each command with the words that call it, and those that only group others.
fn commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    let mut left = vec![
        ("weighbridge".to_owned(), Cli::command()),
        ("weighbridge check".to_owned(), plugin::command()),
    ];
    while let Some((name, command)) = left.pop() {
        let below = command
            .get_subcommands()
            .filter(|own| own.get_name() != "help");
        left.extend(below.map(|own| (format!("{name} {}", own.get_name()), own.clone())));
        found.push((name, command));
    }
    found
}

fn options(command: &Command) -> impl Iterator<Item = &str> {
    let long = command
        .get_arguments()
        .filter_map(|argument| argument.get_long());
    long.filter(|name| !OF_EVERY_COMMAND.contains(name))
}

/// The manual as it is read: `-` for `\-`, and without requests at the beginning of lines.
fn manual() -> String {
    let lines = MANUAL.lines().map(|line| match line.split_once(' ') {
        Some((request, rest)) if request.starts_with('.') => rest,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n").replace("\\-", "-")
}

/// The words that begin with two hyphens.
fn long_options(text: &str) -> BTreeSet<&str> {
    let begins = text.match_indices("--").map(|(at, _)| &text[at + 2..]);
    let words = begins.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
        rest[..end.unwrap_or(rest.len())].trim_end_matches('-')
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_manual_names_every_command_and_every_option() {
    let manual = manual();
    let named = long_options(&manual);
    for (name, command) in commands() {
        let group = name.rsplit_once(' ').map_or("", |(group, _)| group);
        let own = command.get_name();
        let is_listed = manual.contains(group) && manual.contains(own);
        assert!(
            manual.contains(&name) || is_listed,
            "{name} is in no manual"
        );
        for option in options(&command) {
            assert!(named.contains(option), "{name} --{option} is in no manual");
        }
    }
}

#[test]
fn the_manual_names_no_option_that_there_is_not() {
    let mut known = BTreeSet::from(OF_EVERY_COMMAND.map(str::to_owned));
    for (_, command) in commands() {
        known.extend(options(&command).map(str::to_owned));
    }
    known.extend(options(&pfctl::options::command("pfctl")).map(str::to_owned));
    for option in long_options(&manual()) {
        assert!(
            known.contains(option),
            "--{option} is no option of any command"
        );
    }
}

#[test]
fn lines_of_help_are_not_folded() {
    for (name, command) in commands() {
        let about = command.get_long_about().map(ToString::to_string);
        for line in about.unwrap_or_default().lines() {
            assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
        }
    }
}
