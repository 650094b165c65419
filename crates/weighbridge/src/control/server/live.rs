//! Logged packets on their way to those who watch: from the writer's thread to the control
//! thread, and never more than a bounded number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;

use crate::pflog::record::Record;

/// Records that wait for the control thread.
pub const QUEUE: usize = 1024;

#[derive(Debug, Default)]
struct Shared {
    watchers: AtomicUsize,
    missed: AtomicU64,
}

/// The end where records go in.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: SyncSender<Record>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
}

/// The end where they come out.
#[derive(Debug)]
pub struct Live {
    receiver: Receiver<Record>,
    shared: Arc<Shared>,
}

/// Both ends; `waker` wakes the thread that has the second.
#[must_use]
pub fn feed(waker: Arc<Waker>) -> (Feed, Live) {
    let (sender, receiver) = sync_channel(QUEUE);
    let shared = Arc::new(Shared::default());
    let feed = Feed {
        sender,
        waker,
        shared: Arc::clone(&shared),
    };
    (feed, Live { receiver, shared })
}

impl Feed {
    /// Hands on a record if anybody watches.
    pub fn offer(&self, record: Record) {
        if self.shared.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.sender.try_send(record).is_err() {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
        // A control thread that is gone serves nobody.
        let _ = self.waker.wake();
    }
}

impl Live {
    /// The next record, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Record> {
        self.receiver.try_recv().ok()
    }

    /// How many did not fit since this was asked last.
    #[must_use]
    pub fn take_missed(&self) -> u64 {
        self.shared.missed.swap(0, Ordering::Relaxed)
    }

    /// Tells how many watch.
    pub fn set_watchers(&self, watchers: usize) {
        self.shared.watchers.store(watchers, Ordering::Relaxed);
    }
}
