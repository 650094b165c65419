//! Tests of reassembly and cutting.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    MAX_FRAGMENTS, MAX_HELD_BYTES, Outcome, Reassembled, Reassembler, ReassemblyCounters,
    ReassemblyOptions, fragment,
};
use crate::addr::{Family, Protocol};
use crate::decision::{DropReason, Hook};
use crate::env::IfIndex;
use crate::rule::Direction;
use crate::time::Instant;
use crate::wire::build::{self, Ip};
use crate::wire::tests::{any_ip, any_packet, ip};
use crate::wire::{Meta, WireError, checksum, put};

const OPTIONS: ReassemblyOptions = ReassemblyOptions {
    limit: 5000,
    timeout: Duration::from_secs(30),
    no_df: false,
};

const HOOK: Hook = Hook {
    interface: IfIndex(1),
    direction: Direction::In,
};

const DROPPED: Outcome = Outcome::Dropped(DropReason::Fragment);

fn v4() -> Ip {
    Ip {
        id: 7,
        ..ip("10.0.0.1", "10.0.0.2")
    }
}

fn v6() -> Ip {
    ip("2001:db8::1", "2001:db8::2")
}

fn cut(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    fragment(packet, &Meta::parse(packet).unwrap(), mtu, 99).unwrap()
}

fn take(cache: &mut Reassembler, packet: &[u8]) -> Outcome {
    take_with(cache, 1, packet, &OPTIONS)
}

fn take_with(
    cache: &mut Reassembler,
    seconds: u64,
    packet: &[u8],
    options: &ReassemblyOptions,
) -> Outcome {
    let meta = Meta::parse(packet).unwrap();
    assert!(meta.is_fragment());
    cache.handle_fragment(Instant::from_secs(seconds), HOOK, packet, &meta, options)
}

/// A piece of data of a datagram: offset in bytes, whether more follow.
fn piece(ip: &Ip, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let bits = |more_bit: u16| if more { more_bit } else { 0 };
    if ip.family() == Family::Inet {
        let mut bytes = build::packet(ip, Protocol(99), data);
        put(&mut bytes, 6, &((offset / 8) | bits(0x2000)).to_be_bytes()).unwrap();
        return bytes;
    }
    let [high, low] = (offset | bits(1)).to_be_bytes();
    let header = [99, 0, high, low, 0, 0, 0, 5];
    build::packet(ip, Protocol::FRAGMENT, &[&header, data].concat())
}

fn complete(outcome: Outcome) -> Reassembled {
    match outcome {
        Outcome::Complete(whole) => whole,
        other @ (Outcome::Held | Outcome::Dropped(_)) => panic!("not complete: {other:?}"),
    }
}

#[test]
fn a_cut_packet_is_put_together_again() {
    for (ip, id) in [(v4(), 7), (v6(), 99)] {
        let packet = build::udp(&ip, 1, 2, &[7; 4000]);
        let pieces = cut(&packet, 1280);
        assert_eq!(pieces.len(), 4);
        let mut cache = Reassembler::new();
        for piece in &pieces[..3] {
            assert_eq!(take(&mut cache, piece), Outcome::Held);
        }
        assert_eq!(cache.fragments(), 3);
        let whole = complete(take(&mut cache, &pieces[3]));
        let expected = Reassembled {
            bytes: packet,
            largest: pieces[0].len(),
            id,
            dont_fragment: false,
        };
        assert_eq!(whole, expected);
        assert_eq!((cache.fragments(), cache.poll_timeout(&OPTIONS)), (0, None));
        assert_eq!(cache.counters().reassembled, 1);
    }
}

#[test]
fn datagrams_of_other_hooks_ids_and_protocols_do_not_mix() {
    let first = piece(&v4(), 0, true, &[1; 8]);
    let last = piece(&v4(), 8, false, &[2; 8]);
    let mut cache = Reassembler::new();
    assert_eq!(take(&mut cache, &first), Outcome::Held);
    let other_id = Ip { id: 8, ..v4() };
    assert_eq!(
        take(&mut cache, &piece(&other_id, 8, false, &[2; 8])),
        Outcome::Held
    );
    let mut other_protocol = last.clone();
    other_protocol[9] = 98;
    assert_eq!(take(&mut cache, &other_protocol), Outcome::Held);
    let elsewhere = Hook {
        direction: Direction::Out,
        ..HOOK
    };
    let meta = Meta::parse(&last).unwrap();
    let now = Instant::from_secs(1);
    let outcome = cache.handle_fragment(now, elsewhere, &last, &meta, &OPTIONS);
    assert_eq!(outcome, Outcome::Held);
    let whole = complete(take(&mut cache, &last));
    assert_eq!(whole.bytes[20..], [[1; 8], [2; 8]].concat());
    assert_eq!(cache.fragments(), 3);
}

#[test]
fn ipv6_fragments_need_not_announce_the_same_protocol() {
    let mut cache = Reassembler::new();
    let mut last = piece(&v6(), 8, false, &[2; 8]);
    last[40] = 17;
    assert_eq!(take(&mut cache, &last), Outcome::Held);
    let whole = complete(take(&mut cache, &piece(&v6(), 0, true, &[1; 8])));
    assert_eq!(Meta::parse(&whole.bytes).unwrap().protocol, Protocol(99));
}

#[test]
fn what_came_first_wins_in_overlapping_ipv4_fragments() {
    let mut cache = Reassembler::new();
    assert_eq!(
        take(&mut cache, &piece(&v4(), 8, true, &[1; 16])),
        Outcome::Held
    );
    assert_eq!(
        take(&mut cache, &piece(&v4(), 16, false, &[2; 20])),
        Outcome::Held
    );
    assert_eq!(take(&mut cache, &piece(&v4(), 16, true, &[3; 8])), DROPPED);
    let whole = complete(take(&mut cache, &piece(&v4(), 0, true, &[4; 24])));
    let expected = [&[4; 8][..], &[1; 16], &[2; 12]].concat();
    assert_eq!(whole.bytes[20..], expected);
}

#[test]
fn overlapping_ipv6_fragments_end_their_datagram() {
    let mut cache = Reassembler::new();
    assert_eq!(
        take(&mut cache, &piece(&v6(), 0, true, &[1; 16])),
        Outcome::Held
    );
    assert_eq!(take(&mut cache, &piece(&v6(), 8, true, &[1; 16])), DROPPED);
    for late in [
        piece(&v6(), 0, true, &[1; 16]),
        piece(&v6(), 16, false, &[1; 8]),
    ] {
        assert_eq!(take(&mut cache, &late), DROPPED);
    }
    assert_eq!((cache.fragments(), cache.counters().discarded), (1, 1));
    cache.handle_timeout(Instant::from_secs(31), &OPTIONS);
    assert_eq!(cache.fragments(), 0);
    let again = take_with(&mut cache, 32, &piece(&v6(), 0, true, &[1; 16]), &OPTIONS);
    assert_eq!(again, Outcome::Held);
}

#[test]
fn a_doubled_fragment_does_no_harm() {
    for ip in [v4(), v6()] {
        let mut cache = Reassembler::new();
        let first = piece(&ip, 0, true, &[1; 16]);
        assert_eq!(take(&mut cache, &first), Outcome::Held);
        assert_eq!(take(&mut cache, &first), DROPPED);
        let whole = complete(take(&mut cache, &piece(&ip, 16, false, &[2; 3])));
        assert_eq!(Meta::parse(&whole.bytes).unwrap().payload_len(), 19);
    }
}

#[test]
fn fragments_that_disagree_on_the_end_are_dropped() {
    let mut cache = Reassembler::new();
    assert_eq!(
        take(&mut cache, &piece(&v4(), 16, false, &[1; 8])),
        Outcome::Held
    );
    assert_eq!(take(&mut cache, &piece(&v4(), 24, false, &[1; 8])), DROPPED);
    assert_eq!(take(&mut cache, &piece(&v4(), 24, true, &[1; 8])), DROPPED);
    assert_eq!(take(&mut cache, &piece(&v4(), 8, false, &[1; 8])), DROPPED);
    let mut cache = Reassembler::new();
    assert_eq!(
        take(&mut cache, &piece(&v6(), 16, true, &[1; 8])),
        Outcome::Held
    );
    assert_eq!(take(&mut cache, &piece(&v6(), 8, false, &[1; 8])), DROPPED);
    assert_eq!(cache.counters().discarded, 1);
}

#[test]
fn impossible_fragments_are_refused_with_their_reason() {
    let mut cache = Reassembler::new();
    for ip in [v4(), v6()] {
        assert_eq!(take(&mut cache, &piece(&ip, 0, true, &[1; 9])), DROPPED);
        assert_eq!(take(&mut cache, &piece(&ip, 8, false, &[])), DROPPED);
        let behind = take(&mut cache, &piece(&ip, 65_528, false, &[1; 8]));
        assert_eq!(behind, Outcome::Dropped(DropReason::BadOffset));
        // Fits the offsets, but not with the header before it.
        assert_eq!(
            take(&mut cache, &piece(&ip, 65_520, false, &[1; 8])),
            Outcome::Held
        );
    }
    assert_eq!(cache.fragments(), 2);
}

#[test]
fn a_datagram_too_long_with_its_header_is_refused() {
    let mut cache = Reassembler::new();
    let half = vec![1; 32_768];
    assert_eq!(
        take(&mut cache, &piece(&v4(), 0, true, &half)),
        Outcome::Held
    );
    let outcome = take(&mut cache, &piece(&v4(), 32_768, false, &half[..32_760]));
    assert_eq!(outcome, Outcome::Dropped(DropReason::BadOffset));
    assert_eq!(cache.fragments(), 0);
}

#[test]
fn dont_fragment_on_a_fragment_needs_no_df() {
    let ip = Ip {
        dont_fragment: true,
        ..v4()
    };
    let with_df = |offset, more| {
        let mut bytes = piece(&ip, offset, more, &[1; 8]);
        bytes[6] |= 0x40;
        bytes
    };
    let mut cache = Reassembler::new();
    assert_eq!(take(&mut cache, &with_df(0, true)), DROPPED);
    let no_df = ReassemblyOptions {
        no_df: true,
        ..OPTIONS
    };
    let held = take_with(&mut cache, 1, &with_df(0, true), &no_df);
    assert_eq!(held, Outcome::Held);
    let whole = complete(take_with(&mut cache, 1, &with_df(8, false), &no_df));
    assert!(whole.dont_fragment);
    let meta = Meta::parse(&whole.bytes).unwrap();
    assert!(!meta.dont_fragment && checksum::ip_header_valid(&whole.bytes, &meta));
}

#[test]
fn the_sixty_fifth_fragment_ends_its_datagram() {
    for (ip, left) in [(v4(), 0), (v6(), 1)] {
        let mut cache = Reassembler::new();
        let count = u16::try_from(MAX_FRAGMENTS).unwrap();
        for n in 0..count {
            let outcome = take(&mut cache, &piece(&ip, n * 8, true, &[1; 8]));
            assert_eq!(outcome, Outcome::Held);
        }
        assert_eq!(
            take(&mut cache, &piece(&ip, count * 8, false, &[1; 8])),
            DROPPED
        );
        assert_eq!(cache.fragments(), left);
        assert_eq!(cache.counters().discarded, 64);
    }
}

#[test]
fn sixty_four_fragments_are_put_together() {
    let packet = build::udp(&v4(), 1, 2, &[3; 64 * 8 - 8]);
    let pieces = cut(&packet, 28);
    assert_eq!(pieces.len(), 64);
    let mut cache = Reassembler::new();
    let outcomes: Vec<_> = pieces.iter().map(|piece| take(&mut cache, piece)).collect();
    assert_eq!(complete(outcomes.into_iter().last().unwrap()).bytes, packet);
}

#[test]
fn the_oldest_datagrams_make_room_when_the_limit_is_reached() {
    let options = ReassemblyOptions {
        limit: 20,
        ..OPTIONS
    };
    let mut cache = Reassembler::new();
    let start = |id| piece(&Ip { id, ..v4() }, 0, true, &[1; 8]);
    for id in 0..20 {
        assert_eq!(
            take_with(&mut cache, 1, &start(id), &options),
            Outcome::Held
        );
    }
    assert_eq!(
        take_with(&mut cache, 1, &start(20), &options),
        Outcome::Held
    );
    assert_eq!((cache.fragments(), cache.counters().evicted), (19, 2));
    let end = |id| piece(&Ip { id, ..v4() }, 8, false, &[1; 8]);
    complete(take_with(&mut cache, 1, &end(2), &options));
    let of_evicted = take_with(&mut cache, 1, &end(1), &options);
    assert_eq!(of_evicted, Outcome::Held);
}

#[test]
fn a_limit_of_zero_takes_no_fragment() {
    let options = ReassemblyOptions {
        limit: 0,
        ..OPTIONS
    };
    let mut cache = Reassembler::new();
    let outcome = take_with(&mut cache, 1, &piece(&v4(), 0, true, &[1; 8]), &options);
    assert_eq!(outcome, Outcome::Dropped(DropReason::Memory));
    assert_eq!((cache.fragments(), cache.poll_timeout(&options)), (0, None));
}

#[test]
fn large_fragments_are_bounded_by_their_bytes() {
    let mut cache = Reassembler::new();
    let data = vec![1; 60_000];
    let fit = u16::try_from(MAX_HELD_BYTES / data.len()).unwrap();
    for id in 0..fit + 10 {
        let start = piece(&Ip { id, ..v4() }, 0, true, &data);
        assert_eq!(take(&mut cache, &start), Outcome::Held);
        assert!(cache.fragments() * data.len() <= MAX_HELD_BYTES);
    }
    assert!(cache.counters().evicted_for_bytes >= 10);
    assert_eq!(cache.counters().evicted, 0);
    assert!(cache.most_bytes() > MAX_HELD_BYTES - data.len());
}

#[test]
fn a_datagram_expires_from_its_first_fragment_on() {
    let mut cache = Reassembler::new();
    let first = take_with(&mut cache, 10, &piece(&v4(), 0, true, &[1; 8]), &OPTIONS);
    assert_eq!(first, Outcome::Held);
    let second = take_with(&mut cache, 39, &piece(&v4(), 8, true, &[1; 8]), &OPTIONS);
    assert_eq!(second, Outcome::Held);
    assert_eq!(cache.poll_timeout(&OPTIONS), Some(Instant::from_secs(40)));
    cache.handle_timeout(Instant::from_secs(39), &OPTIONS);
    assert_eq!(cache.fragments(), 2);
    cache.handle_timeout(Instant::from_secs(40), &OPTIONS);
    let expected = ReassemblyCounters {
        expired: 2,
        ..ReassemblyCounters::default()
    };
    assert_eq!((cache.fragments(), *cache.counters()), (0, expected));
}

#[test]
fn congestion_of_one_fragment_is_kept_where_the_sender_takes_part() {
    for (first_tos, expected) in [(0b10, 0b11), (0b01, 0b11), (0b00, 0b00)] {
        for base in [v4(), v6()] {
            let with_tos = |tos| Ip { tos, ..base };
            let mut cache = Reassembler::new();
            let first = piece(&with_tos(first_tos), 0, true, &[1; 8]);
            assert_eq!(take(&mut cache, &first), Outcome::Held);
            let last = piece(&with_tos(0b11), 8, false, &[1; 8]);
            let whole = complete(take(&mut cache, &last));
            let meta = Meta::parse(&whole.bytes).unwrap();
            assert_eq!(meta.tos, expected);
            assert!(checksum::ip_header_valid(&whole.bytes, &meta));
        }
    }
}

#[test]
fn options_without_copy_bit_stay_in_the_first_fragment() {
    // Record route (7, not copied) and router alert (148, copied).
    let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
    let payload = [&options[..], &[9; 40]].concat();
    let mut packet = build::packet(&v4(), Protocol(99), &payload);
    packet[0] = 0x48;
    checksum::complete(&mut packet).unwrap();
    let pieces = cut(&packet, 56);
    let headers: Vec<_> = pieces
        .iter()
        .map(|piece| Meta::parse(piece).unwrap().ip_header_len)
        .collect();
    assert_eq!(headers, [32, 24]);
    assert_eq!(pieces[1][20..24], [148, 4, 0, 0]);
    let mut cache = Reassembler::new();
    assert_eq!(take(&mut cache, &pieces[1]), Outcome::Held);
    assert_eq!(complete(take(&mut cache, &pieces[0])).bytes, packet);
}

#[test]
fn a_fragment_can_be_cut_again() {
    let packet = build::udp(&v4(), 1, 2, &[3; 2000]);
    let pieces: Vec<_> = cut(&packet, 1000)
        .iter()
        .flat_map(|p| cut(p, 300))
        .collect();
    assert!(pieces.len() >= 8);
    let mut cache = Reassembler::new();
    let outcomes: Vec<_> = pieces.iter().map(|piece| take(&mut cache, piece)).collect();
    assert_eq!(complete(outcomes.into_iter().last().unwrap()).bytes, packet);
}

#[test]
fn ipv6_is_cut_behind_hop_by_hop_and_routing_headers() {
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [43, 0, 1, 4, 0, 0, 0, 0];
    let routing = [60, 0, 2, 0, 0, 0, 0, 0];
    let destination_2 = [17, 0, 1, 4, 0, 0, 0, 0];
    let headers = [hop_by_hop, destination, routing, destination_2].concat();
    let udp = &build::udp(&v6(), 1, 2, &[5; 2000])[40..];
    let packet = build::packet(&v6(), Protocol(0), &[&headers, udp].concat());
    let pieces = cut(&packet, 1280);
    assert_eq!(pieces.len(), 2);
    let meta = Meta::parse(&pieces[0]).unwrap();
    assert_eq!(meta.fragment.unwrap().header_offset, Some(64));
    assert_eq!(meta.protocol, Protocol(60));
    let mut cache = Reassembler::new();
    assert_eq!(take(&mut cache, &pieces[0]), Outcome::Held);
    assert_eq!(complete(take(&mut cache, &pieces[1])).bytes, packet);
}

#[test]
fn a_whole_packet_with_fragment_header_is_cut_in_its_place() {
    let udp = &build::udp(&v6(), 1, 2, &[5; 2000])[40..];
    let atomic = [17, 0, 0, 0, 0, 0, 0, 3];
    let packet = build::packet(&v6(), Protocol::FRAGMENT, &[&atomic, udp].concat());
    let mut cache = Reassembler::new();
    let pieces = cut(&packet, 1280);
    assert_eq!(take(&mut cache, &pieces[0]), Outcome::Held);
    let whole = complete(take(&mut cache, &pieces[1])).bytes;
    assert_eq!(whole, build::udp(&v6(), 1, 2, &[5; 2000]));
}

#[test]
fn an_mtu_without_room_for_data_is_refused() {
    for (ip, least) in [(v4(), 28), (v6(), 56)] {
        let packet = build::udp(&ip, 1, 2, &[5; 100]);
        let meta = Meta::parse(&packet).unwrap();
        assert_eq!(
            fragment(&packet, &meta, least - 1, 0),
            Err(WireError::UNFIT)
        );
        assert!(fragment(&packet, &meta, least, 0).is_ok());
    }
}

#[test]
fn a_packet_that_fits_is_left_alone_but_for_padding() {
    let packet = build::udp(&v4(), 1, 2, &[5; 100]);
    let meta = Meta::parse(&packet).unwrap();
    let padded = [&packet[..], &[0; 6]].concat();
    assert_eq!(fragment(&padded, &meta, 128, 0), Ok(vec![packet]));
}

/// A packet long enough to be cut, with what it is cut to and an order of the pieces.
fn any_cut() -> impl Strategy<Value = (Vec<u8>, usize, Vec<prop::sample::Index>)> {
    let long = (any_ip(), vec(any::<u8>(), 0..3000))
        .prop_map(|(ip, payload)| build::udp(&ip, 1, 2, &payload));
    let packet = prop_oneof![any_packet(), long];
    (
        packet,
        128..1500_usize,
        vec(any::<prop::sample::Index>(), 64),
    )
}

fn shuffled(mut pieces: Vec<Vec<u8>>, order: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for index in order {
        if !pieces.is_empty() {
            out.push(pieces.swap_remove(index.index(pieces.len())));
        }
    }
    out.extend(pieces);
    out
}

proptest! {
    #[test]
    fn pieces_in_any_order_make_the_packet_again((packet, mtu, order) in any_cut()) {
        let pieces = cut(&packet, mtu);
        prop_assert!(pieces.iter().all(|piece| piece.len() <= mtu));
        if pieces.len() == 1 {
            prop_assert_eq!(&pieces[0], &packet);
            return Ok(());
        }
        let largest = pieces.iter().map(Vec::len).max();
        for piece in &pieces {
            let meta = Meta::parse(piece).unwrap();
            prop_assert!(checksum::ip_header_valid(piece, &meta));
            prop_assert_eq!(meta.total_len, piece.len());
        }
        let mut cache = Reassembler::new();
        let mut pieces = shuffled(pieces, &order);
        let last = pieces.pop().unwrap();
        for piece in &pieces {
            prop_assert_eq!(take(&mut cache, piece), Outcome::Held);
        }
        let whole = complete(take(&mut cache, &last));
        prop_assert_eq!(whole.bytes, packet);
        prop_assert_eq!(Some(whole.largest), largest);
        prop_assert_eq!(cache.fragments(), 0);
    }

    /// Whatever comes in whatever order: the bounds hold, and the books are right.
    #[test]
    fn any_fragments_keep_the_limits(
        limit in 0..40_u32,
        pieces in vec((0..4_u16, 0..12_u16, any::<bool>(), 1..5_usize, 0..20_u64), 0..200),
    ) {
        let options = ReassemblyOptions { limit, ..OPTIONS };
        let mut cache = Reassembler::new();
        let (mut seconds, mut held, mut completed) = (0, 0_u64, 0_u64);
        for (id, unit, more, units, wait) in pieces {
            seconds += wait;
            let more = more || unit == 0;
            let base = if id < 2 { v4() } else { v6() };
            let bytes = piece(&Ip { id, ..base }, unit * 8, more, &vec![1; units * 8]);
            let before = cache.fragments();
            let counters = *cache.counters();
            match take_with(&mut cache, seconds, &bytes, &options) {
                Outcome::Held => held += 1,
                Outcome::Complete(whole) => {
                    prop_assert!(Meta::parse(&whole.bytes).is_ok());
                    let gone = cache.counters().expired - counters.expired
                        + cache.counters().evicted - counters.evicted;
                    let gone = usize::try_from(gone).unwrap();
                    completed += u64::try_from(before - gone - cache.fragments()).unwrap();
                }
                Outcome::Dropped(_) => {}
            }
            prop_assert!(cache.fragments() <= usize::try_from(limit).unwrap());
        }
        cache.handle_timeout(Instant::from_secs(seconds + 30), &options);
        prop_assert_eq!(cache.fragments(), 0);
        let counters = cache.counters();
        // A discarded IPv6 datagram leaves a mark that expires as one fragment.
        let gone = counters.expired + counters.evicted + counters.discarded + completed;
        prop_assert!(gone >= held);
        prop_assert!(gone <= held + counters.discarded);
    }
}
