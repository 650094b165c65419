//! The root of a guest's file system, as the kernel unpacks it: an archive of cpio's "newc" form.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};
use tempfile::NamedTempFile;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// Where the first process mounts something, or writes.
const PLACES: [&str; 8] = ["dev", "etc", "proc", "run", "sbin", "sys", "tmp", "var"];

/// Paths without their first slash, and what is there.
#[derive(Debug, Default)]
pub(super) struct Image(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Image {
    pub(super) fn new() -> Self {
        let mut image = Self::default();
        for place in PLACES {
            image.directory(place);
        }
        image
    }

    /// A file, and the directories that lead to it.
    pub(super) fn file(&mut self, path: &str, content: Vec<u8>, runs: bool) {
        let path = path.trim_start_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        let mode = if runs { PROGRAM } else { FILE };
        self.0.insert(path.to_owned(), Entry { mode, content });
    }

    /// All files below a directory of this machine.
    pub(super) fn tree(&mut self, from: &Path, to: &str) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let to = format!("{to}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.tree(&entry.path(), &to)?;
            } else {
                self.file(&to, fs::read(entry.path())?, false);
            }
        }
        Ok(())
    }

    /// A program of this machine and its libraries, each at its own path.
    pub(super) fn program(&mut self, path: &Path) -> Result<()> {
        let name = path.display().to_string();
        let told = Command::new("ldd").arg(path).output().context("ldd")?;
        // What needs no libraries is told so, with a failure.
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let libraries = told.split_whitespace().filter(|word| word.starts_with('/'));
        for library in libraries.map(|word| word.trim_end_matches(':')) {
            if !self.0.contains_key(library.trim_start_matches('/')) {
                self.file(library, fs::read(library)?, true);
            }
        }
        let content = stripped(path).with_context(|| name.clone())?;
        self.file(&name, content, true);
        Ok(())
    }

    pub(super) fn write_to(&self, path: &Path) -> Result<()> {
        let mut archive = BufWriter::new(File::create(path)?);
        for (number, (path, entry)) in self.0.iter().enumerate() {
            let size = u32::try_from(entry.content.len()).with_context(|| path.clone())?;
            let mut file = Builder::new(path)
                .ino(u32::try_from(number)?)
                .mode(entry.mode)
                .write(&mut archive, size);
            file.write_all(&entry.content)?;
            file.finish()?;
        }
        trailer(&mut archive)?.flush()?;
        Ok(())
    }

    fn directory(&mut self, path: &str) {
        let places = path.match_indices('/').map(|(at, _)| at);
        for end in places.chain([path.len()]) {
            let content = Vec::new();
            let mode = DIRECTORY;
            self.0
                .entry(path[..end].to_owned())
                .or_insert(Entry { mode, content });
        }
    }
}

/// A program without what debuggers need, which may be most of it; as it is, where nothing can take
/// that off.
fn stripped(path: &Path) -> io::Result<Vec<u8>> {
    let short = NamedTempFile::new()?;
    let status = Command::new("strip")
        .args(["--strip-debug", "-o"])
        .args([short.path(), path])
        .status();
    match status {
        Ok(status) if status.success() => fs::read(short.path()),
        _ => fs::read(path),
    }
}
