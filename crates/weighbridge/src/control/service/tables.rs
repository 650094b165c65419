//! `pfctl -t … -T …`.

use std::collections::BTreeMap;
use std::time::Duration;

use pf_engine::addr::Prefix;
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::engine::{TableChange, TableError};
use pf_engine::ruleset::TableEntry;
use pf_engine::time::Instant;

use super::{Answer, Desk, ENTRIES_PER_TURN, table_ref};
use crate::control::protocol::{Outcome, TableCommand, TableOutcome, TableRequest};
use crate::pfctl::show::tables::{write_entry, write_tested};

/// Addresses of a table with their signs.
type Addresses = BTreeMap<Prefix, bool>;

/// A change of a table on behalf of a client.
#[derive(Debug)]
pub struct Change {
    steps: TableChange,
    request: TableRequest,
    /// For `-v`: what was there before, and what is touched.
    shown: Option<(Addresses, Vec<TableEntry>)>,
    /// Addresses that were named.
    requested: usize,
    /// Addresses that the table may have afterwards.
    most: Option<usize>,
}

impl Change {
    /// The change that `request` asks for, made ready where no packet waits; or the request, if it
    /// is none.
    ///
    /// # Errors
    /// The request.
    pub fn of(mut request: TableRequest) -> Result<Self, TableRequest> {
        let (anchor, name) = (request.anchor.clone(), request.name.clone());
        let entries = |request: &mut TableRequest| {
            let entries = if request.verbose > 0 {
                request.entries.clone()
            } else {
                std::mem::take(&mut request.entries)
            };
            entries.into_iter().map(|entry| entry.0).collect()
        };
        let requested = request.entries.len();
        let change = match request.command {
            _ if request.dry_run => return Err(request),
            TableCommand::Add => TableChange::add(anchor, name, entries(&mut request)),
            TableCommand::Delete => TableChange::delete(anchor, name, entries(&mut request)),
            TableCommand::Replace => TableChange::replace(anchor, name, entries(&mut request)),
            TableCommand::Expire => {
                TableChange::expire(anchor, name, Duration::from_secs(request.age))
            }
            TableCommand::Show
            | TableCommand::Test
            | TableCommand::Load
            | TableCommand::Flush
            | TableCommand::Kill
            | TableCommand::Zero
            | TableCommand::Reset => return Err(request),
        };
        Ok(Self {
            steps: change,
            request,
            shown: None,
            requested,
            most: None,
        })
    }

    /// Deletes the addresses that have been in the table `name` for longer than `age`.
    #[must_use]
    pub fn expire(name: &str, age: Duration) -> Self {
        let request = TableRequest {
            name: name.to_owned(),
            anchor: AnchorPath::main(),
            command: TableCommand::Expire,
            entries: Vec::new(),
            dry_run: false,
            verbose: 0,
            age: age.as_secs(),
        };
        Self {
            steps: TableChange::expire(AnchorPath::main(), name.to_owned(), age),
            request,
            shown: None,
            requested: 0,
            most: None,
        }
    }

    /// The same for who may make the table only so large.
    #[must_use]
    pub fn at_most(self, most: Option<usize>) -> Self {
        Self { most, ..self }
    }

    /// Whether the table would become too large.
    fn excess(&mut self, desk: &Desk<'_>) -> Option<Answer> {
        let most = self.most.take()?;
        let table = desk.engine.table(self.steps.table());
        let there = match self.request.command {
            TableCommand::Add => table.map_or(0, |table| table.len),
            TableCommand::Replace => 0,
            TableCommand::Delete
            | TableCommand::Expire
            | TableCommand::Flush
            | TableCommand::Show
            | TableCommand::Test
            | TableCommand::Load
            | TableCommand::Kill
            | TableCommand::Zero
            | TableCommand::Reset => return None,
        };
        let after = there.saturating_add(self.requested);
        (after > most).then(|| {
            let name = &self.request.name;
            Answer::Refused(format!(
                "refused: <{name}> may have {most} addresses (entries in [tables])"
            ))
        })
    }

    /// The next piece. Returns the answer when that was the last.
    pub(super) fn proceed(&mut self, desk: &mut Desk<'_>) -> Option<Answer> {
        if let Some(refused) = self.excess(desk) {
            return Some(refused);
        }
        if self.request.verbose > 0 && self.shown.is_none() {
            let before = contents(desk, self.steps.table());
            let given = match chosen(desk, &self.request) {
                Ok(Some(chosen)) => chosen,
                Ok(None) => self.request.entries.iter().map(|entry| entry.0).collect(),
                Err(error) => return Some(Answer::Refused(error.to_string())),
            };
            self.shown = Some((before, given));
        }
        let change = &mut self.steps;
        match desk.engine.change_table(desk.now, change, ENTRIES_PER_TURN) {
            Ok(true) => None,
            Ok(false) => Some(self.answer()),
            Err(error) => Some(Answer::Refused(error.to_string())),
        }
    }

    fn answer(&self) -> Answer {
        let done = self.steps.outcome();
        let outcome = TableOutcome {
            created: done.created,
            added: done.added,
            deleted: done.deleted,
            changed: done.changed,
            requested: if self.request.command == TableCommand::Expire {
                done.given
            } else {
                self.requested
            },
            ..TableOutcome::default()
        };
        let text = self
            .shown
            .as_ref()
            .map_or_else(String::new, |(before, given)| {
                feedback(&self.request, given, Some(before))
            });
        Answer::Outcome(text, Outcome::Table(outcome))
    }
}

/// Everything of `-T` but [`Change`]s that are made, `show` and `load`.
pub(super) fn table(desk: &mut Desk<'_>, request: &TableRequest) -> Answer {
    // What is in the table is only worth a walk over it when somebody asks for the difference.
    let before = (request.dry_run || request.verbose > 0)
        .then(|| contents(desk, table_ref(&request.anchor, &request.name)));
    let given: Vec<TableEntry> = match chosen(desk, request) {
        Ok(Some(chosen)) => chosen,
        Ok(None) => request.entries.iter().map(|entry| entry.0).collect(),
        Err(error) => return Answer::Refused(error.to_string()),
    };
    let done = if request.command == TableCommand::Test {
        test(desk, request, &given)
    } else if request.dry_run {
        rehearse(desk, request, &given, before.as_ref())
    } else {
        change(desk, request, &given)
    };
    match done {
        Ok(mut done) => {
            done.requested = given.len();
            if request.command == TableCommand::Reset {
                done.requested = done.zeroed;
            }
            let text = feedback(request, &given, before.as_ref());
            Answer::Outcome(text, Outcome::Table(done))
        }
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// The addresses that the command finds itself.
fn chosen(desk: &Desk<'_>, request: &TableRequest) -> Result<Option<Vec<TableEntry>>, TableError> {
    if request.command != TableCommand::Expire {
        return Ok(None);
    }
    let age = Duration::from_secs(request.age);
    let name = table_ref(&request.anchor, &request.name);
    let page = desk.engine.table_page(name, None, usize::MAX);
    let page = page.ok_or(TableError::NoSuchTable)?.into_iter();
    let is_old = |since: Instant| desk.now.saturating_since(since) > age;
    let old = page.filter(|(_, since)| is_old(*since));
    Ok(Some(old.map(|(entry, _)| entry).collect()))
}

fn contents(desk: &Desk<'_>, name: TableRef<'_>) -> Addresses {
    let page = desk.engine.table_page(name, None, usize::MAX);
    let entries = page.unwrap_or_default().into_iter();
    entries.map(|(e, _)| (e.prefix, e.negated)).collect()
}

fn change(
    desk: &mut Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
) -> Result<TableOutcome, TableError> {
    let (name, now) = (table_ref(&request.anchor, &request.name), desk.now);
    let mut done = TableOutcome::default();
    match request.command {
        TableCommand::Flush => done.deleted = desk.engine.table_flush(name)?,
        TableCommand::Kill => {
            desk.engine.table_kill(name)?;
            done.deleted = 1;
        }
        TableCommand::Zero if given.is_empty() => {
            desk.engine.table_zero(now, name)?;
            done.zeroed = 1;
        }
        TableCommand::Zero => done.zeroed = desk.engine.table_zero_addresses(now, name, given)?,
        TableCommand::Reset => done.zeroed = desk.engine.table_reset(now, name)?,
        TableCommand::Show
        | TableCommand::Test
        | TableCommand::Load
        | TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Replace
        | TableCommand::Expire => {}
    }
    Ok(done)
}

fn test(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
) -> Result<TableOutcome, TableError> {
    let mut done = TableOutcome::default();
    let name = table_ref(&request.anchor, &request.name);
    for entry in given {
        done.matched += usize::from(desk.engine.table_test(name, entry.prefix)?);
    }
    Ok(done)
}

/// What [`change`] would do.
fn rehearse(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
    before: Option<&Addresses>,
) -> Result<TableOutcome, TableError> {
    let table = desk.engine.table(table_ref(&request.anchor, &request.name));
    let creates = matches!(request.command, TableCommand::Add | TableCommand::Replace);
    let changes = creates
        || matches!(
            request.command,
            TableCommand::Delete | TableCommand::Flush | TableCommand::Expire
        );
    match &table {
        None if !creates => return Err(TableError::NoSuchTable),
        Some(table) if table.constant && changes => return Err(TableError::Constant),
        _ => {}
    }
    let before = before.cloned().unwrap_or_default();
    let count = |mark: char| {
        marks(request.command, given, &before)
            .filter(|m| m.0 == mark)
            .count()
    };
    Ok(TableOutcome {
        created: creates && table.is_none(),
        added: count('A'),
        deleted: count('D') + usize::from(request.command == TableCommand::Kill),
        changed: count('C'),
        zeroed: would_zero(desk, request, given, &before),
        ..TableOutcome::default()
    })
}

fn would_zero(
    desk: &Desk<'_>,
    request: &TableRequest,
    given: &[TableEntry],
    before: &Addresses,
) -> usize {
    match request.command {
        TableCommand::Zero if given.is_empty() => 1,
        TableCommand::Zero => {
            let known = |entry: &&TableEntry| before.contains_key(&entry.prefix);
            given.iter().filter(known).count()
        }
        TableCommand::Reset => {
            let name = table_ref(&request.anchor, &request.name);
            desk.engine.table_address_counters(name).count()
        }
        TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Flush
        | TableCommand::Replace
        | TableCommand::Show
        | TableCommand::Test
        | TableCommand::Load
        | TableCommand::Kill
        | TableCommand::Expire => 0,
    }
}

/// What a command does to each address: (mark, address), in PF's letters: `A`dded, `D`eleted,
/// `C`hanged, `Z`eroed, `X` given twice, `Y` there with the other sign, a blank for nothing.
fn marks<'a>(
    command: TableCommand,
    given: &'a [TableEntry],
    before: &'a Addresses,
) -> impl Iterator<Item = (char, TableEntry)> {
    let mut seen: Addresses = BTreeMap::new();
    let own = given.iter().map(move |entry| {
        let there = before.get(&entry.prefix);
        let again = seen.insert(entry.prefix, entry.negated).is_some();
        let mark = mark(command, entry.negated, there.copied(), again);
        (mark, *entry)
    });
    let kept: Addresses = match command {
        TableCommand::Replace => given.iter().map(|e| (e.prefix, e.negated)).collect(),
        TableCommand::Flush => Addresses::new(),
        TableCommand::Add
        | TableCommand::Delete
        | TableCommand::Show
        | TableCommand::Test
        | TableCommand::Load
        | TableCommand::Kill
        | TableCommand::Zero
        | TableCommand::Reset
        | TableCommand::Expire => before.clone(),
    };
    let gone = before
        .iter()
        .filter(move |(prefix, _)| !kept.contains_key(prefix))
        .map(|(prefix, negated)| {
            let (prefix, negated) = (*prefix, *negated);
            ('D', TableEntry { prefix, negated })
        });
    own.chain(gone)
}

/// The mark of an address that the table has had with the sign `there`, and that was given before
/// (`again`).
fn mark(command: TableCommand, negated: bool, there: Option<bool>, again: bool) -> char {
    let other_sign = there.is_some_and(|there| there != negated);
    match (command, there) {
        (TableCommand::Add, None) | (TableCommand::Replace, _) if again => 'X',
        (TableCommand::Add | TableCommand::Replace, None) => 'A',
        (TableCommand::Add | TableCommand::Delete, Some(_)) if other_sign => 'Y',
        (TableCommand::Replace, Some(_)) if other_sign => 'C',
        (TableCommand::Delete, Some(_)) if again => 'X',
        (TableCommand::Delete | TableCommand::Expire, Some(_)) => 'D',
        (TableCommand::Zero, Some(_)) => 'Z',
        _ => ' ',
    }
}

/// What `-v` prints: the addresses that were touched; `-vv`: all that were given.
fn feedback(request: &TableRequest, given: &[TableEntry], before: Option<&Addresses>) -> String {
    let mut text = String::new();
    let Some(before) = before.filter(|_| request.verbose > 0) else {
        return text;
    };
    if request.command == TableCommand::Test {
        return tested(request.verbose, given, before);
    }
    for (mark, entry) in marks(request.command, given, before) {
        if mark != ' ' || request.verbose > 1 {
            write_entry(&mut text, mark, &entry);
        }
    }
    text
}

/// What `-T test` prints with `-v`: the addresses that match; with `-vv`: all, each with the entry
/// that decides about it.
fn tested(verbose: u8, given: &[TableEntry], table: &Addresses) -> String {
    let mut text = String::new();
    for entry in given {
        let found = covering(table, entry.prefix);
        let matches = found.as_ref().is_some_and(|found| !found.negated);
        if verbose > 1 {
            write_tested(&mut text, matches, entry, found.as_ref());
        } else if matches {
            write_entry(&mut text, 'M', entry);
        }
    }
    text
}

/// The longest entry that holds all of `prefix`.
fn covering(table: &Addresses, prefix: Prefix) -> Option<TableEntry> {
    let shorter = (0..=prefix.prefix_len()).rev();
    let around = shorter.filter_map(|len| Prefix::new(prefix.address(), len));
    around.map(|around| around.masked()).find_map(|prefix| {
        let negated = *table.get(&prefix)?;
        Some(TableEntry { prefix, negated })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_table_entry;

    fn entries(texts: &[&str]) -> Vec<TableEntry> {
        let parse = |text: &&str| parse_table_entry(text).expect("valid");
        texts.iter().map(parse).collect()
    }

    fn marked(command: TableCommand, given: &[&str], before: &[&str]) -> String {
        let before = entries(before)
            .iter()
            .map(|e| (e.prefix, e.negated))
            .collect();
        marks(command, &entries(given), &before)
            .map(|(mark, entry)| format!("{mark}{}", crate::text::table_entry_text(&entry)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn marks_tell_what_each_command_does() {
        let before = ["192.0.2.1", "192.0.2.2"];
        let given = ["192.0.2.2", "192.0.2.3", "192.0.2.3"];
        assert_eq!(
            marked(TableCommand::Add, &given, &before),
            " 192.0.2.2 A192.0.2.3 X192.0.2.3"
        );
        assert_eq!(
            marked(TableCommand::Delete, &given, &before),
            "D192.0.2.2  192.0.2.3  192.0.2.3"
        );
        assert_eq!(
            marked(TableCommand::Delete, &["192.0.2.1", "192.0.2.1"], &before),
            "D192.0.2.1 X192.0.2.1"
        );
        for command in [TableCommand::Add, TableCommand::Delete] {
            assert_eq!(marked(command, &["!192.0.2.1"], &before), "Y!192.0.2.1");
        }
        assert_eq!(
            marked(TableCommand::Zero, &given[..2], &before),
            "Z192.0.2.2  192.0.2.3"
        );
        assert_eq!(
            marked(TableCommand::Replace, &["!192.0.2.2", "192.0.2.9"], &before),
            "C!192.0.2.2 A192.0.2.9 D192.0.2.1"
        );
        assert_eq!(
            marked(TableCommand::Flush, &[], &before),
            "D192.0.2.1 D192.0.2.2"
        );
    }
}
