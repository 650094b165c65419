//! What was seen, and the socket by which more comes: whoever asks has what waits there read first.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datapath::handshakes::{BUFFER, Handshakes};
use mail::answer::{Answer, Basis, LookUp};
use mail::connection::Peer;
use mail::store::{Event, Store};
use mail::time::Timestamp;
use pf_engine::osfp::features::Segment;
use pf_engine::osfp::p0f::Mode;

use crate::capture::link;
use crate::mail::clock;
use crate::mail::shared_memory::SharedMemory;

/// Packets that are read before a question is answered: ten milliseconds' work, so that who asks in a
/// flood is not kept waiting until it ends (amavisd waits for 50).
const READ_FIRST_MAX: usize = 4_096;
/// Findings that may wait to be told. When as many do, as where nobody reads the standard output,
/// questions are answered from what is known.
const UNTOLD_MAX: usize = 4_096;

/// What a packet has told.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) at: Timestamp,
    pub(super) events: Vec<Event>,
}

/// The store, which answers while it is being filled.
#[derive(Clone, Debug)]
pub(super) struct Observations(Arc<Mutex<Seen>>);

impl Observations {
    pub(super) fn new(store: Store, mode: Mode) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            store,
            mode,
            published: None,
            ear: None,
            untold: VecDeque::new(),
        })))
    }

    /// What panicked has left nothing half done: each call is whole or did nothing.
    pub(super) fn held(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookUp for Observations {
    /// A SYN waits in the socket before its connection can be accepted: so the answer of a connection that
    /// was accepted before somebody asked is found, whoever has not had his turn yet.
    fn look_up(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer> {
        let mut seen = self.held();
        match seen.store.look_up(peer, now) {
            Some(known) if known.basis == Basis::Connection => Some(known),
            Some(_) | None => {
                seen.read_first();
                seen.store.look_up(peer, now)
            }
        }
    }
}

/// What the lock holds.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) store: Store,
    mode: Mode,
    /// Where answers are published too.
    pub(super) published: Option<SharedMemory>,
    ear: Option<Ear>,
    /// What was read for a question, in order: it is told by whoever tells everything.
    untold: VecDeque<io::Result<Finding>>,
}

/// The socket, and who is woken when something was read of it for a question.
#[derive(Debug)]
struct Ear {
    socket: Arc<Handshakes>,
    buffer: Vec<u8>,
    teller: UnixStream,
}

impl Seen {
    /// Reads `socket` from now on. `teller`, which never blocks, is written to when there is something to
    /// be told.
    pub(super) fn listen(&mut self, socket: Arc<Handshakes>, teller: UnixStream) {
        self.ear = Some(Ear {
            socket,
            buffer: vec![0; BUFFER],
            teller,
        });
    }

    /// Whether something was read that is not told yet.
    pub(super) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// What is to be told next; `None` when nothing has come.
    pub(super) fn next(&mut self) -> Option<io::Result<Finding>> {
        self.untold.pop_front().or_else(|| self.hear())
    }

    /// Takes a packet that begins at its IP header.
    pub(super) fn take(&mut self, packet: &[u8], at: Timestamp) -> Finding {
        let events = Vec::new();
        let mut finding = Finding { at, events };
        let Ok(segment) = Segment::of(packet) else {
            return finding;
        };
        if self.mode == Mode::Parity && has_extensions(&segment) {
            return finding;
        }
        self.store.handle(&segment, at, &mut finding.events);
        if let Some(published) = &mut self.published {
            published.publish(&mut self.store, &finding.events, at);
        }
        finding
    }

    fn hear(&mut self) -> Option<io::Result<Finding>> {
        let mut ear = self.ear.take()?;
        let heard = match ear.socket.receive(&mut ear.buffer) {
            Ok(heard) => {
                let at = heard.time.map_or_else(clock::now, Timestamp::from_epoch);
                let packet = ear.buffer.get(..heard.len).unwrap_or_default();
                Some(Ok(self.take(link::behind(heard.protocol, packet), at)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        };
        self.ear = Some(ear);
        heard
    }

    fn read_first(&mut self) {
        for _ in 0..READ_FIRST_MAX {
            if self.untold.len() >= UNTOLD_MAX {
                break;
            }
            match self.hear() {
                None => break,
                Some(Ok(finding)) if finding.events.is_empty() => {}
                Some(finding) => self.untold.push_back(finding),
            }
        }
        if let Some(ear) = &mut self.ear
            && !self.untold.is_empty()
        {
            // One that is full has been told already.
            let _ = ear.teller.write(&[0]);
        }
    }
}

/// p0f reads no packet with extension headers of IPv6.
fn has_extensions(segment: &Segment) -> bool {
    match segment {
        Segment::Handshake(features) => features.extension_headers_len != 0,
        Segment::Later(_) => false,
    }
}
