//! Files, from a disk or from a test.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Serialize;

/// A line of a file. Lines count from 1; 0 is the file as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Path, as it was opened.
    pub file: String,
    /// Line.
    pub line: u32,
}

impl Place {
    /// The file as a whole.
    #[must_use]
    pub fn file(file: impl Into<String>) -> Self {
        let file = file.into();
        Self { file, line: 0 }
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory (a link to one is).
    pub directory: bool,
}

/// Where files come from.
pub trait Files {
    /// The bytes of a file. A file over [`crate::limits::MAX_FILE_LEN`] is an error.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// What a directory holds, in any order.
    fn list(&self, directory: &str) -> io::Result<Vec<Entry>>;

    /// Whether there is such a file or directory.
    fn exists(&self, path: &str) -> bool {
        self.list(path).is_ok() || self.read(path).is_ok()
    }

    /// Permission bits of a file, where files have some.
    fn mode(&self, path: &str) -> Option<u32>;
}

/// Files in memory, by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFiles(pub BTreeMap<String, Vec<u8>>);

impl MemoryFiles {
    /// From paths and texts.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let entry = |(path, text): &(&str, &str)| ((*path).to_owned(), text.as_bytes().to_vec());
        Self(files.iter().map(entry).collect())
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let bytes = self.0.get(path).cloned();
        bytes.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let prefix = format!("{}/", directory.trim_end_matches('/'));
        let names: BTreeSet<Entry> = self
            .0
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .map(|rest| {
                let (name, deeper) = rest
                    .split_once('/')
                    .map_or((rest, false), |(n, _)| (n, true));
                Entry {
                    name: name.to_owned(),
                    directory: deeper,
                }
            })
            .collect();
        if names.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(names.into_iter().collect())
    }

    fn mode(&self, _: &str) -> Option<u32> {
        None
    }
}

/// `path` seen from `directory`.
pub(crate) fn join(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", directory.trim_end_matches('/'))
    }
}
