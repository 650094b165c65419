//! Which signatures are used.

use std::path::{Path, PathBuf};

use pf_engine::osfp::p0f::{Database, Mode, ParseError};

use crate::config::read_text;
use crate::text::reason;

/// p0f's own file, where its package puts it.
const P0F_FILE: &str = "/etc/p0f/p0f.fp";

/// Reads the site's own signatures first, so that they come before others, then `files`, or what
/// there is without any: p0f's own when its answers are wanted, else those of the program.
pub(in crate::mail) fn read(
    files: &[PathBuf],
    local: &[PathBuf],
    mode: Mode,
) -> Result<Database, String> {
    let mut database = Database::default();
    for file in local {
        add(&mut database, file)?;
    }
    if !files.is_empty() {
        for file in files {
            add(&mut database, file)?;
        }
        return Ok(database);
    }
    match mode {
        Mode::Parity => add(&mut database, Path::new(P0F_FILE))
            .map_err(|problem| format!("{problem}\n  hint: give p0f's signatures with -f FILE"))?,
        Mode::Better if local.is_empty() => return Ok(Database::own()),
        Mode::Better => database.extend_with_own(),
    }
    Ok(database)
}

fn add(database: &mut Database, file: &Path) -> Result<(), String> {
    let name = file.display();
    let text = read_text(file).map_err(|error| format!("{name}: {}", reason(&error)))?;
    let line = |error: ParseError| format!("{name}:{error}");
    database.extend_where_new(&text).map_err(|errors| {
        let lines: Vec<_> = errors.into_iter().map(line).collect();
        lines.join("\n")
    })
}
