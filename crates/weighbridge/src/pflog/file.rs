//! One file of logged packets: appended to, rotated, never left with half a record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::record::{FILE_HEADER, Order, RECORD_HEADER, Record, file_header};
use super::writer::LogSettings;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// `pflogN.pcap`.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    settings: LogSettings,
    file: File,
    /// Bytes in it, whole records all.
    len: u64,
    buffer: Vec<u8>,
    /// Records in the buffer.
    buffered: u64,
}

impl LogFile {
    /// Opens the file of `pflogN`, or makes it. Half a record at its end, left by a crash, is
    /// cut off; a file that is none of ours is rotated away.
    pub(super) fn open(log: u8, settings: &LogSettings) -> io::Result<Self> {
        let path = settings.directory.join(format!("pflog{log}.pcap"));
        let mut file = open(&path)?;
        let header = file_header(settings.snap_length);
        let mut len = whole_records(&mut file, &header)?;
        if len == 0 && file.metadata()?.len() > 0 {
            rotate(&path, settings.files)?;
            file = open(&path)?;
        }
        if len == 0 {
            file.write_all(&header)?;
            len = header.len() as u64;
        }
        file.set_len(len)?;
        file.seek(SeekFrom::Start(len))?;
        Ok(Self {
            path,
            settings: settings.clone(),
            file,
            len,
            buffer: Vec::with_capacity(BUFFER),
            buffered: 0,
        })
    }

    /// Adds a record; it is in the file after the next [`LogFile::flush`] at the latest. Returns
    /// how many records were written.
    ///
    /// # Errors
    /// The number of records that were lost, this one included, and why.
    pub(super) fn append(&mut self, record: &Record) -> Result<u64, (u64, io::Error)> {
        let mut written = 0;
        let len = self.len + (self.buffer.len() + record.encoded_len()) as u64;
        if len > self.settings.file_size && self.len + self.buffer.len() as u64 > FILE_HEADER as u64
        {
            written = self.flush().map_err(|(lost, error)| (lost + 1, error))?;
            self.turn_over().map_err(|error| (1, error))?;
        }
        record.encode(&mut self.buffer);
        self.buffered += 1;
        if self.buffer.len() >= BUFFER {
            written += self.flush()?;
        }
        Ok(written)
    }

    /// Writes what was gathered; returns how many records.
    ///
    /// # Errors
    /// The number of records that were lost, and why. The file keeps only whole records.
    pub(super) fn flush(&mut self) -> Result<u64, (u64, io::Error)> {
        let written = self.file.write_all(&self.buffer);
        let (bytes, records) = (self.buffer.len() as u64, self.buffered);
        self.buffer.clear();
        self.buffered = 0;
        match written {
            Ok(()) => {
                self.len += bytes;
                Ok(records)
            }
            Err(error) => {
                let _ = self.file.set_len(self.len);
                let _ = self.file.seek(SeekFrom::Start(self.len));
                Err((records, error))
            }
        }
    }

    fn turn_over(&mut self) -> io::Result<()> {
        rotate(&self.path, self.settings.files)?;
        let mut file = open(&self.path)?;
        let header = file_header(self.settings.snap_length);
        file.write_all(&header)?;
        self.file = file;
        self.len = header.len() as u64;
        Ok(())
    }
}

/// Opens or makes a file for its owner alone, and keeps other daemons from writing to it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        if error == rustix::io::Errno::WOULDBLOCK {
            io::Error::other("another weighbridge writes to it; set log-directory")
        } else {
            error.into()
        }
    })?;
    Ok(file)
}

/// Bytes from the start that are whole records behind `header`; 0 if it has another header.
fn whole_records(file: &mut File, header: &[u8]) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut found = [0; FILE_HEADER];
    if size < found.len() as u64 {
        return Ok(0);
    }
    reader.read_exact(&mut found)?;
    let Ok(order) = Order::of(&found) else {
        return Ok(0);
    };
    if found != header {
        return Ok(0);
    }
    let mut whole = found.len() as u64;
    let mut record = [0; RECORD_HEADER];
    while whole + record.len() as u64 <= size {
        reader.read_exact(&mut record)?;
        let Ok(body) = order.body_len(&record) else {
            break;
        };
        let end = whole + (record.len() + body) as u64;
        if end > size {
            break;
        }
        reader.seek_relative(i64::try_from(body).unwrap_or(0))?;
        whole = end;
    }
    Ok(whole)
}

/// `path` becomes `path.1`, that `path.2`, and so on; of `files` files the oldest goes.
fn rotate(path: &Path, files: u32) -> io::Result<()> {
    let old = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if files <= 1 {
        return fs::remove_file(path);
    }
    for number in (1..files - 1).rev() {
        match fs::rename(old(number), old(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, old(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::record::tests::syn;
    use super::*;

    fn settings(directory: &Path, records: u64) -> LogSettings {
        LogSettings {
            directory: directory.to_owned(),
            file_size: FILE_HEADER as u64 + records * syn().encoded_len() as u64,
            files: 3,
            ..LogSettings::default()
        }
    }

    fn sizes(directory: &Path) -> Vec<(String, u64)> {
        let entries = fs::read_dir(directory).expect("directory");
        let mut sizes: Vec<(String, u64)> = entries
            .map(|entry| {
                let entry = entry.expect("entry");
                let records = (entry.metadata().expect("metadata").len() - FILE_HEADER as u64)
                    / syn().encoded_len() as u64;
                (entry.file_name().into_string().expect("name"), records)
            })
            .collect();
        sizes.sort();
        sizes
    }

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_go() {
        let dir = tempfile::tempdir().expect("directory");
        let mut file = LogFile::open(1, &settings(dir.path(), 2)).expect("opens");
        for _ in 0..9 {
            file.append(&syn()).expect("appends");
        }
        file.flush().expect("flushes");
        let wanted = [
            ("pflog1.pcap", 1),
            ("pflog1.pcap.1", 2),
            ("pflog1.pcap.2", 2),
        ];
        assert_eq!(
            sizes(dir.path()),
            wanted.map(|(name, n)| (name.to_owned(), n))
        );
        let metadata = fs::metadata(dir.path().join("pflog1.pcap")).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_record_of_a_crash_is_cut_off_and_the_file_goes_on() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("pflog0.pcap");
        let mut bytes = file_header(LogSettings::default().snap_length).to_vec();
        syn().encode(&mut bytes);
        syn().encode(&mut bytes);
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, &bytes).expect("write");
        let mut file = LogFile::open(0, &settings(dir.path(), 9)).expect("opens");
        file.append(&syn()).expect("appends");
        file.flush().expect("flushes");
        assert_eq!(sizes(dir.path()), [("pflog0.pcap".to_owned(), 2)]);
    }

    #[test]
    fn a_file_of_another_kind_is_rotated_away() {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("pflog0.pcap"), "precious").expect("write");
        LogFile::open(0, &settings(dir.path(), 9)).expect("opens");
        let old = fs::read(dir.path().join("pflog0.pcap.1")).expect("kept");
        assert_eq!(old, b"precious");
    }

    #[test]
    fn two_daemons_do_not_write_to_one_file() {
        let dir = tempfile::tempdir().expect("directory");
        let _first = LogFile::open(0, &settings(dir.path(), 9)).expect("opens");
        let error = LogFile::open(0, &settings(dir.path(), 9)).expect_err("locked");
        assert!(error.to_string().contains("another weighbridge"), "{error}");
    }
}
