//! The file, read.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::answer::{Answer, Basis};
use mail::connection::Peer;
use mail::published::{HEADER_LEN, Header, Source, look_up};
use mail::time::Timestamp;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The client was seen.
    Answer(Box<Answer>),
    /// It was not.
    NotSeen,
    /// Nobody knows: there is no file, it cannot be read, or who wrote it is dead.
    Unavailable,
}

/// Reads one file. It notices by itself when the daemon was started anew.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
}

impl Reader {
    /// Of the file at `path`, which need not be there yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// What is known of `peer`. It never waits; without an answer try again at the next question.
    pub fn look_up(&mut self, peer: &Peer) -> Found {
        let now = now();
        let header = self.header(now).or_else(|| {
            self.file = open(&self.path);
            self.header(now)
        });
        let (Some(header), Some(file)) = (header, &self.file) else {
            return Found::Unavailable;
        };
        match look_up(&header, &mut Pieces(file), peer, now) {
            Some(answer) => Found::Answer(Box::new(answer)),
            None => Found::NotSeen,
        }
    }

    /// The same for a caller whose waiting keeps nobody else from anything: the daemon may not have read a SYN
    /// whose connection has been accepted already. There is a `pause` before each further look, `pauses` at most, as
    /// long as there is a daemon and the very connection is not there.
    pub fn look_up_again(&mut self, peer: &Peer, pauses: usize, mut pause: impl FnMut()) -> Found {
        let mut found = self.look_up(peer);
        for _ in 0..pauses {
            let is_final = match &found {
                Found::Answer(answer) => answer.basis == Basis::Connection,
                Found::NotSeen => false,
                Found::Unavailable => true,
            };
            if is_final || peer.port.is_none() {
                break;
            }
            pause();
            found = self.look_up(peer);
        }
        found
    }

    /// The header of the open file, if somebody keeps it.
    fn header(&self, now: Timestamp) -> Option<Header> {
        let mut bytes = [0; HEADER_LEN];
        if !Pieces(self.file.as_ref()?).read(0, &mut bytes) {
            return None;
        }
        let header = Header::parse(&bytes).ok()?;
        header.is_alive(now).then_some(header)
    }
}

/// A pipe or a device in the place of the file could make its reader wait.
fn open(path: &Path) -> Option<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

struct Pieces<'a>(&'a File);

impl Source for Pieces<'_> {
    fn read(&mut self, offset: u64, piece: &mut [u8]) -> bool {
        self.0.read_exact_at(piece, offset).is_ok()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a library in another's process has nobody who would tell it the time"
)]
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_epoch(since_1970.unwrap_or(Duration::ZERO))
}
