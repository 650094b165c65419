//! A log that grows, is renamed and made anew, or cut: its lines, each once, over restarts too.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of a line that are kept; what is longer is no line of a mail server and is skipped whole.
pub(super) const LINE_MAX: u64 = 64 * 1024;

/// How long a log that has been renamed is still read: who writes it may not know yet.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// Up to where a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    device: u64,
    inode: u64,
    /// In bytes, at the beginning of a line.
    offset: u64,
}

impl Place {
    fn is_of(&self, file: &Metadata) -> bool {
        (file.dev(), file.ino()) == (self.device, self.inode)
    }
}

/// The files beside `path` whose names begin with its name: what logrotate makes of it.
fn renamed(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten();
    let beside = entries.filter_map(Result::ok).filter(|entry| {
        let found = entry.file_name();
        found.len() > name.len() && found.as_bytes().starts_with(name.as_bytes())
    });
    let files = beside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).collect()
}

/// The log.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: BufReader<File>,
    place: Place,
    /// How long it is read when there is another by its name, and since when there is.
    linger: Duration,
    replaced: Option<Timestamp>,
}

impl Tail {
    /// Goes on at `place`, in the log or, when it has been renamed since, under its new name beside it
    /// (`LOG.1`, `LOG-20261129`); without a place at the beginning or the end of the log; when it is nowhere,
    /// at the beginning.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn open(path: &Path, place: Option<Place>, from_start: bool) -> io::Result<Self> {
        let file = File::open(path)?;
        let fresh = Self::at(path, file, if from_start { Some(0) } else { None })?;
        let Some(place) = place else {
            return Ok(fresh);
        };
        for candidate in std::iter::once(path.to_owned()).chain(renamed(path)) {
            if let Ok(file) = File::open(candidate)
                && let Ok(metadata) = file.metadata()
                && place.is_of(&metadata)
                && metadata.len() >= place.offset
            {
                return Self::at(path, file, Some(place.offset));
            }
        }
        // It is another log by now, all of which is new.
        Self::at(path, File::open(path)?, Some(0))
    }

    /// In `file` at `offset`, or at its end.
    fn at(path: &Path, mut file: File, offset: Option<u64>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let offset = offset.unwrap_or(metadata.len());
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            place: Place {
                device: metadata.dev(),
                inode: metadata.ino(),
                offset,
            },
            linger: Duration::ZERO,
            replaced: None,
        })
    }

    /// The same log, which is read for so long after it has been renamed.
    pub(super) fn lingering(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Behind the last line that was read.
    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// The next whole line; nothing when there is none yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn line(&mut self, now: Timestamp) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.line_of_file()? {
                return Ok(Some(line));
            }
            if !self.moved_on(now)? {
                return Ok(None);
            }
        }
    }

    fn line_of_file(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut read = 0_u64;
        let mut kept = true;
        loop {
            line.clear();
            let piece = self
                .file
                .by_ref()
                .take(LINE_MAX)
                .read_until(b'\n', &mut line)?;
            read = read.saturating_add(u64::try_from(piece).unwrap_or(u64::MAX));
            if line.ends_with(b"\n") {
                self.place.offset = self.place.offset.saturating_add(read);
                if kept {
                    line.pop();
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
                (read, kept) = (0, true);
            } else if u64::try_from(piece) == Ok(LINE_MAX) {
                kept = false;
            } else {
                // The end, perhaps in the middle of a line.
                self.file.seek(SeekFrom::Start(self.place.offset))?;
                return Ok(None);
            }
        }
    }

    /// All of this file is read: whether there is another by its name, and has been for a while, or it
    /// begins anew.
    fn moved_on(&mut self, now: Timestamp) -> io::Result<bool> {
        let Ok(metadata) = fs::metadata(&self.path) else {
            // Between renaming and making anew.
            return Ok(false);
        };
        let same = self.place.is_of(&metadata);
        if same && metadata.len() >= self.place.offset {
            return Ok(false);
        }
        let since = *self.replaced.get_or_insert(now);
        if !same && now < since.saturating_add(self.linger) {
            return Ok(false);
        }
        let next = Self::at(&self.path, File::open(&self.path)?, Some(0))?;
        *self = next.lingering(self.linger);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        let file = File::options().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("written");
    }

    fn rest_at(tail: &mut Tail, secs: u64) -> Vec<String> {
        let now = Timestamp::from_secs(secs);
        std::iter::from_fn(|| tail.line(now).expect("it reads")).collect()
    }

    fn rest(tail: &mut Tail) -> Vec<String> {
        rest_at(tail, 0)
    }

    #[test]
    fn lines_come_whole_and_once_over_rotation_cutting_and_restarts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        append(&path, "old\n");
        let mut tail = Tail::open(&path, None, false).expect("it opens");
        append(&path, "one\ntw");
        assert_eq!(rest(&mut tail), ["one"]);
        append(&path, "o\n");
        assert_eq!(rest(&mut tail), ["two"]);
        append(&path, "three\n");
        let renamed = dir.path().join("log.1");
        fs::rename(&path, &renamed).expect("renamed");
        assert_eq!(rest(&mut tail), ["three"]);
        append(&path, "four\n");
        assert_eq!(rest(&mut tail), ["four"]);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(0))
            .expect("cut");
        append(&path, "5\n");
        assert_eq!(rest(&mut tail), ["5"]);

        let place = tail.place();
        append(&path, "six\n");
        fs::rename(&path, &renamed).expect("renamed");
        append(&path, "seven\n");
        let mut again = Tail::open(&path, Some(place), false).expect("it opens");
        assert_eq!(rest(&mut again), ["six", "seven"]);
    }

    #[test]
    fn a_log_that_was_renamed_while_nobody_read_is_read_to_its_end_whatever_its_new_name() {
        for new in [
            "maillog.1",
            "maillog-20261129",
            "maillog.0",
            "maillog.2026-11-29",
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("maillog");
            append(&path, "one\n");
            let mut tail = Tail::open(&path, None, true).expect("it opens");
            assert_eq!(rest(&mut tail), ["one"]);
            let place = tail.place();
            append(&path, "two\n");
            fs::rename(&path, dir.path().join(new)).expect("renamed");
            append(&path, "three\n");
            append(&dir.path().join("maillog-20261122.gz"), "older\n");
            append(&dir.path().join("mail.err"), "another log\n");
            let mut again = Tail::open(&path, Some(place), false).expect("it opens");
            assert_eq!(rest(&mut again), ["two", "three"], "{new}");
        }
    }

    #[test]
    fn what_is_still_written_to_a_renamed_log_is_read_before_the_new_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, renamed) = (dir.path().join("log"), dir.path().join("log.1"));
        append(&path, "one\n");
        let tail = Tail::open(&path, None, true).expect("it opens");
        let mut tail = tail.lingering(Duration::from_secs(10));
        assert_eq!(rest_at(&mut tail, 1), ["one"]);
        fs::rename(&path, &renamed).expect("renamed");
        append(&path, "three\n");
        assert_eq!(rest_at(&mut tail, 2), [""; 0]);
        append(&renamed, "two\n");
        assert_eq!(rest_at(&mut tail, 11), ["two"]);
        assert_eq!(rest_at(&mut tail, 12), ["three"]);
    }

    #[test]
    fn a_line_without_bounds_is_skipped_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let long = "x".repeat(usize::try_from(LINE_MAX).expect("fits") * 2 + 9);
        append(&path, &format!("one\n{long}\ntwo\n"));
        let mut tail = Tail::open(&path, None, true).expect("it opens");
        assert_eq!(rest(&mut tail), ["one", "two"]);
    }
}
