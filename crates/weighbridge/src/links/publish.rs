//! The thread that writes the status: a slow disk must not delay a frame.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use links::status::Status;

use super::handover::hold_signals;
use super::state::{remove_status, write_status};

/// Statuses that wait to be written; of more, the next one tells as much.
const WAITING: usize = 1;

/// Writes statuses until it is finished.
#[derive(Debug)]
pub(super) struct Publisher {
    statuses: SyncSender<Status>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (statuses, receiver) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("status".into());
        let thread = thread.spawn(move || {
            // They are for the thread that has the links.
            let _ = hold_signals();
            write_all(&receiver);
        })?;
        Ok(Self { statuses, thread })
    }

    /// Has a status written; false if those before it still wait, and this one is left out.
    pub(super) fn publish(&self, status: Status) -> bool {
        self.statuses.try_send(status).is_ok()
    }

    /// Ends it, and removes the status.
    pub(super) fn finish(self) {
        drop(self.statuses);
        let _ = self.thread.join();
        remove_status();
    }
}

fn write_all(statuses: &Receiver<Status>) {
    while let Ok(status) = statuses.recv() {
        if let Err(error) = write_status(&status) {
            tracing::warn!(%error, "the status of the links cannot be written");
        }
    }
}
