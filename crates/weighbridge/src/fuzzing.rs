//! Doors for the fuzz targets to readers that only this crate uses.

use std::io::Read;

use pf_engine::engine::Engine;
use pf_engine::env::Interface;
use pf_engine::record::Imported;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;

use crate::daemon::keep::file::{self, Draft, Form};
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

const fn form(is_packed: bool) -> Form {
    if is_packed { Form::Packed } else { Form::Lines }
}

/// A whole file of states out of what is in it: the first record and the checksum are added.
#[must_use]
pub fn sealed_states(inner: &[u8], is_packed: bool, dialect: Dialect, date: u64) -> Vec<u8> {
    Draft::around(form(is_packed), inner, dialect, date)
}

/// The states of an engine as a file.
#[must_use]
pub fn save_states(
    engine: &Engine,
    is_packed: bool,
    (now, date): (Instant, u64),
    dialect: Dialect,
) -> Vec<u8> {
    let mut draft = Draft::new(form(is_packed), dialect, date);
    while draft.add(engine, now, usize::MAX) {}
    draft.finish()
}
