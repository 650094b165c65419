//! The observations in a file, over a restart.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mail::store::{KeepCursor, Store};
use mail::unknown::Unknown;

use crate::config::read_text;
use crate::files;
use crate::text::reason;

/// The file, in the state directory.
const FILE: &str = "observations";
const NEW: &str = "observations.new";
/// Handshakes that no signature fits, in the same directory.
const UNKNOWN: &str = "unknown-signatures";
/// Bytes that are read of it at most: two million lines.
const FILE_MAX: u64 = 2 << 30;
/// Lines of a piece: some milliseconds.
const PIECE: usize = 500;

/// Reads what was kept in `directory`, if anything was.
pub(super) fn restore(store: &mut Store, directory: &Path) -> Result<(), String> {
    let path = directory.join(FILE);
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(|error| failed(error.to_string()))?,
    };
    let mut text = String::new();
    let read = file.take(FILE_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    store
        .import(text.lines())
        .map_err(|error| failed(error.to_string()))
}

/// Reads the unknown signatures that were kept in `directory`, if any were.
pub(in crate::mail) fn unknown(directory: &Path) -> Result<Unknown, String> {
    let path = directory.join(UNKNOWN);
    let mut unknown = Unknown::default();
    let text = match read_text(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(unknown),
        text => text.map_err(|error| format!("{}: {}", path.display(), reason(&error)))?,
    };
    let read = unknown.import(&text);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(unknown)
}

/// Keeps them: some thousand lines at most.
pub(super) fn keep_unknown(unknown: &Unknown, directory: &Path) -> io::Result<()> {
    let path = directory.join(UNKNOWN);
    files::replace(&path, unknown.export().as_bytes(), None)
}

/// Makes the directory, if it is not there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// A file that is being written, a piece at a time: the old one stays until the new one is whole.
#[derive(Debug)]
pub(super) struct Saving {
    directory: PathBuf,
    file: BufWriter<File>,
    cursor: KeepCursor,
}

impl Saving {
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        let new = directory.join(NEW);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        Ok(Self {
            directory: directory.to_path_buf(),
            file: BufWriter::new(file),
            cursor: KeepCursor::Start,
        })
    }

    /// Writes the next piece; true when the file is whole and in its place.
    pub(super) fn piece(&mut self, store: &Store) -> io::Result<bool> {
        let mut lines = String::new();
        store.export(&mut self.cursor, PIECE, &mut lines);
        self.file.write_all(lines.as_bytes())?;
        if self.cursor != KeepCursor::Done {
            return Ok(false);
        }
        self.file.flush()?;
        fs::rename(self.directory.join(NEW), self.directory.join(FILE))?;
        Ok(true)
    }
}
