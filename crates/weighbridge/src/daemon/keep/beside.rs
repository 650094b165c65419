//! A snapshot on its way to the disk: the packet loop makes pieces of it, a thread writes them.
//!
//! Neither waits for the other. Of a million states no more than a few pieces are in memory.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};

use pf_engine::engine::Engine;
use pf_engine::time::Instant;

use super::file::Draft;
use super::{SLICE, STATES, create, put_in_place};

/// Bytes that are handed over at a time.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the disk.
const PIECES_MAX: usize = 8;

/// A snapshot that is being made.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Nothing once its end waits to be handed over.
    draft: Option<Draft>,
    states: usize,
    pieces: SyncSender<Piece>,
    /// There was no room for this one yet.
    waiting: Option<Piece>,
}

/// Part of a file.
#[derive(Debug)]
enum Piece {
    Part(Vec<u8>),
    Last(Vec<u8>),
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do.
    More,
    /// The disk has to catch up first.
    Behind,
    /// It is on its way to the disk with so many states.
    Done(usize),
}

/// Begins one, in `directory`; what comes of writing it is received in the end.
pub(super) fn begin(
    draft: Draft,
    directory: PathBuf,
) -> io::Result<(Snapshot, Receiver<io::Result<()>>)> {
    let (pieces, arriving) = sync_channel(PIECES_MAX);
    let (sender, written) = channel();
    let thread = std::thread::Builder::new().name("states".into());
    thread.spawn(move || {
        let _ = sender.send(write(&directory, &arriving));
    })?;
    let snapshot = Snapshot {
        draft: Some(draft),
        states: 0,
        pieces,
        waiting: None,
    };
    Ok((snapshot, written))
}

/// Writes what arrives. A snapshot that is given up leaves the file of before as it is.
fn write(directory: &Path, arriving: &Receiver<Piece>) -> io::Result<()> {
    let mut file = create(directory, STATES)?;
    while let Ok(piece) = arriving.recv() {
        match piece {
            Piece::Part(bytes) => file.write_all(&bytes)?,
            Piece::Last(bytes) => {
                file.write_all(&bytes)?;
                drop(file);
                return put_in_place(directory, STATES);
            }
        }
    }
    Ok(())
}

impl Snapshot {
    /// Takes in the next states and hands over what there is.
    pub(super) fn go_on(&mut self, engine: &mut Engine, now: Instant) -> Progress {
        if !self.hand_over() {
            return Progress::Behind;
        }
        let Some(mut draft) = self.draft.take() else {
            return Progress::Done(self.states);
        };
        engine.read_flows_from(draft.next_state(), SLICE);
        let more = draft.add(engine, now, SLICE);
        self.states = draft.states();
        if more {
            if draft.len() >= PIECE {
                self.waiting = Some(Piece::Part(draft.take()));
            }
            self.draft = Some(draft);
        } else {
            self.waiting = Some(Piece::Last(draft.finish()));
        }
        match (self.hand_over(), more) {
            (false, _) => Progress::Behind,
            (true, true) => Progress::More,
            (true, false) => Progress::Done(self.states),
        }
    }

    /// Whether nothing waits any more. A thread that has failed takes nothing and tells why.
    fn hand_over(&mut self) -> bool {
        let Some(piece) = self.waiting.take() else {
            return true;
        };
        match self.pieces.try_send(piece) {
            Err(TrySendError::Full(piece)) => {
                self.waiting = Some(piece);
                false
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
        }
    }
}
