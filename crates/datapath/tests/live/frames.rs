//! Frames through hooks, TAP and back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use datapath::{Attachment, Reinjection};
use pf_engine::decision::{EtherAddresses, Exit};
use pf_engine::rule::Direction;

use crate::raw::{
    ETH_P_8021AD, ETH_P_8021Q, ETH_P_ARP, ETH_P_IP, ends_with, ethernet, is_udp, mac, tagged,
    turn_around, udp,
};
use crate::support::{Answer, Lab, pass};

/// Bytes of a transfer: some thousand segments each way.
const TRANSFER: usize = 20_000_000;

#[test]
fn ping_and_tcp_cross_the_bridge_packet_by_packet_with_offloads_on() {
    let Some(mut lab) = Lab::new("tcp") else {
        return;
    };
    lab.bridged();
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.ping("a", "10.0.0.2");
    transfer(&lab, ("a", "b", "10.0.0.2:80"));
    let statistics = daemon.stop();
    assert!(
        statistics.upcalls > 2 * 20_000_000 / 1_460,
        "{statistics:?}"
    );
    assert_eq!(statistics.upcall_failed, 0);
    assert_eq!(statistics.refused, 0);
    let lost = statistics.upcalls - statistics.queue_full;
    assert_eq!(statistics.reinjected, lost);
    assert_eq!(statistics.decided, lost);
}

#[test]
fn a_kernel_without_tcx_gets_the_hooks_by_clsact() {
    let Some(mut lab) = Lab::new("clsact") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    for _restart in 0..2 {
        let daemon = lab.daemon_with(Some(Attachment::Clsact), &["em1", "fxp0"], pass);
        for _ in 0..2 {
            lab.ping_once("a", "10.0.0.2");
        }
        assert_eq!(daemon.stop().upcalls, 8);
    }
    lab.ping("a", "10.0.0.2");
}

#[test]
fn ipv6_and_jumbo_frames_cross() {
    let Some(mut lab) = Lab::new("jumbo") else {
        return;
    };
    lab.bridged();
    for host in ["a", "b"] {
        lab.enable_ipv6(host);
    }
    lab.ip("a", "address add fd00::1/64 dev eth0 nodad");
    lab.ip("b", "address add fd00::2/64 dev eth0 nodad");
    for (host, device) in [
        ("a", "eth0"),
        ("b", "eth0"),
        ("box", "em1"),
        ("box", "fxp0"),
    ] {
        lab.ip(host, &format!("link set dev {device} mtu 9000"));
    }
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.ping("a", "-s 8900 fd00::2");
    lab.ping("a", "-s 30000 10.0.0.2"); // in fragments
    assert_eq!(daemon.stop().upcall_failed, 0);
}

#[test]
fn every_packet_is_counted_once_at_each_hook() {
    let Some(mut lab) = Lab::new("count") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    let to = lab.udp("b", "10.0.0.2:9");
    let from = lab.udp("a", "10.0.0.1:9");
    let mut buffer = [0; 4];
    for n in 0..10 {
        from.send_to(&[n], "10.0.0.2:9").expect("sends");
        assert_eq!(to.recv(&mut buffer).expect("arrives"), 1);
        assert_eq!(buffer[0], n);
    }
    let statistics = daemon.stop();
    assert_eq!(statistics.upcalls, 20);
    assert_eq!(statistics.reinjected, 20);
    assert_eq!(statistics.decided, 20);
    assert_eq!(statistics.not_ip, 0);
}

#[test]
fn tagged_arp_spanning_tree_and_lacp_frames_cross_untouched() {
    let Some(mut lab) = Lab::new("layer2") else {
        return;
    };
    lab.bridged();
    for port in ["em1", "fxp0"] {
        let settings = "type bridge_slave group_fwd_mask 0xfffd";
        lab.ip("box", &format!("link set dev {port} {settings}"));
    }
    let packet = udp([10, 0, 0, 1], [10, 0, 0, 2], b"inside a tag");
    let inner = tagged(100, ETH_P_IP, &packet);
    let (a, b) = (mac(1), mac(2));
    let group = |last| [0x01, 0x80, 0xc2, 0, 0, last];
    let frames = [
        ethernet([0xff; 6], a, ETH_P_ARP, b"an ARP request for nobody"),
        ethernet(group(0), a, 0x0026, b"spanning tree, by its length"),
        ethernet(group(2), a, 0x8809, b"LACP"),
        ethernet(group(14), a, 0x88cc, b"LLDP"),
        ethernet(b, a, 0x8863, b"PPPoE discovery"),
        ethernet(b, a, ETH_P_8021AD, &tagged(7, ETH_P_8021Q, &inner)),
        ethernet(b, a, ETH_P_8021Q, &inner),
    ];
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    let from = lab.raw("a", "eth0");
    let to = lab.raw("b", "eth0");
    for frame in &frames {
        from.send(frame);
        // The receiving kernel takes the outermost tag off.
        let is_tagged = [0x8100, 0x88a8].contains(&u16::from_be_bytes([frame[12], frame[13]]));
        let expected = if is_tagged {
            [&frame[..12], &frame[16..]].concat()
        } else {
            frame.clone()
        };
        let received = to.receive(|frame| frame[6..12] == a);
        assert_eq!(received, expected);
    }
    let statistics = daemon.stop();
    assert_eq!(statistics.upcalls, 0);
    assert_eq!(statistics.not_ip, 2 * 7);
}

#[test]
fn ip_behind_tags_of_vlan_0_is_looked_at_as_if_it_had_none() {
    let Some(mut lab) = Lab::new("priority") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let _nobody_is_told_that_the_port_is_closed = lab.udp("b", "10.0.0.2:9");
    let packet = udp([10, 0, 0, 1], [10, 0, 0, 2], b"urgent");
    let (a, b) = (mac(1), mac(2));
    let behind = |tags: usize| {
        let mut frame = (ETH_P_IP, packet.clone());
        for _tag in 0..tags {
            frame = (ETH_P_8021Q, tagged(0xe000, frame.0, &frame.1));
        }
        ethernet(b, a, frame.0, &frame.1)
    };
    let arp = tagged(0xe000, ETH_P_ARP, b"an ARP request for nobody");
    let arp = ethernet(b, a, ETH_P_8021Q, &arp);
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    let from = lab.raw("a", "eth0");
    let to = lab.raw("b", "eth0");
    for tags in 1..=4 {
        from.send(&behind(tags));
        let received = to.receive(ends_with(b"urgent"));
        assert_eq!(received, ethernet(b, a, ETH_P_IP, &packet), "{tags} tags");
    }
    from.send(&behind(5));
    assert!(to.is_quiet(ends_with(b"urgent")));
    from.send(&arp);
    to.receive(ends_with(b"for nobody"));
    let statistics = daemon.stop();
    assert_eq!(statistics.upcalls, 2 * 4);
    assert_eq!(statistics.upcall_failed, 1);
    assert_eq!(statistics.not_ip, 2);
}

#[test]
fn a_gateway_is_resolved_and_reached_from_the_bridge() {
    let Some(mut lab) = Lab::new("gateway") else {
        return;
    };
    lab.bridged();
    lab.host("c");
    for host in ["a", "box", "c"] {
        lab.enable_ipv6(host);
    }
    lab.cable(("c", "eth0", 3), ("box", "em0", 0x13));
    lab.ip("c", "address add 192.168.0.1/16 dev eth0");
    lab.ip("c", "address add fd02::1/64 dev eth0 nodad");
    lab.ip("box", "address add 192.168.1.64/16 dev em0");
    lab.ip("box", "address add fd02::64/64 dev em0 nodad");
    lab.ip("a", "address add fd00::1/64 dev eth0 nodad");
    default_route(&lab, "10.0.0.77");
    default_route(&lab, "fd00::77");
    let em0 = lab.index("box", "em0");
    let daemon = lab.daemon(&["em1", "em0"], move |upcall| {
        let outside = upcall.hook.interface == em0;
        let next_hop = match (outside, upcall.packet.bytes[0] >> 4, upcall.packet.bytes[6]) {
            (false, 4, _) if is_udp(&upcall.packet.bytes) => "192.168.0.1",
            (false, 6, 17) => "fd02::1",
            _ => return pass(upcall),
        };
        let exit = Exit::Gateway {
            interface: em0,
            next_hop: next_hop.parse().expect("an address"),
        };
        Some(Reinjection::Decided(upcall.hook, exit))
    });
    let at_gateway = lab.raw("c", "eth0");
    for (own, server) in [
        ("10.0.0.1:9", "203.0.113.1:9"),
        ("[fd00::1]:9", "[2001:db8::1]:9"),
    ] {
        let client = lab.udp("a", own);
        client.send_to(b"by another way", server).expect("sends");
        let frame = at_gateway.receive(ends_with(b"by another way"));
        assert_eq!(frame[..6], mac(3));
        assert_eq!(frame[6..12], mac(0x13));
    }
    assert_eq!(daemon.stop().refused, 0);
}

#[test]
fn a_gateway_behind_a_bridge_port_is_resolved_by_the_bridge() {
    let Some(mut lab) = Lab::new("port") else {
        return;
    };
    lab.bridged();
    lab.ip("box", "address add 10.0.0.254/24 dev bridge0");
    default_route(&lab, "10.0.0.77");
    let fxp0 = lab.index("box", "fxp0");
    let daemon = lab.daemon(&["em1", "fxp0"], move |upcall| {
        let exit = Exit::Gateway {
            interface: fxp0,
            next_hop: [10, 0, 0, 2].into(),
        };
        Some(Reinjection::Decided(upcall.hook, exit))
    });
    let outside = lab.raw("b", "eth0");
    let client = lab.udp("a", "10.0.0.1:9");
    client
        .send_to(b"to the other router", "203.0.113.1:9")
        .expect("sends");
    let frame = outside.receive(ends_with(b"to the other router"));
    assert_eq!(frame[..6], mac(2));
    assert_eq!(daemon.stop().upcalls, 1);
}

/// Host `a` sends what is not for its network to the MAC …:77, which nobody has.
fn default_route(lab: &Lab, gateway: &str) {
    let neighbour = format!("neigh add {gateway} lladdr 02:00:00:00:00:77 dev eth0");
    lab.ip("a", &neighbour);
    lab.ip("a", &format!("route add default via {gateway}"));
}

#[test]
fn a_frame_leaves_on_a_wire_with_the_addresses_that_were_decided() {
    let Some(mut lab) = Lab::new("wire") else {
        return;
    };
    lab.bridged();
    let em1 = lab.index("box", "em1");
    let ether = EtherAddresses {
        source: mac(0x77),
        destination: mac(1),
    };
    let daemon = lab.daemon(&["em1", "fxp0"], move |upcall| {
        let exit = Exit::Wire {
            interface: em1,
            ether,
        };
        Some(Reinjection::Decided(upcall.hook, exit))
    });
    let (inside, outside) = (lab.raw("a", "eth0"), lab.raw("b", "eth0"));
    let packet = udp([203, 0, 113, 1], [10, 0, 0, 1], b"an answer");
    outside.send(&ethernet(mac(0x13), mac(2), ETH_P_IP, &packet));
    let received = inside.receive(ends_with(b"an answer"));
    let expected = ethernet(mac(1), mac(0x77), ETH_P_IP, &packet);
    assert_eq!(received, expected);
    assert_eq!(daemon.stop().upcalls, 1);
}

/// Answers UDP at `direction`, passes everything else.
fn answer(direction: Direction) -> impl FnMut(&mut datapath::Upcall) -> Answer {
    move |upcall| {
        if upcall.hook.direction != direction || !is_udp(&upcall.packet.bytes) {
            return pass(upcall);
        }
        turn_around(&mut upcall.packet.bytes);
        Some(Reinjection::Back(upcall.hook))
    }
}

#[test]
fn an_answer_goes_back_from_the_in_hook() {
    let Some(mut lab) = Lab::new("backin") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let daemon = lab.daemon(&["em1", "fxp0"], answer(Direction::In));
    let outside = lab.raw("b", "eth0");
    exchange(&lab, "a", "10.0.0.1:7", "10.0.0.2:9");
    assert!(outside.is_quiet(ends_with(b"echo")));
    let statistics = daemon.stop();
    assert_eq!((statistics.upcalls, statistics.decided), (1, 1));
}

#[test]
fn an_answer_goes_back_from_the_out_hook_across_the_bridge() {
    let Some(mut lab) = Lab::new("backout") else {
        return;
    };
    lab.bridged();
    lab.static_neighbours();
    let daemon = lab.daemon(&["em1", "fxp0"], answer(Direction::Out));
    let outside = lab.raw("b", "eth0");
    exchange(&lab, "a", "10.0.0.1:7", "10.0.0.2:9");
    assert!(outside.is_quiet(ends_with(b"echo")));
    let statistics = daemon.stop();
    // In at em1 and out at fxp0 once each; the answer passes fxp0 and em1 unseen.
    assert_eq!((statistics.upcalls, statistics.decided), (2, 3));
}

#[test]
fn an_answer_goes_back_from_the_out_hook_to_a_local_socket() {
    let Some(mut lab) = Lab::new("backlocal") else {
        return;
    };
    lab.routed();
    let daemon = lab.daemon(&["em0"], answer(Direction::Out));
    exchange(&lab, "box", "192.168.1.64:7", "192.168.0.1:9");
    let statistics = daemon.stop();
    assert_eq!((statistics.upcalls, statistics.decided), (1, 1));
}

/// Sends from a socket and waits for the echo.
fn exchange(lab: &Lab, host: &str, own: &str, peer: &str) {
    let client = lab.udp(host, own);
    client.send_to(b"echo", peer).expect("sends");
    let mut buffer = [0; 8];
    let (len, from) = client.recv_from(&mut buffer).expect("an answer comes");
    assert_eq!(&buffer[..len], b"echo");
    assert_eq!(from.to_string(), peer);
}

#[test]
fn the_box_is_reached_on_a_router_port_and_reaches_out() {
    let Some(mut lab) = Lab::new("local") else {
        return;
    };
    lab.routed();
    let daemon = lab.daemon(&["em0"], pass);
    lab.ping("c", "192.168.1.64");
    lab.ping("box", "192.168.0.1");
    transfer(&lab, ("c", "box", "192.168.1.64:80"));
    transfer(&lab, ("box", "c", "192.168.0.1:80"));
    assert_eq!(daemon.stop().upcall_failed, 0);
}

#[test]
fn the_box_is_reached_on_its_bridge_and_reaches_out() {
    let Some(mut lab) = Lab::new("localbr") else {
        return;
    };
    lab.bridged();
    lab.ip("box", "address add 10.0.0.254/24 dev bridge0");
    let daemon = lab.daemon(&["em1", "fxp0"], pass);
    lab.ping("a", "10.0.0.254");
    lab.ping("box", "10.0.0.2");
    transfer(&lab, ("a", "box", "10.0.0.254:80"));
    transfer(&lab, ("box", "b", "10.0.0.2:80"));
    assert_eq!(daemon.stop().upcall_failed, 0);
}

#[test]
fn a_frame_with_our_own_address_as_its_sender_does_no_harm() {
    let Some(mut lab) = Lab::new("mirror") else {
        return;
    };
    lab.routed();
    let daemon = lab.daemon(&["em0"], pass);
    let server = lab.udp("box", "192.168.1.64:9");
    let outside = lab.raw("c", "eth0");
    let packet = udp([192, 168, 0, 1], [192, 168, 1, 64], b"from whom");
    outside.send(&ethernet(mac(0x13), mac(0x13), ETH_P_IP, &packet));
    // To somebody else's address: not for us.
    outside.send(&ethernet(mac(0x55), mac(3), ETH_P_IP, &packet));
    outside.send(&ethernet(mac(0x13), mac(3), ETH_P_IP, &packet));
    let mut buffer = [0; 16];
    for _frame in 0..2 {
        assert_eq!(server.recv(&mut buffer).expect("arrives"), 9);
    }
    server.set_nonblocking(true).expect("it can be");
    assert!(server.recv(&mut buffer).is_err());
    assert_eq!(daemon.stop().upcalls, 3);
}

/// Sends [`TRANSFER`] bytes and compares.
fn transfer(lab: &Lab, (from, to, address): (&str, &str, &str)) {
    let listener = lab.within(to, || TcpListener::bind(address).expect("free"));
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the whole stream");
        received
    });
    let sent = pattern();
    let mut stream = lab.within(from, || TcpStream::connect(address).expect("connects"));
    stream.write_all(&sent).expect("the peer reads");
    drop(stream);
    let received = reader.join().expect("the reader ends");
    assert!(received == sent, "the stream is damaged");
}

/// Bytes that differ wherever a segment could begin.
fn pattern() -> Vec<u8> {
    let mut x = 1_u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24).to_le_bytes()[0]
    };
    (0..TRANSFER).map(|_| next()).collect()
}

#[test]
fn a_mark_that_a_program_of_the_box_sets_is_no_way_around_the_daemon() {
    let Some(mut lab) = Lab::new("mark") else {
        return;
    };
    lab.routed();
    let wire = lab.raw("c", "eth0");
    // One bit of each hook, that of what the daemon makes itself, a diverted packet's, and all.
    let marks = [
        0,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
        0x8000_0000_u32,
        u32::MAX,
    ];
    let ping = |mark: u32, patience: &str| {
        let mark = mark.to_string();
        let arguments = ["-c", "1", "-W", patience, "-m", &mark, "192.168.0.1"];
        lab.within("box", || {
            let ping = Command::new("ping").args(arguments).output();
            ping.expect("there is ping").status.success()
        })
    };
    let daemon = lab.daemon(&["em0"], |_| None);
    for mark in marks {
        assert!(!ping(mark, "0.2"), "{mark:#x}");
    }
    assert!(wire.is_quiet(|frame| frame[12..14] == ETH_P_IP.to_be_bytes()));
    let statistics = daemon.stop();
    assert_eq!((statistics.upcalls, statistics.decided), (6, 0));

    let daemon = lab.daemon(&["em0"], pass);
    for mark in marks {
        assert!(ping(mark, "30"), "{mark:#x}: the daemon lets it pass");
    }
    assert_eq!(daemon.stop().decided, 12);
}
