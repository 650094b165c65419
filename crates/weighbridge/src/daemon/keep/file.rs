//! The file of states: records between a header and a checksum.
//!
//! The header names version, time and dialect; then rules (each before the first state that
//! refers to it), states and source nodes; the last record has the SHA-256 of all before it.
//!
//! `pfctl -S` writes lines of JSON, for people and for other programs; a snapshot, which is made again and
//! again, is packed ([`super::packed`]). Both are read wherever one is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead};

use pf_conf::{PrintOptions, print_rule};
use pf_engine::anchor::AnchorPath;
use pf_engine::decision::StateId;
use pf_engine::engine::{Engine, RuleList};
use pf_engine::record::{RecordError, SourceCursor, SourceRecord, StateRecord};
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::packed;
use crate::text::{dialect_name, parse_dialect};

/// Version of the lines; a file of another one is not read.
const VERSION: u32 = 1;
/// Bytes of one record at most: a rule may be as long as pf.conf's lexer lets it be.
pub(super) const RECORD_MAX: u64 = 1 << 20;
/// Bytes of a file at most: more than a million states.
pub(crate) const FILE_MAX: u64 = 2 << 30;

/// One record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Header(Header),
    Rule(RuleLine),
    State(Box<StateRecord>),
    Source(Box<SourceRecord>),
    Sha256(String),
}

impl Line {
    fn as_written(&self) -> Written<'_> {
        match self {
            Self::Header(header) => Written::Header(header),
            Self::Rule(rule) => Written::Rule(rule),
            Self::State(state) => Written::State(state),
            Self::Source(source) => Written::Source(source),
            Self::Sha256(sum) => Written::Sha256(sum),
        }
    }
}

/// The same, to be written.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Written<'r> {
    Header(&'r Header),
    Rule(&'r RuleLine),
    State(&'r StateRecord),
    Source(&'r SourceRecord),
    Sha256(&'r str),
}

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) version: u32,
    /// Seconds since 1970.
    written: u64,
    dialect: String,
}

/// A rule that states refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleLine {
    /// The ruleset that it is in, or was.
    #[serde(default)]
    pub(crate) anchor: AnchorPath,
    list: ListName,
    /// Its number in the list when it was in force.
    pub(crate) number: Option<u32>,
    /// As it is printed.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListName {
    Scrub,
    Nat,
    Rdr,
    Binat,
    Filter,
}

impl RuleLine {
    pub(crate) const fn list(&self) -> RuleList {
        match self.list {
            ListName::Scrub => RuleList::Scrub,
            ListName::Nat => RuleList::Nat,
            ListName::Rdr => RuleList::Rdr,
            ListName::Binat => RuleList::Binat,
            ListName::Filter => RuleList::Filter,
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines of JSON.
    Lines,
    /// As little as may be.
    Packed,
}

impl Form {
    /// That of a file which begins with this byte, if there is one.
    fn of(first: Option<&u8>) -> Self {
        if first == packed::BEGINNING.first() {
            Self::Packed
        } else {
            Self::Lines
        }
    }

    /// The version that is written, and read.
    const fn version(self) -> u32 {
        match self {
            Self::Lines => VERSION,
            Self::Packed => packed::VERSION,
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Draft {
    form: Form,
    bytes: Vec<u8>,
    /// Of what was taken.
    hash: Sha256,
    taken: u64,
    dialect: Dialect,
    /// Numbers of the rules in the file.
    rules: BTreeMap<RuleLine, u32>,
    /// The engine's numbers of rules, as long as its rules stay as they are, and the file's.
    known: BTreeMap<u32, u32>,
    epoch: Option<u64>,
    next: StateId,
    states: usize,
    /// Source nodes follow the states.
    states_done: bool,
    next_source: Option<SourceCursor>,
}

impl Draft {
    /// An empty file of this moment, in seconds since 1970.
    pub(crate) fn new(form: Form, dialect: Dialect, written: u64) -> Self {
        let bytes = match form {
            Form::Lines => Vec::new(),
            Form::Packed => packed::BEGINNING.to_vec(),
        };
        let mut draft = Self {
            form,
            bytes,
            hash: Sha256::new(),
            taken: 0,
            dialect,
            rules: BTreeMap::new(),
            known: BTreeMap::new(),
            epoch: None,
            next: StateId(0),
            states: 0,
            states_done: false,
            next_source: None,
        };
        draft.push(Written::Header(&Header {
            version: form.version(),
            written,
            dialect: dialect_name(dialect).to_owned(),
        }));
        draft
    }

    /// A whole file out of what is in it, right or wrong.
    pub(crate) fn around(form: Form, inner: &[u8], dialect: Dialect, written: u64) -> Vec<u8> {
        let mut draft = Self::new(form, dialect, written);
        draft.bytes.extend_from_slice(inner);
        draft.finish()
    }

    /// What has been written since this was asked last.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.hash.update(&self.bytes);
        self.taken = self.taken.saturating_add(self.bytes.len() as u64);
        // What comes next will be as much.
        let next = Vec::with_capacity(self.bytes.len());
        std::mem::replace(&mut self.bytes, next)
    }

    /// Bytes that were not taken.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// States so far.
    pub(crate) const fn states(&self) -> usize {
        self.states
    }

    /// Where the next states begin.
    pub(crate) const fn next_state(&self) -> StateId {
        self.next
    }

    /// Adds the next states or source nodes, at most `max`; whether there are more.
    pub(crate) fn add(&mut self, engine: &Engine, now: Instant, max: usize) -> bool {
        if self.epoch != Some(engine.epoch()) {
            self.known.clear();
            self.epoch = Some(engine.epoch());
        }
        let more = if self.states_done {
            self.add_sources(engine, now, max)
        } else {
            self.states_done = !self.add_states(engine, now, max);
            !self.states_done || engine.status().sources.entries > 0
        };
        let written = self.taken.saturating_add(self.bytes.len() as u64);
        more && written < FILE_MAX
    }

    fn add_sources(&mut self, engine: &Engine, now: Instant, max: usize) -> bool {
        let (records, next) = engine.export_sources(now, self.next_source, max);
        for mut record in records {
            let rule = record.rule;
            record.rule = rule.and_then(|rule| self.number(engine, rule));
            if rule.is_some() == record.rule.is_some() {
                self.push(Written::Source(&record));
            }
        }
        self.next_source = next;
        next.is_some()
    }

    fn add_states(&mut self, engine: &Engine, now: Instant, max: usize) -> bool {
        let next = engine.export_states(now, self.next, max, |mut record| {
            renumber(&mut record, |rule| self.number(engine, rule));
            self.push(Written::State(&record));
            self.states += 1;
        });
        self.next = next.unwrap_or(self.next);
        next.is_some()
    }

    /// The whole file, but for what was taken.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let mut hash = self.hash.clone();
        hash.update(&self.bytes);
        let sum = checksum(hash);
        self.push(Written::Sha256(&sum));
        self.bytes
    }

    fn number(&mut self, engine: &Engine, rule: u32) -> Option<u32> {
        if let Some(number) = self.known.get(&rule) {
            return Some(*number);
        }
        let exported = engine.exported_rule(rule)?;
        let options = PrintOptions {
            dialect: self.dialect,
            ..PrintOptions::default()
        };
        let line = RuleLine {
            anchor: exported.anchor.clone(),
            list: match exported.list {
                RuleList::Scrub => ListName::Scrub,
                RuleList::Nat => ListName::Nat,
                RuleList::Rdr => ListName::Rdr,
                RuleList::Binat => ListName::Binat,
                RuleList::Filter => ListName::Filter,
            },
            number: exported.number,
            text: print_rule(exported.rule, options),
        };
        Some(self.add_rule(rule, line))
    }

    /// Adds a record of a file that has these rules.
    fn copy(&mut self, rules: &[RuleLine], mut line: Line) {
        match &mut line {
            Line::State(state) => renumber(state, |rule| self.copied(rules, rule)),
            Line::Source(source) => {
                let rule = source.rule.and_then(|rule| self.copied(rules, rule));
                if rule.is_none() && source.rule.is_some() {
                    return;
                }
                source.rule = rule;
            }
            Line::Header(_) | Line::Rule(_) | Line::Sha256(_) => {}
        }
        self.push(line.as_written());
    }

    /// The number here of the rule that another file calls `rule`, out of its rules.
    fn copied(&mut self, rules: &[RuleLine], rule: u32) -> Option<u32> {
        if let Some(number) = self.known.get(&rule) {
            return Some(*number);
        }
        let line = rules.get(usize::try_from(rule).ok()?)?;
        Some(self.add_rule(rule, line.clone()))
    }

    /// The number of the rule in this file, in which it stands afterwards.
    fn add_rule(&mut self, rule: u32, line: RuleLine) -> u32 {
        let next = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        let number = if let Some(number) = self.rules.get(&line) {
            *number
        } else {
            self.push(Written::Rule(&line));
            self.rules.insert(line, next);
            next
        };
        self.known.insert(rule, number);
        number
    }

    fn push(&mut self, line: Written<'_>) {
        let before = self.bytes.len();
        let is_written = match self.form {
            Form::Lines => serde_json::to_writer(&mut self.bytes, &line)
                .map(|()| self.bytes.push(b'\n'))
                .is_ok(),
            Form::Packed => packed::write(&mut self.bytes, line).is_some(),
        };
        if !is_written {
            // Not possible with these types; half a record would spoil the file.
            self.bytes.truncate(before);
        }
    }
}

/// Gives the rules that a state refers to other numbers; what refers to one that has none is left out.
fn renumber(record: &mut StateRecord, mut number: impl FnMut(u32) -> Option<u32>) {
    record.rule = record.rule.and_then(&mut number);
    record.anchor = record.anchor.and_then(&mut number);
    record.translation_rule = record.translation_rule.and_then(&mut number);
    record.match_rules = record
        .match_rules
        .iter()
        .filter_map(|rule| number(*rule))
        .collect();
    let mut renumbered = |rule: &mut u32| number(*rule).map(|known| *rule = known).is_some();
    record
        .sticky
        .retain_mut(|sticky| renumbered(&mut sticky.rule));
    record.loads.retain_mut(|load| renumbered(&mut load.rule));
    record
        .tracked
        .retain_mut(|tracked| tracked.rule.as_mut().is_none_or(&mut renumbered));
}

fn checksum(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A whole file, as it was written.
#[derive(Debug)]
pub struct Contents {
    /// Seconds since 1970.
    pub(crate) written: u64,
    pub(crate) dialect: Dialect,
    /// By their number in the records.
    pub(crate) rules: Vec<RuleLine>,
    pub(crate) states: Vec<StateRecord>,
    pub(crate) sources: Vec<SourceRecord>,
}

impl Contents {
    /// The same in whole files of at most `most` states or source nodes, at least one: none of
    /// them takes long to be taken over, nor has other rules than it refers to.
    pub(crate) fn into_files(self, most: usize) -> impl Iterator<Item = Vec<u8>> {
        let states = self.states.into_iter().map(Box::new).map(Line::State);
        let sources = self.sources.into_iter().map(Box::new).map(Line::Source);
        let mut records = states.chain(sources).peekable();
        let mut first = true;
        std::iter::from_fn(move || {
            if !std::mem::take(&mut first) && records.peek().is_none() {
                return None;
            }
            let mut draft = Draft::new(Form::Lines, self.dialect, self.written);
            for record in records.by_ref().take(most) {
                draft.copy(&self.rules, record);
            }
            Some(draft.finish())
        })
    }

    /// The first record that contradicts itself.
    pub(crate) fn fault(&self) -> Option<RecordError> {
        let states = self.states.iter().map(StateRecord::fault);
        let faults = states.chain(self.sources.iter().map(SourceRecord::fault));
        let first = (0..)
            .zip(faults)
            .find_map(|(number, fault)| Some((number, fault?)));
        first.map(|(number, what)| RecordError { number, what })
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("it is of version {0}; this weighbridge reads version {VERSION}, and {packed} if it is packed", packed = packed::VERSION)]
    Version(u32),
    #[error("record {0} is damaged")]
    Record(usize),
    #[error("the checksum is wrong: it was changed or cut off")]
    Checksum,
}

/// Reads a whole file.
pub(crate) fn read(mut input: impl BufRead) -> Result<Contents, Damage> {
    let form = Form::of(input.fill_buf()?.first());
    let mut hash = Sha256::new();
    if form == Form::Packed {
        packed::begin(&mut input, &mut hash)?;
    }
    let mut contents: Option<Contents> = None;
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        let line = match form {
            Form::Lines => next_line(&mut input, &mut bytes, number)?,
            Form::Packed => packed::next(&mut input, &mut bytes, number)?,
        };
        match (line, &mut contents) {
            (Line::Header(header), None) => contents = Some(begin(&header, form, number)?),
            (Line::Rule(rule), Some(contents)) => contents.rules.push(rule),
            (Line::State(state), Some(contents)) => contents.states.push(*state),
            (Line::Source(source), Some(contents)) => contents.sources.push(*source),
            (Line::Sha256(sum), Some(_)) => {
                let whole = sum == checksum(hash) && input.fill_buf()?.is_empty();
                return contents.filter(|_| whole).ok_or(Damage::Checksum);
            }
            _ => return Err(Damage::Record(number)),
        }
        hash.update(&bytes);
    }
}

/// A line, and its bytes. A file that has none left was cut off.
fn next_line(input: &mut impl BufRead, bytes: &mut Vec<u8>, number: usize) -> Result<Line, Damage> {
    bytes.clear();
    io::Read::take(&mut *input, RECORD_MAX).read_until(b'\n', bytes)?;
    match bytes.last() {
        None => Err(Damage::Checksum),
        Some(b'\n') => serde_json::from_slice(bytes).map_err(|_| Damage::Record(number)),
        Some(_) => Err(Damage::Record(number)),
    }
}

fn begin(header: &Header, form: Form, number: usize) -> Result<Contents, Damage> {
    if header.version != form.version() {
        return Err(Damage::Version(header.version));
    }
    Ok(Contents {
        written: header.written,
        dialect: parse_dialect(&header.dialect).map_err(|_| Damage::Record(number))?,
        rules: Vec::new(),
        states: Vec::new(),
        sources: Vec::new(),
    })
}
