//! Figures are exact at any moment, and none is lost with a slot.

use std::thread;

use super::*;
use crate::flows::layout::{STATE_LEN, TRAFFIC_AT, UNDECIDED_AT};

/// PF's numbers of how far an end is.
const ESTABLISHED: u8 = 4;
const CLOSING: u8 = 7;

/// A segment that moves the connection on.
fn data() -> Vec<u8> {
    frame(&segment(ACK, 1000, 9000, 100))
}

fn undecided(maps: &FlowMaps, flow: FlowId) -> u16 {
    let mut data = [[0; STATE_LEN]];
    let read = maps.states.read(flow.0, &mut data, LOCKED);
    read.expect("reads");
    layout::get_u16(&data[0], UNDECIDED_AT)
}

#[test]
fn a_super_packet_counts_as_its_segments() {
    let Some(mut bench) = Bench::new("super-packet") else {
        return;
    };
    let id = bench.maps().put(&connection()).expect("room");
    let large = frame(&segment(ACK, 1000, 9000, 2500));
    assert!(bench.passes(Direction::In, &large, 1000));
    let count = Count {
        packets: 3,
        bytes: 2500 + 3 * 40,
    };
    assert_eq!(bench.maps().read(id).counts[0], count);
    let exact = frame(&segment(ACK, 3500, 9000, 2000));
    assert!(bench.passes(Direction::In, &exact, 1000));
    assert_eq!(bench.maps().read(id).counts[0].packets, 5);
    let padded = [exact, vec![0; 6]].concat();
    assert!(
        !bench.passes(Direction::In, &padded, 1000),
        "not all of it is TCP's"
    );
}

#[test]
fn padding_is_not_counted() {
    let Some(mut bench) = Bench::new("padding") else {
        return;
    };
    let id = bench.maps().put(&connection()).expect("room");
    let mut short = frame(&segment(ACK, 1000, 9000, 0));
    short.resize(60, 0);
    assert!(bench.passes(Direction::In, &short, 0));
    assert_eq!(bench.maps().read(id).counts[0], Count::one(40));
}

#[test]
fn nothing_passes_by_one_key_before_there_is_room_for_the_other() {
    let Some(mut bench) = Bench::new("one key") else {
        return;
    };
    let other = |port| key_data(&datagrams(CLIENT.0, port).keys[0].expect("a key"));
    let flow = connection();
    let maps = bench.maps();
    for port in 1..=255 {
        maps.flows.insert(other(port), [0; 2], 0).expect("room");
    }
    let slot = maps.free_slot(FlowBasis::State).expect("a slot");
    assert_eq!(maps.lay(&[(slot, &flow)]), BTreeSet::from([slot]));
    let first = key_data(&flow.keys[0].expect("a key"));
    assert!(maps.flows.get(&first, 0).is_ok(), "the first is there");
    assert!(!bench.passes(Direction::In, &data(), 0));
    let maps = bench.maps();
    assert_eq!(maps.put(&flow), None);
    assert_eq!(maps.flows.keys().count(), 255, "it leaves nothing");
    maps.flows.remove(&other(1)).expect("is there");
    let id = maps.put(&flow).expect("room");
    assert!(bench.passes(Direction::In, &data(), 0));
    assert_eq!(bench.maps().take(id).counts[0].packets, 1);
}

/// The kernel gives an element of its map that is deleted to the next key at once. So whoever has found it by
/// the first may read what the second leads to.
#[test]
fn a_packet_that_reads_where_another_flow_leads_comes_up() {
    let Some(mut bench) = Bench::new("another's element") else {
        return;
    };
    let from = |port| frame(&build::udp(&ip(CLIENT, SERVER), port, 53, &[1; 9]));
    let maps = bench.maps();
    let other = datagrams(CLIENT.0, 2);
    let id = maps.put(&other).expect("room");
    let [theirs, ours] = [2, 1].map(|port| {
        let flow = datagrams(CLIENT.0, port);
        key_data(&flow.keys[0].expect("a key"))
    });
    let place = maps.flows.get(&theirs, 0).expect("is there");
    maps.flows.insert(ours, place, 0).expect("room");
    assert!(!bench.passes(Direction::In, &from(1), 0));
    assert!(bench.passes(Direction::In, &from(2), 0));
    assert_eq!(bench.maps().take(id).counts[0].packets, 1);
}

/// Two states on one way, of which the second takes segments from `seq` on alone.
fn led(bench: &mut Bench, seq: u32) -> [FlowId; 2] {
    let entered = Flow {
        keys: [None; 2],
        ..connection()
    };
    let [client, server] = entered.windows.expect("windows");
    let client = FlowWindow {
        seq_lo: seq,
        seq_hi: seq.wrapping_add(30_000),
        ..client
    };
    let left = Flow {
        windows: Some([client, server]),
        ..entered
    };
    lead(bench.maps(), [&entered, &left])
}

/// Puts both, and has the client's packets pass by the first and the second out of the loopback, in
/// frames back.
pub(super) fn lead(maps: &mut FlowMaps, flows: [&Flow; 2]) -> [FlowId; 2] {
    let flows = flows.map(|flow| maps.put(flow).expect("room"));
    lead_to(maps, flows[0], Some((flows[1], 0)));
    flows
}

/// Has the client's packets, which this state lets pass, leave so by another's leave, or nobody's.
fn lead_to(maps: &mut FlowMaps, flow: FlowId, then: Option<(FlowId, usize)>) {
    let exit = FlowExit {
        exit: Exit::Wire {
            interface: IfIndex(LOOPBACK),
            ether: ETHER.reversed(),
        },
        then,
        hops: 0,
        mtu: 1500,
    };
    let way = connection().keys[0].expect("a key");
    assert!(maps.lead(flow, 0, &way, &exit));
}

/// What becomes of a packet is in the CPU's own room for the packet at hand.
#[test]
fn what_nobody_knows_where_it_leaves_is_not_translated_as_the_packet_before() {
    let Some(mut bench) = Bench::new("led alone") else {
        return;
    };
    let entered = Flow {
        keys: [None; 2],
        ..connection()
    };
    let ends = connection().keys[0].expect("a key");
    let left = Flow {
        becomes: [Some((host("198.51.100.7", 50_001), ends.destination)), None],
        shifts: [77, 0],
        ..entered
    };
    let flows = lead(bench.maps(), [&entered, &left]);
    let (_, out) = bench.run_program(Direction::In, &data(), 0);
    assert_eq!(out[26..30], [198, 51, 100, 7], "translated");
    for flow in flows {
        bench.maps().take(flow);
    }
    let alone = bench.maps().put(&entered).expect("room");
    lead_to(bench.maps(), alone, None);
    let (_, out) = bench.run_program(Direction::In, &data(), 0);
    assert!(out.starts_with(&ETHER.reversed().destination), "it leaves");
    assert_eq!(out[12..], data()[12..], "as it came");
    assert_eq!(bench.maps().take(alone).counts[0].packets, 1);
}

#[test]
fn a_packet_counts_at_both_states_of_its_way_or_at_none() {
    for (seq, packets) in [(1000, 1), (500_000, 0)] {
        let Some(mut bench) = Bench::new("undecided") else {
            return;
        };
        let flows = led(&mut bench, seq);
        let (_, out) = bench.run_program(Direction::In, &data(), 0);
        let leaves = out.starts_with(&ETHER.reversed().destination);
        assert_eq!(leaves, packets == 1);
        let maps = bench.maps();
        for flow in flows {
            assert_eq!(undecided(maps, flow), 0);
            assert_eq!(maps.take(flow).counts[0].packets, packets);
        }
    }
}

/// How often a packet is waited for.
const ATTEMPTS: u32 = 50;

#[test]
fn what_takes_a_connection_on_is_taken_by_both_states_of_its_way_or_by_none() {
    for (seq, is_taken) in [(1000, true), (500_000, false)] {
        let Some(mut bench) = Bench::new("taken on") else {
            return;
        };
        let flows = led(&mut bench, seq);
        let fin = frame(&segment(tcp_flags::FIN | ACK, 1000, 9000, 0));
        let (_, out) = bench.run_program(Direction::In, &fin, 0);
        assert_eq!(out.starts_with(&ETHER.reversed().destination), is_taken);
        let maps = bench.maps();
        let changed = maps.changed().into_iter().map(|changed| changed.flow);
        let wanted = if is_taken { &flows[..] } else { &[] };
        assert_eq!(changed.collect::<Vec<_>>(), wanted);
        for flow in flows {
            let told = maps.take(flow);
            let [client, _] = told.windows.expect("windows");
            assert_eq!(client.state, if is_taken { CLOSING } else { ESTABLISHED });
            assert_eq!(told.counts[0].packets, u64::from(is_taken));
        }
    }
}

#[test]
fn a_flow_is_over_when_no_packet_is_on_its_way_through_it() {
    let Some(mut bench) = Bench::new("on its way") else {
        return;
    };
    let maps = bench.maps();
    let id = maps.put(&connection()).expect("room");
    let mut state = [[0; STATE_LEN]];
    maps.states.read(id.0, &mut state, LOCKED).expect("reads");
    let (mut decided, mut waits) = (state, state);
    put(&mut waits[0], UNDECIDED_AT, &1u16.to_ne_bytes());
    put(&mut decided[0], TRAFFIC_AT, &1u64.to_ne_bytes());
    let states = &maps.states;
    // A machine that is held up may not get to it in time: then it is waited for again.
    let last = (0..ATTEMPTS).map(|_| {
        states.update(&[id.0], &waits, LOCKED).expect("writes");
        assert_eq!(maps.readings(&[id])[0].progress.counts[0].packets, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    thread::yield_now();
                }
                states.update(&[id.0], &decided, LOCKED).expect("writes");
            });
            maps.last_readings(&[id])
        })
    });
    let mut last = last.skip_while(|last| last[0].is_undecided);
    let last = last.next().expect("it is waited for");
    assert_eq!(last[0].progress.counts[0].packets, 1);
}

#[test]
fn the_cache_does_without_what_a_kernel_refuses() {
    for refused in [&["flow_pave"][..], &["flow_pave", "open_in", "open_out"]] {
        let Some(mut bench) = Bench::without("refused", 1024, refused) else {
            return;
        };
        let id = bench.maps().put(&connection()).expect("room");
        assert!(bench.passes(Direction::In, &data(), 0));
        assert_eq!(bench.maps().take(id).counts[0].packets, 1);
        let opens = bench.maps().opened_max() > 0;
        assert_eq!(opens, refused.len() == 1);
    }
}
