//! NAT: addresses and ports that are others on the other side, of both families.

use aya::maps::xdp::DevMapHash;
use aya::programs::Xdp;
use pf_engine::addr::Family;
use pf_engine::flow::FlowExit;

use super::*;

/// `XDP_REDIRECT`.
const REDIRECTED: u32 = 4;
const INSIDE: (&str, u16) = ("2001:db8:a::5", 5000);
const OUTSIDE: (&str, u16) = ("2001:db8:b::80", 80);
/// As whom the one and the other are known.
const KNOWN_INSIDE: (&str, u16) = ("2001:db8:ffff:1::77", 50_001);
const KNOWN_OUTSIDE: (&str, u16) = ("fd00:1234:5678:9abc:def0::1", 8080);

fn pool(address: &str, ports: Option<PoolPorts>) -> Pool {
    Pool {
        targets: vec![PoolTarget {
            interface: None,
            address: Address::Prefix(Prefix::host(host(address, 0).address)),
            weight: None,
        }],
        ports,
        ..Pool::default()
    }
}

pub(super) fn nat(address: &str) -> Rule {
    let mut nat = Rule::new(Action::Nat);
    nat.nat = Some(pool(address, None));
    nat
}

#[test]
fn the_kernel_translates_byte_for_byte_as_the_engine_does() {
    let nat = nat("198.51.100.7");
    let mut rdr = Rule::new(Action::Rdr);
    rdr.rdr = Some(pool("198.51.100.8", Some(PoolPorts::Single(8080))));
    rdr.protocol = Some(Protocol::TCP);
    let mut rdr_udp = rdr.clone();
    rdr_udp.protocol = Some(Protocol::UDP);
    let outward = Ruleset {
        nat: vec![nat],
        ..Ruleset::default()
    };
    let inward = Ruleset {
        rdr: vec![rdr, rdr_udp],
        ..Ruleset::default()
    };
    let cases = [
        (outward, [Direction::Out, Direction::In]),
        (inward, [Direction::In, Direction::Out]),
    ];
    for (rules, sides) in cases {
        let Some(mut bench) = Bench::new("translation") else {
            return;
        };
        let translated = compare(&mut bench, &rules, sides).translated;
        assert!(
            translated > PACKETS / 20,
            "{translated} were translated in the kernel"
        );
    }
}

#[test]
fn the_kernel_translates_ipv6_byte_for_byte_as_the_engine_does() {
    let of_v6 = |mut rule: Rule| {
        rule.family = Some(Family::Inet6);
        rule
    };
    let mut rdr = Rule::new(Action::Rdr);
    rdr.rdr = Some(pool(KNOWN_OUTSIDE.0, Some(PoolPorts::Single(8080))));
    rdr.protocol = Some(Protocol::TCP);
    let outward = Ruleset {
        nat: vec![of_v6(nat(KNOWN_INSIDE.0))],
        ..Ruleset::default()
    };
    let inward = Ruleset {
        rdr: vec![of_v6(rdr)],
        ..Ruleset::default()
    };
    let mut modulate = Rule::new(Action::Pass);
    modulate.state = StateMode::Modulate;
    let modulated = Ruleset {
        filter: vec![modulate],
        ..outward.clone()
    };
    let cases = [
        (outward, [Direction::Out, Direction::In]),
        (inward, [Direction::In, Direction::Out]),
        (modulated, [Direction::Out, Direction::In]),
    ];
    for (rules, sides) in cases {
        let Some(mut bench) = Bench::new("translation of IPv6") else {
            return;
        };
        let done = compare(&mut bench, &rules, sides);
        assert!(done.translated > PACKETS / 100, "{done:?}");
    }
}

/// Packets from inside to outside, which become those of others.
fn translated(protocol: Protocol, ends: [HostPort; 2], becomes: [HostPort; 2]) -> Flow {
    let key = key(protocol, Direction::In, ends[0], ends[1]);
    Flow {
        keys: [Some(key), None],
        becomes: [Some((becomes[0], becomes[1])), None],
        windows: None,
        ..connection()
    }
}

#[test]
fn datagrams_and_echoes_of_ipv6_get_other_addresses_and_checksums_that_fit() {
    let Some(mut bench) = Bench::new("translated IPv6") else {
        return;
    };
    let host = |(address, port): (&str, u16)| host(address, port);
    let of = |inside: (&str, u16), outside: (&str, u16)| [inside, outside].map(host);
    let ports = of(INSIDE, OUTSIDE);
    let becomes = of(KNOWN_INSIDE, KNOWN_OUTSIDE);
    let flow = translated(Protocol::UDP, ports, becomes);
    let id = bench.maps().put(&flow).expect("room");
    let (from, to) = (ip(INSIDE, OUTSIDE), ip(KNOWN_INSIDE, KNOWN_OUTSIDE));
    let datagram = |ip: &Ip, ends: [(&str, u16); 2]| build::udp(ip, ends[0].1, ends[1].1, &[3; 9]);
    let sent = datagram(&from, [INSIDE, OUTSIDE]);
    let wanted = datagram(&to, [KNOWN_INSIDE, KNOWN_OUTSIDE]);
    let done = bench.run(Direction::In, &frame(&sent), 0);
    assert_eq!(done, Done::Passes(frame(&wanted)));
    let without = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet[46..48].fill(0);
        frame(&packet)
    };
    let done = bench.run(Direction::In, &without(&sent), 0);
    assert_eq!(done, Done::Passes(without(&wanted)), "without a checksum");
    assert_eq!(bench.maps().take(id).counts[0].packets, 2);

    let ends = of((INSIDE.0, 77), (OUTSIDE.0, 128));
    let becomes = of((KNOWN_INSIDE.0, 7777), (KNOWN_OUTSIDE.0, 128));
    let flow = translated(Protocol::ICMPV6, ends, becomes);
    bench.maps().put(&flow).expect("room");
    let sent = build::echo_request(&from, 77, 1, &[2; 9]);
    let wanted = build::echo_request(&to, 7777, 1, &[2; 9]);
    let done = bench.run(Direction::In, &frame(&sent), 0);
    assert_eq!(done, Done::Passes(frame(&wanted)));
}

#[test]
fn a_slot_that_had_translated_ipv6_has_what_comes_next() {
    let Some(mut bench) = Bench::new("slots of IPv6") else {
        return;
    };
    let host = |(address, port): (&str, u16)| host(address, port);
    let v6 = [INSIDE, OUTSIDE].map(host);
    let packet = frame(&build::udp(&ip(INSIDE, OUTSIDE), 5000, 80, &[3; 9]));
    let mut last = None;
    for known in ["2001:db8:ffff:2::1", "2001:db8:ffff:3::1"] {
        let becomes = [host((known, 5000)), v6[1]];
        let id = bench.maps().put(&translated(Protocol::UDP, v6, becomes));
        let wanted = build::udp(&ip((known, 0), OUTSIDE), 5000, 80, &[3; 9]);
        let done = bench.run(Direction::In, &packet, 0);
        assert_eq!(done, Done::Passes(frame(&wanted)));
        assert!(last.is_none_or(|last| last == id), "the same slot");
        last = Some(id);
        bench.maps().take(id.expect("room"));
    }
    let plain = Flow {
        becomes: [None; 2],
        ..translated(Protocol::UDP, v6, v6)
    };
    let id = bench.maps().put(&plain).expect("room");
    assert_eq!(Some(Some(id)), last);
    let done = bench.run(Direction::In, &packet, 0);
    assert_eq!(done, Done::Passes(packet), "as it came");
}

impl Bench {
    /// Packets of a flow leave by the loopback as those of another, as if they were known to do so for
    /// long.
    fn learn(&mut self, flow: FlowId, then: FlowId) {
        let maps = self.maps();
        let usage = |id: FlowId| maps.slot(id.0).expect("used").usage;
        let exit = FlowExit {
            exit: Exit::Wire {
                interface: IfIndex(LOOPBACK),
                ether: ETHER.reversed(),
            },
            then: None,
            hops: 1,
            mtu: 1500,
        };
        let out = [usage(then), u64::from(then.0) << 1];
        let mut data = exit_data(usage(flow), out, &exit).expect("told");
        let now = u64::try_from(kernel_now().as_nanos()).expect("small");
        put(&mut data, 24, &now.to_ne_bytes());
        put(&mut data, 63, &[0]);
        let way = flow.0 << 1;
        self.maps().exits.set(way, data, 0).expect("set");
    }

    /// What the driver's program makes of a frame.
    fn run_at_the_driver(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let map = self.ebpf.map_mut("xdp_ports").expect("a map");
        let mut ports: DevMapHash<_> = map.try_into().expect("of devices");
        ports.insert(LOOPBACK, LOOPBACK, None, 0).expect("set");
        let program = self.ebpf.program_mut("flow_xdp").expect("a program");
        let program: &mut Xdp = program.try_into().expect("of XDP");
        if program.fd().is_err() {
            program.load().expect("loads");
        }
        let mut out = vec![0; frame.len() + HEADROOM];
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        });
        out.truncate(frame.len());
        (result.expect("runs").return_value, out)
    }
}

#[test]
fn the_driver_s_program_translates_and_modulates_as_the_hooks_do() {
    for ends in [
        [INSIDE, OUTSIDE, KNOWN_INSIDE, KNOWN_OUTSIDE],
        [
            CLIENT,
            SERVER,
            ("198.51.100.7", 50_001),
            ("203.0.113.9", 8080),
        ],
    ] {
        let Some(mut bench) = Bench::new("translated at the driver") else {
            return;
        };
        let [from, to, known_from, known_to] = ends.map(|(address, port)| host(address, port));
        let entered = Flow {
            windows: connection().windows,
            shifts: [77, 0],
            ..translated(Protocol::TCP, [from, to], [from, known_to])
        };
        let [client, server] = entered.windows.expect("windows");
        let client = FlowWindow {
            seq_lo: client.seq_lo + 77,
            ..client
        };
        let left = Flow {
            keys: [None; 2],
            becomes: [Some((known_from, known_to)), None],
            windows: Some([client, server]),
            shifts: [1 << 31, 5],
            ..entered
        };
        let maps = bench.maps();
        let [entered, left] = [&entered, &left].map(|flow| maps.put(flow).expect("room"));
        bench.learn(entered, left);
        let data = |ends: [HostPort; 2], seq, ack, edge: u32, ttl| {
            let mut ip = Ip::new(ends[0].address, ends[1].address);
            ip.ttl = ttl;
            let mut segment = Segment::new(ends[0].port, ends[1].port, ACK);
            let edges = [edge, edge + 9].map(u32::to_be_bytes).concat();
            let sack = [&[1, 1, 5, 10][..], &edges].concat();
            (segment.seq, segment.ack, segment.window) = (seq, ack, 20_000);
            segment.options = &sack;
            build::tcp(&ip, &segment, &[7; 100])
        };
        let sent = data([from, to], 1000, 9005, 9105, 64);
        let moved = 1077 + (1 << 31);
        let wanted = data([known_from, known_to], moved, 9000, 9100, 63);
        let (returned, out) = bench.run_at_the_driver(&frame(&sent));
        assert_eq!(out, frame_of(&wanted, ETHER.reversed()));
        assert_eq!(returned, REDIRECTED);
        for flow in [entered, left] {
            assert_eq!(bench.maps().read(flow).counts[0].packets, 1);
        }
    }
}
