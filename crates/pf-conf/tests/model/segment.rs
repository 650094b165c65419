//! TCP segments as an end of a connection would send them, or an attacker.

use super::rules::Packet;
use super::states::{Stage, Tcp};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// A number far outside of every window.
const FAR: u32 = 0x2000_0000;
/// Inside of a window, but not the next number.
const NEAR: u32 = 1000;

/// A segment as an end of a connection would send it, or as an attacker would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Syn,
    SynAck,
    /// "Connection refused": the answer to a SYN.
    Refusal,
    Ack,
    Data,
    Fin,
    Rst,
    /// Its sequence number is outside of the window.
    FarSeq,
    /// It acknowledges what was never sent.
    FarAck,
    /// An RST inside of the window, without the right number.
    BlindRst,
}

/// A TCP connection behind its first packet.
pub(super) fn opened(packet: &Packet) -> Tcp {
    Tcp {
        stages: [Stage::SynSent, Stage::Silent],
        next: [1001, 5_000_001],
        added: [None, None],
        reset: false,
        loose: packet.flags & (SYN | ACK | RST | FIN) != SYN,
    }
}

/// A segment that is to be sent.
pub(super) struct Made {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) data: usize,
    /// Whether it fits the connection.
    pub(super) fits: bool,
    /// The connection behind it.
    pub(super) after: Tcp,
}

/// Whether an end may come to send such a segment now.
fn is_possible(tcp: &Tcp, end: usize, segment: Segment) -> bool {
    let (own, other) = (tcp.stages[end], tcp.stages[1 - end]);
    let talks = own == Stage::Open && other >= Stage::SynSent;
    let open = own >= Stage::Open && other >= Stage::Open;
    match segment {
        Segment::Syn => end == 0 && own == Stage::SynSent && other == Stage::Silent,
        Segment::SynAck => end == 1 && own <= Stage::SynSent && other <= Stage::Open,
        Segment::Refusal => end == 1 && own == Stage::Silent,
        Segment::Ack => own >= Stage::SynSent && other >= Stage::SynSent,
        Segment::Data | Segment::Fin => talks,
        Segment::Rst | Segment::FarSeq => open,
        // What closes is not looked at so closely.
        Segment::FarAck | Segment::BlindRst => open && !tcp.stages.contains(&Stage::Done),
    }
}

/// An ACK of `end` takes the other on.
fn acknowledge(tcp: &mut Tcp, end: usize, sloppy: bool) {
    // PF may see but the opener's half of a sloppy connection: if that goes on after its FIN
    // it has seen the other's.
    let half = sloppy && end == 0 && tcp.stages[end] == Stage::FinSent;
    let peer = &mut tcp.stages[1 - end];
    *peer = match *peer {
        Stage::SynSent => Stage::Open,
        Stage::FinSent => Stage::Done,
        Stage::Open if half => Stage::FinSent,
        stage @ (Stage::Silent | Stage::Open | Stage::Done) => stage,
    };
}

/// The segment that an end (0: the opener) would send, if it could send such a one now.
pub(super) fn make(
    tcp: &Tcp,
    end: usize,
    segment: Segment,
    (data, sloppy): (usize, bool),
) -> Option<Made> {
    if tcp.loose || tcp.is_closed() {
        return None;
    }
    if !is_possible(tcp, end, segment) {
        return None;
    }
    let seq = tcp.next[end];
    // Numbers of the other end as they arrive at this one.
    let ack = tcp.next[1 - end].wrapping_add(tcp.added[1 - end].unwrap_or(0));
    let mut made = Made {
        flags: ACK,
        seq,
        ack,
        data: 0,
        fits: true,
        after: *tcp,
    };
    match segment {
        Segment::Syn => (made.flags, made.seq, made.ack) = (SYN, seq.wrapping_sub(1), 0),
        Segment::SynAck => {
            (made.flags, made.seq) = (SYN | ACK, seq.wrapping_sub(1));
            made.after.stages[end] = Stage::SynSent;
        }
        Segment::Refusal => {
            (made.flags, made.seq) = (RST | ACK, 0);
            made.after.reset = true;
        }
        Segment::Ack => {}
        Segment::Data => {
            (made.flags, made.data) = (PSH | ACK, data);
            made.after.next[end] = seq.wrapping_add(u32::try_from(data).unwrap_or(0));
        }
        Segment::Fin => {
            made.flags = FIN | ACK;
            made.after.next[end] = seq.wrapping_add(1);
            made.after.stages[end] = Stage::FinSent;
        }
        Segment::Rst => {
            made.flags = RST | ACK;
            made.after.reset = true;
        }
        // Without data the number hardly matters.
        Segment::FarSeq => {
            (made.seq, made.data) = (seq.wrapping_add(FAR), data.max(1));
            made.fits = false;
        }
        Segment::FarAck => (made.ack, made.fits) = (ack.wrapping_add(FAR), false),
        Segment::BlindRst => {
            (made.flags, made.seq, made.ack) = (RST, seq.wrapping_add(NEAR), 0);
            made.fits = false;
        }
    }
    if made.flags & ACK != 0 {
        acknowledge(&mut made.after, end, sloppy);
    }
    if !made.fits && segment == Segment::BlindRst {
        // A sloppy state believes it.
        made.after.reset = true;
    }
    Some(made)
}
