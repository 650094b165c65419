//! States (pf.conf(5), STATEFUL FILTERING): a list of connections, and who may have how many.

use std::net::Ipv4Addr;
use std::rc::Rc;

use super::language::*;
use super::rules::{Packet, Socket, Traffic};

/// How far one end of a TCP connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has sent nothing.
    Silent,
    SynSent,
    /// Its SYN is acknowledged.
    Open,
    FinSent,
    /// Its FIN is acknowledged.
    Done,
}

/// A TCP connection; of what belongs to an end the opener's comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp {
    pub(super) stages: [Stage; 2],
    /// What each sends next, in its own numbers.
    pub(super) next: [u32; 2],
    /// What `modulate state` adds to the numbers of each, once it is seen.
    pub(super) added: [Option<u32>; 2],
    pub(super) reset: bool,
    /// It was not begun with a SYN: nothing is known of its windows.
    pub(super) loose: bool,
}

impl Tcp {
    /// Both ends are done, or one has reset it: a SYN may open it anew.
    pub(super) fn is_closed(&self) -> bool {
        self.reset || self.stages == [Stage::Done; 2]
    }

    fn timeout(&self) -> Timeout {
        let [first, second] = self.stages;
        let (least, most) = (first.min(second), first.max(second));
        if self.is_closed() {
            Timeout::TcpClosed
        } else if least >= Stage::FinSent {
            Timeout::TcpFinWait
        } else if least < Stage::Open {
            Timeout::TcpOpening
        } else if most >= Stage::FinSent {
            Timeout::TcpClosing
        } else {
            Timeout::TcpEstablished
        }
    }
}

/// How far one end of a UDP conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    Nothing,
    /// It has sent something.
    Sent,
    /// It has sent something, and was answered.
    Answered,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Connection {
    Tcp(Tcp),
    Udp([Heard; 2]),
}

/// Whose source node a state counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracker {
    Rule { generation: u32, rule: usize },
    Everywhere,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) protocol: Protocol,
    pub(super) direction: Direction,
    pub(super) interface: usize,
    /// It is for packets of that interface alone.
    pub(super) bound: bool,
    /// Source and destination of the opener's packets as they come.
    pub(super) before: [Socket; 2],
    /// And as they go on.
    pub(super) after: [Socket; 2],
    /// Which ruleset the numbers of rules are of.
    pub(super) generation: u32,
    pub(super) rule: Option<usize>,
    pub(super) anchor: Option<usize>,
    pub(super) translation: Option<usize>,
    pub(super) matched: Vec<usize>,
    /// The rules that count in their tables for it: that which decided, and those of `matched`.
    pub(super) counting: (Option<Rc<Rule>>, Vec<Rc<Rule>>),
    pub(super) tag: Option<&'static str>,
    pub(super) tos: Option<u8>,
    pub(super) prio: Option<u8>,
    pub(super) tracked: Option<(Tracker, Ipv4Addr)>,
    pub(super) connection: Connection,
    pub(super) timeout: Timeout,
    /// When it saw its last packet, in seconds.
    pub(super) refreshed: u64,
    /// Of the opener, of the other end.
    pub(super) traffic: Traffic,
}

impl State {
    pub(super) fn sloppy(&self) -> bool {
        self.keep().is_some_and(|keep| keep.sloppy)
    }

    pub(super) fn keep(&self) -> Option<&Keep> {
        self.counting.0.as_ref()?.keep.as_ref()
    }

    /// When it expires, in seconds, where `ruleset` is in force.
    pub(super) fn end(&self, ruleset: &Ruleset) -> u64 {
        let own = self.keep().and_then(|keep| {
            let mut own = keep.timeouts.iter();
            own.find(|(timeout, _)| *timeout == self.timeout)
        });
        let seconds = own.map_or(ruleset.seconds(self.timeout), |(_, seconds)| *seconds);
        self.refreshed + u64::from(seconds)
    }

    /// Whether the packet is of this connection; then, whether it is the opener's.
    pub(super) fn covers(&self, packet: &Packet) -> Option<bool> {
        let [source, destination] = self.after;
        let here = !self.bound || packet.interface == self.interface;
        let forward = packet.direction == self.direction;
        let ends = if forward {
            self.before
        } else {
            [destination, source]
        };
        let same =
            here && packet.protocol == self.protocol && ends == [packet.source, packet.destination];
        same.then_some(forward)
    }

    /// Source and destination of this connection's packets of a direction, as they come to the
    /// box (`In`) or from it (`Out`).
    pub(super) fn arriving(&self, direction: Direction) -> [Socket; 2] {
        let [source, destination] = self.after;
        if direction == self.direction {
            self.before
        } else {
            [destination, source]
        }
    }

    /// Whether both cannot be in one table: packets could not be told apart.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let same = |direction| self.arriving(direction) == other.arriving(direction);
        self.protocol == other.protocol && (same(Direction::In) || same(Direction::Out))
    }

    /// What a packet of one of the ends (0: the opener) does to it.
    pub(super) fn take(&mut self, now: u64, end: usize, length: u64) {
        let (packets, bytes) = &mut self.traffic[end];
        *packets += 1;
        *bytes += length;
        self.refreshed = now;
        self.timeout = match &mut self.connection {
            Connection::Tcp(tcp) => tcp.timeout(),
            Connection::Udp(heard) => {
                heard[end] = heard[end].max(Heard::Sent);
                if heard[1 - end] == Heard::Sent {
                    heard[1 - end] = Heard::Answered;
                }
                if *heard == [Heard::Answered; 2] {
                    Timeout::UdpMultiple
                } else {
                    Timeout::UdpSingle
                }
            }
        };
    }
}
