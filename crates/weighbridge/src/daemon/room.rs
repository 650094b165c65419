//! Memory for states to come, made ready by a thread: under load no packet waits while the kernel finds
//! and clears pages.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use pf_engine::engine::{Engine, StateRoom};
use tracing::debug;

/// Asks a thread for memory when the engine is about to need it.
#[derive(Debug)]
pub(super) struct Room {
    /// Nothing without a thread: the engine takes memory when it needs it.
    thread: Option<(SyncSender<()>, Receiver<StateRoom>)>,
    is_asked: bool,
}

impl Room {
    pub(super) fn start() -> Self {
        let (ask, asked) = sync_channel(1);
        let (give, given) = sync_channel(1);
        let thread = std::thread::Builder::new().name("room".into());
        let started = thread.spawn(move || {
            while let Ok(()) = asked.recv() {
                if give.send(StateRoom::new(datapath::advise_huge)).is_err() {
                    return;
                }
            }
        });
        if let Err(error) = &started {
            debug!(%error, "memory is taken when states need it");
        }
        Self {
            thread: started.ok().map(|_| (ask, given)),
            is_asked: false,
        }
    }

    /// To be called often.
    pub(super) fn work(&mut self, engine: &mut Engine) {
        let Some((ask, given)) = &self.thread else {
            return;
        };
        if self.is_asked {
            let Ok(room) = given.try_recv() else {
                return;
            };
            engine.add_state_room(room);
            self.is_asked = false;
        }
        if engine.wants_state_room() {
            self.is_asked = ask.try_send(()).is_ok();
        }
    }
}
