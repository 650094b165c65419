//! Files of this machine, or of another root directory.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ::doctor::limits::MAX_FILE_LEN;
use ::doctor::{Entry, Files};

/// Files below a root directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// This machine's.
    pub(super) fn own() -> Self {
        Self {
            root: PathBuf::from("/"),
        }
    }

    /// Those that a process sees.
    pub(super) fn of_process(pid: u32) -> Self {
        Self {
            root: PathBuf::from(format!("/proc/{pid}/root")),
        }
    }

    /// Where a path is, seen from here. A relative one is the caller's own, seen from where it
    /// stands.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        if self.root == Path::new("/") {
            return PathBuf::from(path);
        }
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = open(&self.path(path))?;
        let mut bytes = Vec::new();
        let limit = MAX_FILE_LEN as u64;
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MAX_FILE_LEN {
            let message = format!("larger than {} MiB", MAX_FILE_LEN >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(bytes)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let entry = |entry: fs::DirEntry| Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            directory: entry.path().is_dir(),
        };
        let entries = fs::read_dir(self.path(directory))?;
        Ok(entries.filter_map(Result::ok).map(entry).collect())
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn mode(&self, path: &str) -> Option<u32> {
        let metadata = fs::metadata(self.path(path)).ok()?;
        Some(metadata.permissions().mode() & 0o7777)
    }
}

/// The end of a log, from the beginning of a line, and how many bytes were left out before it.
pub(super) fn tail(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(MAX_FILE_LEN as u64);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN as u64).read_to_end(&mut bytes)?;
    if skipped > 0 {
        let line = bytes.iter().position(|byte| *byte == b'\n');
        bytes.drain(..line.map_or(bytes.len(), |at| at + 1));
    }
    Ok((bytes, skipped))
}

/// Opens a file; what has no end (a device, a pipe) is refused.
fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is no file",
        ));
    }
    File::open(path)
}
