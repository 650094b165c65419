//! Flows that the kernel's program sends from the hook where they come in straight to the wire: what
//! it learns of their ways, and when it forgets.

use std::time::Duration;

use datapath::netlink::{Monitor, WayMonitor};
use datapath::{Datapath, DatapathConfig, FailPolicy, FastPath, FlowMaps, Upcall, XdpConfig};
use pf_engine::addr::Protocol;
use pf_engine::decision::{EtherAddresses, Hook};
use pf_engine::flow::{Flow, FlowBasis, FlowCache, FlowId, FlowKey};
use pf_engine::rule::Direction;
use pf_engine::time::Instant;
use pf_engine::view::HostPort;
use pf_engine::wire::build::{self, Ip};

use crate::held_up::{HELD_UP, let_pass, noting, undisturbed};
use crate::raw::{ETH_P_8021Q, ETH_P_IP, RawSocket, ethernet, mac, tagged};
use crate::support::{
    Lab, PATIENCE, XDP, empty_upcall, has, index_here, open_with_config, wait_any_readable,
    wait_readable,
};

/// The clients are behind `em1`.
pub(crate) const A: ([u8; 4], u8) = ([10, 0, 0, 1], 1);
pub(crate) const B: ([u8; 4], u8) = ([10, 0, 0, 2], 2);
/// Behind the router.
const FAR: [u8; 4] = [10, 1, 0, 2];
/// The router's own addresses.
const NEAR_PORT: u8 = 0x11;
const FAR_PORT: u8 = 0x12;
/// Longer than what is learnt takes to come into force (`EXIT_BEGINS`), with some ticks of the clock.
pub(crate) const SETTLED: Duration = Duration::from_millis(30);
/// Longer than it lives (`EXIT_LIVES_MIN`).
const OVER: Duration = Duration::from_millis(10_050);

/// The data path of `box`, with a flow cache that the test fills.
pub(crate) struct Cache {
    pub(crate) datapath: Datapath,
    pub(crate) maps: FlowMaps,
    ways: WayMonitor,
    links: Monitor,
}

impl Cache {
    fn new(hooked: &[&str]) -> Self {
        Self::with(FastPath::On, hooked)
    }

    /// With hooks on all ports of the bridge of [`three_ports`].
    pub(crate) fn of_three_ports() -> Self {
        let mut cache = Self::new(&["em1", "fxp0", "em2"]);
        cache.settle();
        cache
    }

    /// With hooks on both ports of [`router`].
    fn of_router() -> Self {
        let mut cache = Self::new(&["em1", "fxp0"]);
        cache.settle();
        cache
    }

    fn with(fast_path: FastPath, hooked: &[&str]) -> Self {
        Self::with_room(fast_path, hooked, datapath::FLOW_STATES_DEFAULT)
    }

    pub(crate) fn with_room(fast_path: FastPath, hooked: &[&str], flow_states: u32) -> Self {
        let config = DatapathConfig {
            tap: "weighbridge0".to_owned(),
            policy: FailPolicy::Pass,
            fast_path,
            flow_states,
        };
        let (ways, links) = (WayMonitor::open(), Monitor::open());
        let mut datapath = open_with_config(&config, None).expect("opens");
        for interface in hooked {
            datapath.attach(index_here(interface)).expect("attaches");
        }
        datapath.topology_changed().expect("is told");
        let maps = datapath.open_flows(NOW).expect("a cache");
        Self {
            datapath,
            maps,
            ways: ways.expect("opens"),
            links: links.expect("opens"),
        }
    }

    /// The same packets where they come in and where they leave.
    fn put_both(&mut self, frame: &Datagram) -> [FlowId; 2] {
        let hooks = [("em1", Direction::In), ("fxp0", Direction::Out)];
        hooks.map(|(interface, direction)| self.put(interface, direction, frame))
    }

    /// A flow of one way, seen at `interface`.
    fn put(&mut self, interface: &str, direction: Direction, frame: &Datagram) -> FlowId {
        self.put_as(interface, direction, frame, None)
    }

    fn put_as(
        &mut self,
        interface: &str,
        direction: Direction,
        frame: &Datagram,
        becomes: Option<[u8; 4]>,
    ) -> FlowId {
        let hook = Hook {
            interface: index_here(interface),
            direction,
        };
        let ends = |address: [u8; 4]| HostPort {
            address: address.into(),
            port: 9,
        };
        let key = FlowKey {
            hook,
            ether: EtherAddresses {
                source: mac(frame.ether.0),
                destination: mac(frame.ether.1),
            },
            protocol: Protocol::UDP,
            opens: false,
            source: ends(frame.from),
            destination: ends(frame.to),
        };
        let becomes = becomes.map(|source| (ends(source), ends(frame.to)));
        let flow = Flow {
            keys: [Some(key), None],
            becomes: [becomes, None],
            windows: None,
            shifts: [0; 2],
            refreshed: NOW,
            lifetime: Duration::from_hours(1),
            basis: FlowBasis::State,
        };
        self.maps.put(&flow).expect("room")
    }

    fn packets(&mut self, flow: FlowId) -> u64 {
        self.maps.read(flow).counts[0].packets
    }

    fn fused(&self) -> u64 {
        self.datapath.statistics().fused
    }

    /// The kernel tells of a change of neighbours, or of what it does with packets.
    fn hear_of_neighbours(&mut self) {
        let mut changed = false;
        while !changed {
            let is_heard = wait_any_readable(self.ways.fds(), PATIENCE);
            assert!(is_heard, "nothing is heard");
            let heard = self.ways.drain().expect("readable");
            changed = heard.changed || heard.learnt;
        }
        self.datapath.neighbours_changed().expect("is told");
    }

    /// The kernel tells of a change of links, addresses or routes.
    fn hear_of_links(&mut self) {
        assert!(wait_readable(self.links.fd(), PATIENCE), "nothing is heard");
        assert!(self.links.drain().expect("readable"));
        self.datapath.topology_changed().expect("is told");
    }

    /// Forgets what was told while the test was set up.
    pub(crate) fn settle(&mut self) {
        while wait_any_readable(self.ways.fds(), SETTLED) {
            self.ways.drain().expect("readable");
        }
        self.links.drain().expect("readable");
        self.datapath.topology_changed().expect("is told");
    }
}

pub(crate) const NOW: Instant = Instant::from_secs(100_000);

/// A datagram from port 9 to port 9 in a frame.
#[derive(Clone, Copy)]
struct Datagram {
    from: [u8; 4],
    to: [u8; 4],
    /// Last bytes of the frame's source and destination.
    ether: (u8, u8),
    ttl: u8,
    len: usize,
}

impl Datagram {
    const BRIDGED: Self = Self {
        from: A.0,
        to: B.0,
        ether: (A.1, B.1),
        ttl: 64,
        len: 20,
    };
    const ROUTED: Self = Self {
        to: FAR,
        ether: (A.1, NEAR_PORT),
        ..Self::BRIDGED
    };

    /// As a router sends it on.
    fn beyond(self) -> Self {
        Self {
            ether: (FAR_PORT, B.1),
            ttl: self.ttl - 1,
            ..self
        }
    }

    fn frame(&self) -> Vec<u8> {
        let mut ip = Ip::new(self.from.into(), self.to.into());
        (ip.ttl, ip.dont_fragment) = (self.ttl, true);
        let packet = build::udp(&ip, 9, 9, &vec![7; self.len]);
        ethernet(mac(self.ether.1), mac(self.ether.0), ETH_P_IP, &packet)
    }
}

/// Sends a datagram so many times, each of which must arrive as it is to.
fn cross(from: &RawSocket, to: &RawSocket, datagram: &Datagram, arrives: &Datagram, times: u64) {
    let (sent, wanted) = (datagram.frame(), arrives.frame());
    noting(HELD_UP, || {
        for _ in 0..times {
            from.send(&sent);
            to.receive(|frame| frame == wanted);
        }
    });
}

fn is_datagram(frame: &[u8]) -> bool {
    frame.len() > 34 && frame[12..14] == [8, 0] && frame[23] == 17
}

/// `bridged`, and `c` behind a third port, `em2`.
fn three_ports(lab: &mut Lab) {
    lab.bridged();
    lab.host("c");
    lab.cable(("c", "eth0", 3), ("box", "em2", 0x13));
    lab.ip("box", "link set dev em2 master bridge0");
    quiet(lab, &["a", "b", "c"]);
}

/// The same, and the bridge knows where `b` is; nothing when the test cannot run.
pub(crate) fn three_ports_that_know_b(test: &str) -> Option<Lab> {
    let mut lab = Lab::new(test)?;
    three_ports(&mut lab);
    announce(&lab, "b", 2);
    Some(lab)
}

/// `a` and `b` with a router between.
fn router(lab: &mut Lab) {
    for host in ["a", "b", "box"] {
        lab.host(host);
    }
    lab.cable(("a", "eth0", A.1), ("box", "em1", NEAR_PORT));
    lab.cable(("b", "eth0", B.1), ("box", "fxp0", FAR_PORT));
    lab.ip("box", "address add 10.0.0.254/24 dev em1");
    lab.ip("box", "address add 10.1.0.254/24 dev fxp0");
    let neigh = "neigh replace";
    lab.ip(
        "box",
        &format!("{neigh} 10.1.0.2 lladdr 02:00:00:00:00:02 dev fxp0"),
    );
    lab.ip(
        "box",
        &format!("{neigh} 10.0.0.1 lladdr 02:00:00:00:00:01 dev em1"),
    );
    lab.within("box", || {
        crate::support::write_sysctl("net/ipv4/ip_forward", "1");
    });
    quiet(lab, &["a", "b"]);
}

/// These hosts answer nothing: their addresses are those of frames that the test makes.
fn quiet(lab: &Lab, hosts: &[&str]) {
    for host in hosts {
        lab.ip(host, "link set dev eth0 arp off");
        lab.ip(host, "address flush dev eth0");
    }
}

/// A station is heard, so that the bridge knows where it is.
fn announce(lab: &Lab, host: &str, station: u8) {
    let other = ethernet([0xff; 6], mac(station), 0x88b5, &[0; 46]);
    lab.raw(host, "eth0").send(&other);
    let_pass(SETTLED);
}

#[test]
fn a_known_flow_skips_the_bridge_but_for_one_packet_in_ten_seconds() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("fused") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flow = Datagram::BRIDGED;
            let flows = cache.put_both(&flow);
            let send = |cache: &mut Cache, flow: &Datagram, times, fused| {
                let before = cache.fused();
                cross(&a, &b, flow, flow, times);
                assert_eq!(cache.fused() - before, fused);
            };
            send(&mut cache, &flow, 1, 0);
            let_pass(SETTLED);
            send(&mut cache, &flow, 10, 10);
            let longer = Datagram { len: 1_400, ..flow };
            send(&mut cache, &longer, 3, 2);
            send(&mut cache, &flow, 1, 1);
            let_pass(OVER);
            send(&mut cache, &longer, 3, 2);
            assert_eq!(flows.map(|flow| cache.packets(flow)), [18; 2]);
            assert_eq!(cache.datapath.statistics().cached, 36);
            assert_eq!(cache.datapath.statistics().upcalls, 0);
        });
    });
}

#[test]
fn a_flow_that_the_bridge_floods_is_never_fused() {
    undisturbed(|| {
        let Some(mut lab) = Lab::new("flood") else {
            return;
        };
        three_ports(&mut lab);
        let [a, b, c] = ["a", "b", "c"].map(|host| lab.raw(host, "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let unknown = Datagram {
                ether: (A.1, 9),
                ..Datagram::BRIDGED
            };
            let group = Datagram {
                to: [239, 1, 1, 1],
                ..Datagram::BRIDGED
            };
            for flow in [unknown, group] {
                let flows = [
                    cache.put("em1", Direction::In, &flow),
                    cache.put("fxp0", Direction::Out, &flow),
                    cache.put("em2", Direction::Out, &flow),
                ];
                for _ in 0..10 {
                    cross(&a, &b, &flow, &flow, 3);
                    let_pass(SETTLED / 2);
                }
                if flow.ether == unknown.ether {
                    for _ in 0..30 {
                        c.receive(is_datagram);
                    }
                    assert_eq!(flows.map(|flow| cache.packets(flow)), [30; 3]);
                }
            }
            assert_eq!(cache.fused(), 0);
            // One of its copies leaves where nobody looks.
            cache.datapath.detach(index_here("em2"));
            cache.settle();
            for _ in 0..5 {
                cross(&a, &b, &unknown, &unknown, 3);
                let_pass(SETTLED);
            }
            for _ in 0..15 {
                c.receive(is_datagram);
            }
            assert_eq!(cache.fused(), 0);
        });
    });
}

#[test]
fn a_station_that_moves_is_followed_at_once() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("moves") else {
            return;
        };
        let [a, b, c] = ["a", "b", "c"].map(|host| lab.raw(host, "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flow = Datagram::BRIDGED;
            cache.put_both(&flow);
            cache.put("em2", Direction::Out, &flow);
            cross(&a, &b, &flow, &flow, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &flow, 5);
            assert_eq!(cache.fused(), 5);
            announce(&lab, "c", 2);
            cache.hear_of_neighbours();
            cross(&a, &c, &flow, &flow, 5);
            assert_eq!(cache.fused(), 5);
            let_pass(SETTLED);
            cross(&a, &c, &flow, &flow, 5);
            assert_eq!(cache.fused(), 10);
            assert!(b.is_quiet(is_datagram), "it has moved");
        });
    });
}

#[test]
fn a_routed_flow_is_fused_as_the_kernel_sends_it() {
    undisturbed(|| {
        let Some(mut lab) = Lab::new("routed") else {
            return;
        };
        router(&mut lab);
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_router();
            let flow = Datagram::ROUTED;
            let out = flow.beyond();
            cache.put("em1", Direction::In, &flow);
            let leaves = cache.put_as("fxp0", Direction::Out, &out, Some([198, 51, 100, 7]));
            let arrives = Datagram {
                from: [198, 51, 100, 7],
                ..out
            };
            cross(&a, &b, &flow, &arrives, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &arrives, 5);
            assert_eq!(cache.fused(), 5);
            // The last hop: the kernel answers, and the answer comes up where it leaves.
            let tired = Datagram { ttl: 1, ..flow };
            a.send(&tired.frame());
            assert_eq!(came_up(&mut cache), (1, 11));
            assert_eq!(cache.fused(), 5);
            // Too long for the wire: the same, with another answer.
            lab.ip("box", "link set dev fxp0 mtu 1000");
            cache.hear_of_links();
            cross(&a, &b, &flow, &arrives, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &arrives, 1);
            assert_eq!(cache.fused(), 6);
            let long = Datagram { len: 1_200, ..flow };
            a.send(&long.frame());
            assert_eq!(came_up(&mut cache), (1, 3));
            assert_eq!(cache.packets(leaves), 8);
        });
    });
}

#[test]
fn what_the_kernel_may_do_with_packets_between_is_followed_at_once() {
    undisturbed(|| {
        let changes = [
            (
                "nft",
                "nft add table ip t { chain c { type filter hook forward priority 0; policy drop; }; }",
            ),
            (
                "policy",
                "ip xfrm policy add dir fwd src 0.0.0.0/0 dst 10.1.0.0/24 action block",
            ),
            ("sysctl", "sysctl -qw net.ipv4.ip_forward=0"),
        ];
        for (name, change) in changes {
            let Some(mut lab) = Lab::new(&format!("between{name}")) else {
                return;
            };
            router(&mut lab);
            let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
            lab.within("box", || {
                let mut cache = Cache::of_router();
                let (flow, out) = (Datagram::ROUTED, Datagram::ROUTED.beyond());
                cache.put("em1", Direction::In, &flow);
                cache.put("fxp0", Direction::Out, &out);
                cross(&a, &b, &flow, &out, 1);
                let_pass(SETTLED);
                cross(&a, &b, &flow, &out, 5);
                assert_eq!(cache.fused(), 5, "{name}");
                if !lab.can("box", change) {
                    println!("SKIPPED {name}: not here");
                    return;
                }
                cache.hear_of_neighbours();
                a.send(&flow.frame());
                assert!(b.is_quiet(is_datagram), "{name}");
                assert_eq!(cache.fused(), 5, "{name}");
            });
        }
    });
}

/// Protocol and ICMP type of a packet that has come up.
fn came_up(cache: &mut Cache) -> (u8, u8) {
    let upcall = next_upcall(cache);
    (upcall.packet.bytes[9], upcall.packet.bytes[20])
}

fn next_upcall(cache: &mut Cache) -> Upcall {
    let mut upcall = empty_upcall();
    assert!(
        wait_readable(cache.datapath.fd(), PATIENCE),
        "nothing comes"
    );
    assert!(cache.datapath.receive(&mut upcall).expect("readable"));
    upcall
}

#[test]
fn frames_with_a_priority_are_fused_like_others_and_what_comes_up_tells_it() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("urgent") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flow = Datagram::BRIDGED;
            let flows = cache.put_both(&flow);
            let plain = flow.frame();
            let send = |flow: &Datagram| {
                let frame = flow.frame();
                let behind_tag = tagged(0xa000, ETH_P_IP, &frame[14..]);
                a.send(&ethernet(mac(B.1), mac(A.1), ETH_P_8021Q, &behind_tag));
            };
            send(&flow);
            b.receive(|frame| frame == plain);
            let_pass(SETTLED);
            for _ in 0..10 {
                send(&flow);
                b.receive(|frame| frame == plain);
            }
            assert_eq!(cache.fused(), 10);
            assert_eq!(flows.map(|flow| cache.packets(flow)), [11; 2]);
            send(&Datagram {
                from: [10, 0, 0, 77],
                ..flow
            });
            assert_eq!(next_upcall(&mut cache).packet.priority, Some(5));
            assert_eq!(cache.datapath.statistics().upcalls, 1);
        });
    });
}

#[test]
fn routes_neighbours_and_links_that_change_are_followed_at_once() {
    undisturbed(|| {
        let Some(mut lab) = Lab::new("changes") else {
            return;
        };
        router(&mut lab);
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_router();
            let flow = Datagram::ROUTED;
            let out = flow.beyond();
            let moved = Datagram {
                ether: (FAR_PORT, 9),
                ..out
            };
            cache.put("em1", Direction::In, &flow);
            cache.put("fxp0", Direction::Out, &out);
            cache.put("fxp0", Direction::Out, &moved);
            let fuse = |cache: &mut Cache, arrives: &Datagram| {
                let before = cache.fused();
                cross(&a, &b, &flow, arrives, 1);
                assert_eq!(cache.fused(), before);
                let_pass(SETTLED);
                cross(&a, &b, &flow, arrives, 3);
                assert_eq!(cache.fused(), before + 3);
            };
            fuse(&mut cache, &out);
            lab.ip(
                "box",
                "neigh replace 10.1.0.2 lladdr 02:00:00:00:00:09 dev fxp0",
            );
            cache.hear_of_neighbours();
            fuse(&mut cache, &moved);
            lab.ip("box", "route add blackhole 10.1.0.2/32");
            cache.hear_of_links();
            a.send(&flow.frame());
            assert!(b.is_quiet(is_datagram), "there is no way");
            lab.ip("box", "route del blackhole 10.1.0.2/32");
            cache.hear_of_links();
            fuse(&mut cache, &moved);
            lab.ip("box", "rule add to 10.1.0.2 blackhole");
            cache.hear_of_neighbours();
            a.send(&flow.frame());
            assert!(b.is_quiet(is_datagram), "there is a rule against it");
            lab.ip("box", "rule del to 10.1.0.2 blackhole");
            cache.hear_of_neighbours();
            fuse(&mut cache, &moved);
            let before = cache.fused();
            lab.ip("box", "link set dev fxp0 down");
            cache.hear_of_links();
            a.send(&flow.frame());
            assert!(b.is_quiet(is_datagram), "the cable is out");
            assert_eq!(cache.fused(), before);
        });
    });
}

#[test]
fn what_the_second_state_does_not_let_pass_goes_the_ordinary_way_and_comes_up() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("refuses") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flow = Datagram::BRIDGED;
            let comes = cache.put("em1", Direction::In, &flow);
            let leaves = cache.put("fxp0", Direction::Out, &flow);
            cross(&a, &b, &flow, &flow, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &flow, 2);
            assert_eq!(cache.fused(), 2);
            assert_eq!(cache.maps.take(leaves).counts[0].packets, 3);
            a.send(&flow.frame());
            assert_eq!(came_up(&mut cache).0, 17);
            // Another state has its slot.
            let other = Datagram {
                to: [10, 0, 0, 77],
                ..flow
            };
            assert_eq!(cache.put("fxp0", Direction::Out, &other), leaves);
            a.send(&flow.frame());
            assert_eq!(came_up(&mut cache).0, 17);
            assert_eq!(cache.packets(leaves), 0);
            assert_eq!(cache.packets(comes), 5);
            assert_eq!(cache.fused(), 2);
            // Its own is back in another: found by the next packet.
            let again = cache.put("fxp0", Direction::Out, &flow);
            assert_ne!(again, leaves);
            cross(&a, &b, &flow, &flow, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &flow, 4);
            assert_eq!(cache.fused(), 6);
            assert_eq!(cache.packets(again), 5);
            // Where it comes in it is over.
            assert_eq!(cache.maps.take(comes).counts[0].packets, 10);
            a.send(&flow.frame());
            assert_eq!(came_up(&mut cache).0, 17);
            assert_eq!(cache.packets(again), 5);
        });
    });
}

#[test]
fn an_emptied_cache_fuses_nothing() {
    undisturbed(|| {
        let Some(lab) = three_ports_that_know_b("emptied") else {
            return;
        };
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::of_three_ports();
            let flow = Datagram::BRIDGED;
            cache.put_both(&flow);
            cross(&a, &b, &flow, &flow, 1);
            let_pass(SETTLED);
            cross(&a, &b, &flow, &flow, 2);
            cache.maps.suspend();
            a.send(&flow.frame());
            assert_eq!(came_up(&mut cache).0, 17);
            assert_eq!(cache.fused(), 2);
        });
    });
}

/// Ports of the box, and the hosts behind them, that take frames of a driver.
fn three_ports_for_xdp(lab: &mut Lab) {
    three_ports(lab);
    for host in ["a", "b", "c"] {
        lab.run(host, "ethtool -K eth0 gro on");
    }
}

fn xdp(on_veth: bool) -> FastPath {
    FastPath::Xdp(XdpConfig {
        interfaces: None,
        on_veth,
    })
}

#[test]
fn fused_flows_pass_at_the_driver_and_count_as_at_the_hooks() {
    undisturbed(|| {
        for (on_veth, name) in [(true, "xdp"), (false, "noxdp")] {
            let Some(mut lab) = Lab::new(name) else {
                return;
            };
            three_ports_for_xdp(&mut lab);
            announce(&lab, "b", 2);
            let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
            lab.within("box", || {
                let mut cache = Cache::with(xdp(on_veth), &["em1", "fxp0", "em2"]);
                cache.settle();
                let flow = Datagram::BRIDGED;
                let flows = [
                    cache.put_as("em1", Direction::In, &flow, None),
                    cache.put("fxp0", Direction::Out, &flow),
                ];
                cross(&a, &b, &flow, &flow, 1);
                let_pass(SETTLED);
                cross(&a, &b, &flow, &flow, 10);
                assert_eq!(cache.fused(), 10);
                let by_xdp = cache.datapath.statistics().by_xdp;
                let at_driver = on_veth && has(XDP);
                assert_eq!(by_xdp, if at_driver { 10 } else { 0 }, "{name}");
                assert_eq!(cache.datapath.statistics().ridden, 9, "{name}");
                assert_eq!(flows.map(|flow| cache.packets(flow)), [11, 11]);
                // What is not known yet, or not fused, meets the hooks.
                let_pass(if at_driver { OVER } else { SETTLED });
                cross(&a, &b, &flow, &flow, 1);
                assert_eq!(cache.datapath.statistics().by_xdp, by_xdp);
                assert_eq!(flows.map(|flow| cache.packets(flow)), [12, 12]);
            });
        }
    });
}

#[test]
fn what_is_translated_and_routed_at_the_driver_is_what_the_kernel_would_have_sent() {
    undisturbed(|| {
        let Some(mut lab) = Lab::new("xdprouted") else {
            return;
        };
        router(&mut lab);
        for host in ["a", "b"] {
            lab.run(host, "ethtool -K eth0 gro on");
        }
        let (a, b) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
        lab.within("box", || {
            let mut cache = Cache::with(xdp(true), &["em1", "fxp0"]);
            cache.settle();
            let enters = Datagram::ROUTED;
            let leaves = enters.beyond();
            let translated = Datagram {
                from: [10, 1, 0, 254],
                ..leaves
            };
            cache.put("em1", Direction::In, &enters);
            cache.put_as("fxp0", Direction::Out, &leaves, Some(translated.from));
            cross(&a, &b, &enters, &translated, 1);
            let_pass(SETTLED);
            cross(&a, &b, &enters, &translated, 5);
            let by_xdp = if has(XDP) { 5 } else { 0 };
            assert_eq!(cache.datapath.statistics().by_xdp, by_xdp);
        });
    });
}
