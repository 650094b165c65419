//! Files that a pf.conf names, from the disk.

use std::io;
use std::path::{Path, PathBuf};

use pf_conf::SourceReader;

use crate::config::read_bytes;

/// Reads files; relative names count from a directory, because a daemon's own means nothing.
#[derive(Debug)]
pub(super) struct DiskFiles {
    base: PathBuf,
}

impl DiskFiles {
    /// Relative names count from `base`.
    pub(super) fn relative_to(base: &Path) -> Self {
        Self {
            base: base.to_path_buf(),
        }
    }
}

impl SourceReader for DiskFiles {
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        read_bytes(&self.base.join(path))
    }
}
