//! Files that others may read at any moment.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Puts `bytes` in the place of the file at `path`, if there is one: it is the old one or the new
/// one, whole, as it is written beside and renamed. `mode` is what it may be read by, unless the
/// process's own mask is to rule that.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let beside = beside(path);
    fs::write(&beside, bytes)?;
    if let Some(mode) = mode {
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
    }
    fs::rename(&beside, path)
}

/// The same, for a machine that may lose its power: the new one is on the disk when this returns.
pub(crate) fn replace_for_good(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> OsString {
    let mut beside = OsString::from(path);
    beside.push(".new");
    beside
}
