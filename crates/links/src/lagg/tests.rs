use super::*;
use crate::HashLayers;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn lagg(protocol: Protocol) -> Lagg {
    let settings = WantedLagg {
        protocol,
        ..WantedLagg::default()
    };
    let mut lagg = Lagg::new(&settings, &MACS);
    for port in 0..2 {
        lagg.link(port, true, true, Duration::ZERO);
    }
    lagg
}

/// A UDP packet from this port.
fn packet(port: u16) -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([
        8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 53, 0, 8, 0, 0]);
    frame
}

fn sent_by(lagg: &mut Lagg) -> Vec<usize> {
    let ports = (0..64).flat_map(|port| lagg.send(&packet(port), None).to_vec());
    let mut ports: Vec<usize> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn failover_uses_the_master_then_the_next_and_the_master_again() {
    let mut lagg = lagg(Protocol::Failover);
    assert_eq!(
        (sent_by(&mut lagg), lagg.flags(0), lagg.flags(1)),
        (vec![0], 5, 0)
    );
    assert!(lagg.receive(0, &packet(1), false, millis(1)));
    assert!(
        !lagg.receive(1, &packet(1), false, millis(1)),
        "the standby's frames are not taken"
    );
    lagg.link(0, false, true, millis(10));
    assert_eq!(
        (sent_by(&mut lagg), lagg.flags(0), lagg.flags(1)),
        (vec![1], 1, 4)
    );
    assert!(lagg.receive(1, &packet(1), false, millis(11)));
    lagg.link(0, true, true, millis(20));
    assert_eq!(sent_by(&mut lagg), [0]);
    assert_eq!(lagg.totals().failovers, 2);
    for port in 0..2 {
        lagg.link(port, false, true, millis(30));
    }
    assert!(!lagg.is_up());
}

#[test]
fn the_other_protocols_share_as_lagg_does() {
    let both = |protocol| sent_by(&mut lagg(protocol));
    assert_eq!(both(Protocol::LoadBalance), [0, 1]);
    assert_eq!(both(Protocol::RoundRobin), [0, 1]);
    assert_eq!(both(Protocol::None), [] as [usize; 0]);
    let mut broadcast = lagg(Protocol::Broadcast);
    assert_eq!(broadcast.send(&packet(1), None), [0, 1]);
    let mut turns = lagg(Protocol::RoundRobin);
    let first: Vec<usize> = (0..4)
        .flat_map(|_| turns.send(&packet(1), None).to_vec())
        .collect();
    assert_eq!(first, [0, 1, 0, 1]);
}

#[test]
fn a_flow_keeps_its_port_and_only_the_layers_that_count_move_it() {
    let l2 = HashLayers {
        l2: true,
        l3: false,
        l4: false,
    };
    let hash = |port, layers| flow_hash(&packet(port), None, layers);
    assert_eq!(hash(1, l2), hash(2, l2));
    let all = HashLayers::default();
    assert_eq!(hash(1, all), hash(1, all));
    assert!((2..20).any(|port| hash(port, all) % 2 != hash(1, all) % 2));
    assert_ne!(flow_hash(&packet(1), Some(5), all), hash(1, all));
}

#[test]
fn a_failover_is_announced_to_both_families_twice() {
    let mut lagg = lagg(Protocol::Failover);
    while lagg.next_frame().is_some() {}
    lagg.set_addresses([
        OwnAddress {
            vlan: None,
            address: "192.0.2.5".parse().unwrap(),
        },
        OwnAddress {
            vlan: Some(22),
            address: "2001:db8::5".parse().unwrap(),
        },
    ]);
    lagg.tick(millis(2_000));
    while lagg.next_frame().is_some() {}
    for (time, expected) in [(3_000, 2), (3_500, 0), (4_000, 2), (6_000, 0)] {
        lagg.link(0, false, true, millis(time));
        lagg.tick(millis(time));
        let mut seen = Vec::new();
        while let Some((port, frame)) = lagg.next_frame() {
            assert_eq!(port, 1);
            assert_eq!(frame[6..12], MACS[0], "the lagg's own address");
            seen.push(frame);
        }
        assert_eq!(seen.len(), expected, "{time} ms");
        if let [arp, na] = seen.as_slice() {
            assert_eq!(ethernet_type(arp), Some(0x0806));
            assert_eq!(
                arp[28..32],
                arp[38..42],
                "sender and target are the address"
            );
            assert_eq!(na[12..18], [0x81, 0, 0, 22, 0x86, 0xdd]);
            assert_eq!(na[58], 136);
        }
    }
}

/// What the neighbour answers to a question.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut frame = question.to_vec();
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(&[4; 6]);
    frame[21] = 2;
    frame[28..32].copy_from_slice(&NEIGHBOUR.octets());
    frame
}

#[test]
fn a_silent_cut_is_found_by_questions_in_less_than_a_second() {
    let mut lagg = lagg(Protocol::Failover);
    let target = ProbeTarget {
        vlan: None,
        address: NEIGHBOUR,
    };
    lagg.probe(Some(target), Duration::ZERO);
    let mut used = Vec::new();
    // From 5 s to 10 s the first link passes nothing; from 15 s on the neighbour is gone.
    for step in 0..2_000 {
        let now = millis(step * 10);
        lagg.tick(now);
        while let Some((port, frame)) = lagg.next_frame() {
            let cut = port == 0 && (5_000..10_000).contains(&(step * 10));
            if !cut && step < 1_500 {
                let above = lagg.receive(port, &answer(&frame), false, now);
                assert!(!above || port == 0);
            }
        }
        used.push(lagg.send(&packet(1), None).first().copied());
    }
    let at = |millis: usize| used[millis / 10];
    assert_eq!(
        (at(4_990), at(5_990), at(9_990)),
        (Some(0), Some(1), Some(1))
    );
    assert_eq!(
        (at(10_500), at(19_990)),
        (Some(0), Some(0)),
        "back, and stays without a neighbour"
    );
    let changes = used.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 2);
}

#[test]
fn lacp_frames_stay_below_and_others_wait_for_a_partner() {
    let mut ours = lagg(Protocol::Lacp);
    let settings = WantedLagg {
        protocol: Protocol::Lacp,
        ..WantedLagg::default()
    };
    let mut theirs = Lagg::new(&settings, &[[4, 0, 0, 0, 0, 1], [4, 0, 0, 0, 0, 2]]);
    for port in 0..2 {
        theirs.link(port, true, true, Duration::ZERO);
    }
    assert!(!ours.receive(0, &packet(1), false, Duration::ZERO));
    assert!(ours.send(&packet(1), None).is_empty());
    for step in 0..400 {
        let now = millis(step * 10);
        ours.tick(now);
        theirs.tick(now);
        while let Some((port, frame)) = ours.next_frame() {
            assert!(!theirs.receive(port, &frame, false, now));
        }
        while let Some((port, frame)) = theirs.next_frame() {
            assert!(!ours.receive(port, &frame, false, now));
        }
    }
    assert_eq!(sent_by(&mut ours), [0, 1]);
    assert_eq!(ours.flags(0), 0x1c);
    assert!(ours.receive(1, &packet(1), false, millis(4_000)));
}
