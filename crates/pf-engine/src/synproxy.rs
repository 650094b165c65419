//! `synproxy state`: the handshake with the client first, then one with the server, and from
//! then on sequence numbers that are moved between the two (pf.conf(5), SYN PROXY).
//!
//! While the proxy is at work, a peer's numbers mean: `source.seq_lo` is the client's initial
//! number, `source.seq_hi` the one that the client was given in the server's name,
//! `destination.seq_hi` the one that the server is given in the client's, 1 as long as there is
//! none.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::generate;
use crate::key::Tuple;
use crate::rule::tcp_flags;
use crate::tcp::{Peer, Segment, tcps};
use crate::wire::build;

/// Segment size of a peer that announces none (RFC 9293, section 3.7.1).
pub(crate) const DEFAULT_MSS_V4: u16 = 536;
/// The same for IPv6.
pub(crate) const DEFAULT_MSS_V6: u16 = 1220;
/// Smallest segment size that is passed on: what is announced below it only makes work (PF's
/// `pf_calc_mss`).
pub(crate) const MIN_MSS: u16 = 64;

const SYN: u8 = tcp_flags::SYN;
const ACK: u8 = tcp_flags::ACK;
const SYN_ACK: u8 = SYN | ACK;
/// A number that was not drawn yet.
const UNDRAWN: u32 = 1;

/// Header of a segment that the proxy makes. None has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// For a SYN.
    pub(crate) mss: Option<u16>,
}

/// What the proxy does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It does not fit: it ends here.
    Drop,
    /// The client gets this.
    Answer(Handshake),
    /// This goes to the server in the segment's place.
    Call(Handshake),
    /// Both are connected: this goes to the client in the segment's place, and an ACK to the
    /// server.
    Join {
        to_client: Handshake,
        to_server: Handshake,
    },
}

impl Handshake {
    /// The SYN|ACK with which a client is answered. Its window is 0: there is nobody yet to take
    /// data.
    pub(crate) const fn answer(own: u32, client: u32, mss: u16) -> Self {
        Self {
            flags: SYN_ACK,
            seq: own,
            ack: client.wrapping_add(1),
            window: 0,
            mss: Some(mss),
        }
    }

    /// The SYN with which the server is called.
    pub(crate) const fn call(own: u32, mss: u16) -> Self {
        Self {
            flags: SYN,
            seq: own,
            ack: 0,
            window: 0,
            mss: Some(mss),
        }
    }

    const fn acknowledgment(seq: u32, ack: u32, window: u16) -> Self {
        Self {
            flags: ACK,
            seq,
            ack,
            window,
            mss: None,
        }
    }

    /// The packet, from `tuple.source` to `tuple.destination`; nothing if one of them is not a
    /// single host's address.
    pub(crate) fn packet(&self, tuple: &Tuple) -> Option<Vec<u8>> {
        let option = self.mss.map(|mss| {
            let [high, low] = mss.to_be_bytes();
            [2, 4, high, low]
        });
        let segment = build::Segment {
            source_port: tuple.source.port,
            destination_port: tuple.destination.port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            options: option.as_ref().map_or(&[], |option| &option[..]),
        };
        generate::segment(tuple.source.address, tuple.destination.address, &segment)
    }
}

/// The peers of a connection whose SYN is answered with the number `own`.
pub(crate) fn open(client: u32, own: u32, mss: u16) -> (Peer, Peer) {
    let source = Peer {
        state: tcps::PROXY_SRC,
        seq_lo: client,
        seq_hi: own,
        max_win: 1,
        mss,
        ..Peer::default()
    };
    let destination = Peer {
        seq_hi: UNDRAWN,
        max_win: 1,
        ..Peer::default()
    };
    (source, destination)
}

/// The peers of a connection whose client has completed its handshake with the number `own`
/// before there was a state, and the SYN for the server.
pub(crate) fn open_completed(
    client: u32,
    own: u32,
    mss: u16,
    window: u16,
    random: &mut dyn FnMut() -> u32,
) -> (Peer, Peer, Handshake) {
    let (mut source, mut destination) = open(client, own, mss);
    let syn = call(&mut source, &mut destination, u32::from(window), random);
    (source, destination, syn)
}

/// Takes a segment of a connection under way; `forward` if the client sent it.
pub(crate) fn handle(
    source: &mut Peer,
    destination: &mut Peer,
    forward: bool,
    segment: &Segment,
    random: &mut dyn FnMut() -> u32,
) -> Step {
    match (source.state, forward) {
        (tcps::PROXY_SRC, true) => from_new_client(source, destination, segment, random),
        (tcps::PROXY_DST, true) => from_waiting_client(source, destination, segment, random),
        (tcps::PROXY_DST, false) => from_server(source, destination, segment),
        _ => Step::Drop,
    }
}

/// The client has to complete its handshake.
fn from_new_client(
    source: &mut Peer,
    destination: &mut Peer,
    segment: &Segment,
    random: &mut dyn FnMut() -> u32,
) -> Step {
    if !segment.has(SYN) {
        return from_waiting_client(source, destination, segment, random);
    }
    if segment.seq != source.seq_lo || segment.has(ACK | tcp_flags::RST) {
        return Step::Drop;
    }
    Step::Answer(Handshake::answer(source.seq_hi, source.seq_lo, source.mss))
}

/// The client's handshake is complete with this segment, or was before: then it repeats itself,
/// and so does our call. Its data are dropped, it will send them again.
fn from_waiting_client(
    source: &mut Peer,
    destination: &mut Peer,
    segment: &Segment,
    random: &mut dyn FnMut() -> u32,
) -> Step {
    let bare_ack = segment.flags & (SYN_ACK | tcp_flags::RST | tcp_flags::FIN) == ACK;
    let first = source.seq_lo.wrapping_add(1);
    // A probe of our window of 0 may be one number back (RFC 9293, section 3.8.6.1); it is the
    // first that comes when the ACK was lost.
    let seq_fits = segment.seq == first || segment.seq == source.seq_lo;
    if !bare_ack || !seq_fits || segment.ack != source.seq_hi.wrapping_add(1) {
        return Step::Drop;
    }
    Step::Call(call(source, destination, segment.window, random))
}

fn call(
    source: &mut Peer,
    destination: &mut Peer,
    window: u32,
    random: &mut dyn FnMut() -> u32,
) -> Handshake {
    source.state = tcps::PROXY_DST;
    source.max_win = window.max(1);
    if destination.seq_hi == UNDRAWN {
        destination.seq_hi = random();
    }
    Handshake::call(destination.seq_hi, source.mss)
}

/// The server has to answer our call. From then on it is a connection like others, without window
/// scale, of which neither side was told.
fn from_server(source: &mut Peer, destination: &mut Peer, segment: &Segment) -> Step {
    let answers = segment.flags & (SYN_ACK | tcp_flags::RST) == SYN_ACK;
    if !answers || segment.ack != destination.seq_hi.wrapping_add(1) {
        return Step::Drop;
    }
    let (client, client_was_told) = (source.seq_lo.wrapping_add(1), source.seq_hi);
    let (server, server_was_told) = (segment.seq.wrapping_add(1), destination.seq_hi);
    let (client_window, server_window) = (source.max_win, segment.window.max(1));
    *source = joined(client, server_was_told.wrapping_add(1), client_window);
    *destination = joined(server, client_was_told.wrapping_add(1), server_window);
    source.seq_hi = client.wrapping_add(server_window);
    destination.seq_hi = server.wrapping_add(client_window);
    Step::Join {
        to_client: Handshake::acknowledgment(
            client_was_told.wrapping_add(1),
            client,
            window16(server_window),
        ),
        to_server: Handshake::acknowledgment(
            server_was_told.wrapping_add(1),
            server,
            window16(client_window),
        ),
    }
}

/// A peer whose next number is `next`, which the other knows as `known`.
fn joined(next: u32, known: u32, window: u32) -> Peer {
    Peer {
        state: tcps::ESTABLISHED,
        seq_lo: next,
        max_win: window,
        seq_diff: known.wrapping_sub(next),
        ..Peer::default()
    }
}

fn window16(window: u32) -> u16 {
    u16::try_from(window).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: u32 = 1000;
    const TO_CLIENT: u32 = 0xffff_fff0;
    const TO_SERVER: u32 = 77;

    fn segment(flags: u8, seq: u32, ack: u32) -> Segment {
        Segment {
            flags,
            seq,
            ack,
            window: 5000,
            len: 0,
            window_scale: None,
        }
    }

    fn take(peers: &mut (Peer, Peer), forward: bool, segment: &Segment) -> Step {
        handle(&mut peers.0, &mut peers.1, forward, segment, &mut || {
            TO_SERVER
        })
    }

    #[test]
    fn the_client_is_shaken_hands_with_before_the_server() {
        let mut peers = open(CLIENT, TO_CLIENT, 1400);
        let answer = Handshake::answer(TO_CLIENT, CLIENT, 1400);
        let repeated = take(&mut peers, true, &segment(SYN, CLIENT, 0));
        assert_eq!(repeated, Step::Answer(answer));
        assert_eq!((answer.window, answer.ack), (0, 1001));
        let ack = segment(ACK, CLIENT + 1, TO_CLIENT.wrapping_add(1));
        let call = Step::Call(Handshake::call(TO_SERVER, 1400));
        assert_eq!(take(&mut peers, true, &ack), call);
        assert_eq!(peers.0.state, tcps::PROXY_DST);
        // A probe one back repeats the call, with the same number.
        let probe = segment(ACK, CLIENT, TO_CLIENT.wrapping_add(1));
        assert_eq!(take(&mut peers, true, &probe), call);
        let answered = take(&mut peers, false, &segment(SYN_ACK, 9000, TO_SERVER + 1));
        let Step::Join {
            to_client,
            to_server,
        } = answered
        else {
            panic!("{answered:?}");
        };
        assert_eq!(
            (to_client.seq, to_client.ack, to_client.window),
            (0xffff_fff1, 1001, 5000)
        );
        assert_eq!((to_server.seq, to_server.ack), (78, 9001));
        let (source, destination) = peers;
        assert_eq!(1001u32.wrapping_add(source.seq_diff), 78);
        assert_eq!(9001u32.wrapping_add(destination.seq_diff), 0xffff_fff1);
        assert_eq!((source.seq_lo, source.seq_hi), (1001, 6001));
        assert_eq!((destination.seq_lo, destination.seq_hi), (9001, 14_001));
        assert_eq!(
            (source.state, destination.state),
            (tcps::ESTABLISHED, tcps::ESTABLISHED)
        );
    }

    #[test]
    fn a_client_whose_ack_was_lost_completes_its_handshake_by_a_probe() {
        let mut peers = open(CLIENT, TO_CLIENT, 1400);
        let probe = segment(ACK, CLIENT, TO_CLIENT.wrapping_add(1));
        let call = Step::Call(Handshake::call(TO_SERVER, 1400));
        assert_eq!(take(&mut peers, true, &probe), call);
        assert_eq!(peers.0.state, tcps::PROXY_DST);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_changes_nothing() {
        let before = open(CLIENT, TO_CLIENT, 1400);
        let wrong = [
            (true, segment(SYN, CLIENT + 1, 0)),
            (true, segment(ACK, CLIENT + 1, TO_CLIENT)),
            (true, segment(ACK, CLIENT - 1, TO_CLIENT.wrapping_add(1))),
            (
                true,
                segment(ACK | tcp_flags::FIN, CLIENT + 1, TO_CLIENT.wrapping_add(1)),
            ),
            (true, segment(tcp_flags::RST, CLIENT + 1, 0)),
            (false, segment(SYN_ACK, 5, CLIENT + 1)),
        ];
        for (forward, segment) in wrong {
            let mut peers = before;
            assert_eq!(take(&mut peers, forward, &segment), Step::Drop);
            assert_eq!(peers, before);
        }
    }

    #[test]
    fn a_server_that_acknowledges_another_number_is_not_believed() {
        let (mut source, mut destination, _) =
            open_completed(CLIENT, TO_CLIENT, 1400, 0, &mut || TO_SERVER);
        let before = (source, destination);
        for wrong in [
            segment(SYN_ACK, 1, TO_SERVER),
            segment(ACK, 1, TO_SERVER + 1),
            segment(tcp_flags::RST | ACK, 0, TO_SERVER + 1),
        ] {
            let step = handle(&mut source, &mut destination, false, &wrong, &mut || 0);
            assert_eq!(step, Step::Drop);
            assert_eq!((source, destination), before);
        }
    }
}
