//! From a file of states to states in an engine.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use pf_conf::{LoadOptions, MemoryFiles, PrintOptions, print_rule};
use pf_engine::anchor::AnchorPath;
use pf_engine::engine::{Engine, RuleList};
use pf_engine::env::Interface;
use pf_engine::record::{Imported, Kept, RecordError, RuleBinding};
use pf_engine::rule::Rule;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use tracing::debug;

use super::file::{self, Contents, Damage, FILE_MAX, RuleLine};

/// Bits of a file's mode that let others than its owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("others than this user can write to it")]
    Strange,
}

/// Puts the states of the file into the engine; nothing without a file. `date` is now in seconds
/// since 1970.
pub(crate) fn load(
    path: &Path,
    engine: &mut Engine,
    now: Instant,
    date: u64,
    interfaces: &[Interface],
) -> Result<Option<Imported>, LoadError> {
    let Some(contents) = read(path)? else {
        return Ok(None);
    };
    let printed = Printed::current(None, engine, contents.dialect);
    let imported = take_over(contents, engine, now, date, interfaces, &printed)?;
    Ok(Some(imported))
}

/// Puts the states into the engine, whose rules are printed.
pub(crate) fn take_over(
    contents: Contents,
    engine: &mut Engine,
    now: Instant,
    date: u64,
    interfaces: &[Interface],
    printed: &Printed,
) -> Result<Imported, RecordError> {
    let rules = bind(&contents, printed, interfaces);
    // While no daemon ran the states grew older.
    let away = Duration::from_secs(date.saturating_sub(contents.written));
    let mut states = contents.states;
    for state in &mut states {
        state.age = state.age.saturating_add(away);
        state.idle = state.idle.saturating_add(away);
    }
    let mut sources = contents.sources;
    for source in &mut sources {
        source.age = source.age.saturating_add(away);
        source.expires_in = source.expires_in.map(|left| left.saturating_sub(away));
    }
    let kept = Kept { states, sources };
    engine.import_states(now, kept, rules, interfaces)
}

fn read(path: &Path) -> Result<Option<Contents>, LoadError> {
    let Some(file) = open_own(path)? else {
        return Ok(None);
    };
    let bounded = BufReader::new(file.take(FILE_MAX.saturating_mul(2)));
    Ok(Some(file::read(bounded)?))
}

/// The text of a file of ours, at most `max` bytes of it; nothing without a file.
pub(super) fn read_own(path: &Path, max: u64) -> Result<Option<String>, LoadError> {
    let Some(file) = open_own(path)? else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = file.take(max).read_to_string(&mut text);
    read.map_err(Damage::System)?;
    Ok(Some(text))
}

/// Opens a file that nobody else can have written.
fn open_own(path: &Path) -> Result<Option<File>, LoadError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(
            (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK)
                .bits()
                .cast_signed(),
        )
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Damage::System)?,
    };
    let metadata = file.metadata().map_err(Damage::System)?;
    let own = metadata.uid() == rustix::process::getuid().as_raw();
    if !own || !metadata.is_file() || metadata.mode() & OTHERS_WRITE != 0 {
        return Err(LoadError::Strange);
    }
    Ok(Some(file))
}

/// What the rules of the file are today: the rule in force that is printed the same, if there
/// are several the one with the same number; otherwise themselves, out of force.
fn bind(
    contents: &Contents,
    printed: &Printed,
    interfaces: &[Interface],
) -> BTreeMap<u32, RuleBinding> {
    let mut bindings = BTreeMap::new();
    for (key, line) in (0u32..).zip(&contents.rules) {
        let same = printed
            .rules
            .get(&(line.anchor.clone(), line.list(), line.text.clone()));
        let number = same.and_then(|numbers| {
            let same_number = numbers.iter().find(|n| Some(**n) == line.number);
            same_number.or(numbers.first()).copied()
        });
        let binding = match number {
            Some(number) => Some(RuleBinding::Installed(
                line.anchor.clone(),
                line.list(),
                number,
            )),
            None => retired(line, contents.dialect, interfaces)
                .map(|rule| RuleBinding::Retired(line.anchor.clone(), Box::new(rule))),
        };
        if binding.is_none() {
            debug!("no rule any more: {}", line.text);
        }
        bindings.extend(binding.map(|binding| (key, binding)));
    }
    bindings
}

/// The rules in force as they are printed, with their numbers.
#[derive(Debug)]
pub struct Printed {
    epoch: u64,
    dialect: Dialect,
    rules: BTreeMap<(AnchorPath, RuleList, String), Vec<u32>>,
}

impl Printed {
    /// Those that are in force now: `before`, if they are still the same.
    pub(crate) fn current(before: Option<Self>, engine: &Engine, dialect: Dialect) -> Self {
        let same = before.filter(|before| before.is_current(engine, dialect));
        same.unwrap_or_else(|| Self {
            epoch: engine.epoch(),
            dialect,
            rules: printed(engine, dialect),
        })
    }

    pub(crate) fn is_current(&self, engine: &Engine, dialect: Dialect) -> bool {
        (self.epoch, self.dialect) == (engine.epoch(), dialect)
    }
}

fn printed(
    engine: &Engine,
    dialect: Dialect,
) -> BTreeMap<(AnchorPath, RuleList, String), Vec<u32>> {
    let options = PrintOptions {
        dialect,
        ..PrintOptions::default()
    };
    let mut printed = BTreeMap::new();
    let main = AnchorPath::main();
    for anchor in std::iter::once(&main).chain(engine.anchors()) {
        for list in RuleList::ALL {
            for rule in engine.rules_at(anchor, list) {
                let text = print_rule(rule.rule, options);
                let key = (anchor.clone(), list, text);
                let numbers: &mut Vec<u32> = printed.entry(key).or_default();
                numbers.push(rule.number);
            }
        }
    }
    printed
}

/// The rule that was printed so, read back. It may name no files, and must be one rule.
fn retired(line: &RuleLine, dialect: Dialect, interfaces: &[Interface]) -> Option<Rule> {
    let options = LoadOptions {
        dialect,
        interfaces: interfaces.to_vec(),
        // A printed rule has the numbers of its accounts.
        ..LoadOptions::default()
    };
    let text = format!("{}\n", line.text);
    let loaded = pf_conf::load(
        "states",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        &options,
    );
    let ruleset = loaded.ok()?.ruleset;
    let mut rules = match line.list() {
        RuleList::Scrub => ruleset.scrub,
        RuleList::Nat => ruleset.nat,
        RuleList::Rdr => ruleset.rdr,
        RuleList::Binat => ruleset.binat,
        RuleList::Filter => ruleset.filter,
    };
    let rule = rules.pop()?;
    rules.is_empty().then_some(rule)
}
