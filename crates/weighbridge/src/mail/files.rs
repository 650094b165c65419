//! Files for other programs, which may read them at any moment.

use std::fs;
use std::path::Path;

use crate::output::Output;
use crate::text::reason;

/// Writes `text` to the file at `path` and says so. The file is the old one or the new one, whole:
/// it is written beside and renamed.
///
/// # Errors
/// What to tell the user.
pub(super) fn replace_file(path: &Path, text: &str, output: &mut Output<'_>) -> Result<(), String> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))?;
    output.message(&format!("wrote {}", path.display()));
    Ok(())
}
