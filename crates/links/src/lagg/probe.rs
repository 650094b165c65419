//! Questions that find links which have a carrier and pass nothing.
//!
//! Each port asks under its own address, never the lagg's: no switch learns the lagg's address at
//! a port that does not carry it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::ProbeTarget;
use super::frame;

/// Time between two questions of a port.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// Questions without an answer after which a port is silent.
const MISSED: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Probes {
    target: ProbeTarget,
    next: Duration,
    /// When each port last had an answer, or came up.
    heard: Vec<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Of an answer.
    answer: Option<Duration>,
    /// Of the last change of the link.
    since: Duration,
}

impl Probes {
    pub(super) fn new(target: ProbeTarget, ports: usize, now: Duration) -> Self {
        let heard = Heard {
            answer: None,
            since: now,
        };
        Self {
            target,
            next: now,
            heard: vec![heard; ports],
        }
    }

    /// The link of a port changed: it has time again to be answered.
    pub(super) fn link(&mut self, port: usize, now: Duration) {
        if let Some(heard) = self.heard.get_mut(port) {
            heard.answer = None;
            heard.since = now;
        }
    }

    /// Whether a frame is an answer to `port`, whose own address is `mac`.
    pub(super) fn receive(
        &mut self,
        port: usize,
        mac: [u8; 6],
        frame: &[u8],
        now: Duration,
    ) -> bool {
        let target: Ipv4Addr = self.target.address;
        // The first port's own address is the lagg's: what is for it others may want too.
        let is_answer = frame::is_answer(frame, mac, target);
        if is_answer && let Some(heard) = self.heard.get_mut(port) {
            heard.answer = Some(now);
        }
        is_answer && port != 0
    }

    /// The questions that are due.
    pub(super) fn tick(
        &mut self,
        ports: impl Iterator<Item = (usize, [u8; 6])>,
        now: Duration,
    ) -> Vec<(usize, Vec<u8>)> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now + PROBE_INTERVAL;
        let ProbeTarget { vlan, address } = self.target;
        ports
            .map(|(port, mac)| (port, frame::arp_probe(mac, address, vlan)))
            .collect()
    }

    pub(super) fn deadline(&self) -> Duration {
        self.next
    }

    /// Whether a port had no answer for too long while another one has. When nobody has one, it
    /// is the neighbour that is gone.
    pub(super) fn is_silent(&self, port: usize, now: Duration) -> bool {
        let limit = PROBE_INTERVAL * MISSED;
        let late = |heard: &Heard| now.saturating_sub(heard.answer.unwrap_or(heard.since)) > limit;
        let answered = |heard: &Heard| heard.answer.is_some() && !late(heard);
        self.heard.get(port).is_some_and(late) && self.heard.iter().any(answered)
    }
}
