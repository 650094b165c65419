//! Lanes of fused flows (`bpf/lane.bpf.h`): whatever goes by one is counted at both of its states, and
//! nothing goes by one whose states have ended.

use std::net::IpAddr;
use std::time::Duration;

use datapath::bench::{At, End, Generator, Order, Stream};
use datapath::{FastPath, FlowMaps};
use pf_engine::addr::Protocol;
use pf_engine::counters::Count;
use pf_engine::decision::{EtherAddresses, Hook};
use pf_engine::flow::{Flow, FlowBasis, FlowCache, FlowId, FlowKey};
use pf_engine::rule::Direction;
use pf_engine::view::HostPort;
use pf_engine::wire::build::{self, Ip};

use crate::fused::{A, B, Cache, NOW, SETTLED, three_ports_that_know_b};
use crate::held_up::{HELD_UP, let_pass, noting, undisturbed};
use crate::raw::{RawSocket, ethernet, mac};
use crate::support::{Lab, index_here, until};

const ETH_P_IPV6: u16 = 0x86dd;
const ETHER: EtherAddresses = EtherAddresses {
    source: [2, 0, 0, 0, 0, A.1],
    destination: [2, 0, 0, 0, 0, B.1],
};
const SOURCE: [u8; 4] = [10, 0, 64, 0];
/// The generator's first port, and where its datagrams go.
const PORTS: (u16, u16) = (1024, 9);
/// Bytes of its packets.
const LEN: u64 = 46;

fn stream(lab: &Lab, flows: u32) -> Stream {
    Stream {
        out: lab.index("a", "eth0").0,
        ether: ETHER,
        source: SOURCE.into(),
        destination: B.0.into(),
        port: PORTS.1,
        flows,
        order: Order::Ascending,
    }
}

/// Sends so many of its datagrams from `a`.
fn generate(lab: &Lab, stream: &Stream, packets: u32) {
    lab.within("a", || {
        let mut generator = Generator::new(stream).expect("a generator");
        noting(2 * HELD_UP, || generator.send(packets)).expect("sends");
    });
}

/// Waits until so many have arrived. A busy kernel loses some between a virtual pair's ends.
fn assert_arrived(end: &End, packets: u64) {
    let arrived = || end.arrived().expect("a count");
    noting(HELD_UP, || until(|| arrived() == packets));
    assert_eq!(arrived(), packets);
}

/// Both states of a flow between these.
fn put(maps: &mut FlowMaps, source: (IpAddr, u16), destination: (IpAddr, u16)) -> [FlowId; 2] {
    put_for(maps, source, destination, Duration::from_hours(1))
}

/// The same of states that live so long behind each packet.
fn put_for(
    maps: &mut FlowMaps,
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    lifetime: Duration,
) -> [FlowId; 2] {
    let hooks = [("em1", Direction::In), ("fxp0", Direction::Out)];
    hooks.map(|(interface, direction)| {
        let end = |(address, port)| HostPort { address, port };
        let key = FlowKey {
            hook: Hook {
                interface: index_here(interface),
                direction,
            },
            ether: ETHER,
            protocol: Protocol::UDP,
            opens: false,
            source: end(source),
            destination: end(destination),
        };
        let flow = Flow {
            keys: [Some(key), None],
            becomes: [None; 2],
            shifts: [0; 2],
            windows: None,
            refreshed: NOW,
            lifetime,
            basis: FlowBasis::State,
        };
        maps.put(&flow).expect("room")
    })
}

fn put_of_stream(maps: &mut FlowMaps, flow: u16) -> [FlowId; 2] {
    let source = (SOURCE.into(), PORTS.0 + flow);
    put(maps, source, (B.0.into(), PORTS.1))
}

fn counts(maps: &mut FlowMaps, flows: [FlowId; 2]) -> [Count; 2] {
    flows.map(|flow| maps.read(flow).counts[0])
}

const fn count(packets: u64) -> Count {
    Count {
        packets,
        bytes: packets * LEN,
    }
}

#[test]
fn what_a_lane_counts_is_told_at_both_states_however_much_it_is() {
    undisturbed(|| {
        const ROUND: u32 = 40_000;
        const ROUNDS: u32 = 8;

        let Some(lab) = three_ports_that_know_b("lane") else {
            return;
        };
        let stream = stream(&lab, 1);
        lab.run("box", "ethtool -K em1 gro on");
        let end = lab.within("b", || End::new("eth0", At::Xdp, PORTS.1));
        let end = end.expect("an end");
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flows = put_of_stream(&mut cache.maps, 0);
            let send = |packets| generate(&lab, &stream, packets);
            send(1);
            let_pass(SETTLED);
            for round in 1..=ROUNDS {
                send(ROUND);
                assert_eq!(cache.maps.changed(), [], "no state has changed");
                let total = u64::from(ROUND * round) + 1;
                assert_arrived(&end, total);
                assert_eq!(counts(&mut cache.maps, flows), [count(total); 2]);
            }
            let total = u64::from(ROUND * ROUNDS) + 1;
            assert_arrived(&end, total);
            let statistics = cache.datapath.statistics();
            assert_eq!(statistics.cached, 2 * total);
            assert!(statistics.ridden > total * 9 / 10, "{statistics:?}");
            // The second state ends: nothing goes by the lane any more, and the first one has its figures.
            assert_eq!(cache.maps.take(flows[1]).counts[0], count(total));
            send(10);
            until(|| cache.datapath.statistics().upcalls == 10);
            assert_arrived(&end, total);
            let both = [count(total + 10), Count::default()];
            let first = cache.maps.take(flows[0]);
            assert_eq!([first.counts[0], first.counts[1]], both);
            assert_eq!(cache.datapath.statistics().upcalls, 10);
        });
    });
}

#[test]
fn flows_that_find_no_place_for_a_lane_go_by_their_states() {
    undisturbed(|| {
        const FLOWS: u16 = 512;
        const ROUNDS: u32 = 6;

        let Some(lab) = three_ports_that_know_b("lanes") else {
            return;
        };
        let stream = stream(&lab, FLOWS.into());
        lab.run("box", "ethtool -K em1 gro on");
        let end = lab.within("b", || End::new("eth0", At::Xdp, PORTS.1));
        let end = end.expect("an end");
        lab.within("box", || {
            // A lane for each flow: some group of eight has more of these, whatever the seed.
            let mut cache =
                Cache::with_room(FastPath::On, &["em1", "fxp0", "em2"], 2 * u32::from(FLOWS));
            cache.settle();
            let flows: Vec<_> = (0..FLOWS)
                .map(|flow| put_of_stream(&mut cache.maps, flow))
                .collect();
            let send = |packets| generate(&lab, &stream, packets);
            send(FLOWS.into());
            let_pass(SETTLED);
            send(u32::from(FLOWS) * ROUNDS);
            let all = u64::from(u32::from(FLOWS) * (ROUNDS + 1));
            assert_arrived(&end, all);
            for flow in flows {
                let told = counts(&mut cache.maps, flow);
                assert_eq!(told, [count(u64::from(ROUNDS) + 1); 2]);
            }
            let statistics = cache.datapath.statistics();
            assert_eq!(statistics.cached, 2 * all);
            assert!(statistics.ridden > 0 && statistics.ridden < statistics.fused);
        });
    });
}

/// Sends a datagram of IPv6 so many times, each of which must arrive as it is.
fn cross_v6(from: &RawSocket, to: &RawSocket, source: &str, times: usize) {
    let frame = datagram_v6(source);
    noting(HELD_UP, || {
        for _ in 0..times {
            from.send(&frame);
            to.receive(|arrived| arrived == frame);
        }
    });
}

fn datagram_v6(source: &str) -> Vec<u8> {
    let ip = Ip::new(address(source), address("2001:db8::2"));
    let packet = build::udp(&ip, 9, 9, &[7; 20]);
    ethernet(mac(B.1), mac(A.1), ETH_P_IPV6, &packet)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn datagrams_of_ipv6_have_lanes_that_know_their_whole_addresses() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("lanev6") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            // Alike but for the words that a lane's name has not.
            let sources = ["2001:db8::1", "2001:db8:1::1"];
            let flows = sources.map(|source| {
                let source = (address(source), 9);
                put(&mut cache.maps, source, (address("2001:db8::2"), 9))
            });
            for source in sources {
                cross_v6(&a, &b, source, 1);
            }
            let_pass(SETTLED);
            cross_v6(&a, &b, sources[0], 5);
            cross_v6(&a, &b, sources[1], 3);
            let packets =
                flows.map(|flows| counts(&mut cache.maps, flows).map(|count| count.packets));
            assert_eq!(packets, [[6; 2], [4; 2]]);
            assert_eq!(cache.datapath.statistics().fused, 8);
            // The first of each makes its lane.
            assert_eq!(cache.datapath.statistics().ridden, 6);
        });
    });
}

#[test]
fn states_hear_of_a_packet_of_their_lanes_before_half_of_their_life_is_over() {
    undisturbed(|| {
        const HALF: Duration = Duration::from_secs(2);

        let Some(lab) = three_ports_that_know_b("laneslife") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flows = [("2001:db8::1", 2 * HALF), ("2001:db8::3", 1000 * HALF)];
            for (source, lifetime) in flows {
                let destination = (address("2001:db8::2"), 9);
                put_for(&mut cache.maps, (address(source), 9), destination, lifetime);
                cross_v6(&a, &b, source, 1);
            }
            let_pass(SETTLED);
            for (source, _) in flows {
                cross_v6(&a, &b, source, 2);
            }
            let ridden = |cache: &Cache| cache.datapath.statistics().ridden;
            assert_eq!(ridden(&cache), 2, "the first of each made its lane");
            // A lane's clock is as coarse as the kernel's ticks and its own units.
            let_pass(HALF + 2 * SETTLED);
            cross_v6(&a, &b, flows[0].0, 1);
            assert_eq!(ridden(&cache), 2);
            cross_v6(&a, &b, flows[0].0, 1);
            assert_eq!(ridden(&cache), 3, "it renewed its lane");
            cross_v6(&a, &b, flows[1].0, 1);
            assert_eq!(ridden(&cache), 4, "what lives long keeps it");
            assert_eq!(cache.datapath.statistics().fused, 7);
        });
    });
}

#[test]
fn lanes_go_with_the_cache() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("lanegone") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let source = "2001:db8::1";
            let destination = (address("2001:db8::2"), 9);
            put(&mut cache.maps, (address(source), 9), destination);
            cross_v6(&a, &b, source, 1);
            let_pass(SETTLED);
            cross_v6(&a, &b, source, 5);
            let Cache { datapath, maps, .. } = cache;
            let before = datapath.statistics();
            assert!(before.ridden > 0, "{before:?}");
            drop(maps);
            let_pass(SETTLED);
            a.send(&datagram_v6(source));
            assert!(b.is_quiet(|frame| frame == datagram_v6(source)));
            let behind = datapath.statistics();
            assert_eq!(behind.ridden, before.ridden);
            assert_eq!(behind.upcalls, before.upcalls + 1);
        });
    });
}
