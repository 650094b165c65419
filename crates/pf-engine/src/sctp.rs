//! Tracking of SCTP associations: states and verification tags (RFC 9260; PF's
//! `pf_test_state_sctp`).
//!
//! Of a [`Peer`], `seq_lo` is the tag that it wants to be sent, 0 while that is not known, and
//! `seq_hi` the tag of an INIT that would begin the association anew.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::rule::Timeout;
use crate::tcp::Peer;
use crate::wire::sctp::{Act, Chunks};

/// Nothing has come from the peer.
const NONE: u8 = 0;
/// It has sent INIT.
const COOKIE_WAIT: u8 = 1;
/// It has shown that it is where it says.
const ESTABLISHED: u8 = 2;
/// It has sent SHUTDOWN or SHUTDOWN ACK.
const SHUTDOWN_PENDING: u8 = 3;
/// It has ended the association.
const CLOSED: u8 = 4;

/// The packet is not of the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// Peers and timeout of a state that a first packet opens; nothing for one that opens no association.
pub(crate) fn open(chunks: &Chunks) -> Option<(Peer, Peer, Timeout)> {
    let Act::Init(tag) = chunks.act else {
        return None;
    };
    let source = Peer {
        state: COOKIE_WAIT,
        seq_lo: tag,
        ..Peer::default()
    };
    let destination = Peer {
        state: NONE,
        seq_lo: chunks.tag,
        ..Peer::default()
    };
    Some((source, destination, Timeout::SctpFirst))
}

/// Whether the packet opens a new association between ends of which one has closed the old.
pub(crate) fn is_reopened(source: &Peer, destination: &Peer, chunks: &Chunks) -> bool {
    let peers = [source, destination];
    matches!(chunks.act, Act::Init(_))
        && (peers.iter().all(|peer| peer.state >= SHUTDOWN_PENDING)
            || peers.iter().any(|peer| peer.state == CLOSED))
}

/// Takes a packet from `source`; gives the timeout from now on, if that changes.
pub(crate) fn track(
    source: &mut Peer,
    destination: &mut Peer,
    chunks: &Chunks,
) -> Result<Option<Timeout>, Mismatch> {
    check_tag(source, destination, chunks)?;
    match chunks.act {
        Act::Init(tag) => Ok(begin(source, tag)),
        Act::InitAck(tag) => {
            accept(source, destination, chunks.tag, tag);
            Ok(None)
        }
        Act::Confirm => Ok(confirm(source)),
        Act::Shutdown => Ok(shut_down(source)),
        Act::Close { .. } => Ok(Some(close(source))),
        Act::Carry => Ok(None),
    }
}

/// Whether `sender` may have sent a packet with this tag that an ICMP error quotes: the one that the
/// other end wants to be sent, or none with an INIT (RFC 9260, section 10).
pub(crate) const fn quoted_fits(sender: &Peer, answering: &Peer, tag: u32) -> bool {
    let is_of_init = tag == 0 && sender.state == COOKIE_WAIT;
    is_of_init || answering.seq_lo == 0 || tag == answering.seq_lo
}

/// RFC 9260, section 8.5.
fn check_tag(source: &mut Peer, destination: &mut Peer, chunks: &Chunks) -> Result<(), Mismatch> {
    let expected = match chunks.act {
        // Its tag is zero.
        Act::Init(_) => return Ok(()),
        Act::Close { reflected: true } => source,
        Act::InitAck(_) if destination.seq_hi != 0 && chunks.tag == destination.seq_hi => {
            return Ok(());
        }
        Act::Carry | Act::InitAck(_) | Act::Confirm | Act::Shutdown | Act::Close { .. } => {
            destination
        }
    };
    if expected.seq_lo == 0 {
        expected.seq_lo = chunks.tag;
    }
    if expected.seq_lo == chunks.tag {
        Ok(())
    } else {
        Err(Mismatch)
    }
}

/// An INIT, or one again, which is as good as the first. Where the association stands already it changes nothing until the
/// other end answers it (RFC 9260, section 5.2.2).
fn begin(source: &mut Peer, tag: u32) -> Option<Timeout> {
    if source.state >= ESTABLISHED {
        source.seq_hi = tag;
        return None;
    }
    source.seq_lo = tag;
    let is_first = source.state < COOKIE_WAIT;
    source.state = COOKIE_WAIT;
    is_first.then_some(Timeout::SctpOpening)
}

/// An INIT ACK, for the INIT whose tag it carries.
fn accept(source: &mut Peer, destination: &mut Peer, tag: u32, own: u32) {
    if destination.seq_hi != 0 && tag == destination.seq_hi {
        destination.seq_lo = destination.seq_hi;
        destination.seq_hi = 0;
        source.seq_lo = own;
    }
    if source.state < ESTABLISHED {
        source.seq_lo = own;
    }
}

fn confirm(source: &mut Peer) -> Option<Timeout> {
    if source.state >= ESTABLISHED {
        return None;
    }
    source.state = ESTABLISHED;
    Some(Timeout::SctpEstablished)
}

/// Its end of the association is over.
pub(crate) const fn close(source: &mut Peer) -> Timeout {
    source.state = CLOSED;
    Timeout::SctpClosed
}

/// It will send no more.
pub(crate) const fn shut_down(source: &mut Peer) -> Option<Timeout> {
    if source.state >= SHUTDOWN_PENDING {
        return None;
    }
    source.state = SHUTDOWN_PENDING;
    Some(Timeout::SctpClosing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(tag: u32, act: Act) -> Chunks {
        Chunks {
            tag,
            act,
            is_final: false,
            changes: Vec::new(),
            left_out: 0,
        }
    }

    fn established() -> (Peer, Peer) {
        let (mut a, mut b, timeout) = open(&chunks(0, Act::Init(11))).unwrap();
        assert_eq!(timeout, Timeout::SctpFirst);
        assert_eq!(
            track(&mut b, &mut a, &chunks(11, Act::InitAck(22))),
            Ok(None)
        );
        let echo = track(&mut a, &mut b, &chunks(22, Act::Confirm));
        assert_eq!(echo, Ok(Some(Timeout::SctpEstablished)));
        let ack = track(&mut b, &mut a, &chunks(11, Act::Confirm));
        assert_eq!(ack, Ok(Some(Timeout::SctpEstablished)));
        (a, b)
    }

    #[test]
    fn a_handshake_establishes_both_ends_and_a_shutdown_closes_them() {
        let (mut a, mut b) = established();
        let closing = Ok(Some(Timeout::SctpClosing));
        assert_eq!(track(&mut a, &mut b, &chunks(22, Act::Shutdown)), closing);
        assert_eq!(track(&mut b, &mut a, &chunks(11, Act::Shutdown)), closing);
        assert!(is_reopened(&a, &b, &chunks(0, Act::Init(33))));
        let close = chunks(22, Act::Close { reflected: false });
        assert_eq!(track(&mut a, &mut b, &close), Ok(Some(Timeout::SctpClosed)));
    }

    #[test]
    fn packets_with_a_wrong_tag_are_not_of_the_association() {
        let (mut a, mut b) = established();
        assert_eq!(
            track(&mut a, &mut b, &chunks(21, Act::Carry)),
            Err(Mismatch)
        );
        let blind = chunks(21, Act::Close { reflected: false });
        assert_eq!(track(&mut a, &mut b, &blind), Err(Mismatch));
        let reflected = chunks(11, Act::Close { reflected: true });
        assert_eq!(
            track(&mut a, &mut b, &reflected),
            Ok(Some(Timeout::SctpClosed))
        );
    }

    #[test]
    fn an_init_begins_anew_only_when_the_other_end_answers_it() {
        let (mut a, mut b) = established();
        assert_eq!(track(&mut a, &mut b, &chunks(0, Act::Init(33))), Ok(None));
        assert_eq!(track(&mut b, &mut a, &chunks(11, Act::Carry)), Ok(None));
        assert_eq!(
            track(&mut b, &mut a, &chunks(33, Act::InitAck(44))),
            Ok(None)
        );
        assert_eq!(
            track(&mut b, &mut a, &chunks(11, Act::Carry)),
            Err(Mismatch)
        );
        assert_eq!(track(&mut a, &mut b, &chunks(44, Act::Confirm)), Ok(None));
    }
}
