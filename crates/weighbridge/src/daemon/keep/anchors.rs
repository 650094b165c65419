//! Anchors over a restart: what pfctl has loaded into them, as text, beside the states.
//!
//! pf.conf is read again by the next daemon; what was loaded with `pfctl -a` stands nowhere else.

use std::collections::BTreeMap;
use std::path::Path;

use pf_conf::{LoadOptions, MemoryFiles, PrintOptions, print_source};
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::engine::{Engine, RuleList};
use pf_engine::env::Interface;
use pf_engine::ruleset::{Dialect, Parts, Ruleset};
use pf_engine::time::Instant;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::load::read_own;
use crate::accounts;
use crate::text::{dialect_name, parse_dialect};

/// Addresses of anchors' tables that are written down while packets wait: a few milliseconds'
/// worth. An orderly stop writes them all.
const ENTRIES_MAX: usize = 16_384;
/// Bytes of the file at most.
const FILE_MAX: u64 = 256 << 20;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    anchor: AnchorPath,
    dialect: String,
    /// Tables and rules, as pf.conf says it.
    text: String,
}

/// The file for the anchors as they are. `whole`: with all addresses of their tables.
pub(super) fn draft(engine: &Engine, dialect: Dialect, whole: bool) -> Vec<u8> {
    let print = PrintOptions {
        dialect,
        ..PrintOptions::default()
    };
    let mut bytes = Vec::new();
    let mut room = if whole { usize::MAX } else { ENTRIES_MAX };
    for anchor in engine.anchors().filter(|path| stands_alone(engine, path)) {
        let ruleset = ruleset(engine, anchor, &mut room);
        let kept = Kept {
            anchor: anchor.clone(),
            dialect: dialect_name(dialect).to_owned(),
            text: print_source(&ruleset, print),
        };
        if kept.text.is_empty() {
            continue;
        }
        match serde_json::to_vec(&kept) {
            Ok(line) => bytes.extend(line),
            Err(error) => warn!("anchor {anchor} is not kept: {error}"),
        }
        bytes.push(b'\n');
    }
    bytes
}

/// Whether the anchor is to be kept by itself: not with the braces of another one, and not by
/// pf.conf.
fn stands_alone(engine: &Engine, path: &AnchorPath) -> bool {
    match engine.filled_by(path) {
        None => true,
        Some(by) if by == path => true,
        Some(by) => !by.is_main() && !is_inline(engine, path),
    }
}

/// Whether its rules stand in braces behind the rule that calls it.
fn is_inline(engine: &Engine, path: &AnchorPath) -> bool {
    let Some(parent) = path.parent() else {
        return false;
    };
    let rules = engine.rules_at(&parent, RuleList::Filter);
    let calls = rules.filter_map(|rule| rule.rule.anchor.as_ref());
    let ether = engine.ether_rules_at(&parent);
    let ether = ether.filter_map(|rule| rule.rule.anchor.as_ref());
    calls
        .chain(ether)
        .any(|call| call.inline && call.path == *path)
}

/// The anchor with those in its braces.
fn ruleset(engine: &Engine, anchor: &AnchorPath, room: &mut usize) -> Ruleset {
    let mut all = own(engine, anchor, room);
    let inside = engine.anchors().filter(|path| {
        *path != anchor && anchor.holds(path) && engine.filled_by(path) == Some(anchor)
    });
    let mut anchors = BTreeMap::new();
    for path in inside {
        anchors.insert(path.clone(), own(engine, path, room));
    }
    all.anchors = anchors;
    all
}

fn own(engine: &Engine, anchor: &AnchorPath, room: &mut usize) -> Ruleset {
    let rules = |list| {
        let rules = engine.rules_at(anchor, list);
        rules.map(|rule| rule.rule.clone()).collect()
    };
    let mut ruleset = Ruleset {
        dialect: engine.dialect(),
        ether: engine
            .ether_rules_at(anchor)
            .map(|rule| rule.rule.clone())
            .collect(),
        scrub: rules(RuleList::Scrub),
        nat: rules(RuleList::Nat),
        rdr: rules(RuleList::Rdr),
        binat: rules(RuleList::Binat),
        filter: rules(RuleList::Filter),
        ..Ruleset::default()
    };
    for name in engine.table_names(anchor) {
        let name = TableRef {
            anchor: anchor.as_str(),
            name,
        };
        let fits = engine.table_len(name).is_some_and(|len| len <= *room);
        if let Some(table) = engine.table_definition(name).filter(|_| fits) {
            *room -= table.entries.len();
            ruleset.tables.insert(name.name.to_owned(), table);
        }
    }
    ruleset
}

/// Loads the anchors of the file again; those that cannot be are told and left out. Returns how
/// many were.
pub(super) fn restore(
    path: &Path,
    engine: &mut Engine,
    now: Instant,
    interfaces: &[Interface],
) -> usize {
    let text = match read_own(path, FILE_MAX) {
        Ok(None) => return 0,
        Ok(Some(text)) => text,
        Err(error) => {
            warn!("{} is not used: {error}", path.display());
            return 0;
        }
    };
    let mut restored = 0;
    for line in text.lines() {
        match restore_one(line, engine, now, interfaces) {
            Ok(()) => restored += 1,
            Err(error) => warn!("an anchor is not loaded again: {error}"),
        }
    }
    restored
}

fn restore_one(
    line: &str,
    engine: &mut Engine,
    now: Instant,
    interfaces: &[Interface],
) -> Result<(), String> {
    let kept: Kept = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let options = LoadOptions {
        dialect: parse_dialect(&kept.dialect)?,
        interfaces: interfaces.to_vec(),
        accounts: accounts::of_machine(),
        anchor: kept.anchor.clone(),
        ..LoadOptions::default()
    };
    let name = kept.anchor.as_str();
    let mut files = MemoryFiles::default();
    let loaded = pf_conf::load(name, kept.text.as_bytes(), &mut files, &options)
        .map_err(|errors| errors.plain())?;
    engine
        .install_at(now, &kept.anchor, Parts::ALL, loaded.ruleset)
        .map_err(|error| format!("{name}: {error}"))
}
