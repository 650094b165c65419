//! Files that others may read at any moment.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Puts `bytes` in the place of the file at `path`, if there is one: it is the old one or the new
/// one, whole, as it is written beside and renamed. `mode` is what it may be read by, unless the
/// process's own mask is to rule that.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    fs::write(&beside, bytes)?;
    if let Some(mode) = mode {
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
    }
    fs::rename(&beside, path)
}
