//! Doors for the fuzz targets to readers that only this crate uses.

use std::io::Read;

use pf_engine::engine::Engine;
use pf_engine::env::Interface;
use pf_engine::record::Imported;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;

use crate::daemon::keep::file::{self, Draft};
use crate::daemon::keep::load::{Printed, take_over};
use crate::tools::replay;

/// The IP packets of a capture, up to where it cannot be read further.
pub fn captured_packets(capture: impl Read) -> impl Iterator<Item = Vec<u8>> {
    replay::packets(capture)
}

/// Puts a file of states into an engine, `date` being now in seconds since 1970.
///
/// # Errors
/// Why none of it was taken.
pub fn load_states(
    file: &[u8],
    engine: &mut Engine,
    now: Instant,
    date: u64,
    interfaces: &[Interface],
) -> Result<Imported, String> {
    let contents = file::read(file).map_err(|damage| damage.to_string())?;
    let printed = Printed::current(None, engine, contents.dialect);
    let imported = take_over(contents, engine, now, date, interfaces, &printed);
    imported.map_err(|error| error.to_string())
}

/// A whole file of states out of its inner lines: the first line and the checksum are added.
#[must_use]
pub fn sealed_states(lines: &[u8], dialect: Dialect, date: u64) -> Vec<u8> {
    Draft::around(lines, dialect, date)
}

/// The states of an engine as a file.
#[must_use]
pub fn save_states(engine: &Engine, now: Instant, dialect: Dialect, date: u64) -> Vec<u8> {
    let mut draft = Draft::new(dialect, date);
    while draft.add(engine, now, usize::MAX) {}
    draft.finish()
}
