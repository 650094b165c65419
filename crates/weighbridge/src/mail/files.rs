//! Files for other programs, which may read them at any moment.

use std::path::Path;

use crate::files;
use crate::output::Output;
use crate::text::reason;

/// Puts `text` in the place of the file at `path` and says so.
///
/// # Errors
/// What to tell the user.
pub(super) fn replace_file(path: &Path, text: &str, output: &mut Output<'_>) -> Result<(), String> {
    files::replace(path, text.as_bytes(), None)
        .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))?;
    output.message(&format!("wrote {}", path.display()));
    Ok(())
}
