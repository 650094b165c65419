//! A state as a flow cache has it: which of its packets may pass there, and what it learns back.

use crate::addr::{Family, Protocol};
use crate::decision::{EtherAddresses, Handling, Hook};
use crate::engine::flows::{Onward, Plain};
use crate::engine::packet::{Place, Work};
use crate::flow::{Flow, FlowBasis, FlowKey, FlowWindow};
use crate::key::Tuple;
use crate::state::State;
use crate::tcp::{self, Peer};
use crate::time::Instant;
use crate::track::Kind;
use crate::wire::{Meta, Transport, icmp, icmp6};

/// The kinds of packets that a cache can tell apart by a [`FlowKey`].
pub(in crate::engine) fn is_known_to_caches(meta: &Meta) -> bool {
    let is_echo = |kind| match meta.family {
        Family::Inet => matches!(kind, icmp::ECHO_REQUEST | icmp::ECHO_REPLY),
        Family::Inet6 => matches!(kind, icmp6::ECHO_REQUEST | icmp6::ECHO_REPLY),
    };
    let known = match meta.transport {
        Transport::Tcp(_) | Transport::Udp(_) => true,
        Transport::Icmp(icmp) | Transport::Icmp6(icmp) => is_echo(icmp.kind),
        Transport::Sctp(_) | Transport::Other | Transport::Fragment => false,
    };
    known && !meta.has_ip_options
}

/// Whether nothing was done with the packet, and because of it.
pub(super) fn is_as_it_came(work: &Work<'_>) -> bool {
    work.pieces.is_none()
        && work.generated.is_empty()
        && work.logged.is_empty()
        && work.handling == Handling::default()
        && !work.has_crossed()
}

/// Where packets of the opener, and the others, change nothing of the state but its counters,
/// the moment of the last packet and, of a connection, what the cache can tell.
pub(super) fn places(state: &State, generation: u64) -> [Option<Place>; 2] {
    let noted = |way: &Plain| (way.generation == generation).then_some(way.place);
    let ways = state.flow.ways.each_ref();
    let [of_opener, of_other] = ways.map(|way| way.as_ref().and_then(noted));
    let (source, destination) = (&state.source, &state.destination);
    if state.protocol() == Protocol::TCP {
        let plain = tcp::is_plain(source, destination, state.timeout);
        return [of_opener, of_other].map(|place| place.filter(|_| plain));
    }
    let is_steady = |from: &Peer, to: &Peer| {
        let (mut moved_from, mut moved_to) = (*from, *to);
        let timeout = Kind::of(state.protocol()).track(&mut moved_from, &mut moved_to);
        (moved_from, moved_to, timeout) == (*from, *to, state.timeout)
    };
    [
        of_opener.filter(|_| is_steady(source, destination)),
        of_other.filter(|_| is_steady(destination, source)),
    ]
}

/// The state as the cache has it, if any of its packets may pass there. It lives until `end`.
pub(super) fn flow_of(state: &State, places: [Option<Place>; 2], end: Instant) -> Option<Flow> {
    let [of_opener, of_other] = &state.flow.ways;
    let [at_opener, at_other] = places;
    if places == [None; 2] {
        return None;
    }
    // Those that lead out have theirs when their exit is known.
    let key = |way: &Option<Plain>, place: Option<Place>| {
        let way = way.as_ref();
        let way = way.filter(|way| matches!(way.onward, Onward::Plain));
        let (way, place) = way.zip(place)?;
        let tuple = state.side(place.direction).tuple(place.direction);
        Some(key_of(&tuple, place, way.ether))
    };
    let keys = [key(of_opener, at_opener), key(of_other, at_other)];
    let becomes = |place: Option<Place>| {
        let direction = place.filter(|_| state.wire != state.stack)?.direction;
        let tuple = state.translated(direction).tuple(direction);
        Some((tuple.source, tuple.destination))
    };
    let (source, destination) = (&state.source, &state.destination);
    let windows = [window(source), window(destination)];
    Some(Flow {
        basis: FlowBasis::State,
        keys,
        becomes: places.map(becomes),
        windows: (state.protocol() == Protocol::TCP).then_some(windows),
        shifts: [source.seq_diff, destination.seq_diff],
        refreshed: state.refreshed,
        lifetime: end.saturating_since(state.refreshed),
    })
}

pub(in crate::engine) const fn key_of(
    tuple: &Tuple,
    place: Place,
    ether: EtherAddresses,
) -> FlowKey {
    FlowKey {
        hook: Hook {
            interface: place.index,
            direction: place.direction,
        },
        ether,
        protocol: tuple.protocol,
        opens: false,
        source: tuple.source,
        destination: tuple.destination,
    }
}

const fn window(peer: &Peer) -> FlowWindow {
    FlowWindow {
        seq_lo: peer.seq_lo,
        seq_hi: peer.seq_hi,
        max_win: peer.max_win,
        scale: peer.window_scale,
        state: peer.state,
    }
}

pub(super) const fn advance(peer: &mut Peer, window: &FlowWindow) {
    peer.seq_lo = window.seq_lo;
    peer.seq_hi = window.seq_hi;
    peer.max_win = window.max_win;
    peer.window_scale = window.scale;
    peer.state = window.state;
}
