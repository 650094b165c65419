//! What PF logs of a segment that does not fit its state, at `set debug misc` or, of OpenBSD,
//! `notice`: the state, the segment, and which parts of the window test it fails.

use std::fmt;
use std::net::IpAddr;

use crate::counters::Count;
use crate::key::StateKey;
use crate::rule::{Direction, tcp_flags};
use crate::tcp::{Mismatch, Peer, Segment};
use crate::view::HostPort;

/// A segment that does not fit its state. Its [`Display`](fmt::Display) is the two lines that PF
/// writes into the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadState {
    pub(crate) wire: StateKey,
    pub(crate) stack: StateKey,
    pub(crate) direction: Direction,
    /// Packets of the state, of its opener and to it.
    pub(crate) traffic: [Count; 2],
    pub(crate) segment: Segment,
    /// Where the segment met the filter.
    pub(crate) at: Direction,
    /// It goes as the opener's packets do.
    pub(crate) forward: bool,
    pub(crate) mismatch: Mismatch,
}

impl BadState {
    /// The ends of the state as the segment met them, that of the opener first.
    const fn ends(&self) -> [&Peer; 2] {
        let Mismatch {
            source,
            destination,
            ..
        } = &self.mismatch;
        if self.forward {
            [source, destination]
        } else {
            [destination, source]
        }
    }

    fn write_state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [opener, other] = self.ends();
        write!(f, "TCP {} wire: {}", word(self.direction), Ends(&self.wire))?;
        if self.stack == self.wire {
            f.write_str(" stack: -")?;
        } else {
            write!(f, " stack: {}", Ends(&self.stack))?;
        }
        let scales = opener.window_scale.zip(other.window_scale).unzip();
        for (peer, scale) in [(opener, scales.0), (other, scales.1)] {
            let (lo, high, win) = (peer.seq_lo, peer.seq_hi, peer.max_win);
            let modulator = peer.seq_diff;
            write!(f, " [lo={lo} high={high} win={win} modulator={modulator}")?;
            if let Some(scale) = scale {
                write!(f, " wscale={scale}")?;
            }
            f.write_str("]")?;
        }
        write!(f, " {}:{}", opener.state, other.state)
    }

    fn write_flags(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segment.flags != 0 {
            f.write_str(" ")?;
        }
        let set = tcp_flags::LETTERS
            .iter()
            .filter(|(_, flag)| self.segment.has(*flag));
        set.map(|(letter, _)| *letter)
            .try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl fmt::Display for BadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { seq, ack, skew, .. } = self.mismatch;
        let (original, len) = (self.segment.seq, self.segment.len);
        let [there, back] = self.traffic.map(|count| count.packets);
        let dir = word(self.at);
        let way = if self.forward { "fwd" } else { "rev" };
        f.write_str("pf: BAD state: ")?;
        self.write_state(f)?;
        self.write_flags(f)?;
        writeln!(
            f,
            " seq={seq} ({original}) ack={ack} len={len} ackskew={skew} pkts={there}:{back} \
             dir={dir},{way}"
        )?;
        f.write_str("pf: State failure on:")?;
        for (number, fails) in (1..).zip(self.mismatch.fails) {
            // The second test has the last two.
            f.write_str(if number == 5 { " | " } else { " " })?;
            if fails {
                write!(f, "{number}")?;
            } else {
                f.write_str(" ")?;
            }
        }
        Ok(())
    }
}

/// Both ends of a key.
struct Ends<'a>(&'a StateKey);

impl fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tuple = self.0.tuple(Direction::In);
        write_host(f, tuple.source)?;
        f.write_str(" ")?;
        write_host(f, tuple.destination)
    }
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: HostPort) -> fmt::Result {
    match (host.address, host.port) {
        (address, 0) => write!(f, "{address}"),
        (IpAddr::V4(address), port) => write!(f, "{address}:{port}"),
        (IpAddr::V6(address), port) => write!(f, "{address}[{port}]"),
    }
}
