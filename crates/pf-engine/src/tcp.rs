//! TCP tracking: windows, sequence modulation and the life of a connection.
//!
//! The window test is that of PF, after Guido van Rooij, "Real Stateful TCP Packet Filtering in
//! IP Filter" (2000). Every number is kept in its sender's own count; modulation happens at the
//! edge.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::rule::{Timeout, tcp_flags};
use crate::wire::{Meta, Tcp};

/// States of one peer, numbered as in BSD's `tcp_fsm.h`, which `pfctl -ss` names.
pub(crate) mod tcps {
    pub(crate) const CLOSED: u8 = 0;
    pub(crate) const SYN_SENT: u8 = 2;
    pub(crate) const ESTABLISHED: u8 = 4;
    pub(crate) const CLOSING: u8 = 7;
    pub(crate) const FIN_WAIT_2: u8 = 9;
    pub(crate) const TIME_WAIT: u8 = 10;
    /// The proxy shakes hands with the client (`PF_TCPS_PROXY_SRC`).
    pub(crate) const PROXY_SRC: u8 = 11;
    /// It does with the server (`PF_TCPS_PROXY_DST`).
    pub(crate) const PROXY_DST: u8 = 12;
}

/// How far an acknowledgment may be off: the largest window without scaling and one packet
/// (PF's `MAXACKWINDOW`).
const MAX_ACK_WINDOW: u32 = 0xffff + 1500;

/// How far a connection may have gone on while nobody looked: the largest window there is (RFC
/// 7323, section 2.3).
const STALE_REACH: u32 = 1 << 30;

/// One end of a state: TCP's window, and PF's state number for every protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// PF's number (TCPS_*, PFUDPS_*, PFOTHERS_*).
    pub(crate) state: u8,
    /// Highest sequence number sent.
    pub(crate) seq_lo: u32,
    /// Highest that the other end acknowledged, and its window.
    pub(crate) seq_hi: u32,
    /// Largest window it announced, not scaled.
    pub(crate) max_win: u32,
    /// What is added to its sequence numbers on the way.
    pub(crate) seq_diff: u32,
    pub(crate) window_scale: Option<u8>,
    /// Segment size that the proxy announces for it, as long as the proxy is at work.
    pub(crate) mss: u16,
    /// What is known of it is of before a restart; it may have gone on since.
    pub(crate) stale: bool,
}

/// What of a segment matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// Scale that a SYN announces.
    pub(crate) window_scale: Option<u8>,
}

impl Segment {
    pub(crate) fn of(meta: &Meta, tcp: &Tcp, bytes: &[u8]) -> Self {
        let is_syn = tcp.flags & tcp_flags::SYN != 0;
        Self {
            flags: tcp.flags,
            seq: tcp.seq,
            ack: tcp.ack,
            window: u32::from(tcp.window),
            len: u32::try_from(meta.payload_len()).unwrap_or(u32::MAX),
            window_scale: is_syn.then(|| tcp.window_scale(bytes)).flatten(),
        }
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// One above the last sequence number of data and SYN.
    const fn data_end(&self) -> u32 {
        let syn = if self.has(tcp_flags::SYN) { 1 } else { 0 };
        self.seq.wrapping_add(self.len).wrapping_add(syn)
    }

    /// One above the last sequence number, FIN included.
    const fn end(&self) -> u32 {
        let fin = if self.has(tcp_flags::FIN) { 1 } else { 0 };
        self.data_end().wrapping_add(fin)
    }
}

/// A segment fits its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The state lives on from now with this timeout. Nothing: neither is touched.
    pub(crate) timeout: Option<Timeout>,
}

/// A segment does not fit its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The peers are still shaking hands: the sender gets an RST.
    pub(crate) reset: bool,
    /// The peers as the segment met them.
    pub(crate) source: Peer,
    pub(crate) destination: Peer,
    /// Numbers of the segment as they were tested.
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// How far its acknowledgment is behind what the other end has sent.
    pub(crate) skew: i32,
    /// Parts of the window test that it fails, and of the second test: those that PF numbers 1 to 6.
    pub(crate) fails: [bool; 6],
}

/// The peers of a state that `segment` opens. A `modulator` other than 0 is added to the
/// opener's sequence numbers.
pub(crate) fn open(segment: &Segment, modulator: u32) -> (Peer, Peer) {
    let source = Peer {
        state: tcps::SYN_SENT,
        seq_lo: segment.seq,
        seq_hi: segment.end().wrapping_add(1),
        max_win: unscaled(segment.window.max(1), segment.window_scale),
        seq_diff: modulator,
        window_scale: segment.window_scale,
        ..Peer::default()
    };
    let destination = Peer {
        state: tcps::CLOSED,
        seq_hi: 1,
        max_win: 1,
        ..Peer::default()
    };
    (source, destination)
}

/// A SYN's window is not scaled (RFC 7323, section 2.2); what is kept is, rounded up.
fn unscaled(window: u32, scale: Option<u8>) -> u32 {
    let scale = u32::from(scale.unwrap_or(0));
    let round = 1u32.wrapping_shl(scale).wrapping_sub(1);
    window.wrapping_add(round).wrapping_shr(scale)
}

/// Whether both ends have closed: then a SYN may open the connection anew.
pub(crate) const fn both_closed(source: &Peer, destination: &Peer) -> bool {
    source.state >= tcps::FIN_WAIT_2 && destination.state >= tcps::FIN_WAIT_2
}

/// Checks `segment`, sent by `source`, against the windows of both and moves them on.
/// `random` draws the modulator of a peer that is heard for the first time.
pub(crate) fn track(
    source: &mut Peer,
    destination: &mut Peer,
    segment: &Segment,
    random: &mut dyn FnMut() -> u32,
) -> Result<Accepted, Mismatch> {
    let mut view = View::new(source, destination, segment);
    if view.is_unproven_reset(source, destination, segment) {
        return Err(view.mismatch(source, destination));
    }
    if source.seq_lo == 0 {
        hear_first(source, destination, segment, &mut view, random);
    }
    // Asked once the sender has been heard: its first segment is the one that forgers try.
    let shaking_hands = source.state == tcps::SYN_SENT && destination.state == tcps::SYN_SENT;
    view.relax(source, destination, segment);
    if view.in_window(source, destination, segment) || view.catches_up(source, destination, segment)
    {
        view.slide(source, destination);
        freshen(source, destination);
        return Ok(accept(source, destination, segment));
    }
    if view.in_loose_window(source, destination) {
        view.slide(source, destination);
        accept_loosely(source, destination, segment);
        return Ok(Accepted { timeout: None });
    }
    let mismatch = Mismatch {
        reset: shaking_hands && !segment.has(tcp_flags::RST),
        ..view.mismatch(source, destination)
    };
    if shaking_hands {
        source.seq_lo = 0;
        source.seq_hi = 1;
        source.max_win = 1;
    }
    Err(mismatch)
}

/// A segment as the window test sees it.
struct View {
    /// As sent.
    original_seq: u32,
    seq: u32,
    ack: u32,
    end: u32,
    data_end: u32,
    window: u32,
    source_scale: u32,
    destination_scale: u32,
}

impl View {
    fn new(source: &Peer, destination: &Peer, segment: &Segment) -> Self {
        let (source_scale, destination_scale) =
            match (source.window_scale, destination.window_scale) {
                (Some(s), Some(d)) if !segment.has(tcp_flags::SYN) => (u32::from(s), u32::from(d)),
                _ => (0, 0),
            };
        Self {
            original_seq: segment.seq,
            seq: segment.seq,
            ack: segment.ack.wrapping_sub(destination.seq_diff),
            end: segment.end(),
            data_end: segment.data_end(),
            window: segment.window,
            source_scale,
            destination_scale,
        }
    }

    /// Eases the test where there is nothing to test.
    fn relax(&mut self, source: &Peer, destination: &Peer, segment: &Segment) {
        let acks = segment.has(tcp_flags::ACK);
        let resets_nothing = self.ack == 0 && acks && segment.has(tcp_flags::RST);
        // A peer that was never heard cannot have sent what is acknowledged: a FIN|ACK after a
        // SYN that timed out acknowledges nothing.
        if !acks || resets_nothing || destination.state < tcps::SYN_SENT {
            self.ack = destination.seq_lo;
        }
        if self.seq == self.end {
            self.seq = source.seq_lo;
            self.data_end = self.seq;
            self.end = self.seq;
        }
    }

    /// How far the acknowledgment is behind what the other end has sent; negative: ahead.
    const fn ack_skew(&self, destination: &Peer) -> i32 {
        destination.seq_lo.wrapping_sub(self.ack).cast_signed()
    }

    /// The clauses of the window test: whether the last octet is inside the other's window, a
    /// retransmission is not more than one window back, and what is acknowledged is not more than one
    /// reassembled fragment ahead and not more than one window back.
    const fn window_test(&self, source: &Peer, destination: &Peer) -> [bool; 4] {
        let window = scaled(destination.max_win, self.destination_scale);
        let skew = self.ack_skew(destination);
        let ahead = MAX_ACK_WINDOW.cast_signed();
        let behind = scaled(MAX_ACK_WINDOW, self.source_scale).cast_signed();
        [
            at_or_after(source.seq_hi, self.data_end),
            at_or_after(self.seq, source.seq_lo.wrapping_sub(window)),
            skew >= ahead.wrapping_neg(),
            skew <= behind,
        ]
    }

    /// The clauses of the second test that are about numbers.
    const fn loose_test(&self, source: &Peer) -> [bool; 2] {
        [
            at_or_after(source.seq_hi.wrapping_add(MAX_ACK_WINDOW), self.data_end),
            at_or_after(self.seq, source.seq_lo.wrapping_sub(MAX_ACK_WINDOW)),
        ]
    }

    /// Why it does not fit.
    const fn mismatch(&self, source: &Peer, destination: &Peer) -> Mismatch {
        let [inside, not_too_old, not_ahead, not_behind] = self.window_test(source, destination);
        let [loosely_inside, loosely_not_too_old] = self.loose_test(source);
        Mismatch {
            reset: false,
            source: *source,
            destination: *destination,
            seq: self.seq,
            ack: self.ack,
            skew: self.ack_skew(destination),
            fails: [
                !inside,
                !not_too_old,
                !not_ahead,
                !not_behind,
                !loosely_inside,
                !loosely_not_too_old,
            ],
        }
    }

    /// The window test, clause by clause.
    fn in_window(&self, source: &Peer, destination: &Peer, segment: &Segment) -> bool {
        let [inside, not_too_old, not_ahead, not_behind] = self.window_test(source, destination);
        inside
            && not_too_old
            && not_ahead
            && not_behind
            && (!segment.has(tcp_flags::RST) || self.resets_exactly(source, destination, segment))
    }

    /// The first segment after a restart, of a connection that went on meanwhile: neither end may
    /// have gone back, and forward at most as far as a window can reach. What it tells of both
    /// ends is taken over.
    fn catches_up(&self, source: &mut Peer, destination: &mut Peer, segment: &Segment) -> bool {
        let tells_nothing = !segment.has(tcp_flags::ACK)
            || segment.has(tcp_flags::SYN)
            || segment.has(tcp_flags::RST);
        if !is_stale(source, destination) || tells_nothing {
            return false;
        }
        let window = scaled(destination.max_win, self.destination_scale);
        let behind = scaled(MAX_ACK_WINDOW, self.source_scale);
        let fits = is_within(self.original_seq, source.seq_lo.wrapping_sub(window))
            && is_within(self.ack, destination.seq_lo.wrapping_sub(behind));
        if fits {
            source.seq_lo = later(source.seq_lo, segment.end());
            source.seq_hi = later(source.seq_hi, segment.end().wrapping_add(window));
            destination.seq_lo = later(destination.seq_lo, self.ack);
        }
        fits
    }

    /// An RST that any connection half open takes, and any that is closing: behind a restart it may be open, and
    /// its RST must fit what is known. (Who refuses a connection answers with the number 0; RFC 9293, section
    /// 3.10.7.1.)
    fn is_unproven_reset(&self, source: &Peer, destination: &Peer, segment: &Segment) -> bool {
        is_stale(source, destination)
            && segment.has(tcp_flags::RST)
            && !self.resets_exactly(source, destination, segment)
    }

    /// An RST is exact, give or take one, or acknowledges exactly.
    fn resets_exactly(&self, source: &Peer, destination: &Peer, segment: &Segment) -> bool {
        self.is_exact(source) || self.knows_all(destination, segment)
    }

    fn is_exact(&self, source: &Peer) -> bool {
        self.original_seq
            .wrapping_sub(source.seq_lo)
            .wrapping_add(1)
            <= 2
    }

    /// An RST of somebody who knows all that the other end has sent: its own number may lie before
    /// a gap. (An ACK of 0 acknowledges nothing.)
    fn knows_all(&self, destination: &Peer, segment: &Segment) -> bool {
        let acks = segment.has(tcp_flags::ACK) && segment.ack != 0;
        acks && self.ack == destination.seq_lo
    }

    /// The second test: SYNs before the other end answered, connections that were there before
    /// us, and stragglers of closed ones.
    fn in_loose_window(&self, source: &Peer, destination: &Peer) -> bool {
        let odd_phase = destination.state < tcps::SYN_SENT
            || destination.state >= tcps::FIN_WAIT_2
            || source.state >= tcps::FIN_WAIT_2;
        odd_phase && self.loose_test(source) == [true; 2]
    }

    /// Moves the windows on.
    fn slide(&self, source: &mut Peer, destination: &mut Peer) {
        source.max_win = source.max_win.max(self.window);
        if after(self.end, source.seq_lo) {
            source.seq_lo = self.end;
        }
        // Of who was never heard no number is known. (PF takes 0 for one here: behind a SYN that was repeated it
        // refuses the answers of one server in 65, whose first number comes half of all numbers later.)
        if destination.state < tcps::SYN_SENT {
            return;
        }
        let window = scaled(self.window, self.source_scale);
        if at_or_after(self.ack.wrapping_add(window), destination.seq_hi) {
            destination.seq_hi = self.ack.wrapping_add(window.max(1));
        }
    }
}

/// Neither end was heard of since a restart.
const fn is_stale(source: &Peer, destination: &Peer) -> bool {
    source.stale && destination.stale
}

/// Both ends were heard of.
const fn freshen(source: &mut Peer, destination: &mut Peer) {
    source.stale = false;
    destination.stale = false;
}

/// Whether `number` is at most [`STALE_REACH`] after `from`.
const fn is_within(number: u32, from: u32) -> bool {
    number.wrapping_sub(from) <= STALE_REACH
}

/// The later of two sequence numbers.
const fn later(a: u32, b: u32) -> u32 {
    if after(b, a) { b } else { a }
}

/// The first segment from `source`.
fn hear_first(
    source: &mut Peer,
    destination: &mut Peer,
    segment: &Segment,
    view: &mut View,
    random: &mut dyn FnMut() -> u32,
) {
    if destination.seq_diff != 0 && source.seq_diff == 0 {
        source.seq_diff = modulator(segment.seq, random);
    }
    if segment.has(tcp_flags::SYN) && destination.window_scale.is_some() {
        agree_on_scale(source, destination, segment, view);
    }
    source.seq_lo = segment.seq;
    source.state = source.state.max(tcps::SYN_SENT);
    let window = scaled(destination.max_win, view.destination_scale).max(1);
    let reach = segment.end().wrapping_add(window);
    if source.seq_hi == 1 || at_or_after(reach, source.seq_hi) {
        source.seq_hi = reach;
    }
    source.max_win = source.max_win.max(view.window);
}

/// RFC 7323, section 1.3: scaling holds if both SYNs announce it.
fn agree_on_scale(source: &mut Peer, destination: &mut Peer, segment: &Segment, view: &mut View) {
    source.window_scale = segment.window_scale;
    let theirs = u32::from(destination.window_scale.unwrap_or(0));
    if let Some(ours) = source.window_scale {
        view.source_scale = u32::from(ours);
        view.destination_scale = theirs;
        view.window = unscaled(view.window, source.window_scale);
    } else {
        destination.max_win = scaled(destination.max_win, theirs).min(u32::from(u16::MAX));
        destination.window_scale = None;
    }
}

/// The numbers of the ACK that challenges the sender of a SYN, in the name of `destination` and
/// as the sender knows them, if both ends are connected and not both have closed (RFC 5961,
/// section 4.2). Whoever has forgotten the connection answers with an RST that fits it.
pub(crate) const fn challenge(
    source: &Peer,
    destination: &Peer,
    segment: &Segment,
) -> Option<(u32, u32)> {
    let opens =
        segment.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN;
    let connected = source.state >= tcps::ESTABLISHED && destination.state >= tcps::ESTABLISHED;
    if !opens || !connected {
        return None;
    }
    let seq = destination.seq_lo.wrapping_add(destination.seq_diff);
    Some((seq, source.seq_lo))
}

/// What makes `seq` a random number when added, never 0.
pub(crate) fn modulator(seq: u32, random: &mut dyn FnMut() -> u32) -> u32 {
    match random().wrapping_sub(seq) {
        0 => 1,
        difference => difference,
    }
}

fn accept(source: &mut Peer, destination: &mut Peer, segment: &Segment) -> Accepted {
    if segment.has(tcp_flags::SYN) {
        source.state = source.state.max(tcps::SYN_SENT);
    }
    if segment.has(tcp_flags::FIN) {
        source.state = source.state.max(tcps::CLOSING);
    }
    if segment.has(tcp_flags::ACK) {
        acknowledge(destination);
    }
    if segment.has(tcp_flags::RST) {
        source.state = tcps::TIME_WAIT;
        destination.state = tcps::TIME_WAIT;
    }
    Accepted {
        timeout: Some(timeout(source, destination)),
    }
}

/// What the peer sent last was acknowledged: its SYN, or its FIN.
const fn acknowledge(peer: &mut Peer) {
    match peer.state {
        tcps::SYN_SENT => peer.state = tcps::ESTABLISHED,
        tcps::CLOSING => peer.state = tcps::FIN_WAIT_2,
        _ => {}
    }
}

/// Only what cannot be a forged SYN's doing changes, and the state lives no longer for it.
fn accept_loosely(source: &mut Peer, destination: &mut Peer, segment: &Segment) {
    if segment.has(tcp_flags::FIN) {
        source.state = source.state.max(tcps::CLOSING);
    }
    if segment.has(tcp_flags::RST) {
        source.state = tcps::TIME_WAIT;
        destination.state = tcps::TIME_WAIT;
    }
}

/// `keep state (sloppy)`: no windows, and one direction alone will do (pf.conf(5)).
pub(crate) fn track_sloppily(
    source: &mut Peer,
    destination: &mut Peer,
    segment: &Segment,
) -> Accepted {
    if segment.has(tcp_flags::SYN) {
        source.state = source.state.max(tcps::SYN_SENT);
    }
    if segment.has(tcp_flags::FIN) {
        source.state = source.state.max(tcps::CLOSING);
    }
    if segment.has(tcp_flags::ACK) {
        acknowledge_sloppily(source, destination);
    }
    if segment.has(tcp_flags::RST) {
        source.state = tcps::TIME_WAIT;
        destination.state = tcps::TIME_WAIT;
    }
    Accepted {
        timeout: Some(timeout(source, destination)),
    }
}

fn acknowledge_sloppily(source: &mut Peer, destination: &mut Peer) {
    if matches!(destination.state, tcps::SYN_SENT | tcps::CLOSING) {
        acknowledge(destination);
    } else if source.state == tcps::SYN_SENT && destination.state < tcps::SYN_SENT {
        // The answer went another way.
        source.state = tcps::ESTABLISHED;
        destination.state = tcps::ESTABLISHED;
    } else if source.state == tcps::CLOSING
        && destination.state == tcps::ESTABLISHED
        && destination.seq_lo == 0
    {
        destination.state = tcps::CLOSING;
    }
}

/// Whether both ends have completed the handshake, and neither has given up. A client that has
/// completed it with the proxy counts: it is held to its limits before the server is called.
pub(crate) const fn is_connected(source: &Peer, destination: &Peer) -> bool {
    const fn is_open(peer: &Peer) -> bool {
        matches!(peer.state, tcps::ESTABLISHED..=tcps::CLOSING)
    }
    source.state == tcps::PROXY_DST || (is_open(source) && is_open(destination))
}

/// The timeout of a connection whose ends are in these states (pf.conf(5), `set timeout`).
pub(crate) const fn timeout(source: &Peer, destination: &Peer) -> Timeout {
    let (low, high) = if source.state < destination.state {
        (source.state, destination.state)
    } else {
        (destination.state, source.state)
    };
    if low >= tcps::FIN_WAIT_2 {
        Timeout::TcpClosed
    } else if low >= tcps::CLOSING {
        Timeout::TcpFinWait
    } else if low < tcps::ESTABLISHED {
        Timeout::TcpOpening
    } else if high >= tcps::CLOSING {
        Timeout::TcpClosing
    } else {
        Timeout::TcpEstablished
    }
}

/// Whether the rest of a connection, or some of it, is plain enough for a flow cache: its opener has
/// sent a SYN and nobody else has, or its ends have gone on from there, and not both have closed. What
/// moves the other end's sequence numbers is drawn when it is first heard: until then they must not be.
pub(crate) fn is_plain(opener: &Peer, other: &Peer, timeout_now: Timeout) -> bool {
    let begins = has_just_begun(opener, other);
    let goes_on = [opener, other]
        .iter()
        .all(|peer| (tcps::SYN_SENT..=tcps::FIN_WAIT_2).contains(&peer.state))
        && !both_closed(opener, other)
        && timeout(opener, other) == timeout_now;
    (begins || goes_on) && !opener.stale && !other.stale
}

/// Whether a connection has gone on as far as that both ends have been heard, and no further.
pub(crate) const fn has_just_been_answered(opener: &Peer, other: &Peer) -> bool {
    opener.state == tcps::ESTABLISHED && other.state == tcps::SYN_SENT
}

/// Whether the opener has sent its SYN and nothing else was heard.
pub(crate) const fn is_unanswered(opener: &Peer, other: &Peer) -> bool {
    opener.state == tcps::SYN_SENT && other.state == tcps::CLOSED
}

/// Whether the opener has sent its SYN, as it is, and nothing else was heard.
pub(crate) const fn has_just_begun(opener: &Peer, other: &Peer) -> bool {
    is_unanswered(opener, other) && opener.seq_diff == 0
}

/// Whether the sequence number that an ICMP error quotes is one that `source` may have sent.
/// `seq` is in its own count.
pub(crate) fn quoted_fits(source: &Peer, destination: &Peer, seq: u32) -> bool {
    let scale = match (source.window_scale, destination.window_scale) {
        (Some(_), Some(scale)) => u32::from(scale),
        _ => 0,
    };
    let window = scaled(destination.max_win, scale);
    at_or_after(source.seq_hi, seq) && at_or_after(seq, source.seq_lo.wrapping_sub(window))
}

const fn scaled(window: u32, scale: u32) -> u32 {
    window.wrapping_shl(scale)
}

/// Whether `a` is not before `b` (RFC 9293, section 3.4).
pub(crate) const fn at_or_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() >= 0
}

pub(crate) const fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

#[cfg(test)]
mod tests;
