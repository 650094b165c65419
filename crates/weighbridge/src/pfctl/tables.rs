//! `-t … -T …`: what goes to the daemon and what is said about it.

use std::io::{self, Read};
use std::path::Path;

use pf_engine::ruleset::Dialect;

use super::arguments::Arguments;
use super::{Failure, hosts};
use crate::config::{read_bounded, read_bytes};
use crate::control::protocol::{EntryText, TableCommand, TableOutcome, TableRequest};
use crate::text::reason;

/// The request for a table command, with the addresses of the command line and of its file.
///
/// # Errors
/// When an address stands for nothing, or the file cannot be read.
pub fn request(
    arguments: &Arguments,
    name: &str,
    command: TableCommand,
    dialect: Dialect,
) -> Result<TableRequest, Failure> {
    let given = arguments.addresses.iter().map(String::as_str);
    let lookup = arguments.lookup();
    let mut entries = hosts::entries(given, lookup).map_err(Failure::Message)?;
    if let Some(file) = &arguments.file {
        let text = read_file(file)?;
        let words = hosts::words(&text, dialect);
        entries.extend(hosts::entries(words, lookup).map_err(Failure::Message)?);
    }
    Ok(TableRequest {
        name: name.to_owned(),
        anchor: arguments.scope.anchor.clone(),
        command,
        entries: entries.into_iter().map(EntryText).collect(),
        dry_run: arguments.dry_run,
        verbose: arguments.verbose,
        age: arguments.age,
    })
}

fn read_file(file: &str) -> Result<String, Failure> {
    let bytes = if file == "-" {
        read_bounded(io::stdin().lock().by_ref())
    } else {
        read_bytes(Path::new(file))
    };
    let bytes = bytes.map_err(|error| Failure::Message(format!("{file}: {}", reason(&error))))?;
    String::from_utf8(bytes).map_err(|_| Failure::Message(format!("{file}: not text")))
}

/// What PF says after a table command, one message a line.
#[must_use]
pub fn messages(command: TableCommand, done: &TableOutcome, dry_run: bool) -> Vec<String> {
    let TableOutcome {
        requested,
        created,
        added,
        deleted,
        changed,
        matched,
        zeroed,
    } = *done;
    let mut messages = Vec::new();
    if created {
        messages.push("1 table created".to_owned());
    }
    match command {
        TableCommand::Add => messages.push(format!("{added}/{requested} addresses added")),
        TableCommand::Delete => messages.push(format!("{deleted}/{requested} addresses deleted")),
        TableCommand::Flush => messages.push(format!("{deleted} addresses deleted")),
        TableCommand::Replace => {
            for (count, what) in [(added, "added"), (deleted, "deleted"), (changed, "changed")] {
                if count > 0 {
                    messages.push(format!("{count} addresses {what}"));
                }
            }
            if added + deleted + changed == 0 {
                messages.push("no changes".to_owned());
            }
        }
        TableCommand::Test => messages.push(format!("{matched}/{requested} addresses match")),
        TableCommand::Kill => messages.push(format!("{deleted} table deleted")),
        TableCommand::Expire => messages.push(format!("{deleted}/{requested} addresses expired")),
        TableCommand::Reset => messages.push(format!("{zeroed}/{requested} stats cleared")),
        TableCommand::Zero if requested > 0 => {
            messages.push(format!("{zeroed}/{requested} addresses cleared"));
        }
        TableCommand::Zero => messages.push(format!("{zeroed} table/stats cleared")),
        TableCommand::Show | TableCommand::Load => {}
    }
    let end = if dry_run { " (dummy)." } else { "." };
    messages.iter().map(|text| format!("{text}{end}")).collect()
}

/// The exit status after a table command: 2 when not all addresses match.
#[must_use]
pub const fn status(command: TableCommand, done: &TableOutcome) -> u8 {
    if matches!(command, TableCommand::Test) && done.matched < done.requested {
        2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: TableOutcome = TableOutcome {
        requested: 3,
        created: false,
        added: 2,
        deleted: 1,
        changed: 0,
        matched: 2,
        zeroed: 1,
    };

    #[test]
    fn messages_are_pfs() {
        let say = |command, dry| messages(command, &DONE, dry);
        assert_eq!(say(TableCommand::Add, false), ["2/3 addresses added."]);
        assert_eq!(say(TableCommand::Delete, false), ["1/3 addresses deleted."]);
        assert_eq!(say(TableCommand::Flush, false), ["1 addresses deleted."]);
        assert_eq!(say(TableCommand::Test, false), ["2/3 addresses match."]);
        assert_eq!(say(TableCommand::Expire, false), ["1/3 addresses expired."]);
        assert_eq!(say(TableCommand::Reset, false), ["1/3 stats cleared."]);
        assert_eq!(say(TableCommand::Zero, false), ["1/3 addresses cleared."]);
        assert_eq!(say(TableCommand::Kill, false), ["1 table deleted."]);
        assert_eq!(
            say(TableCommand::Add, true),
            ["2/3 addresses added (dummy)."]
        );
        assert_eq!(
            say(TableCommand::Replace, false),
            ["2 addresses added.", "1 addresses deleted."]
        );
        let zeroed = TableOutcome {
            zeroed: 1,
            ..TableOutcome::default()
        };
        assert_eq!(
            messages(TableCommand::Zero, &zeroed, false),
            ["1 table/stats cleared."]
        );
        let same = TableOutcome::default();
        assert_eq!(
            messages(TableCommand::Replace, &same, false),
            ["no changes."]
        );
        let created = TableOutcome {
            created: true,
            ..DONE
        };
        assert_eq!(
            messages(TableCommand::Add, &created, false)[0],
            "1 table created."
        );
    }

    #[test]
    fn a_test_that_not_all_pass_exits_with_two() {
        assert_eq!(status(TableCommand::Test, &DONE), 2);
        assert_eq!(status(TableCommand::Add, &DONE), 0);
        let all = TableOutcome { matched: 3, ..DONE };
        assert_eq!(status(TableCommand::Test, &all), 0);
    }
}
